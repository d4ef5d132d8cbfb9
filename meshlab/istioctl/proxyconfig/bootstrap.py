"""`proxy-config bootstrap -o short`: versions."""

from __future__ import annotations

from meshlab.istioctl.proxyconfig.columns import columns
from meshlab.sidecars.dump import ConfigDump

__all__ = ["versions"]


def versions(dump: ConfigDump) -> str:
    """Of Istio and its proxy where the node says so, and of Envoy."""
    node = dump.bootstrap.get("node") or {}
    metadata, build = node.get("metadata") or {}, node.get("user_agent_build_version") or {}
    said = build.get("version") or {}
    envoy = ".".join(str(said.get(part) or 0) for part in ("major_number", "minor_number", "patch"))
    more = build.get("metadata") or {}
    if label := more.get("build.label"):
        envoy += f"-{label}"
    envoy += "".join(f"/{more[key]}" for key in ("revision.status", "build.type", "ssl.version") if key in more)
    rows = [("Envoy Version:", envoy)]
    if sha := str(metadata.get("ISTIO_PROXY_SHA") or ""):
        rows.insert(0, ("Istio Proxy Version:", sha.partition(":")[2] or sha))
    if version := metadata.get("ISTIO_VERSION"):
        rows.insert(0, ("Istio Version:", str(version)))
    return columns(rows, padding=1)

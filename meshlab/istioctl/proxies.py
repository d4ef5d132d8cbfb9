"""`proxy-config` and `proxy-status`: commands of today's istioctl, which 0.4.0's did not have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from meshlab.errors import MeshlabError
from meshlab.istioctl.flags import Flag, Parsed
from meshlab.kube import Kube

if TYPE_CHECKING:
    from meshlab.sidecars.sidecars import Sidecars

__all__ = ["CONFIG_FLAGS", "STATUS_FLAGS", "proxy_config", "proxy_status"]

_OUTPUT = Flag("output", "", "Output format: one of json|yaml|short", "o")
CONFIG_FLAGS = (
    _OUTPUT,
    Flag("file", "", "Envoy's config dump as a file, instead of a pod", "f"),
    Flag("fqdn", "", "Filter clusters by a part of their service's FQDN"),
    Flag("port", 0, "Filter by port"),
    Flag("subset", "", "Filter clusters by a part of their subset"),
    Flag("direction", "", "Filter clusters by direction: inbound or outbound"),
    Flag("address", "", "Filter listeners and endpoints by address"),
    Flag("type", "", "Filter listeners by type: HTTP, TCP or HTTP+TCP"),
    Flag("name", "", "Filter route tables by name"),
    Flag("cluster", "", "Filter endpoints by the name of their cluster"),
    Flag("status", "", "Filter endpoints by status"),
    Flag("verbose", True, "Show listeners' matches and routes' domains"),
    Flag("level", "", "Levels to set, as `http:debug,router:info`, or one for all loggers (log)"),
    Flag("reset", False, "Set the levels back to what they are at the start (log)", "r"),
    Flag("with-headers", False, "Print headings between the tables of `all`"),
)
STATUS_FLAGS = (Flag("output", "table", "Output format: one of json|yaml|table", "o"),)


def proxy_config(flags: Parsed, stdin: TextIO, stdout: TextIO) -> int:
    from meshlab.istioctl.proxyconfig.command import KINDS, kind_of, printed
    from meshlab.istioctl.proxyconfig.filters import Filters

    if not flags.args:
        raise MeshlabError(
            "which part of the configuration?",
            why=f"there are {', '.join(KINDS)}",
            then="istioctl proxy-config route POD[.NAMESPACE]",
        )
    kind, *pods = flags.args
    kind, file = kind_of(kind), flags.text("file")
    if (len(pods) == 1) == bool(file) or len(pods) > 1:
        raise MeshlabError(f"{kind} requires pod name or --file parameter")
    wanted = Filters(
        flags.text("fqdn"),
        flags.number("port"),
        flags.text("subset"),
        flags.text("direction"),
        flags.text("address"),
        flags.text("type"),
        flags.text("name"),
        flags.text("cluster"),
        flags.text("status"),
        flags.on("verbose"),
    )
    if file:
        if kind == "log":
            raise MeshlabError("log requires pod name", then="istioctl proxy-config log POD[.NAMESPACE]")
        text = stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    else:
        from meshlab.sidecars.sidecars import Sidecars

        kube = Kube.from_kubeconfig(flags.text("kubeconfig") or None)
        sidecars = Sidecars(kube)
        if kind == "log":
            stdout.write(_log(flags, sidecars, pods[0], flags.text("namespace") or kube.namespace))
            return 0
        text = sidecars.admin(sidecars.find(pods[0], flags.text("namespace") or kube.namespace), KINDS[kind][1])
    stdout.write(printed(kind, text, flags.text("output"), wanted, headers=flags.on("with-headers")))
    return 0


def _log(flags: Parsed, sidecars: Sidecars, name: str, namespace: str) -> str:
    from meshlab.istioctl.proxyconfig.log import changes, logged

    if flags.text("output") not in ("", "short"):
        raise MeshlabError("--output is not applicable for this command")
    wanted = changes(flags.text("level"), reset=flags.on("reset"))
    pod = sidecars.find(name, namespace)
    return logged(pod.id, lambda path: sidecars.admin(pod, path, "POST"), wanted)


def proxy_status(flags: Parsed, stdout: TextIO) -> int:
    """All proxies (`-v 1`: each kind of configuration by itself), or what one lacks of what it is meant to have."""
    from meshlab.istioctl.proxyconfig.status import comparison_text, status_text
    from meshlab.sidecars.compare import compare
    from meshlab.sidecars.sidecars import Sidecars
    from meshlab.sidecars.syncz import read

    kube = Kube.from_kubeconfig(flags.text("kubeconfig") or None)
    sidecars, namespace, plane = Sidecars(kube), flags.text("namespace"), flags.text("istioNamespace")
    if flags.args:
        pod = sidecars.find(flags.args[0], namespace or kube.namespace)
        known = [each for each in read(sidecars, plane) if each.proxy == pod.id]
        stdout.write(comparison_text(compare(sidecars, pod, plane), known))
        return 0
    found = [each for each in read(sidecars, plane) if namespace in ("", each.namespace)]
    stdout.write(status_text(found, flags.text("output"), verbose=flags.number("v") > 0))
    return 0

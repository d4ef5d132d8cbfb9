"""A registry with the tutorial's two services, and what Pilot makes of it: for tests of the translation."""

from __future__ import annotations

from typing import Any

from meshlab.mesh.pilot.build import Builder
from meshlab.mesh.pilot.proxy import Capture, Proxy, Role
from meshlab.mesh.pilot.registry import Registry
from meshlab.mesh.pilot.snapshot import Snapshot
from meshlab.mesh.pilot.world import Mesh

__all__ = ["HTTP", "IP", "SVCB", "V1", "V2", "named", "put", "registry", "routes", "rule", "snapshot"]

IP = {"svca-1": "127.40.0.10", "svcb-1": "127.40.0.28", "svcb-2": "127.40.0.29"}
HTTP = "out.svcb.default.svc.cluster.local|http"
SVCB = {"destination": {"name": "svcb"}}
V1, V2 = {"labels": {"version": "v0.1"}}, {"labels": {"version": "v0.2"}}


def registry(port_name: str = "http", *, start: int = 0) -> Registry:
    """svca (one pod) and svcb (v0.1, v0.2), both on port 80 → 8080, the port named `port_name`."""
    found = Registry(Mesh(low_port_start=start))
    for number, app in enumerate(("svca", "svcb")):
        pods = [pod for pod in IP if pod.startswith(app)]
        put(
            found,
            "services",
            app,
            spec={
                "clusterIP": f"127.105.0.{number + 1}",
                "selector": {"app": app},
                "ports": [{"name": port_name, "port": 80, "targetPort": 8080}],
            },
        )
        for pod in pods:
            labels = {"app": app, "version": "v0." + pod[-1]}
            put(found, "pods", pod, meta={"labels": labels}, status={"podIP": IP[pod], "phase": "Running"})
        put(
            found,
            "endpoints",
            app,
            subsets=[
                {
                    "addresses": [
                        {"ip": IP[pod], "targetRef": {"kind": "Pod", "namespace": "default", "name": pod}}
                        for pod in pods
                    ],
                    "ports": [{"name": port_name, "port": 8080}],
                }
            ],
        )
    return found


def put(
    target: Registry,
    plural: str,
    name: str,
    event: str = "ADDED",
    meta: dict[str, Any] | None = None,
    **fields: Any,
) -> None:
    metadata = {"namespace": "default", "name": name, "resourceVersion": "1", **(meta or {})}
    target.apply(plural, event, {"metadata": metadata, **fields})


def rule(target: Registry, spec: dict[str, Any], name: str = "r", kind: str = "RouteRule") -> None:
    plural = {"RouteRule": "routerules", "EgressRule": "egressrules"}.get(kind, "destinationpolicies")
    put(target, plural, name, kind=kind, spec=spec)


def snapshot(target: Registry, pod: str = "svca-1", capture: Capture = Capture.SHIM) -> Snapshot:
    proxy = Proxy(Role.SIDECAR, IP[pod], f"{pod}.default", "default.svc.cluster.local", "127.41.0.10", capture)
    found = Builder().snapshot(target.world(), proxy)
    assert found.consistent() == ()
    return found


def routes(found: Snapshot, table: str = "80", host: str = "svcb") -> list[dict[str, Any]]:
    (wanted,) = (r for r in found.json()["rds"] if r["name"] == table)
    (virtual,) = (v for v in wanted["virtual_hosts"] if host in v["domains"])
    listed: list[dict[str, Any]] = virtual["routes"]
    return listed


def named(found: Snapshot, kind: str) -> dict[str, dict[str, Any]]:
    return {each.get("name") or each["cluster_name"]: each for each in found.json()[kind]}

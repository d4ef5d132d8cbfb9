"""A rule of each generation that says the same gives the same Envoy resources, for every convertible case."""

from __future__ import annotations

from typing import Any

import rules
import yaml
from hypothesis import given, settings

from meshlab.mesh.config.convert.stream import convert
from meshlab.mesh.config.today.kinds import kind_of
from meshlab.mesh.pilot.build import Builder
from meshlab.mesh.pilot.proxy import Proxy, Role
from meshlab.mesh.pilot.registry import Registry
from meshlab.mesh.pilot.snapshot import Snapshot
from meshlab.mesh.pilot.world import Mesh

PODS = {f"{name}-{n}": (name, f"v0.{n}", f"127.40.{i}.{n}") for i, name in enumerate(rules.NAMES) for n in (1, 2, 3)}
LEGACY = {"RouteRule": "routerules", "EgressRule": "egressrules", "DestinationPolicy": "destinationpolicies"}


def put(target: Registry, plural: str, name: str, **fields: Any) -> None:
    meta = {"namespace": "default", "name": name, "resourceVersion": "1", **fields.pop("metadata", {})}
    target.apply(plural, "ADDED", {"metadata": meta, **fields})


def mesh(documents: list[dict[str, Any]]) -> Registry:
    """Three services of three versions each, and these rules."""
    found = Registry(Mesh(low_port_start=0))
    for i, name in enumerate(rules.NAMES):
        put(found, "services", name, spec={
            "clusterIP": f"127.105.0.{i + 1}", "selector": {"app": f"{name}-app"},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        })  # fmt: skip
        own = {pod: ip for pod, (app, _, ip) in PODS.items() if app == name}
        put(found, "endpoints", name, subsets=[{
            "addresses": [{"ip": ip, "targetRef": {"kind": "Pod", "namespace": "default", "name": pod}}
                          for pod, ip in own.items()],
            "ports": [{"name": "http", "port": 8080}],
        }])  # fmt: skip
    for pod, (app, version, ip) in PODS.items():
        labels = {"app": f"{app}-app", "version": version}
        put(found, "pods", pod, metadata={"labels": labels}, status={"podIP": ip, "phase": "Running"})
    for each in documents:
        if each["kind"] == "Service":
            continue
        kind = kind_of(each)
        target = LEGACY[each["kind"]] if kind is None else kind.plural
        found.apply(target, "ADDED", each | {"metadata": each["metadata"] | {"resourceVersion": "1"}})
    return found


def snapshot(target: Registry, pod: str) -> Snapshot:
    ip = PODS[pod][2]
    proxy = Proxy(Role.SIDECAR, ip, f"{pod}.default", "default.svc.cluster.local", "127.41.0.1")
    found = Builder().snapshot(target.world(), proxy)
    assert found.consistent() == ()
    return found


def comparable(resources: list[dict[str, Any]], dead: set[str]) -> list[dict[str, Any]]:
    """Without what cannot matter, and without what `convert` names as changed.

    `dead`: rules that no request can reach; 0.4 repeated them inbound all the same. And today's API cannot say that
    a route lets no websocket through: the rules here all allow them, but what follows the last one did not in 0.4.
    """
    for table in resources:
        for host in table.get("virtual_hosts", ()):
            host["routes"] = [route for route in host["routes"] if route.get("name") not in dead]
            ends = [n for n, route in enumerate(host["routes"], 1) if route["match"] == {"prefix": "/"}]
            host["routes"] = host["routes"][: ends[0] if ends else None]
            for route in host["routes"]:
                if route.get("name") == "default-route":
                    route["route"].pop("upgrade_configs", None)
    return resources


@settings(max_examples=60)
@given(rules.streams())
def test_converted_rules_give_every_sidecar_the_same_resources(documents: list[dict[str, Any]]) -> None:
    result = convert(yaml.safe_dump_all(documents))
    dead = {each.key.rsplit("/", 1)[1] for each in result.notes if "takes every request" in each.text}
    converted = [
        each | {"metadata": {"namespace": "default"} | each["metadata"]}
        for each in yaml.safe_load_all(result.text)
        if each
    ]
    old, new = mesh(documents), mesh(converted)
    for pod in ("svca-1", "svcb-2", "svcc-3"):
        before, after = snapshot(old, pod).json(), snapshot(new, pod).json()
        for kind, listed in before.items():
            assert comparable(after[kind], dead) == comparable(listed, dead), kind

"""VirtualServices that leave routes to others: what is put in, what is left out, and who is told."""

from __future__ import annotations

from typing import Any

import pytest
from translating import put, registry, routes, snapshot

NETWORKING = "networking.istio.io/v1"
ROOT: dict[str, Any] = {"hosts": ["svcb"], "http": [
    {"name": "paid", "match": [{"uri": {"prefix": "/pay"}}], "timeout": "3s", "delegate": {"name": "pay"}},
    {"route": [{"destination": {"host": "svca"}}]},
]}


def virtual(target: Any, name: str, spec: dict[str, Any], namespace: str = "default", event: str = "ADDED") -> None:
    meta = {"namespace": namespace, "resourceVersion": "7"}
    put(target, "virtualservices", name, event, meta, apiVersion=NETWORKING, kind="VirtualService", spec=spec)


def delegate(*blocks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"http": [{"route": [{"destination": {"host": "svcb"}}], **each} for each in blocks], **more}


@pytest.mark.parametrize(("blocks", "wanted"), [
    ([{}], [("paid", {"prefix": "/pay"}, "3s")]),
    ([{"name": "own", "timeout": "1s"}], [("paid-own", {"prefix": "/pay"}, "1s")]),
    ([{"match": [{"uri": {"prefix": "/pay/now"}}]}], [("paid", {"prefix": "/pay/now"}, "3s")]),
    ([{"match": [{"uri": {"exact": "/pay/x"}}]}], [("paid", {"path": "/pay/x"}, "3s")]),
    ([{"match": [{"method": {"exact": "GET"}}]}], [("paid", {"prefix": "/pay"}, "3s")]),
    # It would take what the root does not: left out.
    ([{"match": [{"uri": {"prefix": "/"}}]}, {"name": "own"}], [("paid-own", {"prefix": "/pay"}, "3s")]),
    ([{"match": [{"uri": {"regex": "/pay.*"}}]}], []),
], ids=["whole", "says more", "prefix", "exact", "method", "wider", "expression"])
def test_a_delegates_routes_stand_in_the_place_of_the_block(blocks: list[Any], wanted: list[Any]) -> None:
    target = registry()
    virtual(target, "root", ROOT)
    virtual(target, "pay", delegate(*blocks))
    found = routes(snapshot(target))
    path = [{k: v for k, v in each["match"].items() if k in ("prefix", "path")} for each in found[:-1]]
    assert [(r["name"], p, r["route"]["timeout"]) for r, p in zip(found[:-1], path, strict=True)] == wanted
    assert "out.svca" in found[-1]["route"]["cluster"]


def test_a_delegate_may_come_later_change_and_go() -> None:
    target = registry()
    virtual(target, "root", ROOT)
    assert len(routes(snapshot(target))) == 1
    assert [str(each) for each in target.world().problems] == [
        "VirtualService/default/root: http[0]: there is no delegate VirtualService default/pay"
    ]
    virtual(target, "pay", delegate({}, {"name": "second"}))
    assert len(routes(snapshot(target))) == 3
    assert target.world().problems == ()
    virtual(target, "pay", {}, event="DELETED")
    assert len(routes(snapshot(target))) == 1


def test_a_delegate_of_another_namespace_names_its_own_services_and_must_be_exported() -> None:
    target = registry()
    root = {**ROOT, "http": [{"delegate": {"name": "pay", "namespace": "teams"}}]}
    virtual(target, "root", root)
    virtual(target, "pay", delegate({}, exportTo=["."]), "teams")
    assert "is not exported to namespace default" in str(target.world().problems[0])
    virtual(target, "pay", delegate({}), "teams")
    assert routes(snapshot(target))[0]["route"]["cluster"] == "out.svcb.teams.svc.cluster.local|http"

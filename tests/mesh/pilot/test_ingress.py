"""Kubernetes Ingress objects on the ingress proxy."""

from __future__ import annotations

from typing import Any

import pytest
from translating import HTTP, put, registry, rule

from meshlab.mesh.pilot.build import Builder
from meshlab.mesh.pilot.ingress import backend_problem, combine
from meshlab.mesh.pilot.proxy import Proxy, Role
from meshlab.mesh.pilot.registry import Registry

PROXY = Proxy(Role.INGRESS, "127.40.0.40", "ingress-1.istio-system", "istio-system.svc.cluster.local")
ISTIO = {"annotations": {"kubernetes.io/ingress.class": "istio"}}


def ingress(target: Registry, *paths: tuple[str, str, str], annotated: bool = True) -> None:
    """(host, path, service) each."""
    put(target, "ingresses", "web", meta=ISTIO if annotated else {}, spec={"rules": [
        {**({"host": host} if host else {}), "http": {"paths": [
            {**({"path": path} if path else {}), "backend": {"serviceName": service, "servicePort": 80}}
        ]}}
        for host, path, service in paths
    ]})


def hosts(target: Registry) -> dict[str, list[dict[str, Any]]]:
    found = Builder().snapshot(target.world(), PROXY)
    assert found.consistent() == ()
    (table,) = found.json()["rds"]
    return {host["domains"][0]: host["routes"] for host in table.get("virtual_hosts", ())}


def test_an_ingress_of_another_class_is_not_served_and_port_80_answers_404() -> None:
    target = registry()
    ingress(target, ("", "", "svcb"), annotated=False)
    assert hosts(target) == {}
    assert [each["name"] for each in Builder().snapshot(target.world(), PROXY).json()["lds"]] == [
        "http_0.0.0.0_80"
    ]


def test_exact_paths_come_before_prefixes_and_longer_ones_first() -> None:
    target = registry()
    ingress(target, ("a.com", "/x.*", "svcb"), ("a.com", "", "svca"), ("a.com", "/x/y.*", "svcb"),
            ("a.com", "/x", "svca"), ("", "", "svcb"))
    found = hosts(target)
    assert set(found) == {"a.com", "*"}
    assert [route["match"] for route in found["a.com"]] == [
        {"path": "/x"}, {"prefix": "/x/y"}, {"prefix": "/x"}, {"prefix": "/"}
    ]


def test_the_backends_rules_apply_but_their_faults_do_not() -> None:
    target = registry()
    rule(target, {
        "destination": {"name": "svcb"}, "route": [{"labels": {"version": "v0.2"}}],
        "httpFault": {"abort": {"percent": 100, "httpStatus": 500}},
    })
    ingress(target, ("", "/x", "svcb"))
    (route,) = hosts(target)["*"]
    assert route["route"]["cluster"] == f"{HTTP}|version=v0.2"
    assert route["match"] == {"path": "/x"}
    assert "typed_per_filter_config" not in route


@pytest.mark.parametrize(("port_name", "service", "expected"), [
    ("", "svcb", "not HTTP by its name"), ("http", "nobody", "there is no service"), ("http", "svcb", ""),
])
def test_a_backend_that_cannot_be_reached_is_left_out_with_a_reason(
    port_name: str, service: str, expected: str
) -> None:
    target = registry(port_name)
    ingress(target, ("", "", service))
    (only,) = target.world().ingress_rules
    assert expected in backend_problem(target.world(), only)
    assert bool(hosts(target)) == (not expected)


@pytest.mark.parametrize(("path", "match", "expected"), [
    ({"path": "/xyz"}, {"path": "/xyz"}, {"path": "/xyz"}),
    ({"path": "/xyz"}, {"path": "/xy"}, None),
    ({"path": "/xyz"}, {"prefix": "/x"}, {"path": "/xyz"}),
    ({"path": "/xyz"}, {"prefix": "/z"}, None),
    ({"prefix": "/x"}, {"path": "/xyz"}, {"path": "/xyz"}),
    ({"prefix": "/z"}, {"path": "/xyz"}, None),
    ({"prefix": "/xyz"}, {"prefix": "/x"}, {"prefix": "/xyz"}),
    ({"prefix": "/x"}, {"prefix": "/xyz"}, {"prefix": "/xyz"}),
    ({"prefix": "/x"}, {"prefix": "/z"}, None),
])
def test_two_conditions_on_the_path_become_one(
    path: dict[str, Any], match: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    assert combine(path, match) == expected

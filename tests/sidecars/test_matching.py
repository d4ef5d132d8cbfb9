"""Envoy's choices made again, by tables: hosts, listeners, and the reasons of routes."""

from __future__ import annotations

from typing import Any

import pytest

from meshlab.sidecars.describe import rule_of
from meshlab.sidecars.dump import ConfigDump
from meshlab.sidecars.matching import Asked, Fit, find_host, find_listener, tried

ANY = "0.0.0.0"  # noqa: S104 - as Envoy writes it
HOSTS = {
    "virtual_hosts": [
        {"name": "all", "domains": ["*"]},
        {"name": "begin", "domains": ["svcb.*"]},
        {"name": "end", "domains": ["*.local"]},
        {"name": "longer", "domains": ["*.cluster.local"]},
        {"name": "exact", "domains": ["svcb", "svcb:80"]},
    ]
}


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("svcb", "exact"),
        ("SVCB:80", "exact"),
        ("svcb.default", "begin"),
        ("a.cluster.local", "longer"),
        ("a.local", "end"),
        ("svcb.cluster.local", "longer"),
        ("nowhere", "all"),
        (".local", "all"),
        ("svcb:81", "all"),
    ],
)
def test_the_host_that_says_most_about_a_name_has_it(asked: str, name: str) -> None:
    found = find_host(HOSTS, asked)
    assert found is not None and found["name"] == name


def test_no_host_is_no_host() -> None:
    assert find_host({"virtual_hosts": [{"name": "a", "domains": ["a"]}]}, "b") is None


def test_a_port_in_the_name_may_not_count() -> None:
    found = find_host({**HOSTS, "ignore_port_in_host_matching": True}, "svcb:9999")
    assert found is not None and found["name"] == "exact"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("127.105.0.7:80", "exact"),
        ("127.105.0.8:80", "any"),
        ("127.105.0.7:81", None),
        ("", None),
    ],
)
def test_a_listener_of_the_address_comes_before_one_of_any_address(address: str, name: str | None) -> None:
    def made(name: str, host: str) -> dict[str, Any]:
        return {
            "active_state": {
                "listener": {"name": name, "address": {"socket_address": {"address": host, "port_value": 80}}}
            }
        }

    dump = ConfigDump(
        [
            {
                "@type": "x.ListenersConfigDump",
                "dynamic_listeners": [made("any", ANY), made("exact", "127.105.0.7")],
            }
        ]
    )
    found = find_listener(dump, address)
    assert (found or {}).get("name") == name


def header(**matcher: Any) -> dict[str, Any]:
    return {"prefix": "/", "headers": [{"name": "x-case", **matcher}]}


def exact(value: str) -> dict[str, Any]:
    return {"string_match": {"exact": value}}


@pytest.mark.parametrize(
    ("match", "headers", "fit", "why"),
    [
        ({"prefix": "/"}, {}, Fit.YES, ""),
        ({"path": "/pay"}, {}, Fit.NO, "its path is /pay, not /notify"),
        ({"prefix": "/pay"}, {}, Fit.NO, "paths begin with /pay, not /notify"),
        ({"prefix": "/NOTIFY", "case_sensitive": False}, {}, Fit.YES, ""),
        ({"path_separated_prefix": "/not"}, {}, Fit.NO, "paths are /not or below, not /notify"),
        ({"safe_regex": {"regex": "/n.*y"}}, {}, Fit.YES, ""),
        ({"safe_regex": {"regex": "/n"}}, {}, Fit.NO, "its path is like /n, not /notify"),
        (header(**exact("a")), {"x-case": "a"}, Fit.YES, ""),
        (header(**exact("a")), {"x-case": "b"}, Fit.NO, "it wants x-case = a, and x-case is b"),
        (header(**exact("a")), {}, Fit.NO, "it wants x-case = a, and x-case is not there"),
        (header(**exact("a")), None, Fit.OPEN, "it wants x-case = a, and no log says whether the request had it"),
        (header(exact_match="a"), {"x-case": "a"}, Fit.YES, ""),
        (header(present_match=True), {}, Fit.NO, "it wants x-case, and x-case is not there"),
        (header(present_match=True, invert_match=True), {}, Fit.YES, ""),
        (header(**exact("a"), invert_match=True, treat_missing_header_as_empty=True), {}, Fit.YES, ""),
        (header(string_match={"prefix": "A", "ignore_case": True}), {"x-case": "ab"}, Fit.YES, ""),
        (
            {"prefix": "/", "headers": [{"name": ":method", **exact("POST")}]},
            None,
            Fit.NO,
            "it wants :method = POST, and :method is GET",
        ),
        ({"prefix": "/", "query_parameters": [{"name": "m", "string_match": {"exact": "1"}}]}, {}, Fit.YES, ""),
        (
            {"prefix": "/", "query_parameters": [{"name": "m", "string_match": {"exact": "2"}}]},
            {},
            Fit.NO,
            "it wants the parameter m = 2",
        ),
        ({"prefix": "/", "runtime_fraction": {}}, {}, Fit.OPEN, "it takes a share of the requests, by chance"),
    ],
)
def test_a_route_says_why_it_does_not_fit(
    match: dict[str, Any], headers: dict[str, str] | None, fit: Fit, why: str
) -> None:
    asked = Asked("svcb", "/notify?m=1", "GET", headers or {}, complete=headers is not None)
    (found,) = tried({"routes": [{"match": match}]}, asked)
    assert (found.fit, found.why) == (fit, why)


def test_nothing_is_tried_behind_a_route_that_fits() -> None:
    routes = [{"match": {"path": "/a"}}, {"match": {"prefix": "/"}}, {"match": {"prefix": "/"}}]
    assert [each.fit for each in tried({"routes": routes}, Asked("svcb", "/b", "GET", {}))] == [Fit.NO, Fit.YES]


@pytest.mark.parametrize(
    ("route", "rule"),
    [
        ({"name": "default-route"}, ""),
        ({"name": "route-rules-svcb"}, "route-rules-svcb"),
        ({}, ""),
        (
            {
                "name": "default",
                "metadata": {
                    "filter_metadata": {
                        "istio": {"config": "/apis/networking.istio.io/v1/namespaces/demo/virtual-service/svcb"}
                    }
                },
            },
            "svcb.demo",
        ),
    ],
)
def test_a_rule_is_known_by_its_metadata_or_its_routes_name(route: dict[str, Any], rule: str) -> None:
    assert rule_of(route) == rule

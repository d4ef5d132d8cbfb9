"""What an HTTPRoute and the Gateways of Kubernetes' API say, on a real Envoy, field by field as far as `test_gateways`
does not show it: a request that has the effect, and one that must not have it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pilot_cluster import Answer, Application, Cluster

from tests.mesh.pilot.edge import (
    KUBERNETES,
    SVCB,
    WEB,
    X,
    ask,
    certificate,
    http_route,
    listeners,
    secure,
    with_ingress,
)

__all__ = ["certificate"]  # a fixture
SVCA = {"name": "svca", "port": 80}
ON_X = {"matches": [{"path": {"value": "/x"}}]}
MORE = {**WEB, "name": "more", "hostname": "*.m.test"}
Spec = dict[str, Any]


@pytest.fixture(scope="module")
def edge(cluster: Cluster) -> Cluster:
    """With a Gateway that stays: a port that is closed takes a second until its last connections are gone."""
    listeners(with_ingress(cluster), WEB, MORE)
    return cluster


@pytest.fixture(autouse=True)
def _leave_as_found(edge: Cluster) -> Iterator[None]:
    yield
    edge.store("HTTPRoute", {}, event="DELETED")


def seen(edge: Cluster, path: str, **sent: str) -> Answer:
    """A request through the mesh, of a route that has the service svcb as its parent."""
    return edge.get("svca-1", f"http://svcb/{path}", {k.replace("_", "-"): v for k, v in sent.items()})


def for_service(edge: Cluster, *rules: Spec, **more: Any) -> None:
    parent = {"group": "", "kind": "Service", "name": "svcb", **more}
    found = edge.store("HTTPRoute", {"parentRefs": [parent], "rules": list(rules)})
    assert found.in_force, found


@pytest.mark.parametrize(("match", "yes", "no"), [
    ({"headers": [{"name": "x-a", "value": "1"}]}, ("", {"x-a": "1"}), ("", {"x-a": "12"})),
    ({"headers": [{"type": "Exact", "name": "x-a", "value": "1"}]}, ("", {"x-a": "1"}), ("", {})),
    ({"headers": [{"type": "RegularExpression", "name": "x-a", "value": "1+"}]}, ("", {"x-a": "11"}),
     ("", {"x-a": "2"})),
    ({"queryParams": [{"type": "RegularExpression", "name": "q", "value": "1+"}]}, ("?q=11", {}), ("?q=2", {})),
    ({"method": "POST"}, None, ("", {})),
])  # fmt: skip
def test_a_match_takes_what_it_says(edge: Cluster, match: Spec, yes: Any, no: Any) -> None:
    http_route(edge, {"name": "named", "matches": [match], "backendRefs": [SVCA]}, {"backendRefs": [SVCB]})
    for asked, pod in ((yes, "svca"), (no, "svcb")):
        if asked is not None:
            assert ask(edge, f"{X}/{asked[0]}", asked[1])[2][:4] == pod


CHANGES = {
    "set": [{"name": "x-a", "value": "1"}], "add": [{"name": "x-b", "value": "2"}], "remove": ["x-c"],
}  # fmt: skip
FILTERS = [
    {"type": "RequestHeaderModifier", "requestHeaderModifier": CHANGES},
    {"type": "ResponseHeaderModifier", "responseHeaderModifier": {**CHANGES, "remove": ["content-length"]}},
]


@pytest.mark.parametrize("where", ["rule", "backend"])
def test_headers_are_changed_for_the_rule_or_backend_that_says_so(edge: Cluster, where: str) -> None:
    rule = (
        {"filters": FILTERS, "backendRefs": [SVCB]}
        if where == "rule"
        else {"backendRefs": [{"group": "", "kind": "Service", "namespace": "default", **SVCB, "filters": FILTERS}]}
    )
    for_service(edge, {**ON_X, **rule}, {"backendRefs": [SVCB]})
    changed, left = (seen(edge, path, x_a="0", x_c="3") for path in ("x", "y"))
    assert [changed.seen["headers"].get(name) for name in ("x-a", "x-b", "x-c")] == ["1", "2", None]
    assert [changed.headers.get(name) for name in ("x-a", "x-b", "content-length")] == ["1", "2", None]
    assert [left.seen["headers"].get(name) for name in ("x-a", "x-b", "x-c")] == ["0", None, "3"]
    assert "content-length" in left.headers


@pytest.mark.parametrize(("redirect", "status", "location"), [
    ({"hostname": "a.test"}, 302, "http://a.test/x/1"),
    ({"port": 8080}, 302, "http://svcb:8080/x/1"),
    ({"scheme": "https", "statusCode": 308}, 308, "https://svcb/x/1"),
    ({"path": {"type": "ReplaceFullPath", "replaceFullPath": "/new"}}, 302, "http://svcb/new"),
    ({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}}, 302, "http://svcb/new/1"),
    ({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}, 302, "http://svcb/1"),
])  # fmt: skip
def test_a_redirect_says_where_to(edge: Cluster, redirect: Spec, status: int, location: str) -> None:
    filters = [{"type": "RequestRedirect", "requestRedirect": redirect}]
    for_service(edge, {**ON_X, "filters": filters}, {"backendRefs": [SVCB]})
    answer = seen(edge, "x/1")
    assert (answer.status, answer.headers.get("location")) == (status, location)
    assert seen(edge, "y").status == 200


@pytest.mark.parametrize(("rewrite", "path", "host"), [
    ({"hostname": "a.test"}, "/x/1", "a.test"),
    ({"path": {"type": "ReplaceFullPath", "replaceFullPath": "/new"}}, "/new", "svcb"),
    ({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}}, "/new/1", "svcb"),
])  # fmt: skip
def test_a_rewrite_changes_what_the_backend_sees(edge: Cluster, rewrite: Spec, path: str, host: str) -> None:
    filters = [{"type": "URLRewrite", "urlRewrite": rewrite}]
    for_service(edge, {**ON_X, "filters": filters, "backendRefs": [SVCB]}, {"backendRefs": [SVCB]})
    found, left = seen(edge, "x/1").seen, seen(edge, "y/1").seen
    assert (found["path"], found["headers"]["host"]) == (path, host)
    assert (left["path"], left["headers"]["host"]) == ("/y/1", "svcb")


@pytest.mark.parametrize(("share", "copied"), [
    ({}, True), ({"percent": 100}, True), ({"percent": 0}, False),
    ({"fraction": {"numerator": 5, "denominator": 5}}, True), ({"fraction": {"numerator": 0}}, False),
], ids=str)  # fmt: skip
def test_a_mirror_gets_its_share(edge: Cluster, share: Spec, copied: bool) -> None:
    reference = {"kind": "Service", "namespace": "default", **SVCA}
    filters = [{"type": "RequestMirror", "requestMirror": {"backendRef": reference, **share}}]
    for_service(edge, {**ON_X, "filters": filters, "backendRefs": [SVCB]}, {"backendRefs": [SVCB]})
    hits = edge.applications["svca-1"].hits
    hits.clear()
    assert [seen(edge, path).pod[:4] for path in ("y", "x/copy")] == ["svcb"] * 2
    if copied:
        edge.eventually(lambda: hits == ["/x/copy"], "the mirror gets its copy")
    assert hits == ["/x/copy"][:copied]


def test_cors_answers_for_the_origins_that_it_allows(edge: Cluster) -> None:
    cors = {"allowOrigins": ["http://*.a.test"], "allowMethods": ["PUT"], "allowHeaders": ["x-a"],
            "exposeHeaders": ["x-b"], "allowCredentials": True, "maxAge": 30}  # fmt: skip
    filters = [{"type": "CORS", "cors": cors}]
    for_service(edge, {**ON_X, "filters": filters, "backendRefs": [SVCB]}, {"backendRefs": [SVCB]})
    asked = {"Access-Control-Request-Method": "PUT"}
    names = ("allow-origin", "allow-methods", "allow-headers", "allow-credentials", "max-age")
    for origin, path, said in (
        ("http://w.a.test", "x", ["http://w.a.test", "PUT", "x-a", "true", "30"]),
        # Who is not allowed is told what others may.
        ("http://b.test", "x", [None, "PUT", "x-a", "true", "30"]), ("http://w.a.test", "y", [None] * 5),
    ):  # fmt: skip
        url = f"http://svcb/{path}"
        answer = edge.get("svca-1", url, {"Origin": origin, **asked}, method="OPTIONS")
        assert [answer.headers.get(f"access-control-{name}") for name in names] == said
        exposed = edge.get("svca-1", url, {"Origin": origin}).headers.get("access-control-expose-headers")
        assert exposed == ("x-b" if said[0] else None)


@pytest.mark.parametrize("timeouts", [{"request": "100ms"}, {"backendRequest": "100ms"}], ids=str)
def test_a_timeout_ends_the_requests_of_its_rule(edge: Cluster, timeouts: Spec) -> None:
    Application.gate.clear()
    try:
        slow = {"matches": [{"path": {"value": "/held/short"}}], "timeouts": timeouts, "backendRefs": [SVCB]}
        for_service(edge, slow, {"backendRefs": [SVCB]})
        assert seen(edge, "held/short").status == 504
        Application.gate.set()
        assert seen(edge, "held/long").status == 200
    finally:
        Application.gate.set()


@pytest.mark.parametrize(("retry", "failures", "status"), [
    ({"codes": [503], "attempts": 2, "backoff": "1ms"}, 2, 200), ({"codes": [503], "attempts": 1}, 2, 503),
    ({"codes": [500], "attempts": 2}, 1, 503), ({"codes": [503], "attempts": 0}, 1, 503),
], ids=str)  # fmt: skip
def test_what_a_rule_names_is_tried_again(edge: Cluster, retry: Spec, failures: int, status: int) -> None:
    for_service(edge, {**ON_X, "retry": retry, "backendRefs": [SVCA]}, {"backendRefs": [SVCB]})
    failing = edge.applications["svca-1"].failures
    failing.extend([1] * failures)
    try:
        assert seen(edge, "x").status == status
        failing.append(1)
        assert seen(edge, "y").status == 200
    finally:
        failing.clear()


# Parents


@pytest.mark.parametrize(("parent", "routed"), [
    ({"name": "svcb"}, True), ({"name": "svcb", "namespace": "default", "port": 80}, True),
    ({"name": "svcb", "port": 81}, False), ({"name": "svcb", "namespace": "elsewhere"}, False),
], ids=str)  # fmt: skip
def test_a_route_of_a_service_is_for_that_service_and_port(edge: Cluster, parent: Spec, routed: bool) -> None:
    for_service(edge, {"backendRefs": [SVCA]}, **parent)
    assert ({seen(edge, "").pod for _ in range(6)} == {"svca-1"}) is routed
    assert ask(edge, "http://svcb/")[0] == 404


@pytest.mark.parametrize(("parent", "open_"), [
    ({}, ["web", "more"]), ({"sectionName": "web"}, ["web"]), ({"namespace": "default"}, ["web", "more"]),
    ({"namespace": "elsewhere"}, []), ({"name": "nobody"}, []), ({"kind": "Service"}, []),
    ({"group": KUBERNETES, "kind": "Gateway"}, ["web", "more"]),
], ids=str)  # fmt: skip
def test_a_route_is_served_where_its_parents_are(edge: Cluster, parent: Spec, open_: list[str]) -> None:
    found = edge.store("HTTPRoute", {"parentRefs": [{"name": "it", **parent}], "rules": [{"backendRefs": [SVCB]}]})
    assert found.in_force, found
    hosts = {"web": X, "more": "http://x.m.test:8124"}
    assert [name for name, url in hosts.items() if ask(edge, f"{url}/")[0] == 200] == open_


@pytest.mark.parametrize(("allowed", "takes"), [
    ({"from": "Same"}, True), ({"from": "All"}, True), ({"from": "None"}, False),
    ({"from": "Selector", "selector": {"matchLabels": {"team": "shop"}}}, True),
    ({"from": "Selector", "selector": {"matchLabels": {"team": "other"}}}, False),
    *(({"from": "Selector", "selector": {"matchExpressions": [
        {"key": "team", "operator": operator, **({"values": ["shop"]} if "In" in operator else {})}
    ]}}, takes) for operator, takes in (("In", True), ("NotIn", False), ("Exists", True), ("DoesNotExist", False))),
], ids=str)  # fmt: skip
def test_a_listener_takes_the_routes_that_it_allows(edge: Cluster, allowed: Spec, takes: bool) -> None:
    space = {"metadata": {"name": "default", "labels": {"team": "shop"}}}
    edge.in_force("namespaces", edge.put("namespaces", space))
    listeners(edge, {**WEB, "allowedRoutes": {"namespaces": allowed}}, MORE)
    http_route(edge, {"backendRefs": [SVCB]})
    assert [ask(edge, f"{url}/")[0] for url in (X, "http://x.m.test:8124")] == [200 if takes else 404, 200]


def test_a_listener_for_https_shows_the_certificate_that_it_names(edge: Cluster, certificate: Spec) -> None:
    edge.in_force("secrets", edge.put("secrets", {"metadata": {"name": "it"}, "data": certificate["data"]}))
    reference = {"kind": "Secret", "name": "it", "namespace": "default"}
    tls = {"mode": "Terminate", "certificateRefs": [reference]}
    https = {"name": "tls", "port": 8543, "protocol": "HTTPS", "hostname": "b.test", "tls": tls}
    listeners(edge, https, WEB, MORE)
    http_route(edge, {"backendRefs": [SVCB]})
    assert secure(edge, certificate, "b.test", 8543) == 200
    assert ask(edge, f"{X}/")[0] == 200
    with pytest.raises(OSError):
        secure(edge, certificate, "other.test", 8543)


def test_a_gateway_is_served_by_the_controller_of_its_class(edge: Cluster) -> None:
    http_route(edge, {"backendRefs": [SVCB]})
    for controller, served in (("istio.io/gateway-controller", True), ("example.com/somebody", False)):
        edge.store("GatewayClass", {"controllerName": controller}, "other")
        spec = {"gatewayClassName": "other", "listeners": [{**WEB, "hostname": "*.o.test"}]}
        assert edge.store("Gateway", spec, "other", KUBERNETES).in_force
        edge.store("HTTPRoute", {"parentRefs": [{"name": "other"}], "rules": [{"backendRefs": [SVCB]}]}, "other")
        assert ask(edge, "http://x.o.test:8124/")[0] == (200 if served else 404)
        assert ask(edge, f"{X}/")[0] == 200
    for kind, group in (("Gateway", KUBERNETES), ("HTTPRoute", ""), ("GatewayClass", "")):
        edge.store(kind, {}, "other", group, "DELETED")


def test_a_grant_opens_what_it_names_to_whom_it_names(edge: Cluster) -> None:
    meta = {"name": "far", "namespace": "elsewhere"}
    ports = [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    edge.put("services", {"metadata": dict(meta), "spec": {"clusterIP": "127.105.250.1", "ports": ports}})
    edge.put("endpoints", {"metadata": dict(meta), "subsets": [{
        "addresses": [{"ip": edge.pods["svca-1"][0]}], "ports": [{"name": "http", "port": 8080}],
    }]})  # fmt: skip
    source = {"group": KUBERNETES, "kind": "HTTPRoute", "namespace": "default"}
    target = {"group": "", "kind": "Service", "name": "far"}
    edge.store("HTTPRoute", {"parentRefs": [{"name": "it"}], "rules": [
        {**ON_X, "backendRefs": [{**meta, "port": 80}]}, {"backendRefs": [SVCB]},
    ]})  # fmt: skip
    for at_source, at_target, status in (
        ({}, {}, 200), ({"namespace": "another"}, {}, 500), ({"kind": "Gateway"}, {}, 500),
        ({"group": "a.test"}, {}, 500), ({}, {"name": "other"}, 500), ({}, {"kind": "Secret"}, 500),
        ({}, {"group": "a.test"}, 500),
    ):  # fmt: skip
        grant = {"from": [{**source, **at_source}], "to": [{**target, **at_target}]}
        revision = edge.put("referencegrants", {
            "apiVersion": f"{KUBERNETES}/v1beta1", "kind": "ReferenceGrant", "spec": grant,
            "metadata": {"name": "it", "namespace": "elsewhere"},
        })  # fmt: skip
        edge.in_force("referencegrants", revision)
        assert (ask(edge, f"{X}/x")[0], ask(edge, f"{X}/y")[0]) == (status, 200), grant

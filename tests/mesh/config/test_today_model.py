"""Documents of today's API to the model: what silence means, what is inherited, who is chosen."""

from __future__ import annotations

from typing import Any

import pytest
from today_cases import entry, http, obj, to

from meshlab.mesh.config import routing
from meshlab.mesh.config.admission import review, rules
from meshlab.mesh.config.combine import combine
from meshlab.mesh.config.durations import Duration
from meshlab.mesh.config.labels import Labels
from meshlab.mesh.config.outside import OutboundPolicy, Resolution
from meshlab.mesh.config.routing import Caller, Condition, Destination, HostRules, Pattern, PatternKind, Route
from meshlab.mesh.config.security import PeerAuthentication, PeerMode, peer_mode
from meshlab.mesh.config.telemetry import effective
from meshlab.mesh.config.today.stored import Stored
from meshlab.mesh.config.today.translate import translate
from meshlab.mesh.config.today.virtual_services import DEFAULT_RETRIES, RETRY_ON
from meshlab.mesh.config.traffic import TrafficRules

SVCB = "svcb.default.svc.cluster.local"
CLIENT = Caller("default", Labels(app="client"))


def value(kind: str, spec: dict[str, Any], **meta: str) -> Any:
    made = obj(kind, spec)
    return translate(Stored.of(made | {"metadata": made["metadata"] | meta}))


def route(**block: Any) -> Route:
    found: HostRules = value("VirtualService", http(**block))
    (only,) = found.routes
    return only


def test_silence_means_two_retries_on_other_hosts_no_timeout_and_websockets() -> None:
    found = route()
    assert (found.retries, found.timeout, found.websocket) == (DEFAULT_RETRIES, None, True)
    assert DEFAULT_RETRIES.attempts == 2 and DEFAULT_RETRIES.avoid_tried


@pytest.mark.parametrize(
    ("retries", "wanted"),
    [
        ({"attempts": 0}, None),
        ({"perTryTimeout": "2s", "attempts": 3}, (RETRY_ON, ())),
        ({"attempts": 1, "retryOn": "5xx,503"}, ("5xx,retriable-status-codes", (503,))),
    ],
)
def test_retries(retries: dict[str, Any], wanted: Any) -> None:
    found = route(retries=retries).retries
    assert wanted == (None if found is None else (found.retry_on, found.codes))


def test_matches_of_one_block_are_routes_of_their_own_in_order() -> None:
    found = value(
        "VirtualService", http(name="b", match=[{"uri": {"exact": "/a"}}, {"uri": {"prefix": "/b"}, "name": "m"}])
    )
    assert [(r.name, r.match.path) for r in found.routes] == [
        ("b", Pattern(PatternKind.EXACT, "/a")), ("b.m", Pattern(PatternKind.PREFIX, "/b"))
    ]  # fmt: skip


def test_every_condition_of_a_match() -> None:
    match = {
        "uri": {"prefix": "/a"}, "ignoreUriCase": True, "method": {"exact": "GET"}, "authority": {"regex": "a|b"},
        "headers": {"X-User": {}}, "withoutHeaders": {"x-no": {"exact": "1"}}, "queryParams": {"q": {"exact": "2"}},
        "sourceLabels": {"app": "a"}, "sourceNamespace": "n", "port": 80,
    }  # fmt: skip
    found = route(match=[match]).match
    assert found.path == Pattern(PatternKind.PREFIX, "/a", ignore_case=True)
    assert found.headers == (
        Condition(":authority", Pattern(PatternKind.REGEX, "a|b")),
        Condition(":method", Pattern(PatternKind.EXACT, "GET")),
        Condition("x-no", Pattern(PatternKind.EXACT, "1"), inverted=True),
        Condition("x-user", Pattern(PatternKind.PRESENT)),
    )
    assert found.query == (Condition("q", Pattern(PatternKind.EXACT, "2")),)
    assert (found.source, found.port) == (routing.Source(labels=Labels(app="a"), namespace="n"), 80)


def test_what_concerns_one_caller_is_chosen_by_labels_namespace_port_and_gateway() -> None:
    blocks = [
        {"match": [{"sourceLabels": {"app": "other"}}], "route": [to("a")]},
        {"match": [{"sourceNamespace": "default", "port": 81}], "route": [to("b")]},
        {"match": [{"gateways": ["g"]}], "route": [to("c")]},
        {"route": [to("d")]},
        {"route": [to("never")]},
    ]
    found = value("VirtualService", {"hosts": ["svcb"], "gateways": ["mesh", "g"], "http": blocks})

    def hosts(caller: Caller, port: int, gateway: str = routing.MESH) -> list[str]:
        chosen = found.routes_for(caller, port, gateway)
        return [each.destinations[0].destination.host.split(".")[0] for each in chosen]

    assert hosts(CLIENT, 80) == ["d"]
    assert hosts(CLIENT, 81) == ["b"], "it catches all that comes to this port"
    assert hosts(Caller("x", Labels(app="other")), 80) == ["a"]
    assert hosts(CLIENT, 80, "default/g") == ["c"]


def test_names_without_a_dot_are_of_the_rules_own_namespace() -> None:
    found = value("VirtualService", {"hosts": ["svcb"], "http": [{"route": [to("a.other"), to("b")]}]}, namespace="n")
    assert found.hosts == ("svcb.n.svc.cluster.local",)
    hosts = [each.destination.host for each in found.routes[0].destinations]
    assert hosts == ["a.other", "b.n.svc.cluster.local"]


@pytest.mark.parametrize(
    ("fault", "wanted"),
    [
        ({"abort": {"httpStatus": 503}}, None),
        ({"abort": {"httpStatus": 503, "percentage": {"value": 0.25}}}, routing.Abort(2_500, 503)),
        ({"abort": {"grpcStatus": "OK", "percentage": {"value": 100}}}, routing.Abort(1_000_000, 0, "OK")),
    ],
)  # fmt: skip
def test_faults_are_shares_in_millionths_and_nothing_without_a_percentage(fault: dict[str, Any], wanted: Any) -> None:
    found = route(fault=fault).fault
    assert (found.abort if found else None) == wanted


def test_a_redirect_is_permanent_unless_it_says_otherwise_and_retries_nothing() -> None:
    found = value(
        "VirtualService", {"hosts": ["a"], "http": [{"redirect": {"uri": "/x", "derivePort": "FROM_PROTOCOL_DEFAULT"}}]}
    )
    (only,) = found.routes
    assert only.redirect == routing.Redirect("/x", port=-1, code=301)
    assert (only.retries, only.destinations, only.websocket) == (None, (), False)


def test_the_host_header_among_those_set_is_a_rewrite() -> None:
    found = route(headers={"request": {"set": {"Host": "other", "x": "1"}, "remove": ["y"]}})
    assert found.rewrite == routing.Rewrite(authority="other")
    assert found.request == routing.HeaderChanges((("x", "1"),), (), ("y",))


# Destination rules

POOL = {"connectionPool": {"tcp": {"maxConnections": 7}}, "loadBalancer": {"simple": "RANDOM"}}


def balanced(name: str) -> dict[str, Any]:
    return {"loadBalancer": {"simple": name}}


def test_a_subset_inherits_section_by_section_and_a_port_inherits_nothing() -> None:
    found = value("DestinationRule", {
        "host": "svcb",
        "trafficPolicy": POOL | {"portLevelSettings": [{"port": {"number": 80}, **balanced("ROUND_ROBIN")}]},
        "subsets": [{"name": "v1", "labels": {"version": "v1"}, "trafficPolicy": balanced("LEAST_CONN")}],
    })  # fmt: skip
    known = TrafficRules([found])

    def said(labels: Labels, port: int) -> tuple[str, int]:
        policy = known.policy(SVCB, labels, "", port, CLIENT)
        assert policy is not None and policy.traffic.balancer is not None
        return policy.traffic.balancer.name, policy.traffic.max_connections

    assert said(Labels(), 81) == ("RANDOM", 7)
    assert said(Labels(), 80) == ("ROUND_ROBIN", 0)
    assert said(Labels(version="v1"), 81) == ("LEAST_REQUEST", 7)
    assert known.labels_of(Destination(SVCB, subset="v1"), CLIENT) == Labels(version="v1")
    assert known.labels_of(Destination(SVCB, subset="v9"), CLIENT) is None


def test_the_callers_own_namespace_then_the_services_own_decide() -> None:
    rule = {"host": SVCB, "subsets": [{"name": "s", "labels": {"from": ""}}]}

    def of(namespace: str, **more: Any) -> Any:
        labels = [{"name": "s", "labels": {"from": namespace}}]
        return value("DestinationRule", rule | {"subsets": labels} | more, namespace=namespace)

    known = TrafficRules([of("third"), of("default"), of("caller"), of("hidden", exportTo=["."])])
    for namespace, wanted in (("caller", "caller"), ("elsewhere", "default"), ("hidden", "hidden")):
        assert known.labels_of(Destination(SVCB, subset="s"), Caller(namespace)) == Labels({"from": wanted})


def test_a_rule_for_some_callers_comes_before_the_others() -> None:
    plain = value("DestinationRule", {"host": "svcb", "trafficPolicy": POOL})
    special = value("DestinationRule", {
        "host": "svcb", "workloadSelector": {"matchLabels": {"app": "client"}},
        "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 1}}},
    })  # fmt: skip
    known = TrafficRules([plain, special])
    for caller, wanted in (
        (CLIENT, 1),
        (Caller("default", Labels(app="x")), 7),
        (Caller("n", Labels(app="client")), 7),
    ):
        policy = known.policy(SVCB, Labels(), "", 80, caller)
        assert policy is not None and policy.traffic.max_connections == wanted


@pytest.mark.parametrize(
    ("outlier", "wanted"),
    [
        ({}, (0, 10)),
        ({"consecutive5xxErrors": 0}, None),
        ({"consecutive5xxErrors": 3, "maxEjectionPercent": 50}, (3, 50)),
    ],
)
def test_ejection(outlier: dict[str, Any], wanted: tuple[int, int] | None) -> None:
    found = value("DestinationRule", {"host": "a", "trafficPolicy": {"outlierDetection": outlier}})
    made = found.policies[0].traffic.outlier
    assert (None if made is None else (made.consecutive_5xx, made.max_ejection_percent)) == wanted


# Outside


def test_a_placeholder_is_no_host_and_rules_may_name_it_all_the_same() -> None:
    outside = value("ServiceEntry", entry(hosts=["x.invalid"], addresses=["10.0.0.9"], resolution="NONE"))
    assert (outside.hosts, outside.key, outside.resolution) == ((), "10.0.0.9", Resolution.NONE)
    tls = value("DestinationRule", {"host": "x.invalid", "trafficPolicy": {"tls": {"mode": "SIMPLE", "sni": "s"}}})
    way = value("VirtualService", {"hosts": ["10.0.0.9"], "http": [{"route": [to("x.invalid")], "timeout": "1s"}]})
    found = combine(virtual_services=[way], destination_rules=[tls], service_entries=[outside])
    (external,) = found.external
    assert external.ports[0].tls is not None and external.ports[0].spoken == "HTTPS"
    rules_of = found.rules_for("10.0.0.9", CLIENT)
    assert rules_of is not None
    assert rules_of.routes[0].destinations[0].destination.host == "10.0.0.9"
    assert rules_of.routes[0].timeout == Duration.of(seconds=1)


def test_a_service_entry_chooses_workload_entries_by_labels() -> None:
    from meshlab.mesh.config.today.outside_rules import external_service, workload

    entries = [
        workload(Stored.of(obj("WorkloadEntry", {"address": f"10.0.0.{n}", "labels": {"app": app}})))
        for n, app in enumerate(("a", "b"))
    ]
    made = entry(resolution="STATIC", workloadSelector={"labels": {"app": "b"}})
    found = external_service(Stored.of(obj("ServiceEntry", made)), entries)
    assert [each.address for each in found.endpoints] == ["10.0.0.1"]


def test_a_sidecar_sees_what_it_lists() -> None:
    hosts = ["./*", "istio-system/*", "*/svcb.other.svc.cluster.local"]
    found = value("Sidecar", {"egress": [{"hosts": hosts}], "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}})
    assert (
        found.sees("default", SVCB)
        and found.sees("istio-system", "x")
        and found.sees("other", "svcb.other.svc.cluster.local")
    )
    assert not found.sees("other", "svca.other.svc.cluster.local")
    assert found.outbound is OutboundPolicy.REGISTRY_ONLY


# Kubernetes' routes


def test_matches_of_an_http_route_are_ordered_by_how_much_they_say() -> None:
    def match(kind: str, path: str, *headers: str) -> dict[str, Any]:
        return {"path": {"type": kind, "value": path}, "headers": [{"name": h, "value": "1"} for h in headers]}

    listed = [match("PathPrefix", "/"), match("PathPrefix", "/a"), match("PathPrefix", "/a", "x"), match("Exact", "/a")]
    parents = [{"name": "g", "sectionName": "http"}, {"kind": "Service", "group": "", "name": "svcb"}]
    backends = [{"name": "svcb", "port": 80, "weight": 9}, {"name": "svcc", "port": 80}]
    at_gateway, in_mesh = value("HTTPRoute", {
        "parentRefs": parents, "hostnames": ["a.com"], "rules": [{"matches": listed, "backendRefs": backends}]
    })  # fmt: skip
    kinds = [(each.match.path.kind.value, each.match.path.value, len(each.match.headers)) for each in at_gateway.routes]
    assert kinds == [("exact", "/a", 0), ("segments", "/a", 1), ("segments", "/a", 0), ("prefix", "/", 0)]
    assert (at_gateway.hosts, at_gateway.gateways) == (("a.com",), ("default/g/http",))
    assert (in_mesh.hosts, in_mesh.gateways) == ((SVCB,), (routing.MESH,))
    assert [each.weight for each in in_mesh.routes[0].destinations] == [9, 1]


@pytest.mark.parametrize(("rule", "status"), [
    ({}, 404), ({"backendRefs": [{"name": "svcb", "port": 80, "weight": 0}]}, 500),
], ids=["none named", "none that takes anything"])
def test_a_rule_without_backends_answers_for_itself(rule: dict[str, Any], status: int) -> None:
    (found,) = value("HTTPRoute", {"parentRefs": [{"name": "g"}], "rules": [rule]})
    assert found.routes[0].direct == routing.DirectResponse(status)


# Both generations


def test_todays_rule_wins_the_host_and_the_other_is_named() -> None:
    origin = routing.Origin("route-rule/default/r")
    old = HostRules((SVCB,), (Route("r", origin=origin),), falls_through=True)
    new = value("VirtualService", http())
    found = combine(route_rules={SVCB: old}, virtual_services=[new])
    assert found.rules_for(SVCB, CLIENT) is new
    assert [(each.origin.key, each.reason) for each in found.dropped] == [
        ("route-rule/default/r", f"VirtualService/default/x already speaks for {SVCB}")
    ]


def test_a_wildcard_is_asked_after_exact_names_and_only_by_those_who_see_it() -> None:
    wide = value("VirtualService", {"hosts": ["*.default.svc.cluster.local"], "http": [{"route": [to()]}]})
    hidden = value("VirtualService", {**http(), "exportTo": ["."]}, namespace="default")
    found = combine(virtual_services=[wide, hidden])
    assert found.rules_for(SVCB, CLIENT) is hidden
    assert found.rules_for(SVCB, Caller("elsewhere")) is wide


# Security and telemetry


def peer(namespace: str, mode: str, labels: dict[str, str] | None = None, **ports: str) -> PeerAuthentication:
    spec: dict[str, Any] = {"mtls": {"mode": mode}}
    if labels:
        spec |= {"selector": {"matchLabels": labels}, "portLevelMtls": {k[1:]: {"mode": v} for k, v in ports.items()}}
    found: PeerAuthentication = value("PeerAuthentication", spec, namespace=namespace)
    return found


def test_the_narrowest_peer_authentication_that_says_something_holds() -> None:
    items = [
        peer("istio-system", "STRICT"), peer("default", "PERMISSIVE"),
        peer("default", "UNSET", {"app": "svcb"}, p8080="DISABLE"),
    ]  # fmt: skip
    svcb, svca = Labels(app="svcb"), Labels(app="svca")
    assert peer_mode(items, "default", svcb, 8080) is PeerMode.DISABLE
    assert peer_mode(items, "default", svcb, 9090) is PeerMode.PERMISSIVE
    assert peer_mode(items, "default", svca, 8080) is PeerMode.PERMISSIVE
    assert peer_mode(items, "elsewhere", svca, 8080) is PeerMode.STRICT
    assert peer_mode([], "default", svca, 80) is PeerMode.PERMISSIVE


def test_authorization_says_who_what_and_when() -> None:
    rule = {
        "from": [{"source": {"principals": ["a"], "notNamespaces": ["n"]}}],
        "to": [{"operation": {"methods": ["GET"], "paths": ["/a*"]}}],
        "when": [{"key": "request.headers[x]", "values": ["1"]}],
    }
    found = value("AuthorizationPolicy", {"rules": [rule]}).rules[0]
    assert [(key, each.some, each.none) for key, each in found.sources[0]] == [
        ("source.principal", ("a",), ()), ("source.namespace", (), ("n",))
    ]  # fmt: skip
    assert [key for key, _ in found.operations[0]] == ["request.method", "request.path"]
    assert found.needs_http


def test_telemetry_is_replaced_section_by_section() -> None:
    mesh = value(
        "Telemetry", {"tracing": [{"randomSamplingPercentage": 1}], "accessLogging": [{}]}, namespace="istio-system"
    )
    own = value("Telemetry", {"tracing": [{"match": {"mode": "CLIENT"}, "randomSamplingPercentage": 50}]})
    found = effective([own, mesh], "default", Labels())
    assert (found.sampling("CLIENT"), found.sampling("SERVER"), found.logs("SERVER")) == (50.0, None, True)


# The webhook's answer


def test_the_webhook_allows_denies_and_leaves_the_rest_alone() -> None:
    def ask(document: dict[str, Any]) -> dict[str, Any]:
        answer = review({"apiVersion": "admission.k8s.io/v1", "request": {"uid": "u", "object": document}})
        assert answer["response"]["uid"] == "u"
        found: dict[str, Any] = answer["response"]
        return found

    assert ask(obj("VirtualService", http()))["allowed"]
    assert ask({"apiVersion": "v1", "kind": "Pod"})["allowed"]
    refused = ask(obj("VirtualService", http(route=[{**to(), "weight": 0}, to("a")])))
    assert "total destination weight = 0" in refused["status"]["message"]
    by_group = {rule["apiGroups"][0]: rule["resources"] for rule in rules()}
    assert {"gateways", "httproutes"} <= set(by_group["gateway.networking.k8s.io"])

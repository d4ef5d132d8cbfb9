"""Rules and services to Envoy's resources, by tables. Expected behaviour is that of Istio 0.4.0, in our words."""

from __future__ import annotations

from typing import Any

import pytest
from translating import HTTP, IP, SVCB, V1, V2, named, put, registry, routes, rule, snapshot

from meshlab.mesh.pilot.assemble import egress_in_force
from meshlab.mesh.pilot.http import forwarded_attributes
from meshlab.mesh.pilot.names import LONGEST, Target, domains, truncate
from meshlab.mesh.pilot.proxy import Capture, InvalidNode, Proxy
from meshlab.mesh.pilot.snapshot import Kind


def test_a_named_http_port_is_routed_by_host_and_an_unnamed_one_is_tunnelled_by_address() -> None:
    http, tcp = snapshot(registry("http")), snapshot(registry(""))
    assert set(named(http, "lds")) == {"virtual", "http_0.0.0.0_80", "http_127.40.0.10_8080"}
    assert set(named(tcp, "lds")) == {
        "virtual", "tcp_127.105.0.1_80", "tcp_127.105.0.2_80", "tcp_127.40.0.10_8080"
    }
    assert "80" not in named(tcp, "rds")


@pytest.mark.parametrize("port_name", ["", "tcp", "https", "web", "httptest"])
def test_a_rule_changes_nothing_for_a_port_that_is_not_http(port_name: str) -> None:
    plain, ruled = registry(port_name), registry(port_name)
    rule(ruled, {**SVCB, "route": [{**V2, "weight": 100}]})
    assert snapshot(plain).version == snapshot(ruled).version


@pytest.mark.parametrize("port_name", ["http", "http-web", "grpc", "http2"])
def test_weights_become_weighted_clusters_whose_endpoints_are_the_version(port_name: str) -> None:
    target = registry(port_name)
    rule(target, {**SVCB, "route": [{**V1, "weight": 50}, {**V2, "weight": 50}]})
    found = snapshot(target)
    (route,) = routes(found)
    names = [f"out.svcb.default.svc.cluster.local|{port_name}|version=v0.{n}" for n in (1, 2)]
    assert [(c["name"], c["weight"]) for c in route["route"]["weighted_clusters"]["clusters"]] == [
        (names[0], 50), (names[1], 50)
    ]
    assert route["decorator"] == {"operation": "r"}
    endpoints = named(found, "eds")
    assert addresses(endpoints[names[0].removeprefix("out.")]) == [("127.40.0.28", 8080)]
    assert addresses(endpoints[names[1].removeprefix("out.")]) == [("127.40.0.29", 8080)]
    assert f"out.svcb.default.svc.cluster.local|{port_name}" not in named(found, "cds")


def addresses(assignment: dict[str, Any]) -> list[tuple[str, int]]:
    sockets = [
        each["endpoint"]["address"]["socket_address"]
        for locality in assignment.get("endpoints", ()) for each in locality["lb_endpoints"]
    ]
    return sorted((each["address"], each["port_value"]) for each in sockets)


def test_a_weight_of_0_beside_100_is_kept() -> None:
    target = registry()
    rule(target, {**SVCB, "route": [{**V1, "weight": 100}, {**V2, "weight": 0}]})
    (route,) = routes(snapshot(target))
    clusters = route["route"]["weighted_clusters"]["clusters"]
    assert [each["weight"] for each in clusters] == [100, 0]


def test_a_version_without_pods_is_an_empty_cluster() -> None:
    target = registry()
    rule(target, {**SVCB, "route": [{"labels": {"version": "v9"}}]})
    found = snapshot(target)
    assert addresses(named(found, "eds")["svcb.default.svc.cluster.local|http|version=v9"]) == []


HEADERS = {"match": {"request": {"headers": {"cookie": {"exact": "a"}}}}}


@pytest.mark.parametrize(("rules", "expected"), [
    pytest.param({}, ["default-route"], id="no rule"),
    pytest.param({"low": {"precedence": 1}, "high": {"precedence": 2}}, ["high"], id="the rest never match"),
    pytest.param({"b": {}, "a": {}}, ["a"], id="equal precedence: by key"),
    pytest.param({"x": {**HEADERS, "precedence": 2}, "y": {"precedence": 1}}, ["x", "y"], id="conditions first"),
    pytest.param({"x": {**HEADERS, "precedence": 1}, "y": {"precedence": 2}}, ["y"], id="hidden by a catch-all"),
    pytest.param({"x": HEADERS}, ["x", "default-route"], id="conditions alone"),
    pytest.param({"x": {"match": {}}}, ["x"], id="an empty match catches all"),
    pytest.param({"x": {"match": {"request": {"headers": {"uri": {"prefix": "/"}}}}}}, ["x"], id="prefix /"),
    pytest.param({"x": {"match": {"request": {"headers": {"uri": {"prefix": "/a"}}}}}}, ["x", "default-route"],
                 id="another prefix"),
    pytest.param({"x": {"match": {"source": {"name": "svca"}}}}, ["x"], id="source: this caller"),
    pytest.param({"x": {"match": {"source": {"name": "svca", "labels": {"version": "v9"}}}}}, ["default-route"],
                 id="source: another version"),
    pytest.param({"x": {"match": {"source": {"name": "svcb"}}}}, ["default-route"], id="source: another service"),
    pytest.param({"x": {"destination": {"name": "svcb", "namespace": "other"}}}, ["default-route"],
                 id="another namespace's svcb"),
    pytest.param({"x": {"destination": {"service": "svcb.default.svc.cluster.local"}}}, ["x"], id="by full name"),
])
def test_rules_are_ordered_by_precedence_up_to_the_first_that_catches_all(
    rules: dict[str, Any], expected: list[str]
) -> None:
    target = registry()
    for name, spec in rules.items():
        rule(target, {**SVCB, **spec}, name)
    assert [each["name"] for each in routes(snapshot(target))] == expected


@pytest.mark.parametrize(("headers", "expected"), [
    ({"uri": {"exact": "/p"}}, {"path": "/p"}),
    ({"uri": {"prefix": "/p"}}, {"prefix": "/p"}),
    ({"uri": {"regex": "/p.*"}}, {"safe_regex": {"regex": "/p.*"}}),
    ({"authority": {"exact": "a"}},
     {"prefix": "/", "headers": [{"name": ":authority", "string_match": {"exact": "a"}}]}),
    ({"method": {"exact": "GET"}, "cookie": {"prefix": "u="}}, {"prefix": "/", "headers": [
        {"name": ":method", "string_match": {"exact": "GET"}}, {"name": "cookie", "string_match": {"prefix": "u="}},
    ]}),
    ({"x-a": {"exact": ""}}, {"prefix": "/", "headers": [{"name": "x-a", "present_match": True}]}),
    ({"x-a": {"regex": "a|b"}, "uri": {"exact": "/p"}},
     {"path": "/p", "headers": [{"name": "x-a", "string_match": {"safe_regex": {"regex": "a|b"}}}]}),
])
def test_conditions_on_headers_and_path(headers: dict[str, Any], expected: dict[str, Any]) -> None:
    target = registry()
    rule(target, {**SVCB, "match": {"request": {"headers": headers}}})
    assert routes(snapshot(target))[0]["match"] == expected


@pytest.mark.parametrize(("spec", "expected"), [
    ({}, {"timeout": "0s"}),
    ({"httpReqTimeout": {"simpleTimeout": {"timeout": "1.5s"}}}, {"timeout": "1.500s"}),
    ({"httpReqRetries": {"simpleRetry": {"attempts": 3, "perTryTimeout": "2s"}}}, {
        "timeout": "0s", "retry_policy": {
            "retry_on": "5xx,connect-failure,refused-stream", "num_retries": 3, "per_try_timeout": "2s"
        },
    }),
    ({"httpReqRetries": {"simpleRetry": {"attempts": 0, "perTryTimeout": "2s"}}}, {"timeout": "0s"}),
    ({"rewrite": {"uri": "/v1", "authority": "b"}},
     {"timeout": "0s", "prefix_rewrite": "/v1", "host_rewrite_literal": "b"}),
    ({"websocketUpgrade": True}, {"timeout": "0s", "upgrade_configs": [{"upgrade_type": "websocket"}]}),
    ({"mirror": {"name": "svca"}}, {
        "timeout": "0s", "request_mirror_policies": [{"cluster": "out.svca.default.svc.cluster.local|http"}]
    }),
    ({"mirror": {"name": "svcb", "labels": {"version": "v0.2"}}}, {
        "timeout": "0s", "request_mirror_policies": [{"cluster": f"{HTTP}|version=v0.2"}]
    }),
])
def test_what_a_rule_does_to_a_request(spec: dict[str, Any], expected: dict[str, Any]) -> None:
    target = registry()
    rule(target, {**SVCB, **spec})
    (route,) = routes(snapshot(target))
    assert route["route"] == {"cluster": HTTP, **expected}


def test_a_redirect_has_no_cluster_and_status_302() -> None:
    target = registry()
    rule(target, {**SVCB, "redirect": {"uri": "/new", "authority": "other"}})
    (route,) = routes(snapshot(target))
    assert route["redirect"] == {"path_redirect": "/new", "host_redirect": "other", "response_code": "FOUND"}
    assert "route" not in route


def test_headers_are_added_as_they_are_written() -> None:
    target = registry()
    rule(target, {**SVCB, "appendHeaders": {"x-b": "50%", "x-a": "1"}})
    (route,) = routes(snapshot(target))
    assert [each["header"] for each in route["request_headers_to_add"]] == [
        {"key": "x-a", "value": "1"}, {"key": "x-b", "value": "50%%"}
    ]


@pytest.mark.parametrize(("fault", "expected"), [
    ({"delay": {"percent": 10, "fixedDelay": "5s"}},
     {"delay": {"fixed_delay": "5s", "percentage": {"numerator": 10}}}),
    ({"delay": {"percent": 10.9, "fixedDelay": "5s"}},
     {"delay": {"fixed_delay": "5s", "percentage": {"numerator": 10}}}),
    ({"delay": {"fixedDelay": "5s"}}, None),
    ({"abort": {"percent": 100, "httpStatus": 400}},
     {"abort": {"http_status": 400, "percentage": {"numerator": 100}}}),
    ({"abort": {"percent": 100, "httpStatus": 100}}, None),
    ({"abort": {"percent": 0, "httpStatus": 400}}, None),
])
def test_a_fault_is_in_its_route_alone(fault: dict[str, Any], expected: dict[str, Any] | None) -> None:
    target, plain = registry(), registry()
    rule(target, {**SVCB, "httpFault": fault})
    found = snapshot(target)
    (route,) = routes(found)
    config = dict(route.get("typed_per_filter_config", {}).get("envoy.filters.http.fault") or {})
    config.pop("@type", None)
    assert (config or None) == expected
    assert named(found, "lds") == named(snapshot(plain), "lds")


def test_cors_writes_its_age_in_seconds() -> None:
    target = registry()
    rule(target, {**SVCB, "corsPolicy": {
        "allowOrigin": ["http://a.b", "*"], "allowMethods": ["GET", "POST"], "maxAge": "300s",
        "allowCredentials": True,
    }})
    (route,) = routes(snapshot(target))
    policy = route["typed_per_filter_config"]["envoy.filters.http.cors"]
    assert policy["max_age"] == "300"
    assert policy["allow_methods"] == "GET,POST"
    assert policy["allow_origin_string_match"] == [{"exact": "http://a.b"}, {"safe_regex": {"regex": ".*"}}]
    assert policy["allow_credentials"] is True


def test_inbound_routes_repeat_the_matches_and_rewrites_of_a_services_rules() -> None:
    target = registry()
    rule(target, {**SVCB, "match": {"request": {"headers": {"uri": {"exact": "/a"}}}}, "rewrite": {"uri": "/b"}})
    found = snapshot(target, "svcb-1")
    first, last = routes(found, "inbound|8080", "*")
    assert first["match"] == {"prefix": "/b"}
    assert first["route"]["cluster"] == last["route"]["cluster"] == "in.8080"
    assert last["name"] == "default-route"


def test_the_hosts_of_a_service_are_as_long_as_the_caller_needs_them() -> None:
    target = registry()
    service = target.world().services[1]
    assert domains(service, 80, "default.svc.cluster.local") == [
        "svcb:80", "svcb", "svcb.default:80", "svcb.default", "svcb.default.svc:80", "svcb.default.svc",
        "svcb.default.svc.cluster:80", "svcb.default.svc.cluster", "svcb.default.svc.cluster.local:80",
        "svcb.default.svc.cluster.local", "127.105.0.2:80", "127.105.0.2",
    ]
    assert "svcb" not in domains(service, 80, "other.svc.cluster.local")


def test_two_services_at_one_address_do_not_spoil_the_route_table() -> None:
    target = registry()
    put(target, "services", "twin", spec={
        "clusterIP": "127.105.0.2", "ports": [{"name": "http", "port": 80}], "selector": {}
    })
    found = snapshot(target)
    (table,) = (each for each in found.json()["rds"] if each["name"] == "80")
    listed = [domain for host in table["virtual_hosts"] for domain in host["domains"]]
    assert len(listed) == len(set(listed))
    assert "twin" in listed


def test_long_names_are_cut_to_what_envoy_took() -> None:
    name = truncate("out." + "x" * 300)
    assert len(name) == LONGEST
    assert name != truncate("out." + "x" * 301)


EXTERNAL = {"destination": {"service": "127.100.35.27"}, "ports": [{"port": 9997, "protocol": "http"}]}


def test_an_http_egress_rule_is_a_virtual_host_that_keeps_the_callers_address() -> None:
    target = registry()
    rule(target, EXTERNAL, kind="EgressRule")
    found = snapshot(target)
    (route,) = routes(found, "9997", "127.100.35.27:9997")
    assert route["route"]["cluster"] == "out.127.100.35.27|external-HTTP-9997"
    cluster = named(found, "cds")["out.127.100.35.27|external-HTTP-9997"]
    assert (cluster["type"], cluster["lb_policy"]) == ("ORIGINAL_DST", "CLUSTER_PROVIDED")
    assert "http_0.0.0.0_9997" in named(found, "lds")


def test_route_rules_apply_to_an_egress_destination_but_versions_and_weights_mean_nothing() -> None:
    target = registry()
    rule(target, EXTERNAL, kind="EgressRule")
    rule(target, {
        "destination": {"service": "127.100.35.27"}, "route": [{**V1, "weight": 50}, {**V2, "weight": 50}],
        "httpReqTimeout": {"simpleTimeout": {"timeout": "3s"}},
    })
    (route,) = routes(snapshot(target), "9997", "127.100.35.27")
    assert route["route"] == {"cluster": "out.127.100.35.27|external-HTTP-9997", "timeout": "3s"}


def test_https_egress_originates_tls_and_tcp_egress_matches_networks() -> None:
    target = registry()
    rule(target, {"destination": {"service": "*.foo.com"}, "ports": [{"port": 443, "protocol": "https"}]}, "a",
         "EgressRule")
    rule(target, {"destination": {"service": "127.9.0.7/16"}, "ports": [{"port": 3306, "protocol": "tcp"}]}, "b",
         "EgressRule")
    found = snapshot(target)
    tls = named(found, "cds")["out.*.foo.com|external-HTTPS-443"]["transport_socket"]
    assert tls["name"] == "envoy.transport_sockets.tls"
    listener = named(found, "lds")["tcp_0.0.0.0_3306"]
    assert listener["filter_chains"][0]["filter_chain_match"] == {
        "prefix_ranges": [{"address_prefix": "127.9.0.0", "prefix_len": 16}]
    }
    assert "default_filter_chain" in listener


def test_of_conflicting_egress_rules_the_smaller_key_stays_and_the_other_is_a_problem() -> None:
    target = registry()
    rule(target, EXTERNAL, "b", "EgressRule")
    rule(target, {**EXTERNAL, "ports": [{"port": 9998, "protocol": "http"}]}, "a", "EgressRule")
    world = target.world()
    assert [each.origin.key for each in world.rules.external if each.origin] == ["egress-rule/default/a"]
    assert [each.key for each in world.problems] == ["egress-rule/default/b"]
    assert egress_in_force([]) == ({}, [])


@pytest.mark.parametrize(("spec", "field", "expected"), [
    ({"loadBalancing": {"name": "RANDOM"}}, "lb_policy", "RANDOM"),
    ({"loadBalancing": {"name": "LEAST_CONN"}}, "lb_policy", "LEAST_REQUEST"),
    ({"loadBalancing": {"name": "ROUND_ROBIN"}}, "lb_policy", None),
    ({"circuitBreaker": {"simpleCb": {
        "sleepWindow": "30s", "httpDetectionInterval": "0.5s", "httpConsecutiveErrors": 3, "maxConnections": 7,
    }}}, "outlier_detection", {
        "max_ejection_percent": 10, "always_eject_one_host": True, "enforcing_success_rate": 0,
        "consecutive_5xx": 3, "base_ejection_time": "30s",
    }),
])
def test_a_destination_policy_shapes_the_cluster(spec: dict[str, Any], field: str, expected: Any) -> None:
    target = registry()
    rule(target, {**SVCB, **spec}, kind="DestinationPolicy")
    assert named(snapshot(target), "cds")[HTTP].get(field) == expected


def test_a_policy_reaches_exactly_the_labels_that_it_names() -> None:
    target = registry()
    rule(target, {**SVCB, "route": [V2]})
    rule(target, {**SVCB, "loadBalancing": {"name": "RANDOM"}}, "all", "DestinationPolicy")
    assert "lb_policy" not in named(snapshot(target), "cds")[f"{HTTP}|version=v0.2"]
    rule(target, {"destination": {"name": "svcb", "labels": {"version": "v0.2"}},
                  "loadBalancing": {"name": "RANDOM"}}, "one", "DestinationPolicy")
    assert named(snapshot(target), "cds")[f"{HTTP}|version=v0.2"]["lb_policy"] == "RANDOM"


def test_inbound_listeners_are_bound_for_the_shim_and_not_for_iptables() -> None:
    shim, iptables = snapshot(registry()), snapshot(registry(), capture=Capture.IPTABLES)
    assert named(shim, "lds")["http_127.40.0.10_8080"]["bind_to_port"] is True
    assert named(iptables, "lds")["http_127.40.0.10_8080"]["bind_to_port"] is False
    assert "listener_filters" in named(shim, "lds")["virtual"]
    assert "listener_filters" not in named(iptables, "lds")["virtual"]


def test_ports_that_may_not_be_bound_are_moved_in_endpoints_and_listeners_alike() -> None:
    target = registry(start=10_000)
    found = snapshot(target)
    assert addresses(named(found, "eds")["svcb.default.svc.cluster.local|http"])[0] == ("127.40.0.28", 28080)
    address = named(found, "lds")["http_127.40.0.10_8080"]["address"]["socket_address"]
    assert address == {"address": "127.40.0.10", "port_value": 28080}


def test_a_pod_that_is_not_ready_has_its_inbound_listener_already() -> None:
    target = registry()
    put(target, "endpoints", "svca", "MODIFIED", subsets=[])
    found = snapshot(target)
    assert "http_127.40.0.10_8080" in named(found, "lds")
    assert addresses(named(found, "eds")["svca.default.svc.cluster.local|http"]) == []


def test_ports_of_probes_are_let_through() -> None:
    target = registry()
    put(target, "pods", "svca-1", "MODIFIED", meta={"labels": {"app": "svca"}},
        spec={"containers": [{"livenessProbe": {"httpGet": {"port": 8081}}, "readinessProbe": {
            "tcpSocket": {"port": 8080}}}]}, status={"podIP": IP["svca-1"], "phase": "Running"})
    assert set(named(snapshot(target), "lds")) >= {"tcp_127.40.0.10_8081", "http_127.40.0.10_8080"}


def test_headless_services_keep_the_address_that_the_caller_chose() -> None:
    target = registry()
    put(target, "services", "db", spec={"clusterIP": "None", "ports": [{"name": "tcp", "port": 5432}]})
    found = snapshot(target)
    assert "tcp_0.0.0.0_5432" in named(found, "lds")
    assert named(found, "cds")["out.orig-dst-cluster-tcp"]["type"] == "ORIGINAL_DST"


def test_the_forwarded_attributes_are_those_of_the_tutorials_request() -> None:
    uid = "kubernetes://svcb-2008973769-gq0lh.default"
    assert forwarded_attributes("10.46.0.12", uid) == (
        "Ch8KCXNvdXJjZS5pcBISMhAAAAAAAAAAAAAA//8KLgAMCjoKCnNvdXJjZS51aWQSLBIqa3ViZXJuZXRlczovL3N2Y2ItMjAwODk3"
        "Mzc2OS1ncTBsaC5kZWZhdWx0"
    )


@pytest.mark.parametrize("node", ["", "sidecar~1.2.3.4", "router~1.2.3.4~a.b~b.svc.cluster.local"])
def test_a_node_that_names_no_proxy_is_refused(node: str) -> None:
    with pytest.raises(InvalidNode):
        Proxy.parse(node)


def test_a_target_without_labels_has_the_plain_cluster() -> None:
    service = registry().world().services[0]
    target = Target(service.hostname, service.ports[0])
    assert target.cluster == "out.svca.default.svc.cluster.local|http"
    assert Kind.CLUSTER.type_url.endswith("cluster.v3.Cluster")

"""What a sidecar gets for documents of networking.istio.io, case by case as istiod gives it to one.

The cases were chosen by reading istiod's own translation and its tests, and by comparing what istiod 1.30.3 sends to a
sidecar for 1,300 sets of documents with what is sent here; the facts are in our words. What differs on purpose is said
in notebooks/deviations.md.
"""

from __future__ import annotations

from typing import Any

import pytest
from translating import put, registry

from meshlab.mesh.pilot.build import Builder
from meshlab.mesh.pilot.proxy import Proxy, Role
from meshlab.mesh.pilot.registry import Registry

API, GATEWAY_API = "networking.istio.io/v1", "gateway.networking.k8s.io/v1"
PLURALS = {"VirtualService": "virtualservices", "DestinationRule": "destinationrules", "ServiceEntry": "serviceentries",
           "Sidecar": "sidecars", "HTTPRoute": "httproutes"}
HOST = "svcb.default.svc.cluster.local"
Json = dict[str, Any]
RETRIES = {
    "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes", "num_retries": 2,
    "host_selection_retry_max_attempts": "5", "retry_host_predicate": ["envoy.retry_host_predicates.previous_hosts"],
}


def mesh(*documents: tuple[str, Json], port: str = "http") -> Registry:
    """The demo, and documents as (`Kind [namespace/]name`, spec), each created after the one before."""
    target = registry(port)
    for number, (title, spec) in enumerate(documents):
        kind, _, name = title.partition(" ")
        namespace, slash, own = name.rpartition("/")
        meta = {"namespace": namespace if slash else "default", "creationTimestamp": f"2026-01-01T00:00:{number:02d}Z"}
        version = GATEWAY_API if kind == "HTTPRoute" else API
        put(target, PLURALS[kind], own or f"d{number}", meta=meta, apiVersion=version, kind=kind, spec=spec)
    return target


def given(target: Registry, namespace: str = "default") -> Json:
    """By cds, eds, lds and rds: what a pod of `namespace` gets, by name."""
    proxy = Proxy(Role.SIDECAR, "127.40.9.9", f"p.{namespace}", f"{namespace}.svc.cluster.local", "127.41.9.9")
    found = Builder().snapshot(target.world(), proxy)
    assert found.consistent() == ()
    return {
        kind: {each.get("name") or each["cluster_name"]: each for each in listed}
        for kind, listed in found.json().items()
    }


def hosts(found: Json, port: int = 80) -> dict[str, Json]:
    """Virtual hosts of a port by each of their domains."""
    return {name: each for each in found["rds"][str(port)]["virtual_hosts"] for name in each["domains"]}


def route(*documents: tuple[str, Json], host: str = "svcb.default", namespace: str = "default", at: int = 0) -> Json:
    made: Json = hosts(given(mesh(*documents), namespace))[host]["routes"][at]
    return made


def to(host: str = "svcb", **more: Any) -> Json:
    weight = {"weight": more.pop("weight")} if "weight" in more else {}
    headers = {"headers": more.pop("headers")} if "headers" in more else {}
    return {"destination": {"host": host, **more}, **weight, **headers}


def http(*blocks: Json, on: str = "svcb", **more: Any) -> Json:
    return {"hosts": [on], "http": [{"route": [to()], **each} for each in blocks], **more}


def retry(found: Json) -> Json:
    policy: Json = dict(found["route"]["retry_policy"])
    if "retry_host_predicate" in policy:
        policy["retry_host_predicate"] = [each["name"] for each in policy["retry_host_predicate"]]
    return policy


def subsets(*names: str, **more: Any) -> Json:
    return {"host": "svcb", "subsets": [{"name": n, "labels": {"version": f"v0.{n[1:]}"}} for n in names], **more}


def clusters(found: Json) -> list[tuple[str, int]]:
    weighted = found["route"].get("weighted_clusters")
    if weighted is None:
        return [(found["route"]["cluster"], 100)]
    return [(each["name"], each.get("weight", 0)) for each in weighted["clusters"]]


# Requests


@pytest.mark.parametrize(("block", "wanted"), [
    ({}, RETRIES),
    ({"retries": {"attempts": 3, "perTryTimeout": "2s"}}, {**RETRIES, "num_retries": 3, "per_try_timeout": "2s"}),
    ({"retries": {"attempts": 1, "retryOn": "503,reset"}}, {
        **RETRIES, "num_retries": 1, "retry_on": "reset,retriable-status-codes", "retriable_status_codes": [503]}),
    ({"retries": {"attempts": 1, "backoff": "1s"}}, {
        **RETRIES, "num_retries": 1, "retry_back_off": {"base_interval": "1s"}}),
], ids=["nothing said", "attempts", "codes", "backoff"])
def test_retries(block: Json, wanted: Json) -> None:
    assert retry(route(("VirtualService", http(block)))) == wanted


def test_no_retries_and_no_limit_of_time_unless_said() -> None:
    assert "retry_policy" not in route(("VirtualService", http({"retries": {"attempts": 0}})))["route"]
    assert route(("VirtualService", http({})))["route"]["timeout"] == "0s"
    assert route(("VirtualService", http({"timeout": "2s"})))["route"]["timeout"] == "2s"


def test_a_retry_goes_where_the_request_hashes_to_unless_told_otherwise() -> None:
    hashed = ("DestinationRule", {"host": "svcb", "trafficPolicy": {"loadBalancer": {"consistentHash": {
        "httpHeaderName": "x-user"}}}})
    plain = route(hashed, ("VirtualService", http({})))
    assert "retry_host_predicate" not in retry(plain)
    assert plain["route"]["hash_policy"] == [{"header": {"header_name": "x-user"}}]
    told = {"retries": {"attempts": 2, "retryIgnorePreviousHosts": True}}
    assert retry(route(hashed, ("VirtualService", http(told)))) == RETRIES


def test_matches_keep_their_order_and_what_follows_one_that_takes_all_is_left_out() -> None:
    spec = http(
        {"match": [{"uri": {"prefix": "/b"}}, {"uri": {"exact": "/a"}, "headers": {"x": {"regex": "a.*"}}}]},
        {"match": [{"method": {"exact": "PUT"}, "queryParams": {"q": {"exact": "1"}}}]},
        {"name": "last"}, {"name": "never"},
    )
    found = hosts(given(mesh(("VirtualService", spec))))["svcb"]["routes"]
    assert [each["match"] for each in found] == [
        {"prefix": "/b"},
        {"path": "/a", "headers": [{"name": "x", "string_match": {"safe_regex": {"regex": "a.*"}}}]},
        {"prefix": "/", "headers": [{"name": ":method", "string_match": {"exact": "PUT"}}],
         "query_parameters": [{"name": "q", "string_match": {"exact": "1"}}]},
        {"prefix": "/"},
    ]


def test_weights_are_relative_and_subsets_are_clusters_of_their_own() -> None:
    split = http({"route": [to(subset="v1", weight=3), to(subset="v2", weight=1)]})
    found = route(("DestinationRule", subsets("v1", "v2")), ("VirtualService", split))
    assert clusters(found) == [(f"out.{HOST}|http|version=v0.{n}", weight) for n, weight in ((1, 3), (2, 1))]


@pytest.mark.parametrize(("redirect", "wanted"), [
    ({"uri": "/new"}, {"path_redirect": "/new"}),
    ({"authority": "b.test", "redirectCode": 308}, {"host_redirect": "b.test", "response_code": "PERMANENT_REDIRECT"}),
    ({"scheme": "https", "port": 8443}, {"scheme_redirect": "https", "port_redirect": 8443}),
    ({"scheme": "https", "port": 443}, {"scheme_redirect": "https"}),
    ({"scheme": "https", "derivePort": "FROM_PROTOCOL_DEFAULT"}, {"scheme_redirect": "https"}),
    ({"authority": "b.test", "derivePort": "FROM_REQUEST_PORT"}, {"host_redirect": "b.test"}),
    ({"scheme": "https", "derivePort": "FROM_REQUEST_PORT"}, {"scheme_redirect": "https", "port_redirect": 80}),
])
def test_redirects(redirect: Json, wanted: Json) -> None:
    found = route(("VirtualService", {"hosts": ["svcb"], "http": [{"redirect": redirect}]}))
    assert found["redirect"] == wanted


def test_a_destination_may_have_a_host_of_its_own() -> None:
    own = {"request": {"set": {"Host": "b.test", "x": "1"}}}
    alone = route(("VirtualService", http({"route": [to(headers=own)]})))
    assert alone["route"]["host_rewrite_literal"] == "b.test"
    above = {"route": [to(headers=own)], "rewrite": {"authority": "a.test"}}
    assert route(("VirtualService", http(above)))["route"]["host_rewrite_literal"] == "a.test"
    both = http({"route": [to(headers=own, weight=1), to("svca", weight=1)]})
    listed = route(("VirtualService", both))["route"]["weighted_clusters"]["clusters"]
    assert [each.get("host_rewrite_literal") for each in listed] == ["b.test", None]


@pytest.mark.parametrize(("fault", "wanted"), [
    ({"delay": {"fixedDelay": "5s", "percentage": {"value": 0.1}}},
     {"delay": {"fixed_delay": "5s", "percentage": {"numerator": 1000, "denominator": "MILLION"}}}),
    ({"abort": {"httpStatus": 555, "percentage": {"value": 50}}},
     {"abort": {"http_status": 555, "percentage": {"numerator": 50}}}),
    ({"abort": {"grpcStatus": "UNAVAILABLE", "percentage": {"value": 100}}},
     {"abort": {"grpc_status": 14, "percentage": {"numerator": 100}}}),
    ({"delay": {"fixedDelay": "5s"}}, None),
])
def test_faults_are_for_the_share_that_is_said_and_for_nobody_else(fault: Json, wanted: Json | None) -> None:
    filters = route(("VirtualService", http({"fault": fault}))).get("typed_per_filter_config", {})
    found = dict(filters.get("envoy.filters.http.fault", {}))
    found.pop("@type", None)
    assert found == (wanted or {})


# Whose word counts


def test_of_virtual_services_for_a_host_the_namespaces_own_comes_first_then_the_oldest() -> None:
    old, new = http({"name": "old"}), http({"name": "new"})
    assert route(("VirtualService a", old), ("VirtualService b", new))["name"] == "old"
    own = http({"name": "own"}, on=HOST, exportTo=["."])
    assert route(("VirtualService a", old), ("VirtualService other/b", own), namespace="other")["name"] == "own"
    assert route(("VirtualService a", old), ("VirtualService other/b", own))["name"] == "old"


def test_the_most_specific_host_of_virtual_services_counts() -> None:
    wild = {**http({"name": "wild"}), "hosts": ["*.default.svc.cluster.local"]}
    assert route(("VirtualService", wild), ("VirtualService", http({"name": "exact"})))["name"] == "exact"
    assert route(("VirtualService", wild), host="svca.default")["name"] == "wild"


@pytest.mark.parametrize(("namespace", "documents", "wanted"), [
    ("other", ["default", "other", "istio-system", "third"], "other"),
    ("other", ["default", "istio-system", "third"], "default"),
    ("other", ["istio-system", "third"], "istio-system"),
    ("other", ["third"], None),
])
def test_one_namespace_speaks_for_the_connections_to_a_host(
    namespace: str, documents: list[str], wanted: str | None
) -> None:
    """The caller's, the service's, the mesh's: in this order. Nobody else's."""
    sizes = {name: number + 1 for number, name in enumerate(documents)}
    rules = [
        (f"DestinationRule {name}/d", {"host": HOST, "trafficPolicy": {"connectionPool": {"tcp": {
            "maxConnections": size}}}}) for name, size in sizes.items()
    ]
    cluster = given(mesh(*rules), namespace)["cds"][f"out.{HOST}|http"]
    thresholds = cluster.get("circuit_breakers", {}).get("thresholds", [{}])
    assert thresholds[0].get("max_connections") == (sizes[wanted] if wanted else None)


def test_a_service_entrys_namespace_is_that_of_its_object() -> None:
    entry = {"hosts": ["web.test"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}], "resolution": "DNS"}
    rule = {"host": "web.test", "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 3}}}}
    found = given(mesh(("ServiceEntry teams/web", entry), ("DestinationRule teams/web", rule)))
    cluster = found["cds"]["out.web.test|external-HTTP-80"]
    assert cluster["circuit_breakers"]["thresholds"] == [{"max_connections": 3}]


def test_a_subset_has_the_hosts_policy_but_for_the_sections_that_it_says_itself() -> None:
    policy = {"connectionPool": {"tcp": {"maxConnections": 7}}, "loadBalancer": {"simple": "RANDOM"}}
    spec = subsets("v1", "v2", trafficPolicy=policy)
    spec["subsets"][0]["trafficPolicy"] = {"loadBalancer": {"simple": "LEAST_REQUEST"}}
    split = http({"route": [to(subset="v1", weight=1), to(subset="v2", weight=1)]})
    found = given(mesh(("DestinationRule", spec), ("VirtualService", split)))["cds"]
    listed = {name[-4:]: (each.get("lb_policy"), each["circuit_breakers"]["thresholds"])
              for name, each in found.items() if "version=" in name}
    assert listed == {"v0.1": ("LEAST_REQUEST", [{"max_connections": 7}]),
                      "v0.2": ("RANDOM", [{"max_connections": 7}])}


# Connections


@pytest.mark.parametrize(("policy", "wanted"), [
    ({"loadBalancer": {"simple": "LEAST_CONN"}}, {"lb_policy": "LEAST_REQUEST"}),
    ({"loadBalancer": {"consistentHash": {"useSourceIp": True, "maglev": {"tableSize": 1009}}}},
     {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": "1009"}}),
    ({"loadBalancer": {"simple": "ROUND_ROBIN", "warmup": {"duration": "9s", "minimumPercent": 20, "aggression": 2}}},
     {"round_robin_lb_config": {"slow_start_config": {
         "slow_start_window": "9s", "aggression": {"default_value": 2.0, "runtime_key": "warmup"},
         "min_weight_percent": {"value": 20.0}}}}),
    ({"connectionPool": {"tcp": {"connectTimeout": "3s", "tcpKeepalive": {"probes": 2, "time": "9s"}}}},
     {"connect_timeout": "3s", "upstream_connection_options": {"tcp_keepalive": {
         "keepalive_probes": 2, "keepalive_time": 9}}}),
    ({"connectionPool": {"http": {"http1MaxPendingRequests": 1, "http2MaxRequests": 2, "maxRetries": 4}}},
     {"circuit_breakers": {"thresholds": [{"max_pending_requests": 1, "max_requests": 2, "max_retries": 4}]}}),
    ({"outlierDetection": {"consecutive5xxErrors": 1, "interval": "1s", "baseEjectionTime": "3m",
                           "maxEjectionPercent": 100, "splitExternalLocalOriginErrors": True,
                           "consecutiveLocalOriginFailures": 6}},
     {"outlier_detection": {
         "max_ejection_percent": 100, "always_eject_one_host": True, "enforcing_success_rate": 0,
         "consecutive_5xx": 1, "interval": "1s", "base_ejection_time": "180s",
         "split_external_local_origin_errors": True,
         "consecutive_local_origin_failure": 6, "enforcing_consecutive_local_origin_failure": 100,
         "enforcing_local_origin_success_rate": 0}}),
], ids=["least", "maglev", "warmup", "tcp", "http", "outlier"])
def test_policies(policy: Json, wanted: Json) -> None:
    found = given(mesh(("DestinationRule", {"host": "svcb", "trafficPolicy": policy})))["cds"][f"out.{HOST}|http"]
    assert {name: found.get(name) for name in wanted} == wanted


def test_http_options() -> None:
    pool = {"http": {"useClientProtocol": True, "maxConcurrentStreams": 5}, "tcp": {"idleTimeout": "7s"}}
    rule = ("DestinationRule", {"host": "svcb", "trafficPolicy": {"connectionPool": pool}})
    (options,) = given(mesh(rule))["cds"][f"out.{HOST}|http"]["typed_extension_protocol_options"].values()
    assert options["common_http_protocol_options"] == {"idle_timeout": "7s"}
    assert options["use_downstream_protocol_config"]["http2_protocol_options"] == {"max_concurrent_streams": 5}
    listener = given(mesh(rule, port="tcp"))["lds"]["tcp_127.105.0.2_80"]
    assert listener["filter_chains"][0]["filters"][0]["typed_config"]["idle_timeout"] == "7s"


ENTRY_PORTS = [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 8080}]


@pytest.mark.parametrize(("entry", "kind", "addresses"), [
    ({"resolution": "DNS"}, "STRICT_DNS", [("web.test", 8080)]),
    ({"resolution": "DNS", "endpoints": [{"address": "a.test"}, {"address": "b.test", "ports": {"http": 9}}]},
     "STRICT_DNS", [("a.test", 8080), ("b.test", 9)]),
    ({"resolution": "DNS_ROUND_ROBIN"}, "LOGICAL_DNS", [("web.test", 8080)]),
    ({"resolution": "STATIC", "endpoints": [{"address": "127.1.2.3"}]}, "STATIC", [("127.1.2.3", 8080)]),
    ({"resolution": "NONE"}, "ORIGINAL_DST", []),
], ids=["by its name", "by names", "one at a time", "listed", "as the caller says"])
def test_service_entries(entry: Json, kind: str, addresses: list[tuple[str, int]]) -> None:
    found = given(mesh(("ServiceEntry", {"hosts": ["web.test"], "ports": ENTRY_PORTS, **entry})))
    cluster = found["cds"]["out.web.test|external-HTTP-80"]
    listed = [
        (each["endpoint"]["address"]["socket_address"]["address"], each["endpoint"]["address"]["socket_address"][
            "port_value"]) for group in cluster.get("load_assignment", {}).get("endpoints", ()) for each in group[
            "lb_endpoints"]
    ]
    assert (cluster.get("type", "STATIC"), listed) == (kind, addresses)
    assert {"web.test", "web.test:80"} <= set(hosts(found))


def test_a_wildcard_host_is_a_domain_and_goes_where_the_caller_says() -> None:
    entry = {"hosts": ["*.test"], "ports": ENTRY_PORTS, "resolution": "NONE"}
    found = given(mesh(("ServiceEntry", entry)))
    assert hosts(found)["*.test"]["routes"][0]["route"]["cluster"] == "out.*.test|external-HTTP-80"


def test_names_of_services_as_callers_of_their_namespace_and_of_others_know_them() -> None:
    target = mesh()
    near, far = hosts(given(target)), hosts(given(target, "other"))
    names = {"svcb", "svcb.default", "svcb.default.svc", HOST, "127.105.0.2"}
    assert names | {f"{each}:80" for each in names} <= set(near)
    assert names - {"svcb"} <= set(far)
    assert "svcb" not in far


def test_a_sidecar_object_narrows_what_is_known() -> None:
    scope = {"egress": [{"hosts": ["./svcb.default.svc.cluster.local"]}]}
    found = given(mesh(("Sidecar", scope)))
    assert "svcb" in hosts(found)
    assert "svca" not in hosts(found)
    assert not any("svca" in name for name in found["cds"])
    blocked = mesh(("Sidecar", {**scope, "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}))
    assert hosts(given(blocked))["*"]["routes"][0]["direct_response"]["status"] == 502


def test_in_the_root_namespaces_sidecar_a_dot_is_the_namespace_of_the_pod() -> None:
    found = mesh(("Sidecar istio-system/all", {"egress": [{"hosts": ["./*"]}]}))
    assert "svcb" in hosts(given(found))
    assert "80" not in given(found, "other")["rds"]


def test_on_a_port_of_its_own_an_egress_listener_says_all_that_is_known() -> None:
    nothing = {"port": {"number": 80, "protocol": "HTTP", "name": "http"}, "hosts": ["other/*"]}
    found = given(mesh(("Sidecar", {"egress": [nothing, {"hosts": ["./*"]}]})))
    assert "80" not in found["rds"]


# What was found by comparing


def test_a_rule_for_a_part_of_a_services_name_is_for_who_says_just_that() -> None:
    found = hosts(given(mesh(("VirtualService", http({"route": [to("svca")]}, on="svcb.default")))))
    taken = [found[name]["routes"][0]["route"]["cluster"] for name in ("svcb.default", "svcb", HOST)]
    assert taken == ["out.svca.default.svc.cluster.local|http", f"out.{HOST}|http", f"out.{HOST}|http"]


def test_a_port_that_a_service_does_not_have_leads_nowhere() -> None:
    found = given(mesh(("VirtualService", http({"route": [to(port={"number": 81})]}))))
    assert not found["eds"][f"{HOST}|81"].get("endpoints")


def test_what_is_set_comes_before_what_is_added_to_the_same_header() -> None:
    headers = {"request": {"add": {"x": "added"}, "set": {"x": "set"}}}
    found = route(("VirtualService", http({"headers": headers})))["request_headers_to_add"]
    assert [each["header"]["value"] for each in found] == ["set", "added"]


def test_ignoring_case_is_not_for_regular_expressions() -> None:
    match = {"match": [{"uri": {"regex": "/A.*"}, "ignoreUriCase": True}]}
    assert route(("VirtualService", http(match)))["match"] == {"safe_regex": {"regex": "/A.*"}}


@pytest.mark.parametrize(("lifetime", "wanted"), [({}, {}), ({"ttl": "0s"}, {"ttl": "0s"}), ({"ttl": "9s"},) * 2])
def test_a_cookie_without_a_lifetime_is_made_by_nobody(lifetime: Json, wanted: Json) -> None:
    balancer = {"consistentHash": {"httpCookie": {"name": "u", **lifetime}}}
    found = route(("DestinationRule", {"host": "svcb", "trafficPolicy": {"loadBalancer": balancer}}))
    assert found["route"]["hash_policy"] == [{"cookie": {"name": "u", **wanted}}]


def test_an_empty_section_of_a_subset_takes_the_place_of_the_hosts() -> None:
    policy = {"outlierDetection": {"consecutive5xxErrors": 9}}
    rule = subsets("v1", trafficPolicy=policy)
    rule["subsets"][0]["trafficPolicy"] = {"outlierDetection": {}}
    found = given(mesh(("DestinationRule", rule), ("VirtualService", http({"route": [to(subset="v1")]}))))
    assert "consecutive_5xx" not in found["cds"][f"out.{HOST}|http|version=v0.1"]["outlier_detection"]


def parent(namespace: str = "default", **rule: Any) -> Json:
    service = {"group": "", "kind": "Service", "name": "svcb", "namespace": namespace}
    return {"parentRefs": [service], "rules": [{"backendRefs": [{"name": "svca", "port": 80}], **rule}]}


def test_http_routes_of_one_service_are_one_list_in_order_of_precedence() -> None:
    paths = [[{"path": {"type": kind, "value": value}}] for kind, value in (
        ("PathPrefix", "/a"), ("Exact", "/a"), ("PathPrefix", "/a/b"))]
    found = hosts(given(mesh(*(("HTTPRoute", parent(matches=each)) for each in paths))))["svcb"]["routes"]
    assert [each["match"] for each in found] == [
        {"path": "/a"}, {"path_separated_prefix": "/a/b"}, {"path_separated_prefix": "/a"}]


def test_an_http_route_for_another_namespaces_service_is_for_callers_of_its_own() -> None:
    target = mesh(("HTTPRoute other/r", parent(backendRefs=[{"name": "svca", "namespace": "default", "port": 80}])))
    near, far = (hosts(given(target, each))["svcb.default"]["routes"][0] for each in ("default", "other"))
    assert near["route"]["cluster"] == f"out.{HOST}|http"
    assert far["route"]["cluster"] == "out.svca.default.svc.cluster.local|http"

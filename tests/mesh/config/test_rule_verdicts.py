"""Verdicts on rules: one line per rule of 0.4.0's validation, with its words."""

from typing import Any

import pytest

from meshlab.mesh.config.v1alpha2 import decode_spec, spec_from_fields
from meshlab.mesh.config.validate import errors_text, validate


def problems(type_name: str, spec: dict[str, Any]) -> list[str]:
    return validate(type_name, spec_from_fields(type_name, decode_spec(type_name, spec)))


def route_rule(**spec: Any) -> list[str]:
    return problems("route-rule", {"destination": {"name": "svcb"}, **spec})


NO_SERVICE = "name or service is mandatory for a service reference"
RANGE = "must be in range 0..100"


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ({"name": "svcb"}, []),
        ({"name": "9-lives"}, []),
        ({"name": "a" * 63}, []),
        ({"name": "a" * 64}, [f'name "{"a" * 64}" must be a valid label']),
        ({"name": "Svcb"}, ['name "Svcb" must be a valid label']),
        ({"name": "svcb\n"}, ['name "svcb\\n" must be a valid label']),
        ({"name": "svcb.default"}, ['name "svcb.default" must be a valid label']),
        ({}, [NO_SERVICE]),
        ({"namespace": "a_b"}, [NO_SERVICE, 'namespace "a_b" must be a valid label']),
        ({"name": "a", "service": "b.com"}, ["specify either name or service, not both"]),
        ({"service": "b.com", "namespace": "n"}, ["namespace is not valid when service is provided"]),
        ({"service": "*.b.com"}, []),
        ({"service": "10.0.0.0/40"}, ["10.0.0.0/40 is not a valid CIDR block"]),
        ({"service": "::1/64"}, ["::1/64 is not a valid IPv4 address"]),
        ({"name": "a", "domain": "x..y"}, ['domain name "x..y" invalid (label "" invalid)']),
    ],
)
def test_references_to_services(reference: dict[str, Any], expected: list[str]) -> None:
    assert problems("route-rule", {"destination": reference}) == expected
    assert route_rule(mirror=reference) == expected
    assert route_rule(match={"source": reference}) == expected


def test_a_destination_is_needed_and_has_no_labels() -> None:
    assert problems("route-rule", {}) == ["route rule must have a destination service"]
    labelled = {"name": "svcb", "labels": {"version": "v1"}}
    assert problems("route-rule", {"destination": labelled}) == ["route rule destination labels must be empty"]
    assert route_rule(mirror=labelled) == []
    assert route_rule(mirror={"name": "a", "labels": {"k:": "v w"}}) == [
        'invalid tag key: "k:"',
        'invalid tag value: "v w"',
    ]


def total(weight: int) -> str:
    return f"route weights total {weight} (must total 100)"


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([100], []),
        ([0], []),
        ([None], []),
        ([50], [total(50)]),
        ([50, 50], []),
        ([100, 0], []),
        ([None, None], [total(0)]),
        ([99, 2], [total(101)]),
        ([150, -50], [f"weight invalid:  {RANGE}"] * 2),
        ([101], [f"weight invalid:  {RANGE}", total(101)]),
        ([], [total(0)]),
    ],
)
def test_weights_total_100_unless_there_is_one_without(weights: list[int | None], expected: list[str]) -> None:
    assert route_rule(route=[{"weight": weight} for weight in weights]) == expected


def test_the_destination_of_a_route_entry_is_not_looked_at() -> None:
    assert route_rule(route=[{"destination": {"name": "NOT VALID"}}]) == []


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({}, []),
        ({"request": {"headers": {"cookie": {"regex": "((("}}}}, []),
        ({"request": {"headers": {"uri": {"regex": ""}}}}, ['regex header value for "uri" must be non-empty']),
        ({"request": {"headers": {"x": {"exact": ""}}}}, []),
        ({"request": {"headers": {"X": {"exact": "1"}}}}, ['header name "X" invalid:  must be in lower case']),
        ({"request": {"headers": {"": {"exact": "1"}}}}, ['header name "" invalid:  header name cannot be empty']),
        ({"request": {"headers": {"x": {}}}}, ['header "x" value invalid:  unrecognized string match ""']),
        ({"tcp": {"sourceSubnet": ["10.0.0.1", "10.0.0.0/8"]}}, []),
        ({"tcp": {"destinationSubnet": ["10.0.0.256"]}}, ["10.0.0.256 is not a valid IP"]),
        ({"tcp": {"destinationSubnet": ["fe80::1"]}}, ["fe80::1 is not a valid IPv4 address"]),
        ({"tcp": {"destinationSubnet": ["::ffff:10.0.0.1"]}}, []),
        ({"udp": {}}, ["UDP protocol not supported yet"]),
    ],
)
def test_conditions(match: dict[str, Any], expected: list[str]) -> None:
    assert route_rule(match=match) == expected


REDIRECT = {"uri": "/new"}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"redirect": REDIRECT}, []),
        ({"redirect": {}}, ["redirect must specify path, host, or both"]),
        ({"redirect": REDIRECT, "route": [{}]}, ["rule cannot contain both route and redirect"]),
        ({"redirect": REDIRECT, "route": []}, [total(0)]),
        ({"redirect": REDIRECT, "httpFault": {}}, ["rule cannot contain both fault and redirect"]),
        ({"redirect": REDIRECT, "websocketUpgrade": True}, ["WebSocket upgrade is not allowed on redirect rules"]),
        ({"redirect": REDIRECT, "rewrite": {"uri": "/x"}}, ["rule cannot contain both rewrite and redirect"]),
        ({"rewrite": {}}, ["rewrite must specify path, host, or both"]),
        ({"rewrite": {"authority": "x"}}, []),
        ({"websocketUpgrade": True}, []),
        ({"httpReqTimeout": {}}, []),
        ({"httpReqTimeout": {"simpleTimeout": {}}}, ["httpTimeout invalid:  duration: nil Duration"]),
        (
            {"httpReqTimeout": {"simpleTimeout": {"timeout": "900us"}}},
            ["httpTimeout invalid:  duration must be greater than 1ms"],
        ),
        (
            {"httpReqTimeout": {"simpleTimeout": {"timeout": "1.0001s"}}},
            ["httpTimeout invalid:  only durations to ms precision is supported"],
        ),
        ({"httpReqRetries": {"simpleRetry": {"attempts": 3}}}, ["perTryTimeout invalid:  duration: nil Duration"]),
        (
            {"httpReqRetries": {"simpleRetry": {"attempts": -1, "perTryTimeout": "1s"}}},
            ["attempts must be in range [0..]"],
        ),
        ({"httpFault": {"delay": {"percent": 10}}}, ["fixedDelay invalid: duration: nil Duration"]),
        ({"httpFault": {"delay": {"percent": 100.5, "fixedDelay": "1s"}}}, [f"percent invalid:  {RANGE}"]),
        ({"httpFault": {"delay": {"percent": "NaN", "fixedDelay": "1s"}}}, []),
        (
            {"httpFault": {"delay": {"exponentialDelay": "1s"}}},
            ["fixedDelay invalid: duration: nil Duration", "exponentialDelay not supported yet"],
        ),
        ({"httpFault": {"abort": {"httpStatus": 601}}}, ["invalid abort http status 601"]),
        ({"httpFault": {"abort": {"httpStatus": 0}}}, []),
        ({"httpFault": {"abort": {"grpcStatus": "x"}}}, ["gRPC fault injection not supported yet"]),
        ({"httpFault": {"abort": {"http2Error": "x"}}}, []),
        ({"l4Fault": {}}, ["L4 faults are not implemented"]),
        (
            {"l4Fault": {"terminate": {"percent": -1}}},
            [
                f"terminate percent invalid:  {RANGE}",
                "the terminate fault not supported yet",
                "L4 faults are not implemented",
            ],
        ),
        ({"corsPolicy": {"allowMethods": ["GET", "get"]}}, ['"get" is not a supported HTTP method']),
        ({"corsPolicy": {"allowHeaders": ["X-A"], "exposeHeaders": ["x-b"]}}, ["must be in lower case"]),
        ({"corsPolicy": {"maxAge": "1500ms"}}, ["max_age duration is accurate only to seconds precision"]),
        ({"appendHeaders": {"x-a": ""}}, ['appended header "x-a" must have a non-empty value']),
        ({"appendHeaders": {"X": "1"}}, ["must be in lower case"]),
    ],
)
def test_actions(spec: dict[str, Any], expected: list[str]) -> None:
    assert route_rule(**spec) == expected


PORT = {"port": 80, "protocol": "http"}
KNOWN = "egress rule support is available only for the following protocols: HTTP,HTTP2,GRPC,HTTPS,TCP,Mongo"


@pytest.mark.parametrize(
    ("service", "fine"),
    [
        ("a.com", True),
        ("localhost", True),
        ("10.1.2.3", True),
        ("300.1.1.1", True),
        ("*", True),
        ("*.a.com", True),
        ("*a.com", True),
        ("*-b.a.com", True),
        ("10.0.0.0/8", True),
        ("", False),
        ("A.com", False),
        ("a_b.com", False),
        ("a.com:80", False),
        ("http://a.com", False),
        ("a.com.", False),
        ("a.*.com", False),
        ("**", False),
        ("*.", False),
        ("::1", False),
        ("10.0.0.0/33", False),
        ("a.com/8", False),
        ("10.0.0.0/", False),
        ("10.0.0.0/8/8", False),
        (f"{'a.' * 127}com", False),
    ],
)
def test_destinations_of_egress_rules(service: str, fine: bool) -> None:
    spec = {"destination": {"service": service}, "ports": [{"port": 80, "protocol": "tcp"}]}
    assert (problems("egress-rule", spec) == []) is fine


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, ["destination of egress rule must have destination field", "egress rule must have a ports list"]),
        (
            {"destination": {"name": "a"}, "ports": [PORT]},
            ["destination of egress rule must not have name field", "domain must not be empty string"],
        ),
        ({"destination": {"service": "a.com"}, "ports": [PORT, PORT]}, ["duplicate port: 80"]),
        (
            {"destination": {"service": "a.com"}, "ports": [{"port": 65536, "protocol": "?"}]},
            ["port number 65536 must be in the range 1..65535"],
        ),
        ({"destination": {"service": "a.com"}, "ports": [{"port": 80}]}, [KNOWN]),
        ({"destination": {"service": "a.com"}, "ports": [{"port": 80, "protocol": "redis"}]}, [KNOWN]),
        ({"destination": {"service": "a.com"}, "ports": [{"port": 80, "protocol": "hTTp2"}]}, []),
        (
            {"destination": {"service": "10.0.0.0/8"}, "ports": [PORT]},
            [
                "Only the following protocols can be defined for CIDR destination service notation: TCP,Mongo. "
                "This rule - port: 80 protocol: http destination.service: 10.0.0.0/8"
            ],
        ),
        (
            {"destination": {"service": "a.com"}, "ports": [PORT], "useEgressProxy": True},
            ["directing traffic through egress proxy is not implemented yet"],
        ),
    ],
)
def test_egress_rules(spec: dict[str, Any], expected: list[str]) -> None:
    assert problems("egress-rule", spec) == expected


BREAKER = {"sleepWindow": "1s", "httpDetectionInterval": "1s"}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"loadBalancing": {}}, ["must set load balancing if specified"]),
        ({"loadBalancing": {"name": 77}}, []),
        ({"circuitBreaker": {}}, []),
        ({"circuitBreaker": {"simpleCb": BREAKER}}, []),
        (
            {"circuitBreaker": {"simpleCb": {"maxConnections": 1}}},
            [
                "circuitBreaker sleepWindow must be in range [0..]",
                "circuitBreaker httpDetectionInterval must be in range [0..]",
            ],
        ),
        (
            {"circuitBreaker": {"simpleCb": {**BREAKER, "maxConnections": -1, "httpMaxRetries": -1}}},
            ["circuitBreak maxConnections must be in range [0..]"],
        ),
        (
            {"circuitBreaker": {"simpleCb": {**BREAKER, "httpMaxEjectionPercent": 101}}},
            [f"circuitBreaker httpMaxEjectionPercent invalid:  {RANGE}"],
        ),
        ({"source": {}}, [NO_SERVICE]),
    ],
)
def test_destination_policies(spec: dict[str, Any], expected: list[str]) -> None:
    assert problems("destination-policy", {"destination": {"name": "svcb"}, **spec}) == expected


@pytest.mark.parametrize(
    ("type_name", "spec", "expected"),
    [
        ("ingress-rule", {}, ["ingress rule must have a destination service"]),
        ("gateway", {}, ["gateway must have at least one server"]),
        ("gateway", {"servers": [{}]}, ["server config must contain at least one domain", "port is required"]),
        (
            "gateway",
            {"servers": [{"domains": ["a.b"], "port": {"number": 80, "protocol": "smtp"}, "tls": {"mode": "MUTUAL"}}]},
            [
                "MUTUAL TLS requires a server certificate",
                "MUTUAL TLS requires a client CA bundle",
                'invalid protocol "smtp", supported protocols are HTTP, HTTP2, GRPC, MONGO, REDIS, TCP',
            ],
        ),
        ("quota-spec", {"rules": [{"quotas": [{"quota": "q"}]}]}, ["quota charge amount must be positive"]),
        ("quota-spec-binding", {"services": [{"name": "a"}]}, ["at least one spec must be specified"]),
        (
            "http-api-spec",
            {"attributes": {"attributes": {"a": {"stringValue": ""}}}, "patterns": []},
            ['string attribute for "a" should not be empty', "at least one pattern must be specified"],
        ),
        (
            "end-user-authentication-policy-spec",
            {"jwts": [{"issuer": "i", "jwksUri": "http://a"}]},
            ["jwks_uri must have http:// or https:// scheme"],
        ),
        (
            "end-user-authentication-policy-spec-binding",
            {"services": [{"name": "a"}], "policies": [{"namespace": "N"}]},
            [
                "name is mandatory for EndUserAuthenticationPolicySpecReference",
                'namespace "N" must be a valid label',
            ],
        ),
    ],
)
def test_the_other_kinds(type_name: str, spec: dict[str, Any], expected: list[str]) -> None:
    assert problems(type_name, spec) == expected


def test_several_errors_are_listed_with_their_number() -> None:
    assert errors_text(["a", "b"]) == "2 errors occurred:\n\n* a\n* b"

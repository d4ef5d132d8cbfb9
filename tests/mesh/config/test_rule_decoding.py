"""From documents to rules: protobuf's JSON, strict and lenient exactly where 0.4.0 was."""

from typing import Any

import pytest

from meshlab.errors import RuleError
from meshlab.mesh.config.durations import Duration
from meshlab.mesh.config.labels import Labels
from meshlab.mesh.config.model import MatchKind, RouteRule
from meshlab.mesh.config.protojson import DecodeError
from meshlab.mesh.config.v1alpha2 import config_from_object, decode_spec, encode_spec, spec_from_fields


def rule(**spec: Any) -> RouteRule:
    decoded: RouteRule = spec_from_fields("route-rule", decode_spec("route-rule", spec))
    return decoded


def canonical(type_name: str, spec: Any) -> dict[str, Any]:
    return encode_spec(type_name, decode_spec(type_name, spec))


def test_a_whole_rule_is_read() -> None:
    read = rule(
        destination={"name": "svcb"},
        precedence=7,
        match={"source": {"name": "svca"}, "request": {"headers": {"uri": {"prefix": "/pay"}}}},
        route=[{"labels": {"version": "v1"}, "weight": 30}, {"labels": {"version": "v2"}, "weight": 70.0}],
        httpReqTimeout={"simpleTimeout": {"timeout": "1h30m"}},
        httpReqRetries={"simpleRetry": {"attempts": 3, "perTryTimeout": "2s"}},
        httpFault={"delay": {"percent": 12.5, "fixedDelay": "5s"}, "abort": {"httpStatus": 418}},
        corsPolicy={"allowOrigin": ["*"], "maxAge": "1s", "allowCredentials": False},
        appendHeaders={"x-a": "1"},
    )
    assert read.precedence == 7
    assert read.match and read.match.source and read.match.source.name == "svca"
    assert read.match.headers and read.match.headers["uri"].kind is MatchKind.PREFIX
    assert read.route and [(entry.labels, entry.weight) for entry in read.route] == [
        (Labels(version="v1"), 30),
        (Labels(version="v2"), 70),
    ]
    assert read.timeout and read.timeout.timeout == Duration.of(seconds=5400)
    assert read.retries and (read.retries.attempts, read.retries.per_try_timeout) == (3, Duration.of(seconds=2))
    assert read.fault and read.fault.delay and read.fault.delay.percent == 12.5
    assert read.fault.abort and read.fault.abort.http_status == 418
    assert read.cors and read.cors.allow_credentials is False
    assert read.append_headers == {"x-a": "1"}


def test_absent_and_empty_stay_apart() -> None:
    assert rule().route is None and rule(route=[]).route == ()
    assert rule().match is None and rule(match={}).match is not None
    assert rule(httpReqTimeout={}).timeout is not None
    assert not rule(httpReqTimeout={"simpleTimeout": None}).timeout.simple  # type: ignore[union-attr]


@pytest.mark.parametrize("key", ["httpReqTimeout", "http_req_timeout"])
def test_both_spellings_of_a_key_are_taken(key: str) -> None:
    assert rule(**{key: {"simple_timeout": {"timeout": "1s"}}}).timeout == rule(
        httpReqTimeout={"simpleTimeout": {"timeout": "1s"}}
    ).timeout


def test_of_both_spellings_at_once_camel_case_wins() -> None:
    spec = {"httpFault": {"delay": {"fixed_delay": "1s", "fixedDelay": "2s"}}}
    assert canonical("route-rule", spec) == {"httpFault": {"delay": {"fixedDelay": "2.000s"}}}


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"color": "red"}, 'unknown field "color" in istio_routing_v1alpha1.RouteRule'),
        ({"destination": "svcb"}, "json: cannot unmarshal string into Go value of type map[string]json.RawMessage"),
        ({"destination": {"name": 7}}, "json: cannot unmarshal number into Go value of type string"),
        ({"precedence": "7"}, "json: cannot unmarshal string into Go value of type int32"),
        ({"precedence": 1.5}, "json: cannot unmarshal number 1.5 into Go value of type int32"),
        ({"precedence": 3e9}, "json: cannot unmarshal number 3000000000 into Go value of type int32"),
        ({"precedence": True}, "json: cannot unmarshal bool into Go value of type int32"),
        ({"precedence": 1e300}, "json: unsupported value: +Inf"),
        ({"websocketUpgrade": "true"}, "json: cannot unmarshal string into Go value of type bool"),
        ({"route": {}}, "json: cannot unmarshal object into Go value of type []json.RawMessage"),
        ({"route": [{"labels": {"v": 1}}]}, "json: cannot unmarshal number into Go value of type string"),
        ({"route": [None]}, "null in a list or map of istio_routing_v1alpha1.DestinationWeight"),
        ({"httpFault": {"delay": {"percent": "5"}}}, "json: cannot unmarshal string into Go value of type float32"),
        ({"httpFault": {"delay": {"fixedDelay": 5}}}, "invalid syntax"),
        (
            {"httpFault": {"delay": {"fixedDelay": "1d"}}},
            'bad Duration: time: unknown unit "d" in duration "1d"',
        ),
        (
            {"match": {"request": {"headers": {"uri": "/x"}}}},
            "json: cannot unmarshal string into Go value of type map[string]json.RawMessage",
        ),
        ({"httpReqTimeout": {"custom": {}}}, "Any JSON doesn't have '@type'"),
        ({"httpReqTimeout": {"custom": {"@type": "a/b.C"}}}, 'unknown message type "b.C"'),
    ],
)
def test_what_does_not_fit_is_refused_in_gos_words(spec: Any, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_spec("route-rule", spec)
    assert str(caught.value) == reason


def test_null_means_absent_except_in_a_choice_of_values() -> None:
    assert rule(destination=None, precedence=None, route=None, appendHeaders=None) == RouteRule()
    assert rule(httpFault={"abort": {"httpStatus": None}}).fault.abort.http_status == 0  # type: ignore[union-attr]
    assert rule(match={"request": {"headers": {"uri": {"exact": None}}}}).match.headers["uri"].value == ""  # type: ignore[union-attr,index]


def test_of_a_choice_given_twice_the_later_declared_wins() -> None:
    spec = {"match": {"request": {"headers": {"uri": {"prefix": "/p", "exact": "/e"}}}}}
    assert canonical("route-rule", spec) == {"match": {"request": {"headers": {"uri": {"prefix": "/p"}}}}}


@pytest.mark.parametrize(
    ("name", "canonical_name"), [("RANDOM", "RANDOM"), (1, "LEAST_CONN"), (9, 9), (None, "ROUND_ROBIN")]
)
def test_an_enum_may_be_a_name_or_any_number(name: Any, canonical_name: Any) -> None:
    assert canonical("destination-policy", {"loadBalancing": {"name": name}}) == {
        "loadBalancing": {"name": canonical_name}
    }


def test_an_enums_names_are_upper_case() -> None:
    with pytest.raises(DecodeError, match=r'^unknown value "random" for enum istio'):
        decode_spec("destination-policy", {"loadBalancing": {"name": "random"}})


def test_64_bit_integers_may_be_strings_and_others_may_not() -> None:
    assert decode_spec("quota-spec", {"rules": [{"quotas": [{"charge": "5"}]}]})["rules"][0]["quotas"][0]["charge"] == 5
    with pytest.raises(DecodeError):
        decode_spec("egress-rule", {"ports": [{"port": "80"}]})


def test_the_canonical_form_leaves_out_defaults_and_spells_durations_in_seconds() -> None:
    spec = {
        "destination": {"name": "a", "namespace": ""},
        "precedence": 0,
        "route": [],
        "http_req_retries": {"simple_retry": {"attempts": 0, "per_try_timeout": "1m"}},
        "match": {},
    }
    assert canonical("route-rule", spec) == {
        "destination": {"name": "a"},
        "match": {},
        "route": [],
        "httpReqRetries": {"simpleRetry": {"perTryTimeout": "60.000s"}},
    }


def test_a_stored_object_becomes_a_rule_with_its_metadata() -> None:
    obj = {
        "kind": "EgressRule",
        "metadata": {"name": "e", "namespace": "ns", "resourceVersion": "12", "labels": {"a": "b"}},
        "spec": {"destination": {"service": "a.com"}, "ports": [{"port": 80, "protocol": "http"}]},
    }
    config = config_from_object(obj, "mesh.local")
    assert config.key == "egress-rule/ns/e"
    assert (config.meta.domain, config.meta.resource_version, config.meta.labels) == ("mesh.local", "12", {"a": "b"})
    assert config.spec.ports[0].protocol == "http"


@pytest.mark.parametrize(
    ("obj", "words"),
    [
        ({"kind": "RouteRule", "metadata": {"name": "r"}, "spec": {"x": 1}}, 'unknown field "x"'),
        ({"kind": "Pod", "metadata": {"name": "p"}}, "kind Pod is not one that Pilot knows"),
    ],
)
def test_a_stored_object_that_cannot_be_read_says_which_and_why(obj: dict[str, Any], words: str) -> None:
    with pytest.raises(RuleError, match=words):
        config_from_object(obj)

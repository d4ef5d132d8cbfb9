"""Mixer's answers to checks: handlers by tables, rules with the samples' own objects, messages of Envoy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from envoy.service.auth.v3 import external_auth_pb2
from mixer_parts import default_objects, pod, until

from meshlab.mesh.mixer.authorization import answer, attributes
from meshlab.mesh.mixer.checks import Checker
from meshlab.mesh.mixer.config import resolve
from meshlab.mesh.mixer.expressions import Attributes
from meshlab.mesh.mixer.handlers import Denier, HandlerError, ListChecker, make_handler
from meshlab.mesh.mixer.quotas import Limit, Quotas
from meshlab.mesh.mixer.status import OK, Status
from meshlab.mesh.mixer.workloads import Workloads
from meshlab.mesh.pilot.http import forwarded_attributes
from meshlab.mesh.pilot.policy import CheckRule, check_rule, checked
from meshlab.mesh.web import Request, Server, plain

V3, V2, RATINGS = "127.40.9.3", "127.40.9.2", "127.40.9.9"


def objects(text: str) -> list[dict[str, Any]]:
    found = []
    for document in yaml.safe_load_all(text):
        document["apiVersion"] = "config.istio.io/v1alpha2"
        document["metadata"].setdefault("namespace", "default")
        found.append(document)
    return found


def checker(*texts: str, lines: list[str] | None = None) -> Checker:
    workloads = Workloads()
    for name, ip, labels in (("reviews-v3", V3, {"app": "reviews", "version": "v3"}),
                             ("reviews-v2", V2, {"app": "reviews", "version": "v2"}),
                             ("ratings-v1", RATINGS, {"app": "ratings", "version": "v1"})):
        workloads.change("ADDED", pod(name, ip, **labels))
    found = Checker(workloads, (lines if lines is not None else []).append)
    found.configure(resolve([*default_objects(), *(o for text in texts for o in objects(text))]))
    return found


def call(source: str, **more: Any) -> Attributes:
    return Attributes({"context.protocol": "http", "context.reporter.kind": "inbound", "source.ip": source,
                       "destination.ip": RATINGS, "request.path": "/ratings/1", "request.headers": {}, **more})


DENY_LABEL = """
kind: denier
metadata: {name: denyreviewsv3handler}
spec: {status: {code: 7, message: Not allowed}}
---
kind: checknothing
metadata: {name: denyreviewsv3request}
spec:
---
kind: rule
metadata: {name: denyreviewsv3}
spec:
  match: destination.labels["app"] == "ratings" && source.labels["app"]=="reviews" && source.labels["version"] == "v3"
  actions:
  - handler: denyreviewsv3handler.denier
    instances: [ denyreviewsv3request.checknothing ]
"""
WHITELIST = """
kind: listchecker
metadata: {name: whitelist}
spec: {overrides: ["v1", "v2"], blacklist: false}
---
kind: listentry
metadata: {name: appversion}
spec: {value: 'source.labels["version"]'}
---
kind: rule
metadata: {name: checkversion}
spec:
  match: destination.labels["app"] == "ratings"
  actions:
  - handler: whitelist.listchecker
    instances: [appversion.listentry]
"""
RATE_LIMIT = """
kind: memquota
metadata: {name: handler, namespace: istio-system}
spec:
  quotas:
  - name: requestcount.quota.istio-system
    maxAmount: 4
    validDuration: 60s
    overrides:
    - dimensions: {destination: ratings, source: reviews, sourceVersion: v3}
      maxAmount: 1
      validDuration: 60s
---
kind: quota
metadata: {name: requestcount, namespace: istio-system}
spec:
  dimensions:
    source: source.labels["app"] | source.service | "unknown"
    sourceVersion: source.labels["version"] | "unknown"
    destination: destination.labels["app"] | destination.service | "unknown"
---
kind: rule
metadata: {name: quota, namespace: istio-system}
spec:
  actions:
  - handler: handler.memquota
    instances: [requestcount.quota]
"""


def test_without_rules_that_refuse_everything_passes() -> None:
    assert checker().check(call(V3)) == OK


def test_the_sample_that_denies_by_label() -> None:
    deny = checker(DENY_LABEL)
    refused = deny.check(call(V3))
    assert (refused.http, str(refused)) == (
        403, "PERMISSION_DENIED:denyreviewsv3handler.denier.default:Not allowed")
    assert deny.check(call(V2)) == OK
    assert deny.check(call("127.40.9.77")) == OK, "a caller without a pod has no labels"
    assert deny.answers == {"PERMISSION_DENIED": 1, "OK": 2}


def test_the_sample_that_admits_a_list() -> None:
    listed = checker(WHITELIST)
    assert listed.check(call(V2)) == OK
    assert str(listed.check(call(V3))) == "NOT_FOUND:whitelist.listchecker.default:v3 is not whitelisted"
    assert listed.check(call("127.40.9.77")) == OK, "what cannot be evaluated refuses nothing, as in 0.4.0"


def test_several_refusals_have_the_code_of_the_first_and_the_words_of_all() -> None:
    both = checker(DENY_LABEL, WHITELIST).check(call(V3))
    # In order of the rules' names: checkversion, denyreviewsv3.
    assert str(both) == ("NOT_FOUND:whitelist.listchecker.default:v3 is not whitelisted, "
                         "denyreviewsv3handler.denier.default:Not allowed")


def test_the_sample_that_limits_rates() -> None:
    limited = checker(RATE_LIMIT)
    assert [limited.check(call(V3)).http for _ in range(3)] == [200, 429, 429]
    assert [limited.check(call(V2)).http for _ in range(6)] == [200] * 4 + [429] * 2
    assert str(limited.check(call(V3))) == "RESOURCE_EXHAUSTED:Quota is exhausted for: RequestCount"
    # Counts outlive a change of something else, and begin anew with other limits.
    again = resolve([*default_objects(), *objects(RATE_LIMIT), *objects(WHITELIST)])
    limited.configure(again)
    assert limited.check(call(V2)).http == 429
    limited.configure(resolve([*default_objects(), *objects(RATE_LIMIT.replace("maxAmount: 4", "maxAmount: 5"))]))
    assert limited.check(call(V2)) == OK


def test_a_rule_outside_the_configuration_namespace_holds_for_its_own() -> None:
    elsewhere = DENY_LABEL.replace("metadata: {name:", "metadata: {namespace: other, name:")
    assert checker(elsewhere).check(call(V3)) == OK
    everywhere = DENY_LABEL.replace("metadata: {name:", "metadata: {namespace: istio-system, name:")
    assert checker(everywhere).check(call(V3)).http == 403


@pytest.mark.parametrize(("change", "problem"), [
    (("requestcount.quota.istio-system", "requestcount"), "did not find limit defined for quota"),
    (("validDuration: 60s", "validDuration: soon"), "validDuration: 'soon' is no duration"),
    (("maxAmount: 4", "maxAmount: many"), "malformed settings"),
])
def test_a_handler_that_cannot_be_made_refuses_nothing_and_says_why(change: tuple[str, str], problem: str) -> None:
    lines: list[str] = []
    broken = checker(RATE_LIMIT.replace(*change), lines=lines)
    assert [broken.check(call(V3)) for _ in range(3)] == [OK] * 3
    assert problem in lines[0] and problem in broken.problems[0]


@pytest.mark.parametrize(("settings", "value", "wanted"), [
    ({"overrides": ["a"]}, "a", "OK"),
    ({"overrides": ["a"]}, "b", "NOT_FOUND:b is not whitelisted"),
    ({"overrides": ["a"]}, "A", "NOT_FOUND:A is not whitelisted"),
    ({"overrides": ["a"], "entryType": "CASE_INSENSITIVE_STRINGS"}, "A", "OK"),
    ({"overrides": ["a"], "blacklist": True}, "a", "PERMISSION_DENIED:a is blacklisted"),
    ({"overrides": ["a"], "blacklist": True}, "b", "OK"),
    ({"overrides": ["10.0.0.0/8", "1.2.3.4"], "entryType": "IP_ADDRESSES"}, "10.9.9.9", "OK"),
    ({"overrides": ["10.0.0.0/8", "1.2.3.4"], "entryType": 2}, "1.2.3.5", "NOT_FOUND:1.2.3.5 is not whitelisted"),
    ({"overrides": ["10.0.0.0/8"], "entryType": "IP_ADDRESSES"}, "x", "INVALID_ARGUMENT:x is not a valid IP address"),
    ({"overrides": ["^/a[0-9]$"], "entryType": "REGEX"}, "/a1", "OK"),
    ({}, "a", "NOT_FOUND:a is not whitelisted"),
])
def test_lists(settings: dict[str, Any], value: str, wanted: str) -> None:
    assert str(ListChecker(settings).check("x", {"value": value})) == wanted


@pytest.mark.parametrize(("settings", "wanted"), [
    ({}, Status(9)),
    ({"status": {"code": 16, "message": "who?"}}, Status(16, "who?")),
    ({"status": {"message": "nothing"}}, Status(0, "nothing")),
])
def test_deniers(settings: dict[str, Any], wanted: Status) -> None:
    assert Denier(settings).check("x", {}) == wanted


@pytest.mark.parametrize(("kind", "settings"), [
    ("denier", {"status": {"code": "seven"}}), ("denier", {"status": 7}),
    ("listchecker", {"entryType": "WORDS"}), ("listchecker", {"overrides": 3}),
    ("listchecker", {"entryType": "REGEX", "overrides": ["("]}),
    ("listchecker", {"entryType": "IP_ADDRESSES", "overrides": ["here"]}),
    ("listchecker", {"providerUrl": "nowhere"}),
    ("listchecker", {"providerUrl": "http://127.0.0.1:1/", "refreshInterval": "0.5s"}),
    ("listchecker", {"providerUrl": "http://127.0.0.1:1/", "ttl": "1s"}),
    ("memquota", {"quotas": [{"maxAmount": 1}]}), ("memquota", {"quotas": 1}),
])
def test_settings_of_which_no_handler_can_be_made(kind: str, settings: dict[str, Any]) -> None:
    with pytest.raises(HandlerError):
        make_handler(kind, settings, ())


def test_a_list_is_read_from_its_provider_again_and_again() -> None:
    words = ["v1", ""]

    def provider(request: Request) -> Any:
        return plain("\n".join(words)) if words[0] else plain("gone", 500)

    with Server(("127.0.0.1", 0), provider) as server:
        listed = ListChecker({"providerUrl": f"{server.url}/list", "refreshInterval": "1s", "ttl": "1s",
                              "overrides": ["v9"]})
        try:
            assert listed.check("x", {"value": "v1"}).ok and listed.check("x", {"value": "v9"}).ok
            assert not listed.check("x", {"value": "v2"}).ok
            words[0] = "v2"
            until(lambda: listed.check("x", {"value": "v2"}).ok)
            words[0] = ""
            until(lambda: listed.check("x", {"value": "anything"}).ok)  # older than ttl: no list, no refusal
        finally:
            listed.close()


def test_a_window_rolls() -> None:
    now = [100.0]
    quotas = Quotas(lambda: now[0])
    limit = Limit(2, 1.0)

    def take(at: float) -> bool:
        now[0] = at
        return quotas.take("k", limit)

    assert [take(100.0), take(100.5), take(100.9)] == [True, True, False]
    assert [take(101.0), take(101.1)] == [True, False], "what the first took came back after its second"
    assert take(101.5)
    assert quotas.take("other", limit, 2) and not quotas.take("other", limit)


def test_a_limit_without_a_time_never_comes_back() -> None:
    now = [0.0]
    quotas = Quotas(lambda: now[0])
    assert [quotas.take("k", Limit(1)) for now[0] in (0.0, 1.0, 1e6)] == [True, False, False]


def message(headers: Mapping[str, str] | None = None, *, http: bool = True) -> bytes:
    request = external_auth_pb2.CheckRequest()
    found = request.attributes
    found.source.address.socket_address.address = V3
    found.source.address.socket_address.port_value = 4711
    found.source.principal = "spiffe://cluster.local/ns/default/sa/default"
    found.destination.address.socket_address.address = RATINGS
    found.destination.address.socket_address.port_value = 9080
    found.request.time.seconds = 1514907710
    if http:
        found.request.http.method, found.request.http.path, found.request.http.host = "GET", "/ratings/1", "ratings"
        found.request.http.headers.update({":path": "/ratings/1", "user-agent": "curl/7", **(headers or {})})
    data: bytes = request.SerializeToString()
    return data


def test_what_envoy_says_becomes_attributes() -> None:
    found = attributes(message({"x-user": "jason"}))
    assert found["source.ip"] == V3 and found["destination.ip"] == RATINGS and found["destination.port"] == 9080
    assert found["request.headers"]["x-user"] == "jason" and found["request.useragent"] == "curl/7"
    assert found["source.user"] == "spiffe://cluster.local/ns/default/sa/default"
    assert str(found["request.time"]) == "2018-01-02T15:41:50.000Z"
    assert "source.uid" not in found
    told = attributes(message({"x-istio-attributes": forwarded_attributes(V2, "kubernetes://reviews-v2.default")}))
    assert (told["source.ip"], told["source.uid"]) == (V2, "kubernetes://reviews-v2.default")
    tcp = attributes(message(http=False))
    assert tcp["context.protocol"] == "tcp" and not any(name.startswith("request.") for name in tcp)


def test_what_envoy_is_told() -> None:
    refused = external_auth_pb2.CheckResponse.FromString(answer(Status(7, "x.denier.default:no")))
    assert refused.status.code == 7 and refused.denied_response.status.code == 403
    assert refused.denied_response.body == "PERMISSION_DENIED:x.denier.default:no"
    passed = external_auth_pb2.CheckResponse.FromString(answer(OK))
    assert passed.status.code == 0 and passed.HasField("ok_response")
    assert [Status(code).http for code in (1, 5, 8, 9, 13, 16, 99)] == [499, 404, 429, 400, 500, 401, 500]


@pytest.mark.parametrize(("spec", "meta", "wanted"), [
    ({"actions": [{"handler": "x.denier", "instances": ["i.checknothing"]}]}, {}, CheckRule("default", True)),
    ({"actions": [{"handler": "x.denier.default", "instances": ["i"]}]}, {"namespace": "istio-system"},
     CheckRule("", True)),
    ({"actions": [{"handler": "x.memquota", "instances": ["i"]}]}, {"labels": {"istio-protocol": "http"}},
     CheckRule("default", False)),
    ({"match": 'request.path == "/a"', "actions": [{"handler": "x.denier", "instances": ["i"]}]}, {},
     CheckRule("default", False)),
    ({"match": '(request.path | "") == ""', "actions": [{"handler": "x.denier", "instances": ["i"]}]}, {},
     CheckRule("default", True)),
    ({"actions": [{"handler": "handler.prometheus", "instances": ["i"]}]}, {}, None),
    ({"actions": [{"handler": "x.denier"}]}, {}, None),
    ({"actions": [None]}, {}, None),
    ({"actions": "denier"}, {}, None),
    ([], {}, None),
])
def test_pilot_asks_only_for_rules_that_can_refuse(spec: Any, meta: dict[str, Any], wanted: CheckRule | None) -> None:
    obj = json.loads(json.dumps({"kind": "rule", "metadata": {"name": "x", "namespace": "default", **meta},
                                 "spec": spec}))
    assert check_rule(obj) == wanted


def test_where_a_rule_holds() -> None:
    own, everywhere = frozenset({CheckRule("a", False)}), frozenset({CheckRule("", True)})
    assert checked(own, "a") and not checked(own, "b") and not checked(own, "a", tcp=True)
    assert checked(everywhere, "b", tcp=True) and not checked(frozenset(), "a")

"""What Mixer refuses in the lab itself: the samples of Istio 0.4, put on the tutorial's services."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest
from mixer_parts import until

from meshlab.lab import Lab

API = "apiVersion: config.istio.io/v1alpha2\n"
DENIER = f"""{API}kind: denier
metadata: {{name: denyall}}
spec: {{status: {{code: 7, message: Not allowed}}}}
---
{API}kind: checknothing
metadata: {{name: anything}}
spec:
"""
WHITELIST = f"""{API}kind: listchecker
metadata: {{name: versions}}
spec: {{overrides: ["v0.2"], blacklist: false}}
---
{API}kind: listentry
metadata: {{name: version}}
spec: {{value: 'source.labels["version"] | "none"'}}
"""
QUOTA = f"""{API}kind: memquota
metadata: {{name: handler, namespace: istio-system}}
spec:
  quotas:
  - name: requestcount.quota.istio-system
    maxAmount: 5000
    validDuration: 1s
    overrides:
    - dimensions: {{destination: svcb}}
      maxAmount: 3
      validDuration: 30s
---
{API}kind: quota
metadata: {{name: requestcount, namespace: istio-system}}
spec:
  dimensions:
    source: source.labels["app"] | source.service | "unknown"
    destination: destination.labels["app"] | destination.service | "unknown"
---
{API}kind: rule
metadata: {{name: quota, namespace: istio-system}}
spec:
  actions:
  - handler: handler.memquota
    instances: [requestcount.quota]
"""


def rule(name: str, handler: str, instance: str, match: str, labels: str = "{}") -> str:
    return f"""{API}kind: rule
metadata: {{name: {name}, labels: {labels}}}
spec:
  match: {match}
  actions:
  - handler: {handler}
    instances: [{instance}]
"""


@pytest.fixture
def web(lab: Lab) -> Iterator[Lab]:
    """The demo services with ports named http; as it was before, afterwards."""
    lab.require("control-plane", "demo")
    with lab.leave_as_found():
        lab.apply("rules/enable-svcb-engress-rule.yaml")
        lab.apply("svca-http.yaml")
        lab.apply("svcb-http.yaml")
        yield lab


def statuses(lab: Lab, url: str, n: int = 1, **options: object) -> Counter[int]:
    return Counter(answer.status for answer in lab.curl(url, n, **options))  # type: ignore[arg-type]


def test_a_denier_refuses_what_its_rule_matches_with_the_words_of_0_4(web: Lab) -> None:
    web.apply(DENIER)
    assert statuses(web, "http://svcb/notify") == {200: 1}
    stored = web.apply(rule("denysvcb", "denyall.denier", "anything.checknothing",
                            'destination.labels["app"] == "svcb" && request.path == "/secret"'))
    assert stored.ms is not None
    refused = web.curl("http://svcb/secret")[0]
    assert (refused.status, refused.body) == (403, "PERMISSION_DENIED:denyall.denier.default:Not allowed")
    assert statuses(web, "http://svcb/notify", 5) == {200: 5}
    assert statuses(web, "http://svca/secret").keys() != {403}

    web.delete(rule("denysvcb", "x.denier", "x.checknothing", "true"))
    assert statuses(web, "http://svcb/secret", 5).keys() != {403}


def test_a_white_list_looks_at_the_callers_labels(web: Lab) -> None:
    web.apply(WHITELIST)
    web.apply(rule("checkversion", "versions.listchecker", "version.listentry",
                   'destination.labels["app"] == "svcb"'))
    answer = web.curl("http://svcb/notify")[0]
    assert (answer.status, answer.body) == (404, "NOT_FOUND:versions.listchecker.default:none is not whitelisted")
    # svca v0.1 is not on the list either; it tells what svcb answered in its log.
    web.curl("http://svca/pay")
    until(lambda: "404" in str(web.logs("svca", tail=20)))


def test_a_quota_lets_its_amount_pass_and_counts_by_its_dimensions(web: Lab) -> None:
    web.apply(QUOTA)
    answers = web.curl("http://svcb/notify", 8)
    assert Counter(answer.status for answer in answers) == {200: 3, 429: 5}
    assert answers[-1].body == "RESOURCE_EXHAUSTED:Quota is exhausted for: RequestCount"
    assert statuses(web, "http://svca/pay", 8) == {200: 8}, "another destination, another limit"


def test_a_connection_is_refused_where_the_port_is_tcp(lab: Lab) -> None:
    lab.require("control-plane", "demo")
    with lab.leave_as_found():
        lab.apply("rules/enable-svcb-engress-rule.yaml")
        lab.apply(DENIER)
        assert statuses(lab, "http://svcb/notify") == {200: 1}
        lab.apply(rule("denysvcb", "denyall.denier", "anything.checknothing", 'destination.labels["app"] == "svcb"'))
        assert lab.curl("http://svcb/notify")[0].error
        lab.delete(rule("denysvcb", "x.denier", "x.checknothing", "true"))
        assert statuses(lab, "http://svcb/notify") == {200: 1}


def test_without_mixer_requests_pass(web: Lab) -> None:
    web.apply(DENIER)
    web.apply(rule("denysvcb", "denyall.denier", "anything.checknothing", 'destination.labels["app"] == "svcb"',
                   "{istio-protocol: http}"))
    assert statuses(web, "http://svcb/notify") == {403: 1}
    web.kubectl("scale -n istio-system deployment/istio-mixer --replicas=0")
    try:
        until(lambda: statuses(web, "http://svcb/notify") == {200: 1})
    finally:
        web.kubectl("scale -n istio-system deployment/istio-mixer --replicas=1")
        web.kubectl("rollout status -n istio-system deployment/istio-mixer --timeout=120s")
    until(lambda: statuses(web, "http://svcb/notify") == {403: 1})


def test_policy_checks_can_be_switched_off_for_the_mesh(web: Lab) -> None:
    web.apply(DENIER)
    web.apply(rule("denysvcb", "denyall.denier", "anything.checknothing", 'destination.labels["app"] == "svcb"'))
    assert statuses(web, "http://svcb/notify") == {403: 1}
    found = web.access.items("v1", "ConfigMap", "istio-system", fieldSelector="metadata.name=istio")[0]
    text = found["data"]["mesh"]

    def settings(mesh: str) -> dict[str, object]:
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "istio-system"},
                "data": {"mesh": mesh}}

    web.apply(settings(f"disablePolicyChecks: true\n{text}"))
    try:
        until(lambda: statuses(web, "http://svcb/notify") == {200: 1})
    finally:
        web.apply(settings(text))
    until(lambda: statuses(web, "http://svcb/notify") == {403: 1})


def test_the_ingress_asks_too(web: Lab) -> None:
    ingress = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
               "metadata": {"name": "pay", "namespace": "default",
                            "annotations": {"kubernetes.io/ingress.class": "istio"}},
               "spec": {"rules": [{"http": {"paths": [{"path": "/pay", "pathType": "Exact", "backend": {
                   "service": {"name": "svca", "port": {"number": 80}}}}]}}]}}

    def status() -> int:
        return statuses(web, "http://istio-ingress.istio-system/pay").popitem()[0]

    web.apply(ingress)
    try:
        until(lambda: status() == 200)
        web.apply(DENIER)
        web.apply(rule("denyall", "denyall.denier", "anything.checknothing",
                       'destination.labels["istio"] == "ingress"').replace(
                           "name: denyall,", "name: denyall, namespace: istio-system,").replace(
                           "denyall.denier", "denyall.denier.default").replace(
                           "anything.checknothing", "anything.checknothing.default"))
        until(lambda: status() == 403)
        assert statuses(web, "http://svca/pay") == {200: 1}
    finally:
        web.delete(ingress)


@pytest.mark.parametrize(("file", "seen", "others"), [
    ("deny-svca", "403", 200), ("whitelist-versions", "404", 404), ("ratelimit-svcb", "429", 429),
])
def test_the_workbooks_own_files(web: Lab, file: str, seen: str, others: int) -> None:
    """`seen` by svca, which writes it in its log; `others`, the client, are nobody of a version."""
    before = len(re.findall(seen, str(web.logs("svca", tail=5000))))
    web.apply(f"mixer/{file}.yaml")
    assert web.curl("http://svca/pay", 8).by_status() == {"200": 8}
    until(lambda: len(re.findall(seen, str(web.logs("svca", tail=5000)))) > before)
    assert set(statuses(web, "http://svcb/notify", 6)) >= {others}

"""Which services pods count for, and how stored objects become a configuration."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixer_parts import default_objects, pod

from meshlab.errors import LabError, ManifestError
from meshlab.mesh.mixer.config import KINDS, Configuration, buckets, resolve
from meshlab.mesh.mixer.store import SWITCH, Store
from meshlab.mesh.mixer.workloads import INGRESS_SERVICE, REMEMBERED, Workloads, derive, service_name

DEFAULTS = default_objects()


@pytest.mark.parametrize(("label", "service"), [
    ("web", "web.shop.svc.cluster.local"),
    ("web.other", "web.other.svc.cluster.local"),
    ("web.other.svc.cluster:8080", "web.other.svc.cluster.local"),
    ("web.other.svc.cluster.local.example", "web.other.svc.cluster.local.example"),
    ("web:80", "web.shop.svc.cluster.local"),
    ("", ""), (":", ""), ("192.0.2.1", ""),
])
def test_a_label_names_this_service(label: str, service: str) -> None:
    assert service_name(label, "shop") == service


def test_a_pod_is_found_by_uid_first_and_by_address_else() -> None:
    workloads = Workloads()
    workloads.change("ADDED", pod("a-1", "127.40.0.5", "shop", app="a", version="v1"))
    workloads.change("ADDED", pod("ingress", "127.40.0.6", "istio-system", istio="ingress"))
    by_ip = derive(workloads, {"source_ip": "::ffff:127.40.0.5", "destination_ip": "127.40.0.6"},
                   look_up_ingress_source=True)
    assert by_ip["source.service"] == "a.shop.svc.cluster.local"
    assert by_ip["source.labels"] == {"app": "a", "version": "v1"}
    assert by_ip["destination.service"] == INGRESS_SERVICE
    # Traffic to the ingress comes from the world: its source is not looked up.
    assert "source.service" not in derive(
        workloads, {"source_uid": "kubernetes://a-1.shop", "destination_ip": "127.40.0.6"})
    assert derive(workloads, {"source_uid": "kubernetes://a-1.shop"})["source.name"] == "a-1"


def test_deleted_pods_are_forgotten_in_the_end() -> None:
    workloads = Workloads()
    for number in range(REMEMBERED + 5):
        each = pod(f"p-{number}", f"127.40.{number // 250}.{number % 250}", app="x")
        workloads.change("ADDED", each)
        workloads.change("DELETED", each)
    assert workloads.find("kubernetes://p-0.default", None) is None
    assert workloads.find(None, "127.40.0.0") is None
    assert workloads.find(f"kubernetes://p-{REMEMBERED}.default", None) is not None


@pytest.mark.parametrize(("definition", "bounds"), [
    ({"linearBuckets": {"offset": 0, "width": 2, "numFiniteBuckets": 2}}, (0, 2, 4)),
    ({"exponential_buckets": {"scale": 1, "growth_factor": 10, "num_finite_buckets": 2}}, (1, 10, 100)),
    ({"explicitBuckets": {"bounds": [1, 2.5]}}, (1, 2.5)),
    ({}, ()),
])
def test_buckets_have_these_bounds(definition: dict[str, Any], bounds: tuple[float, ...]) -> None:
    assert buckets(definition) == bounds


@pytest.mark.parametrize("definition", [
    {"linearBuckets": {"numFiniteBuckets": 0}}, {"exponentialBuckets": {}}, {"roundBuckets": {}},
    {"linearBuckets": {"numFiniteBuckets": 10**9}},
])
def test_bad_buckets_are_refused(definition: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Buckets"):
        buckets(definition)


def test_the_tutorials_objects_make_four_rules_and_six_metrics() -> None:
    configuration = resolve(default_objects())
    assert [rule.name.split(".")[0] for rule in configuration.rules] == [
        "kubeattrgenrulerule", "promhttp", "promtcp", "stdio"]
    assert [rule.protocol for rule in configuration.rules] == ["", "http", "tcp", ""]
    assert sorted(info.name for info in configuration.metrics.values()) == [
        "request_count", "request_duration", "request_size", "response_size", "tcp_bytes_received",
        "tcp_bytes_sent"]
    assert configuration.problems == ()


@pytest.mark.parametrize(("change", "problem"), [
    ({"kind": "rule", "spec": {"match": "1 +", "actions": []}}, "unable to parse"),
    ({"kind": "rule", "spec": {"actions": [{"handler": "no.prometheus"}]}}, "handler not found: no.prometheus"),
    ({"kind": "rule", "spec": {"actions": [{"handler": "handler.prometheus", "instances": ["no.metric"]}]}},
     "instance not found: no.metric"),
    ({"kind": "rule", "spec": {"actions": [{"handler": "handler.prometheus",
                                            "instances": ["accesslog.logentry"]}]}}, "cannot handle"),
    ({"kind": "metric", "spec": {"value": "!", "dimensions": {}}}, "unable to parse"),
    ({"kind": "prometheus", "spec": {"metrics": [{"name": "x", "instance_name": "x.metric", "kind": "SUM"}]}},
     "unknown metric kind"),
    ({"kind": "prometheus", "spec": {"metrics": [{"name": "x", "instance_name": "x.metric", "kind": "COUNTER",
                                                  "label_names": ["a b"]}]}}, "no name for a metric or label"),
    ({"kind": "metric"}, ""),
])
def test_one_bad_object_is_named_and_the_others_stay_in_force(change: dict[str, Any], problem: str) -> None:
    broken = {"metadata": {"name": "broken", "namespace": "istio-system"}, **change}
    configuration = resolve([*default_objects(), broken])
    assert len(configuration.rules) == 4
    assert problem in " ".join(configuration.problems)
    assert bool(configuration.problems) == bool(problem)


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(["match", "actions", "handler", "instances", "metrics", "buckets", "value",
                                         "dimensions", "kind", "name", "instance_name", "label_names"]),
                        inner, max_size=4), max_leaves=12)


@settings(max_examples=150)
@given(kind=st.sampled_from(list(KINDS.values())), spec=JSON)
def test_no_object_however_odd_breaks_the_configuration(kind: str, spec: Any) -> None:
    odd = {"kind": kind, "metadata": {"name": "odd", "namespace": "istio-system"}, "spec": spec}
    assert len(resolve([*DEFAULTS, odd]).rules) >= 4


def test_changes_that_come_together_take_effect_together() -> None:
    seen: list[Configuration] = []
    arrived = threading.Event()

    def take(configuration: Configuration) -> None:
        seen.append(configuration)
        if len(configuration.rules) == 4:
            arrived.set()

    store = Store(Workloads(), take)
    for each in default_objects():
        if each["kind"] not in ("RouteRule",):
            store.change("ADDED", each)
    store.open("fs:///nowhere")
    try:
        assert arrived.wait(60)
        assert len(seen) == 1
        rule = next(o for o in default_objects() if o["metadata"]["name"] == "stdio")
        arrived.clear()
        store.change("DELETED", rule)
        store.change("ADDED", rule)
        assert arrived.wait(60)
    finally:
        store.close()


def test_an_annotation_switches_the_double_report() -> None:
    store = Store(Workloads(), lambda configuration: None)
    mesh = {"kind": "ConfigMap", "metadata": {"name": "istio", "annotations": {SWITCH: "true"}}}
    store.change("ADDED", mesh)
    assert store.double_report
    store.change("MODIFIED", {"kind": "ConfigMap", "metadata": {"name": "istio"}})
    assert not store.double_report


def test_a_store_that_cannot_be_read_says_why(tmp_path: Any) -> None:
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ManifestError, match=r"bad\.yaml"):
        Store(Workloads(), lambda configuration: None).open(f"fs://{tmp_path}")
    with pytest.raises(LabError, match="unknown configuration store"):
        Store(Workloads(), lambda configuration: None).open("etcd://x")

"""Types, decoding, defaults and conversion."""

from __future__ import annotations

from typing import Any

import pytest

from meshlab.cluster.api.convert import convert
from meshlab.cluster.api.defaults import apply_defaults
from meshlab.cluster.api.pod_defaults import image_pull_policy, qos_class
from meshlab.cluster.api.quantity import QuantityError, canonical, parse
from meshlab.cluster.api.schema import Node, Schemas
from meshlab.cluster.api.strict import DecodeError, decode


def node_of(schemas: Schemas, api_version: str, kind: str) -> Node:
    node = schemas.for_kind(api_version, kind)
    assert node is not None
    return node


def test_types_are_read_one_at_a_time(schemas: Schemas) -> None:
    fresh = Schemas.load()
    assert node_of(fresh, "v1", "ConfigMap").fields["data"].kind == "map"
    assert len(fresh._types) == 1
    assert "core.v1.PodSpec" in schemas


def test_a_nodes_marks_are_those_of_kubernetes(schemas: Schemas) -> None:
    ports = schemas.node("core.v1.ServiceSpec").fields["ports"]
    assert (ports.merge_key, ports.map_keys, ports.list_type) == ("port", ("port", "protocol"), "map")
    assert schemas.for_kind("v1", "Nothing") is None


@pytest.mark.parametrize(
    ("given", "written"),
    [("1000m", "1"), (0.5, "500m"), ("1024Mi", "1Gi"), ("1.5Gi", "1536Mi"), ("1e3", "1e3"), ("2000", "2k"),
     ("0.1Ki", "102400m"), ("-5", "-5"), ("0", "0"), ("1E", "1E"), ("100n", "100n"), ("512", "512")],
)  # fmt: skip
def test_quantities_are_written_one_way(given: Any, written: str) -> None:
    assert canonical(given) == written
    assert parse(canonical(given))[0] == parse(given)[0]


@pytest.mark.parametrize("text", ["", "x", "1..2", "5 Gi", "1Zi", "."])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(QuantityError):
        canonical(text)


def test_decoding_drops_what_go_does_not_write(schemas: Schemas) -> None:
    obj = {
        "apiVersion": "v1", "kind": "Pod", "extra": 1,
        "metadata": {"name": "p", "creationTimestamp": None, "labels": {}},
        "spec": {"hostNetwork": False, "containers": [
            {"name": "c", "image": "i", "args": [], "imagee": 1, "env": [{"name": "E", "value": ""}],
             "securityContext": {}, "resources": {"limits": {"cpu": 0.5}}},
        ]},
    }  # fmt: skip
    decoded = decode(obj, node_of(schemas, "v1", "Pod"))
    assert decoded.obj == {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": {},
        "spec": {"containers": [
            {"name": "c", "image": "i", "env": [{"name": "E"}], "securityContext": {},
             "resources": {"limits": {"cpu": "500m"}}},
        ]},
    }  # fmt: skip
    assert decoded.unknown == ["extra", "spec.containers[0].imagee"]
    assert decoded.strict_message() == (
        'strict decoding error: unknown field "extra", unknown field "spec.containers[0].imagee"'
    )


def test_a_zero_that_means_something_is_kept(schemas: Schemas) -> None:
    deployment = {"spec": {"replicas": 0, "paused": False}}
    decoded = decode(deployment, node_of(schemas, "apps/v1", "Deployment")).obj["spec"]
    assert decoded["replicas"] == 0
    assert "paused" not in decoded


@pytest.mark.parametrize(
    ("kind", "obj", "message"),
    [
        ("Deployment", {"spec": {"replicas": "3"}},
         "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"),
        ("Deployment", {"spec": {"template": {"spec": {"containers": "x"}}}},
         "json: cannot unmarshal string into Go struct field PodSpec.spec.template.spec.containers of type "
         "[]v1.Container"),
        ("Deployment", {"spec": {"template": {"spec": {"containers": [{"env": [{"name": "x", "value": 5}]}]}}}},
         "json: cannot unmarshal number into Go struct field EnvVar.spec.template.spec.containers.env.value of "
         "type string"),
        ("Deployment", {"metadata": {"labels": {"a": 1}}},
         "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string"),
        ("Deployment", {"spec": []},
         "json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec"),
        ("Deployment", {"metadata": {"creationTimestamp": "yesterday"}},
         'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"'),
    ],
)  # fmt: skip
def test_a_wrong_type_is_an_error_in_gos_words(schemas: Schemas, kind: str, obj: Any, message: str) -> None:
    with pytest.raises(DecodeError) as refused:
        decode(obj, node_of(schemas, "apps/v1", kind))
    assert str(refused.value) == message


def test_secrets_are_base64(schemas: Schemas) -> None:
    with pytest.raises(DecodeError, match="illegal base64 data at input byte"):
        decode({"data": {"a": "%%%"}}, node_of(schemas, "v1", "Secret"))
    made = apply_defaults({"apiVersion": "v1", "kind": "Secret", "stringData": {"p": "word"}})
    assert made == {"apiVersion": "v1", "kind": "Secret", "data": {"p": "d29yZA=="}, "type": "Opaque"}


TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "svca:v0.1"}]}}


def test_the_two_deployments_default_differently() -> None:
    new = apply_defaults({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": TEMPLATE}})["spec"]
    old = apply_defaults({"apiVersion": "extensions/v1beta1", "kind": "Deployment", "spec": {"template": TEMPLATE}})
    assert "selector" not in new
    assert old["spec"]["selector"] == {"matchLabels": {"app": "web"}}
    assert old["metadata"]["labels"] == {"app": "web"}
    assert new["strategy"]["rollingUpdate"] == {"maxUnavailable": "25%", "maxSurge": "25%"}
    assert old["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 1}
    assert (new["progressDeadlineSeconds"], old["spec"]["progressDeadlineSeconds"]) == (600, 2**31 - 1)


EVERYTHING = [
    {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{
        "name": "c", "ports": [{"containerPort": 80}], "readinessProbe": {"httpGet": {"port": 80}},
        "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "resources": {"limits": {"cpu": "1"}},
    }], "volumes": [{"name": "v", "configMap": {"name": "m"}}, {"name": "e"}]}},
    {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}]}},
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}},
    {"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": {"template": TEMPLATE}},
    {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": TEMPLATE}},
    {"apiVersion": "batch/v1", "kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": TEMPLATE}}}},
    {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "spec": {"maxReplicas": 3}},
    {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"egress": [{}]}},
    {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
     "webhooks": [{"name": "a.b.c", "rules": [{}], "clientConfig": {"service": {"name": "s"}}}]},
]  # fmt: skip


@pytest.mark.parametrize("obj", EVERYTHING, ids=lambda o: str(o["kind"]))
def test_defaulting_twice_changes_nothing(obj: dict[str, Any]) -> None:
    once = apply_defaults(obj)
    assert once != obj
    assert apply_defaults(once) == once


def test_a_pod_gets_what_a_real_server_gives_it() -> None:
    pod = apply_defaults(EVERYTHING[0])
    container = pod["spec"]["containers"][0]
    assert container["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert container["readinessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
        "successThreshold": 1, "failureThreshold": 3,
    }  # fmt: skip
    assert container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert container["resources"]["requests"] == {"cpu": "1"}
    assert pod["spec"]["volumes"] == [
        {"name": "v", "configMap": {"name": "m", "defaultMode": 0o644}}, {"name": "e", "emptyDir": {}},
    ]  # fmt: skip
    assert pod["status"] == {"phase": "Pending", "qosClass": "Burstable"}
    assert {t["key"] for t in pod["spec"]["tolerations"]} == {
        "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("image", "policy"),
    [("nginx", "Always"), ("nginx:latest", "Always"), ("nginx:1", "IfNotPresent"), ("host:5000/a/b", "Always"),
     ("nginx@sha256:00", "IfNotPresent")],
)  # fmt: skip
def test_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    assert image_pull_policy(image) == policy


def test_quality_of_service() -> None:
    both = {"cpu": "1", "memory": "1Gi"}
    assert qos_class({"containers": [{}]}) == "BestEffort"
    assert qos_class({"containers": [{"resources": {"limits": both, "requests": both}}]}) == "Guaranteed"
    assert qos_class({"containers": [{"resources": {"requests": both}}]}) == "Burstable"


ROUND = [
    {"apiVersion": "extensions/v1beta1", "kind": "Ingress", "spec": {
        "backend": {"serviceName": "a", "servicePort": 80},
        "rules": [{"http": {"paths": [{"path": "/", "backend": {"serviceName": "b", "servicePort": "http"}}]}}],
    }},
    {"apiVersion": "events.k8s.io/v1", "kind": "Event", "regarding": {"name": "p"}, "note": "hello"},
    {"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler",
     "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50}},
    {"apiVersion": "rbac.authorization.k8s.io/v1beta1", "kind": "Role", "rules": []},
    {"apiVersion": "extensions/v1beta1", "kind": "Deployment", "spec": {"replicas": 1}},
    {"apiVersion": "apiextensions.k8s.io/v1beta1", "kind": "CustomResourceDefinition", "spec": {
        "version": "v1", "additionalPrinterColumns": [{"name": "A", "type": "string", "JSONPath": ".a"}],
        "validation": {"openAPIV3Schema": {"type": "object"}},
        "versions": [{"name": "v1", "served": True, "storage": True}]}},
]  # fmt: skip
HUBS = ["networking.k8s.io/v1", "v1", "autoscaling/v2", "rbac.authorization.k8s.io/v1", "apps/v1",
        "apiextensions.k8s.io/v1"]  # fmt: skip


@pytest.mark.parametrize(("obj", "hub"), list(zip(ROUND, HUBS, strict=True)), ids=HUBS)
def test_an_object_comes_back_from_the_stored_version_as_it_went(obj: dict[str, Any], hub: str) -> None:
    stored = convert(obj, hub)
    assert stored["apiVersion"] == hub
    assert convert(stored, str(obj["apiVersion"])) == obj


def test_an_old_ingress_is_stored_as_a_new_one() -> None:
    spec = convert(ROUND[0], "networking.k8s.io/v1")["spec"]
    assert spec["defaultBackend"] == {"service": {"name": "a", "port": {"number": 80}}}
    path = spec["rules"][0]["http"]["paths"][0]
    assert path["backend"] == {"service": {"name": "b", "port": {"name": "http"}}}


def test_versions_that_share_nothing_do_not_convert() -> None:
    with pytest.raises(ValueError, match="no conversion"):
        convert({"apiVersion": "v1", "kind": "Pod"}, "apps/v1")

"""Verdicts on write, in a real server's words."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytest

from meshlab.cluster.api import formats
from meshlab.cluster.api.defaults import apply_defaults
from meshlab.cluster.api.schema import Schemas
from meshlab.cluster.api.strict import decode
from meshlab.cluster.api.structural import default, prune
from meshlab.cluster.api.structural import validate as validate_custom
from meshlab.cluster.api.validation import validate


@dataclass(frozen=True)
class Kind:
    group: str
    version: str
    kind: str
    plural: str = ""
    namespaced: bool = True


def kind_of(obj: dict[str, Any]) -> Kind:
    group, _, version = str(obj["apiVersion"]).rpartition("/")
    cluster = obj["kind"] in ("Namespace", "ClusterRole", "CustomResourceDefinition", "PriorityClass")
    return Kind(group, version, str(obj["kind"]), namespaced=not cluster)


def made(schemas: Schemas, obj: dict[str, Any]) -> dict[str, Any]:
    """As the server has it before it validates."""
    node = schemas.for_kind(obj["apiVersion"], obj["kind"])
    assert node is not None
    new = decode({"metadata": {"name": "x"}, **obj}, node).obj
    if kind_of(obj).namespaced:
        new["metadata"].setdefault("namespace", "default")
    return apply_defaults(new)


def verdicts(schemas: Schemas, obj: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    before = None if old is None else made(schemas, old)
    causes = validate(made(schemas, obj), kind_of(obj), old=before)
    return [f"{cause.field}: {cause.message}" for cause in causes]


SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)


def pod(**spec: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "c", "image": "i:1"}], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "spec": spec}


def container(**fields: Any) -> dict[str, Any]:
    return pod(containers=[{"name": "c", "image": "i:1", **fields}])


def service(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}], **spec}}


def deployment(labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": labels or {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return {"apiVersion": "apps/v1", "kind": "Deployment",
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template, **spec}}  # fmt: skip


def budget(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "spec": spec}


def quota(**hard: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ResourceQuota", "spec": {"hard": hard}}


def limits(**item: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "LimitRange", "spec": {"limits": [{"type": "Container", **item}]}}


def policy(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": {}, **spec}}


def binding(role: str) -> dict[str, Any]:
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role}}  # fmt: skip


def config_map(**fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", **fields}


VALID = {
    "pod": pod(),
    "service": service(),
    "headless": service(ports=[], clusterIP="None"),
    "external": {"apiVersion": "v1", "kind": "Service", "spec": {"type": "ExternalName", "externalName": "a.b"}},
    "deployment": deployment(),
    "old deployment": {**deployment(), "apiVersion": "extensions/v1beta1"},
    "config map": config_map(data={"a.b": "1"}),
    "old ingress": {"apiVersion": "extensions/v1beta1", "kind": "Ingress", "spec": {
        "rules": [{"http": {"paths": [{"path": "/.*", "backend": {"serviceName": "a", "servicePort": 80}}]}}]}},
    "cluster role": {"apiVersion": "rbac.authorization.k8s.io/v1beta1", "kind": "ClusterRole",
                     "metadata": {"name": "system:istio"},
                     "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]},
}  # fmt: skip


@pytest.mark.parametrize("obj", list(VALID.values()), ids=list(VALID))
def test_what_is_valid_passes(schemas: Schemas, obj: dict[str, Any]) -> None:
    assert verdicts(schemas, obj) == []
    assert verdicts(schemas, obj, obj) == []


INVALID: list[tuple[dict[str, Any], list[str]]] = [
    (config_map(metadata={"name": "Bad_Name"}), [f'metadata.name: Invalid value: "Bad_Name": {SUBDOMAIN}']),
    (config_map(metadata={}), ["metadata.name: Required value: name or generateName is required"]),
    (config_map(metadata={"name": "a", "labels": {"b": "-"}}), [
        'metadata.labels: Invalid value: "-": a valid label must be an empty string or consist of alphanumeric '
        "characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or "
        "'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"]),
    (config_map(data={"a/b": "1"}), [
        'data[a/b]: Invalid value: "a/b": a valid config key must consist of alphanumeric characters, \'-\', \'_\' or '
        "'.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"]),
    ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a.b"}},
     ['metadata.name: Invalid value: "a.b": must not contain dots']),
    (service(ports=[]), ["spec.ports: Required value"]),
    (service(ports=[{"port": 70000}]), [
        "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
        "spec.ports[0].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive"]),
    (service(ports=[{"port": 80}, {"port": 81}]),
     ["spec.ports[0].name: Required value", "spec.ports[1].name: Required value"]),
    (service(ports=[{"port": 80, "protocol": "HTTP"}]), [
        'spec.ports[0].protocol: Unsupported value: "HTTP": supported values: "SCTP", "TCP", "UDP"']),
    (service(type="Balancer"), [
        'spec.type: Unsupported value: "Balancer": supported values: "ClusterIP", "ExternalName", "LoadBalancer", '
        '"NodePort"']),
    (service(ports=[{"port": 80, "targetPort": "Http"}]), [
        'spec.ports[0].targetPort: Invalid value: "Http": must contain only alpha-numeric characters (a-z, 0-9), and '
        "hyphens (-)"]),
    (pod(containers=[]), ["spec.containers: Required value"]),
    (pod(containers=[{"image": "i:1"}]), ["spec.containers[0].name: Required value"]),
    (pod(containers=[{"name": "a"}]), ["spec.containers[0].image: Required value"]),
    (pod(containers=[{"name": "A", "image": "i:1"}]), [f'spec.containers[0].name: Invalid value: "A": {LABEL}']),
    (pod(containers=[{"name": "a", "image": "i:1"}] * 2), ['spec.containers[1].name: Duplicate value: "a"']),
    (container(imagePullPolicy="Sometimes"), [
        'spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", '
        '"IfNotPresent", "Never"']),
    (container(volumeMounts=[{"name": "v", "mountPath": "/v"}]),
     ['spec.containers[0].volumeMounts[0].name: Not found: "v"']),
    (container(ports=[{"containerPort": 0}]), ["spec.containers[0].ports[0].containerPort: Required value"]),
    (container(readinessProbe={}), ["spec.containers[0].readinessProbe: Required value: must specify a handler type"]),
    (container(env=[{"name": "a=b"}]), [
        'spec.containers[0].env[0].name: Invalid value: "a=b": a valid environment variable name must consist only of '
        "printable ASCII characters other than '='"]),
    (container(resources={"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}), [
        'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1']),
    (pod(restartPolicy="Maybe"), [
        'spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "OnFailure", "Never"']),
    (deployment({"app": "other"}), [
        'spec.template.metadata.labels: Invalid value: {"app":"other"}: `selector` does not match template `labels`']),
    (deployment(selector=None), [
        "spec.selector: Required value",
        'spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`']),
    (deployment(selector={}), ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]),
    (deployment(replicas=-1), ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
    (deployment(strategy={"type": "Recreate", "rollingUpdate": {}}), [
        "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"]),
    (deployment(strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}), [
        "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"]),
    ({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "policy"}, "spec": {"selector": {},
        "podFailurePolicy": {"rules": []}, "template": {"spec": {
            "restartPolicy": "OnFailure", "containers": [{"name": "c", "image": "i"}]}}}},
     ['spec.template.spec.restartPolicy: Invalid value: "OnFailure": only "Never" is supported when podFailurePolicy '
      "is specified"]),
    ({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "zone"}, "spec": {
        "schedule": "0 0 * * 7", "jobTemplate": {"spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}}},
     ['spec.schedule: Invalid value: "0 0 * * 7": end of range (7) above maximum (6): 7']),
    ({"apiVersion": "batch/v1", "kind": "Job", "spec": {"selector": {}, "template": {"spec": {
        "containers": [{"name": "a", "image": "i"}]}}}},
     ['spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"']),
    ({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": {"rules": [
        {"http": {"paths": [{"path": "/", "backend": {"service": {"name": "a", "port": {"number": 80}}}}]}}]}},
     ["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"]),
    ({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": [{"verbs": ["get"]}]}, [
        "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
        "rules[0].resources: Required value: resource rules must supply at least one resource"]),
    ({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "data": {}},
     ["data[tls.crt]: Required value", "data[tls.key]: Required value"]),
    ({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": {}},
     ["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"]),
    (budget(minAvailable=1, maxUnavailable=1, selector={"matchLabels": {"a": "b"}}), [
        'spec: Invalid value: {"MinAvailable":1,"Selector":{"matchLabels":{"a":"b"}},"MaxUnavailable":1,'
        '"UnhealthyPodEvictionPolicy":null}: minAvailable and maxUnavailable cannot be both set']),
    (budget(minAvailable="120%"), ['spec.minAvailable: Invalid value: "120%": must not be greater than 100%']),
    (quota(pods="1500m", cpu="-1", apples="1"), [
        'spec.hard[apples]: Invalid value: "apples": must be a standard resource for quota',
        'spec.hard[cpu]: Invalid value: "-1": must be greater than or equal to 0',
        'spec.hard[pods]: Invalid value: "1500m": must be an integer']),
    (limits(min={"cpu": "2"}, default={"cpu": "1"}), [
        'spec.limits[0].defaultRequest[cpu]: Invalid value: "1": min value 2 is greater than default request value 1',
        'spec.limits[0].default[cpu]: Invalid value: "2": min value 2 is greater than default value 1']),
    (limits(type="Pod", default={"cpu": "1"}), [
        "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"]),
    (limits(type="PersistentVolumeClaim"), [
        "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was "
        "provided"]),
    (policy(policyTypes=["In"]), [
        'spec.policyTypes[0]: Unsupported value: "In": supported values: "Ingress", "Egress"']),
    (policy(ingress=[{"ports": [{"port": "http", "endPort": 90}, {"port": 80, "endPort": 79}, {"endPort": 1}]}]), [
        "spec.ingress[0].ports[0].endPort: Invalid value: 90: may not be specified when `port` is non-numeric",
        "spec.ingress[0].ports[1].endPort: Invalid value: 79: must be greater than or equal to `port`",
        "spec.ingress[0].ports[2].endPort: Invalid value: 1: may not be specified when `port` is not specified"]),
    (policy(egress=[{"to": [{"ipBlock": {"cidr": "10.0.0.1"}}, {"ipBlock": {"cidr": "10.0.0.0/8", "except": [
        "10.1.0.0/16", "11.0.0.0/16", "x"]}}]}]), [
        'spec.egress[0].to[0].ipBlock.cidr: Invalid value: "10.0.0.1": must be a valid CIDR value, (e.g. 10.9.8.0/24 '
        "or 2001:db8::/64)",
        'spec.egress[0].to[1].ipBlock.except[1]: Invalid value: "11.0.0.0/16": must be a strict subset of `cidr`',
        'spec.egress[0].to[1].ipBlock.except[2]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or '
        "2001:db8::/64)"]),
]  # fmt: skip


@pytest.mark.parametrize(("obj", "expected"), INVALID, ids=[e[0].partition(":")[0] for _, e in INVALID])
def test_what_is_invalid_is_refused_in_the_apis_words(
    schemas: Schemas, obj: dict[str, Any], expected: list[str]
) -> None:
    assert verdicts(schemas, obj) == expected


UPDATES: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    (deployment({"app": "v2"}, selector={"matchLabels": {"app": "v2"}}), deployment(),
     ['spec.selector: Invalid value: {"matchLabels":{"app":"v2"}}: field is immutable']),
    ({"apiVersion": "v1", "kind": "Secret", "type": "b"}, {"apiVersion": "v1", "kind": "Secret", "type": "a"},
     ['type: Invalid value: "b": field is immutable']),
    (config_map(data={"a": "2"}, immutable=True), config_map(data={"a": "1"}, immutable=True),
     ["data: Forbidden: field is immutable when `immutable` is set"]),
    (service(clusterIP="127.105.0.2"), service(clusterIP="127.105.0.1"),
     ['spec.clusterIPs[0]: Invalid value: ["127.105.0.2"]: may not change once set']),
    (binding("b"), binding("a"), [
        'roleRef: Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"Role","Name":"b"}: cannot change '
        "roleRef"]),
    (pod(containers=[{"name": "c", "image": "i:2"}]), pod(), []),
]  # fmt: skip


@pytest.mark.parametrize(("new", "old", "expected"), UPDATES, ids=lambda v: v["kind"] if isinstance(v, dict) else "")
def test_what_may_not_change(
    schemas: Schemas, new: dict[str, Any], old: dict[str, Any], expected: list[str]
) -> None:
    assert verdicts(schemas, new, old) == expected


def test_a_pods_command_may_not_change(schemas: Schemas) -> None:
    (verdict,) = verdicts(schemas, container(command=["b"]), container(command=["a"]))
    assert verdict.startswith("spec: Forbidden: pod updates may not change fields other than")


def test_lengths_are_limited() -> None:
    assert formats.dns_label("a" * 64) == ["must be no more than 63 characters"]
    assert formats.label_value("a" * 64) == ["must be no more than 63 bytes"]
    assert formats.label_key("example.com/" + "a" * 64) == ["name part must be no more than 63 bytes"]
    assert formats.port_name("a" * 16) == ["must be no more than 15 characters"]


ZAG = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["mode"],
            "properties": {
                "mode": {"type": "string", "enum": ["fast", "safe"]},
                "size": {"type": "integer", "minimum": 1, "maximum": 10, "default": 3},
                "port": {"x-kubernetes-int-or-string": True},
                "note": {"type": "string", "nullable": True, "maxLength": 5, "pattern": "^[a-z]*$"},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "items": {
                    "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                    "items": {"type": "object", "required": ["name"],
                              "properties": {"name": {"type": "string"}, "w": {"type": "integer", "default": 1}}},
                },
            },
        },
    },
}  # fmt: skip


def zag(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "x.io/v1", "kind": "Zag", "metadata": {"name": "z"}, "spec": {"mode": "fast", **spec}}


def test_custom_resources_lose_what_their_schema_does_not_know() -> None:
    obj = zag(typo=1, free={"any": {"thing": 1}}, items=[{"name": "a", "z": 1}])
    before = copy.deepcopy(obj)
    pruned, unknown = prune(obj, ZAG)
    assert unknown == ["spec.typo", "spec.items[0].z"]
    assert pruned == zag(free={"any": {"thing": 1}}, items=[{"name": "a"}])
    assert obj == before


def test_custom_resources_have_the_metadata_of_all_kinds() -> None:
    zag = {"apiVersion": "x.io/v1", "kind": "Zag", "metadata": {"name": None, "labels": {"a": "b"}, "colour": "red"}}
    pruned, unknown = prune(zag, {"type": "object"})
    assert (pruned["metadata"], unknown) == ({"labels": {"a": "b"}}, ["metadata.colour"])


def test_custom_resources_get_their_schemas_defaults() -> None:
    assert default(zag(items=[{"name": "a"}]), ZAG) == zag(size=3, items=[{"name": "a", "w": 1}])
    assert default(zag(size=None), ZAG) == zag(size=3)
    assert default(zag(size=3, note=None), ZAG) == zag(size=3, note=None)


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (zag(), []),
        (zag(note=None, port=80), []),
        (zag(port="http"), []),
        (zag(size=11), ["spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10"]),
        (zag(size="11"), ['spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"']),
        (zag(mode="slow"), ['spec.mode: Unsupported value: "slow": supported values: "fast", "safe"']),
        ({**zag(), "spec": {}}, ["spec.mode: Required value"]),
        (zag(note="toolong"), ["spec.note: Too long: may not be more than 5 bytes"]),
        (zag(note="A"), ["spec.note: Invalid value: \"A\": spec.note in body should match '^[a-z]*$'"]),
        (zag(items=[{"name": "a"}, {"name": "a"}]), ['spec.items[1]: Duplicate value: {"name":"a"}']),
        (zag(items=[{}]), ["spec.items[0].name: Required value"]),
        (zag(port=True), [
            'spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean"']),
    ],
)  # fmt: skip
def test_custom_resources_are_validated(obj: dict[str, Any], expected: list[str]) -> None:
    assert [f"{c.field}: {c.message}" for c in validate_custom(obj, ZAG)] == expected


def test_what_was_wrong_before_a_schema_grew_stricter_may_stay() -> None:
    assert validate_custom(zag(size=11, note="new"), ZAG, old=zag(size=11)) == []
    assert validate_custom(zag(size=12), ZAG, old=zag(size=11)) != []

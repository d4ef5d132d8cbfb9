"""What a real server refuses in pods, and in what keeps pods: its paths, its order and its words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from meshlab.cluster.api.builtin import built_in_resources
from meshlab.cluster.api.defaults import apply_defaults
from meshlab.cluster.api.registry import Registry
from meshlab.cluster.api.schema import Schemas
from meshlab.cluster.api.service_types import fit_type
from meshlab.cluster.api.strict import decode
from meshlab.cluster.api.validation import validate

NAME = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
NODES = "spec.affinity.nodeAffinity."
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    yield Registry.of(built_in_resources())


def verdicts(schemas: Schemas, registry: Registry, obj: dict[str, Any]) -> list[str]:
    resource = registry.by_kind(obj["apiVersion"], obj["kind"])
    node = schemas.for_kind(obj["apiVersion"], obj["kind"])
    assert resource is not None and node is not None
    new = decode({"metadata": {"name": "x", "namespace": "default"}, **obj}, node).obj
    return [f"{cause.field}: {cause.message}" for cause in validate(apply_defaults(new), resource)]


def container(**fields: Any) -> list[dict[str, Any]]:
    return [{"name": "c", "image": "i", **fields}]


def user(number: int) -> str:
    return f"Invalid value: {number}: must be between 0 and 2147483647, inclusive"


PODS: list[tuple[dict[str, Any], list[str]]] = [
    ({"containers": container(ports=[{"containerPort": 1, "hostPort": 1}, {"containerPort": 2, "hostPort": 1}])},
     ['containers[0].ports[1].hostPort: Duplicate value: "TCP//1"']),
    ({"containers": container(), "ephemeralContainers": container(name="e")},
     ["ephemeralContainers: Forbidden: cannot be set on create"]),
    ({"containers": container(envFrom=[{"prefix": "a=b"}])},
     ["containers[0].envFrom[0].prefix: Invalid value: \"a=b\": a valid environment variable name must consist only of "
      "printable ASCII characters other than '='",
      'containers[0].envFrom: Invalid value: "": must specify one of: `configMapRef` or `secretRef`']),
    ({"containers": container(env=[{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a b']"}}}])},
     [f'containers[0].env[0].valueFrom.fieldRef: Invalid value: "a b": {NAME}']),
    ({"containers": container(env=[
        {"name": "a", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "2"}}}])},
     ['containers[0].env[0].valueFrom.resourceFieldRef.divisor: Invalid value: "limits.cpu": only divisor\'s values 1m '
      "and 1 are supported with the cpu resource"]),
    ({"containers": container(volumeMounts=[{"name": "v", "mountPath": "/", "mountPropagation": "Bidirectional",
                                             "subPath": "../x"}]), "volumes": [{"name": "v"}]},
     ["containers[0].volumeMounts.subPath: Invalid value: \"../x\": must not contain '..'",
      "containers[0].volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to "
      "privileged containers"]),
    ({"containers": container(volumeMounts=[{"name": "v", "mountPath": "/"}]),
      "volumes": [{"name": "v", "hostPath": {"path": "/", "type": "Any"}}]},
     ['volumes[0].hostPath.type: Unsupported value: "Any": supported values: "", "BlockDevice", "CharDevice", '
      '"Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"',
      'containers[0].volumeMounts[0].name: Not found: "v"']),
    ({"containers": container(), "volumes": [{"name": "v", "projected": {"sources": [
        {"secret": {"name": "a"}, "configMap": {"name": "b"}},
        {"serviceAccountToken": {"path": "t", "expirationSeconds": 5}}]}}]},
     ["volumes[0].projected.sources[0]: Forbidden: may not specify more than 1 volume type per source",
      "volumes[0].projected.sources[1].serviceAccountToken.expirationSeconds: Invalid value: 5: may not specify a "
      "duration less than 10 minutes"]),
    ({"containers": container(), "volumes": [{"name": "v", "downwardAPI": {"items": [
        {"path": "a"}, {"path": "b", "fieldRef": {"fieldPath": "spec.nodeName"}}]}}]},
     ["volumes[0].downwardAPI: Required value: one of fieldRef and resourceFieldRef is required",
      'volumes[0].downwardAPI.fieldRef.fieldPath: Unsupported value: "spec.nodeName": supported values: '
      '"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"']),
    ({"containers": container(resources={"requests": {"example.com/gpu": "1"}})},
     ["containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources"]),
    ({"containers": container(resources={"limits": {"hugepages-2Mi": "2Mi"}})},
     ["containers[0].resources: Forbidden: HugePages require cpu or memory"]),
    ({"containers": container(resources={"claims": [{"name": "x"}]})},
     ['containers[0].resources.claims[0]: Not found: "x": must be one of the names in pod.spec.resourceClaims which is '
      "empty"]),
    ({"containers": container(readinessProbe={"exec": {"command": ["a"]}, "terminationGracePeriodSeconds": 1})},
     ["containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 1: must not be set for "
      "readinessProbes"]),
    ({"containers": container(lifecycle={"preStop": {"sleep": {"seconds": 31}}})},
     ["containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than "
      "terminationGracePeriodSeconds (30)"]),
    ({"containers": container(securityContext={"privileged": True, "allowPrivilegeEscalation": False})},
     ['containers[0].securityContext: Invalid value: {"Capabilities":null,"Privileged":true,"SELinuxOptions":null,'
      '"WindowsOptions":null,"RunAsUser":null,"RunAsGroup":null,"RunAsNonRoot":null,"ReadOnlyRootFilesystem":null,'
      '"AllowPrivilegeEscalation":false,"ProcMount":null,"SeccompProfile":null,"AppArmorProfile":null}: cannot set '
      "`allowPrivilegeEscalation` to false and `privileged` to true"]),
    ({"containers": container(securityContext={"runAsUser": -1, "seccompProfile": {"type": "Localhost"}})},
     [f"containers[0].securityContext.runAsUser: {user(-1)}",
      "containers[0].securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is "
      "Localhost"]),
    ({"containers": container(), "securityContext": {"fsGroup": -1, "fsGroupChangePolicy": "Some",
                                                     "sysctls": [{"name": "a"}, {"name": "a"}]}},
     [f"securityContext.fsGroup: {user(-1)}", 'securityContext.sysctls[1].name: Duplicate value: "a"',
      'securityContext.fsGroupChangePolicy: Unsupported value: "Some": supported values: "Always", '
      '"OnRootMismatch"']),
    ({"containers": container(ports=[{"containerPort": 1, "hostPort": 2}]), "hostNetwork": True},
     ["containers[0].ports[0].hostPort: Invalid value: 2: must match `containerPort` when `hostNetwork` is true"]),
    ({"containers": container(), "dnsPolicy": "None"},
     ["dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"]),
    ({"containers": container(), "hostUsers": False, "hostPID": True},
     ["HostPID: Forbidden: when `pod.Spec.HostUsers` is false"]),
    ({"containers": container(), "os": {"name": "windows"}, "hostIPC": True},
     ["hostIPC: Forbidden: cannot be set for a windows pod"]),
    ({"containers": container(), "schedulingGates": [{"name": "a"}, {"name": "a"}], "nodeName": "n"},
     ['schedulingGates[1]: Duplicate value: "a"',
      "nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"]),
    ({"containers": container(), "tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]},
     ["tolerations[0].operator: Invalid value: \"b\": value must be empty when `operator` is 'Exists'"]),
    ({"containers": container(), "topologySpreadConstraints": [
        {"maxSkew": 0, "topologyKey": "a", "whenUnsatisfiable": "Any"},
        {"maxSkew": 1, "topologyKey": "b", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 2}]},
     ["topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
      'topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "Any": supported values: "DoNotSchedule", '
      '"ScheduleAnyway"',
      "topologySpreadConstraints[1].minDomains: Invalid value: 2: can only use minDomains if "
      "whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway"]),
    ({"containers": container(), "affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": []}, PREFERRED: [
        {"weight": 0, "preference": {"matchExpressions": [{"key": "a", "operator": "Gt"}]}}]}}},
     [f"affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms: Required value: must have at least one node selector term",
      f"affinity.nodeAffinity.{PREFERRED}[0].weight: Invalid value: 0: must be in the range 1-100",
      f"affinity.nodeAffinity.{PREFERRED}[0].preference.matchExpressions[0].values: Required value: must be specified "
      "single value when `operator` is 'Lt' or 'Gt'"]),
    ({"containers": container(), "affinity": {"podAntiAffinity": {REQUIRED: [
        {"topologyKey": "a b", "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}]}}},
     [f"affinity.podAntiAffinity.{REQUIRED}[0].labelSelector.matchExpressions[0].operator: Invalid value: \"Is\": not "
      "a valid selector operator",
      f'affinity.podAntiAffinity.{REQUIRED}[0].topologyKey: Invalid value: "a b": {NAME}']),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "expected"), PODS, ids=[e[0].partition(":")[0] for _, e in PODS])
def test_pods_are_refused_in_the_apis_words(
    schemas: Schemas, registry: Registry, spec: dict[str, Any], expected: list[str]
) -> None:
    told = verdicts(schemas, registry, {"apiVersion": "v1", "kind": "Pod", "spec": spec})
    assert told == [f"spec.{each}" for each in expected]


def keeper(kind: str, **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": container()}}
    return {"apiVersion": "apps/v1", "kind": kind,
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template, **spec}}  # fmt: skip


def job(**spec: Any) -> dict[str, Any]:
    template = {"spec": {"restartPolicy": "Never", "containers": container()}}
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": template, "selector": {}, **spec}}


def service(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}], **spec}}


KEEPERS: list[tuple[dict[str, Any], list[str]]] = [
    (keeper("Deployment", strategy={"type": "Slow"}),
     ['strategy: Unsupported value: {"Type":"Slow","RollingUpdate":null}: supported values: "Recreate", '
      '"RollingUpdate"']),
    (keeper("DaemonSet", updateStrategy={"rollingUpdate": {"maxUnavailable": 0}}),
     ["updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"]),
    (keeper("DaemonSet", updateStrategy={"rollingUpdate": {"maxUnavailable": 1, "maxSurge": "10%"}}),
     ['updateStrategy.rollingUpdate.maxSurge: Invalid value: "10%": may not be set when maxUnavailable is non-zero']),
    (keeper("StatefulSet", updateStrategy={"type": "OnDelete", "rollingUpdate": {"partition": 1}}),
     ['updateStrategy.rollingUpdate: Invalid value: {"Partition":1,"MaxUnavailable":null}: only allowed for '
      "updateStrategy 'RollingUpdate'"]),
    (keeper("StatefulSet", persistentVolumeClaimRetentionPolicy={"whenDeleted": "Burn"}),
     ['persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: "Burn": supported values: "Retain", '
      '"Delete"']),
    (job(completionMode="Counted"),
     ['completionMode: Unsupported value: "Counted": supported values: "NonIndexed", "Indexed"']),
    (job(podFailurePolicy={"rules": [{"action": "FailJob"}, {"action": "Count", "onExitCodes": {
        "operator": "In", "values": [2, 0]}}]}),
     ["podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
      "podFailurePolicy.rules[1].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
      "podFailurePolicy.rules[1].onExitCodes.values: Invalid value: [2,0]: must be ordered"]),
    (job(managedBy="me"), ['managedBy: Invalid value: "me": must be a domain-prefixed path (such as "acme.io/foo")']),
    (service(ports=[{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]),
     ['ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,'
      '"NodePort":0}']),
    (service(loadBalancerClass="a", healthCheckNodePort=30001, loadBalancerSourceRanges=["x"]),
     ["LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
      'LoadBalancerSourceRanges[0]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or '
      "2001:db8::/64)",
      "loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
      "healthCheckNodePort: Invalid value: 30001: may only be set when `type` is 'LoadBalancer' and "
      "`externalTrafficPolicy` is 'Local'"]),
    (service(ipFamilies=["IPv6"]), ['ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster']),
]  # fmt: skip


@pytest.mark.parametrize(("obj", "expected"), KEEPERS, ids=[e[0].partition(":")[0] for _, e in KEEPERS])
def test_what_keeps_and_serves_pods_is_refused_in_the_apis_words(
    schemas: Schemas, registry: Registry, obj: dict[str, Any], expected: list[str]
) -> None:
    assert verdicts(schemas, registry, obj) == [f"spec.{each}" for each in expected]


def test_a_service_changes_its_type_alone() -> None:
    old = service(type="LoadBalancer", ports=[{"port": 80, "nodePort": 30001}], clusterIP="127.105.0.9",
                  externalTrafficPolicy="Cluster", allocateLoadBalancerNodePorts=True)  # fmt: skip
    new = service(**{**old["spec"], "type": "ClusterIP", "ports": [{"port": 80, "nodePort": 30001}]})
    fit_type(new, old)
    assert new["spec"] == {"type": "ClusterIP", "ports": [{"port": 80}], "clusterIP": "127.105.0.9"}
    away = service(type="ExternalName", externalName="example.com", clusterIP="127.105.0.9", ports=[])
    fit_type(away, new)
    assert away["spec"] == {"type": "ExternalName", "externalName": "example.com", "ports": []}

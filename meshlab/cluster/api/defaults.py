"""Values that the server fills in, as a real one does after decoding and before validation.

`apply_defaults` looks at the object's own apiVersion: extensions/v1beta1 defaults a Deployment's selector from its
template's labels and surges by 1, apps/v1 wants the selector written and surges by 25 %. Defaults that real servers
add in admission or in a kind's strategy (a pod's tolerations, a service's IP families) are here too: for a client
they are the same thing. What needs state (addresses, node ports, uids) is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from meshlab.cluster.api import extension_defaults as extensions
from meshlab.cluster.api.filling import at, copied, fill
from meshlab.cluster.api.pod_defaults import (
    admitted_pod,
    job_template,
    pod_template,
    requests_from_limits,
)

__all__ = ["apply_defaults", "copied"]

Object = dict[str, Any]
#: "No deadline" and "all of them", as extensions/v1beta1 writes them since Kubernetes 1.14.
MAX_INT32 = 2**31 - 1
RBAC_GROUP = "rbac.authorization.k8s.io"


def apply_defaults(obj: Mapping[str, Any]) -> Object:
    """A new object with everything filled in that its author left open. Applying it twice changes nothing."""
    new: Object = copied(dict(obj))
    rule = RULES.get((str(new.get("apiVersion")), str(new.get("kind"))))
    if rule is not None:
        rule(new)
    return new


def _pod(obj: Object) -> None:
    spec = at(obj, "spec")
    pod_template({"spec": spec})
    requests_from_limits(spec)
    fill(spec, enableServiceLinks=True)
    if spec.get("hostNetwork"):
        for container in [*spec.get("containers", ()), *spec.get("initContainers", ())]:
            for port in container.get("ports", ()):
                if not port.get("hostPort") and port.get("containerPort"):
                    port["hostPort"] = port["containerPort"]
    admitted_pod(obj)


def _labels_from_template(obj: Object) -> None:
    labels = _template_labels(obj)
    if labels and not obj.get("metadata", {}).get("labels"):
        at(obj, "metadata")["labels"] = dict(labels)


def _template_labels(obj: Object) -> Object:
    metadata = at(obj, "spec").get("template", {}).get("metadata") or {}
    labels: Object = metadata.get("labels") or {}
    return labels


def _selector_from_template(obj: Object) -> None:
    labels = _template_labels(obj)
    spec = at(obj, "spec")
    if labels and not spec.get("selector"):
        spec["selector"] = {"matchLabels": dict(labels)}


def _deployment(obj: Object, by: Any = "25%", history: int = 10, deadline: int = 600) -> None:
    spec = at(obj, "spec")
    fill(spec, replicas=1, revisionHistoryLimit=history, progressDeadlineSeconds=deadline)
    strategy = at(spec, "strategy")
    fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        fill(at(strategy, "rollingUpdate"), maxUnavailable=by, maxSurge=by)
    pod_template(at(spec, "template"))


def _old_deployment(obj: Object) -> None:
    _labels_from_template(obj)
    _selector_from_template(obj)
    _deployment(obj, by=1, history=MAX_INT32, deadline=MAX_INT32)


def _replicaset(obj: Object) -> None:
    spec = at(obj, "spec")
    fill(spec, replicas=1)
    if "template" in spec:
        pod_template(spec["template"])


def _old_replicaset(obj: Object) -> None:
    _labels_from_template(obj)
    _selector_from_template(obj)
    _replicaset(obj)


def _replication_controller(obj: Object) -> None:
    _labels_from_template(obj)
    spec = at(obj, "spec")
    labels = _template_labels(obj)
    if labels and not spec.get("selector"):
        spec["selector"] = dict(labels)
    _replicaset(obj)


def _daemonset(obj: Object) -> None:
    spec = at(obj, "spec")
    strategy = at(spec, "updateStrategy")
    fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        fill(at(strategy, "rollingUpdate"), maxUnavailable=1, maxSurge=0)
    fill(spec, revisionHistoryLimit=10)
    pod_template(at(spec, "template"))


def _old_daemonset(obj: Object) -> None:
    _labels_from_template(obj)
    _selector_from_template(obj)
    fill(at(obj, "spec", "updateStrategy"), type="OnDelete")
    _daemonset(obj)


def _statefulset(obj: Object) -> None:
    spec = at(obj, "spec")
    fill(spec, podManagementPolicy="OrderedReady", replicas=1, revisionHistoryLimit=10)
    strategy = at(spec, "updateStrategy")
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        at(strategy, "rollingUpdate")
    if strategy["type"] == "RollingUpdate" and "rollingUpdate" in strategy:
        fill(strategy["rollingUpdate"], partition=0)
    fill(at(spec, "persistentVolumeClaimRetentionPolicy"), whenDeleted="Retain", whenScaled="Retain")
    for claim in spec.get("volumeClaimTemplates", ()):
        fill(claim, apiVersion="v1", kind="PersistentVolumeClaim")
        _claim(claim)
    pod_template(at(spec, "template"))


def _job(obj: Object) -> None:
    _labels_from_template(obj)
    job_template(at(obj, "spec"))


def _cronjob(obj: Object) -> None:
    spec = at(obj, "spec")
    fill(spec, concurrencyPolicy="Allow", suspend=False, successfulJobsHistoryLimit=3,
         failedJobsHistoryLimit=1)  # fmt: skip
    pod_template(at(spec, "jobTemplate", "spec", "template"))


def _autoscaler_v1(obj: Object) -> None:
    fill(at(obj, "spec"), minReplicas=1)
    if not obj["spec"].get("targetCPUUtilizationPercentage"):
        metrics = obj.get("metadata", {}).get("annotations", {}).get("autoscaling.alpha.kubernetes.io/metrics")
        if not metrics:
            obj["spec"]["targetCPUUtilizationPercentage"] = 80


def _autoscaler(obj: Object) -> None:
    spec = at(obj, "spec")
    fill(spec, minReplicas=1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if behavior is None:
        return
    up, down = at(behavior, "scaleUp"), at(behavior, "scaleDown")
    fill(up, stabilizationWindowSeconds=0, selectPolicy="Max")
    fill(down, selectPolicy="Max")
    if not up.get("policies"):
        up["policies"] = [
            {"type": "Pods", "value": 4, "periodSeconds": 15},
            {"type": "Percent", "value": 100, "periodSeconds": 15},
        ]
    if not down.get("policies"):
        down["policies"] = [{"type": "Percent", "value": 100, "periodSeconds": 15}]


def _service(obj: Object) -> None:
    spec = at(obj, "spec")
    fill(spec, sessionAffinity="None", type="ClusterIP")
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        fill(at(spec, "sessionAffinityConfig", "clientIP"), timeoutSeconds=10800)
    for port in spec.get("ports", ()):
        fill(port, protocol="TCP")
        if port.get("targetPort") in (None, 0, "") and "port" in port:
            port["targetPort"] = port["port"]
    kind = spec["type"]
    external = kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and spec.get("externalIPs"))
    if external:
        fill(spec, externalTrafficPolicy="Cluster")
    if kind in ("NodePort", "LoadBalancer", "ClusterIP"):
        fill(spec, internalTrafficPolicy="Cluster")
        if spec.get("clusterIP") == "None" and not spec.get("selector"):
            fill(spec, ipFamilyPolicy="RequireDualStack", ipFamilies=["IPv4", "IPv6"])
        fill(spec, ipFamilyPolicy="SingleStack", ipFamilies=["IPv4"])
    if kind == "LoadBalancer":
        fill(spec, allocateLoadBalancerNodePorts=True)


def _secret(obj: Object) -> None:
    import base64

    if plain := obj.pop("stringData", None):
        data = at(obj, "data")
        for key, value in plain.items():
            data[key] = base64.b64encode(str(value).encode()).decode()
    fill(obj, type="Opaque")


def _namespace(obj: Object) -> None:
    if name := obj.get("metadata", {}).get("name"):
        at(obj, "metadata", "labels")["kubernetes.io/metadata.name"] = name
    fill(at(obj, "status"), phase="Active")


def _endpoints(obj: Object) -> None:
    for subset in obj.get("subsets", ()):
        for port in subset.get("ports", ()):
            fill(port, protocol="TCP")


def _endpointslice(obj: Object) -> None:
    for port in obj.get("ports", ()):
        port.setdefault("name", "")
        fill(port, protocol="TCP")


def _node(obj: Object) -> None:
    status = obj.get("status")
    if status and status.get("capacity") and not status.get("allocatable"):
        status["allocatable"] = dict(status["capacity"])


def _volume(obj: Object) -> None:
    fill(at(obj, "spec"), persistentVolumeReclaimPolicy="Retain", volumeMode="Filesystem")
    fill(at(obj, "status"), phase="Pending")


def _claim(obj: Object) -> None:
    fill(at(obj, "spec"), volumeMode="Filesystem")
    fill(at(obj, "status"), phase="Pending")


def _limit_range(obj: Object) -> None:
    for item in at(obj, "spec").get("limits", ()):
        if item.get("type") != "Container":
            continue
        limits = dict(item.get("default", {}))
        for name, value in item.get("max", {}).items():
            limits.setdefault(name, value)
        requests = dict(item.get("defaultRequest", {}))
        for source in (limits, item.get("min", {})):
            for name, value in source.items():
                requests.setdefault(name, value)
        for key, values in (("default", limits), ("defaultRequest", requests)):
            if values:
                item[key] = values


def _storage_class(obj: Object) -> None:
    fill(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def _priority_class(obj: Object) -> None:
    fill(obj, preemptionPolicy="PreemptLowerPriority")


def _network_policy(obj: Object) -> None:
    spec = at(obj, "spec")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    for rule in [*spec.get("ingress", ()), *spec.get("egress", ())]:
        for port in rule.get("ports", ()):
            fill(port, protocol="TCP")


def _binding(obj: Object) -> None:
    if obj.get("roleRef"):
        fill(obj["roleRef"], apiGroup=RBAC_GROUP)
    for subject in obj.get("subjects", ()):
        if subject.get("kind") in ("User", "Group"):
            fill(subject, apiGroup=RBAC_GROUP)


def _old_ingress(obj: Object) -> None:
    for rule in at(obj, "spec").get("rules", ()):
        for path in (rule.get("http") or {}).get("paths", ()):
            fill(path, pathType="ImplementationSpecific")


def _ingress_class(obj: Object) -> None:
    if parameters := at(obj, "spec").get("parameters"):
        fill(parameters, scope="Cluster")


def _rules() -> dict[tuple[str, str], Callable[[Object], None]]:
    apps, old = "apps/v1", "extensions/v1beta1"
    rules: dict[tuple[str, str], Callable[[Object], None]] = {
        ("v1", "Pod"): _pod,
        ("v1", "PodTemplate"): lambda o: pod_template(at(o, "template")),
        ("v1", "ReplicationController"): _replication_controller,
        ("v1", "Service"): _service,
        ("v1", "Secret"): _secret,
        ("v1", "Namespace"): _namespace,
        ("v1", "Endpoints"): _endpoints,
        ("v1", "Node"): _node,
        ("v1", "PersistentVolume"): _volume,
        ("v1", "PersistentVolumeClaim"): _claim,
        ("v1", "LimitRange"): _limit_range,
        (apps, "Deployment"): _deployment,
        (apps, "ReplicaSet"): _replicaset,
        (apps, "DaemonSet"): _daemonset,
        (apps, "StatefulSet"): _statefulset,
        (old, "Deployment"): _old_deployment,
        (old, "ReplicaSet"): _old_replicaset,
        (old, "DaemonSet"): _old_daemonset,
        (old, "Ingress"): _old_ingress,
        ("networking.k8s.io/v1beta1", "Ingress"): _old_ingress,
        ("networking.k8s.io/v1", "NetworkPolicy"): _network_policy,
        ("discovery.k8s.io/v1", "EndpointSlice"): _endpointslice,
        ("batch/v1", "Job"): _job,
        ("batch/v1", "CronJob"): _cronjob,
        ("autoscaling/v1", "HorizontalPodAutoscaler"): _autoscaler_v1,
        ("autoscaling/v2", "HorizontalPodAutoscaler"): _autoscaler,
        ("storage.k8s.io/v1", "StorageClass"): _storage_class,
        ("scheduling.k8s.io/v1", "PriorityClass"): _priority_class,
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"): extensions.definition,
        ("apiextensions.k8s.io/v1beta1", "CustomResourceDefinition"): extensions.old_definition,
        ("apiregistration.k8s.io/v1", "APIService"): extensions.api_service,
        ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"): extensions.webhooks,
        ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"): extensions.webhooks,
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"): extensions.admission_policy,
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"): extensions.policy_binding,
    }
    for version in ("v1", "v1beta1"):
        rules[f"networking.k8s.io/{version}", "IngressClass"] = _ingress_class
        for kind in ("RoleBinding", "ClusterRoleBinding"):
            rules[f"{RBAC_GROUP}/{version}", kind] = _binding
    return rules


RULES = _rules()

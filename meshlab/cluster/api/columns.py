"""Columns of `kubectl get`, by kind, as the server declares them.

A line is `Name|type|priority|description`; priority 1 shows in wide output only. A description of the form
`@core.v1.ServiceSpec.type` is that field's own in Kubernetes' documentation, which is where real servers take it
from (`descriptions`); the others are what a real server says there, and clients compare. Fields that hold a struct
are written out, because the package has no text of theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from meshlab.cluster.api.schema import Schemas

__all__ = ["custom_columns", "definitions", "known"]

NAME = "Name|string|0|@meta.v1.ObjectMeta.name"
AGE = "Age|string|0|@meta.v1.ObjectMeta.creationTimestamp"
CREATED = "Created At|date|0|@meta.v1.ObjectMeta.creationTimestamp"
CONTAINERS = "Containers|string|1|Names of each container in the template."
IMAGES = "Images|string|1|Images referenced by each container in the template."

LABELS = (
    "More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors"
)
JOB_SELECTOR = (
    "Selector|string|1|A label query over pods that should match the pod count. Normally, the system sets this field "
    "for you. " + LABELS
)

COLUMNS: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "Pod"): (
        NAME,
        "Ready|string|0|The aggregate readiness state of this pod for accepting traffic.",
        "Status|string|0|The aggregate status of the containers in this pod.",
        "Restarts|string|0|The number of times the containers in this pod have been restarted and when the last "
        "container in this pod has restarted.",
        AGE,
        "IP|string|1|@core.v1.PodStatus.podIP",
        "Node|string|1|@core.v1.PodSpec.nodeName",
        "Nominated Node|string|1|@core.v1.PodStatus.nominatedNodeName",
        "Readiness Gates|string|1|@core.v1.PodSpec.readinessGates",
    ),
    ("", "PodTemplate"): (
        NAME,
        "Containers|string|0|Names of each container in the template.",
        "Images|string|0|Images referenced by each container in the template.",
        "Pod Labels|string|0|The labels for the pod template.",
    ),
    ("policy", "PodDisruptionBudget"): (
        NAME,
        "Min Available|string|0|The minimum number of pods that must be available.",
        "Max Unavailable|string|0|The maximum number of pods that may be unavailable.",
        "Allowed Disruptions|integer|0|Calculated number of pods that may be disrupted at this time.",
        AGE,
    ),
    ("", "ReplicationController"): (
        NAME,
        "Desired|integer|0|@core.v1.ReplicationControllerSpec.replicas",
        "Current|integer|0|@core.v1.ReplicationControllerStatus.replicas",
        "Ready|integer|0|@core.v1.ReplicationControllerStatus.readyReplicas",
        AGE, CONTAINERS, IMAGES,
        "Selector|string|1|@core.v1.ReplicationControllerSpec.selector",
    ),
    ("apps", "ReplicaSet"): (
        NAME,
        "Desired|integer|0|@apps.v1.ReplicaSetSpec.replicas",
        "Current|integer|0|@apps.v1.ReplicaSetStatus.replicas",
        "Ready|integer|0|@apps.v1.ReplicaSetStatus.readyReplicas",
        AGE, CONTAINERS, IMAGES,
        "Selector|string|1|Selector is a label query over pods that should match the replica count. Label keys and "
        "values that must match in order to be controlled by this replica set. It must match the pod template's "
        "labels. " + LABELS,
    ),
    ("apps", "DaemonSet"): (
        NAME,
        "Desired|integer|0|@apps.v1.DaemonSetStatus.desiredNumberScheduled",
        "Current|integer|0|@apps.v1.DaemonSetStatus.currentNumberScheduled",
        "Ready|integer|0|@apps.v1.DaemonSetStatus.numberReady",
        "Up-to-date|integer|0|@apps.v1.DaemonSetStatus.updatedNumberScheduled",
        "Available|integer|0|@apps.v1.DaemonSetStatus.numberAvailable",
        "Node Selector|string|0|@core.v1.PodSpec.nodeSelector",
        AGE, CONTAINERS, IMAGES,
        "Selector|string|1|A label query over pods that are managed by the daemon set. Must match in order to be "
        "controlled. It must match the pod template's labels. " + LABELS,
    ),
    ("apps", "Deployment"): (
        NAME,
        "Ready|string|0|Number of the pod with ready state",
        "Up-to-date|string|0|@apps.v1.DeploymentStatus.updatedReplicas",
        "Available|string|0|@apps.v1.DeploymentStatus.availableReplicas",
        AGE, CONTAINERS, IMAGES,
        "Selector|string|1|Label selector for pods. Existing ReplicaSets whose pods are selected by this will be the "
        "ones affected by this deployment. It must match the pod template's labels.",
    ),
    ("apps", "StatefulSet"): (
        NAME,
        "Ready|string|0|Number of the pod with ready state",
        AGE, CONTAINERS, IMAGES,
    ),
    ("apps", "ControllerRevision"): (
        NAME,
        "Controller|string|0|Controller of the object",
        "Revision|string|0|@apps.v1.ControllerRevision.revision",
        AGE,
    ),
    ("batch", "Job"): (
        NAME,
        "Status|string|0|Status of the job.",
        "Completions|string|0|@batch.v1.JobStatus.succeeded",
        "Duration|string|0|Time required to complete the job.",
        AGE, CONTAINERS, IMAGES,
        JOB_SELECTOR,
    ),
    ("batch", "CronJob"): (
        NAME,
        "Schedule|string|0|@batch.v1.CronJobSpec.schedule",
        "Timezone|string|0|@batch.v1.CronJobSpec.timeZone",
        "Suspend|boolean|0|@batch.v1.CronJobSpec.suspend",
        "Active|integer|0|@batch.v1.CronJobStatus.active",
        "Last Schedule|string|0|@batch.v1.CronJobStatus.lastScheduleTime",
        AGE, CONTAINERS, IMAGES,
        JOB_SELECTOR,
    ),
    ("", "Service"): (
        NAME,
        "Type|string|0|@core.v1.ServiceSpec.type",
        "Cluster-IP|string|0|@core.v1.ServiceSpec.clusterIP",
        "External-IP|string|0|@core.v1.ServiceSpec.externalIPs",
        "Port(s)|string|0|@core.v1.ServiceSpec.ports",
        AGE,
        "Selector|string|1|@core.v1.ServiceSpec.selector",
    ),
    ("networking.k8s.io", "Ingress"): (
        NAME,
        "Class|string|0|The name of the IngressClass resource that should be used for additional configuration",
        "Hosts|string|0|Hosts that incoming requests are matched against before the ingress rule",
        "Address|string|0|Address is a list containing ingress points for the load-balancer",
        "Ports|string|0|Ports of TLS configurations that open",
        AGE,
    ),
    ("networking.k8s.io", "IngressClass"): (
        NAME,
        "Controller|string|0|Controller that is responsible for handling this class",
        "Parameters|string|0|A reference to a resource with additional parameters",
        AGE,
    ),
    ("networking.k8s.io", "NetworkPolicy"): (
        NAME,
        "Pod-Selector|string|0|podSelector selects the pods to which this NetworkPolicy object applies. The array of "
        "rules is applied to any pods selected by this field. An empty selector matches all pods in the policy's "
        "namespace. Multiple network policies can select the same set of pods. In this case, the ingress rules for "
        "each are combined additively. This field is optional. If it is not specified, it defaults to an empty "
        "selector.",
        AGE,
    ),
    ("", "Endpoints"): (NAME, "Endpoints|string|0|@core.v1.Endpoints.subsets", AGE),
    ("discovery.k8s.io", "EndpointSlice"): (
        NAME,
        "AddressType|string|0|@discovery.v1.EndpointSlice.addressType",
        "Ports|string|0|@discovery.v1.EndpointSlice.ports",
        "Endpoints|string|0|@discovery.v1.EndpointSlice.endpoints",
        AGE,
    ),
    ("", "Node"): (
        NAME,
        "Status|string|0|The status of the node",
        "Roles|string|0|The roles of the node",
        AGE,
        "Version|string|0|@core.v1.NodeSystemInfo.kubeletVersion",
        "Internal-IP|string|1|@core.v1.NodeStatus.addresses",
        "External-IP|string|1|@core.v1.NodeStatus.addresses",
        "OS-Image|string|1|@core.v1.NodeSystemInfo.osImage",
        "Kernel-Version|string|1|@core.v1.NodeSystemInfo.kernelVersion",
        "Container-Runtime|string|1|@core.v1.NodeSystemInfo.containerRuntimeVersion",
    ),
    ("", "Event"): (
        "Last Seen|string|0|@core.v1.Event.lastTimestamp",
        "Type|string|0|@core.v1.Event.type",
        "Reason|string|0|@core.v1.Event.reason",
        "Object|string|0|The object that this event is about.",
        "Subobject|string|1|@core.v1.ObjectReference.fieldPath",
        "Source|string|1|The component reporting this event. Should be a short machine understandable string.",
        "Message|string|0|@core.v1.Event.message",
        "First Seen|string|1|@core.v1.Event.firstTimestamp",
        "Count|string|1|@core.v1.Event.count",
        NAME.replace("|0|", "|1|"),
    ),
    ("", "Namespace"): (NAME, "Status|string|0|The status of the namespace", AGE),
    ("", "Secret"): (NAME, "Type|string|0|@core.v1.Secret.type", "Data|string|0|@core.v1.Secret.data", AGE),
    ("", "ServiceAccount"): (NAME, "Secrets|string|0|@core.v1.ServiceAccount.secrets", AGE),
    ("", "PersistentVolume"): (
        NAME,
        "Capacity|string|0|@core.v1.PersistentVolumeSpec.capacity",
        "Access Modes|string|0|@core.v1.PersistentVolumeSpec.accessModes",
        "Reclaim Policy|string|0|@core.v1.PersistentVolumeSpec.persistentVolumeReclaimPolicy",
        "Status|string|0|@core.v1.PersistentVolumeStatus.phase",
        "Claim|string|0|claimRef is part of a bi-directional binding between PersistentVolume and "
        "PersistentVolumeClaim. Expected to be non-nil when bound. claim.VolumeName is the authoritative bind "
        "between PV and PVC. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#binding",
        "StorageClass|string|0|StorageClass of the pv",
        "VolumeAttributesClass|string|0|VolumeAttributesClass of the pv",
        "Reason|string|0|@core.v1.PersistentVolumeStatus.reason",
        AGE,
        "VolumeMode|string|1|@core.v1.PersistentVolumeSpec.volumeMode",
    ),
    ("", "PersistentVolumeClaim"): (
        NAME,
        "Status|string|0|@core.v1.PersistentVolumeClaimStatus.phase",
        "Volume|string|0|@core.v1.PersistentVolumeClaimSpec.volumeName",
        "Capacity|string|0|@core.v1.PersistentVolumeClaimStatus.capacity",
        "Access Modes|string|0|@core.v1.PersistentVolumeClaimStatus.accessModes",
        "StorageClass|string|0|StorageClass of the pvc",
        "VolumeAttributesClass|string|0|VolumeAttributesClass of the pvc",
        AGE,
        "VolumeMode|string|1|@core.v1.PersistentVolumeClaimSpec.volumeMode",
    ),
    ("", "ConfigMap"): (NAME, "Data|string|0|@core.v1.ConfigMap.data", AGE),
    ("", "ResourceQuota"): (
        NAME,
        "Request|string|0|Request represents a minimum amount of cpu/memory that a container may consume.",
        "Limit|string|0|Limits control the maximum amount of cpu/memory that a container may use independent of "
        "contention on the node.",
        AGE,
    ),
    ("autoscaling", "HorizontalPodAutoscaler"): (
        NAME,
        "Reference|string|0|scaleTargetRef points to the target resource to scale, and is used to the pods for which "
        "metrics should be collected, as well as to actually change the replica count.",
        "Targets|string|0|@autoscaling.v2.HorizontalPodAutoscalerSpec.metrics",
        "MinPods|string|0|@autoscaling.v2.HorizontalPodAutoscalerSpec.minReplicas",
        "MaxPods|string|0|@autoscaling.v2.HorizontalPodAutoscalerSpec.maxReplicas",
        "Replicas|string|0|@autoscaling.v2.HorizontalPodAutoscalerStatus.currentReplicas",
        AGE,
    ),
    ("autoscaling", "Scale"): (
        NAME,
        "Desired|integer|0|@autoscaling.v1.ScaleSpec.replicas",
        "Available|integer|0|@autoscaling.v1.ScaleStatus.replicas",
        AGE,
    ),
    ("storage.k8s.io", "StorageClass"): (
        NAME,
        "Provisioner|string|0|@storage.v1.StorageClass.provisioner",
        "ReclaimPolicy|string|0|@storage.v1.StorageClass.reclaimPolicy",
        "VolumeBindingMode|string|0|@storage.v1.StorageClass.volumeBindingMode",
        "AllowVolumeExpansion|string|0|@storage.v1.StorageClass.allowVolumeExpansion",
        AGE,
    ),
    ("scheduling.k8s.io", "PriorityClass"): (
        NAME,
        "Value|integer|0|@scheduling.v1.PriorityClass.value",
        "Global-Default|boolean|0|@scheduling.v1.PriorityClass.globalDefault",
        AGE,
        "PreemptionPolicy|string|0|@scheduling.v1.PriorityClass.preemptionPolicy",
    ),
    ("node.k8s.io", "RuntimeClass"): (NAME, "Handler|string|0|", AGE),
    ("coordination.k8s.io", "Lease"): (
        NAME,
        "Holder|string|0|@coordination.v1.LeaseSpec.holderIdentity",
        AGE,
    ),
    ("certificates.k8s.io", "CertificateSigningRequest"): (
        NAME,
        AGE,
        "SignerName|string|0|@certificates.v1.CertificateSigningRequestSpec.signerName",
        "Requestor|string|0|@certificates.v1.CertificateSigningRequestSpec.request",
        "RequestedDuration|string|0|@certificates.v1.CertificateSigningRequestSpec.expirationSeconds",
        "Condition|string|0|@certificates.v1.CertificateSigningRequestStatus.conditions",
    ),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): (
        NAME,
        "Webhooks|integer|0|Webhooks indicates the number of webhooks registered in this configuration",
        AGE,
    ),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): (
        NAME,
        "Webhooks|integer|0|Webhooks indicates the number of webhooks registered in this configuration",
        AGE,
    ),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): (
        NAME,
        "Validations|integer|0|Validations indicates the number of validation rules defined in this configuration",
        "ParamKind|string|0|ParamKind specifies the kind of resources used to parameterize this policy",
        AGE,
    ),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"): (
        NAME,
        "PolicyName|string|0|PolicyName indicates the policy definition which the policy binding binded to",
        "ParamRef|string|0|ParamRef indicates the param resource which sets the configration param",
        AGE,
    ),
    ("apiregistration.k8s.io", "APIService"): (
        NAME,
        "Service|string|0|The reference to the service that hosts this API endpoint.",
        "Available|string|0|Whether this service is available.",
        AGE,
    ),
}
REFERRED = {
    "RoleBinding": "reference a Role in the current namespace or a ClusterRole in the global namespace",
    "ClusterRoleBinding": "only reference a ClusterRole in the global namespace",
}
for _kind, _what in REFERRED.items():
    COLUMNS["rbac.authorization.k8s.io", _kind] = (
        NAME,
        f"Role|string|0|roleRef can {_what}. If the RoleRef cannot be resolved, the Authorizer must return an error. "
        "This field is immutable.",
        AGE,
        f"Users|string|1|Users in the {_kind[0].lower()}{_kind[1:]}",
        f"Groups|string|1|Groups in the {_kind[0].lower()}{_kind[1:]}",
        f"ServiceAccounts|string|1|ServiceAccounts in the {_kind[0].lower()}{_kind[1:]}",
    )
#: Kinds without columns of their own show when they were made.
OTHERS = (NAME, CREATED)


def known(group: str, kind: str) -> bool:
    """Whether a kind has columns of its own."""
    return (group, kind) in COLUMNS


def definitions(schemas: Schemas, group: str, kind: str) -> list[dict[str, Any]]:
    """columnDefinitions of a built-in kind."""
    return _made(schemas, COLUMNS.get((group, kind), OTHERS))


def custom_columns(schemas: Schemas, columns: Iterable[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """columnDefinitions of a custom resource: its name, then what its definition lists, else its age."""
    made = _made(schemas, (NAME,))
    listed = list(columns or ())
    if not listed:
        # A custom resource's age is a date, which clients may compute with.
        return made + _made(schemas, (AGE.replace("|string|", "|date|"),))
    for column in listed:
        path = column.get("jsonPath", "")
        described = column.get("description") or f"Custom resource definition column (in JSONPath format): {path}"
        made.append({
            "name": column["name"], "type": column["type"], "format": column.get("format", ""),
            "description": described, "priority": column.get("priority", 0),
        })  # fmt: skip
    return made


def _made(schemas: Schemas, lines: Iterable[str]) -> list[dict[str, Any]]:
    parts = [line.split("|", 3) for line in lines]
    made = []
    for name, kind, priority, text in parts:
        if text.startswith("@"):
            owner, _, field = text[1:].rpartition(".")
            text = schemas.descriptions.field(owner, field)
        made.append({
            "name": name, "type": kind, "format": "name" if name == "Name" else "", "description": text,
            "priority": int(priority),
        })  # fmt: skip
    return made

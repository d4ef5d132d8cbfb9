"""The built-in kinds.

Each line of `TABLE` is `version Kind plural short,names` and words: `cluster` (no namespace), `all` (in that
category), `create` or `read` (nothing else can be done with it, and nothing is stored), `generation`, `returned`
(DELETE answers with the object), `/sub` for each subresource. What is left out of the table is refused like a kind
that nobody installed: we list only what behaves. The kinds that the tutorial writes as extensions/v1beta1 have no
short names there, or kubectl would warn that `deploy` is ambiguous.
"""

from __future__ import annotations

from meshlab.cluster.api.registry import VERBS, Resource

__all__ = ["built_in_resources"]

TABLE: dict[str, str] = {
    "": """
        v1 Binding bindings - create
        v1 ConfigMap configmaps cm
        v1 Endpoints endpoints ep
        v1 Event events ev
        v1 LimitRange limitranges limits
        v1 Namespace namespaces ns cluster /status /finalize
        v1 Node nodes no cluster /status /proxy
        v1 PersistentVolumeClaim persistentvolumeclaims pvc returned /status
        v1 PersistentVolume persistentvolumes pv cluster returned /status
        v1 Pod pods po all generation returned /status /ephemeralcontainers /log /proxy /binding /eviction /exec \
            /attach /portforward
        v1 PodTemplate podtemplates - returned
        v1 ReplicationController replicationcontrollers rc all generation /status /scale
        v1 ResourceQuota resourcequotas quota returned /status
        v1 Secret secrets -
        v1 ServiceAccount serviceaccounts sa returned /token
        v1 Service services svc all returned /status /proxy
    """,
    "apps": """
        v1 ControllerRevision controllerrevisions -
        v1 DaemonSet daemonsets ds all generation /status
        v1 Deployment deployments deploy all generation /status /scale
        v1 ReplicaSet replicasets rs all generation /status /scale
        v1 StatefulSet statefulsets sts all generation /status /scale
    """,
    "autoscaling": """
        v2 HorizontalPodAutoscaler horizontalpodautoscalers hpa all /status
        v1 HorizontalPodAutoscaler horizontalpodautoscalers hpa all /status
    """,
    "batch": """
        v1 CronJob cronjobs cj all generation /status
        v1 Job jobs - all generation /status
    """,
    "metrics.k8s.io": """
        v1beta1 NodeMetrics nodes - cluster read
        v1beta1 PodMetrics pods - read
    """,
    "networking.k8s.io": """
        v1 Ingress ingresses ing generation /status
        v1 IngressClass ingressclasses - cluster generation
        v1 NetworkPolicy networkpolicies netpol generation
        v1beta1 Ingress ingresses ing generation /status
        v1beta1 IngressClass ingressclasses - cluster generation
    """,
    "policy": """
        v1 PodDisruptionBudget poddisruptionbudgets pdb generation /status
    """,
    "storage.k8s.io": """
        v1 StorageClass storageclasses sc cluster
    """,
    "scheduling.k8s.io": """
        v1 PriorityClass priorityclasses pc cluster generation
    """,
    "node.k8s.io": """
        v1 RuntimeClass runtimeclasses - cluster
    """,
    "admissionregistration.k8s.io": """
        v1 MutatingWebhookConfiguration mutatingwebhookconfigurations - api-extensions cluster generation
        v1 ValidatingAdmissionPolicy validatingadmissionpolicies - api-extensions cluster generation /status
        v1 ValidatingAdmissionPolicyBinding validatingadmissionpolicybindings - api-extensions cluster generation
        v1 ValidatingWebhookConfiguration validatingwebhookconfigurations - api-extensions cluster generation
    """,
    "apiregistration.k8s.io": """
        v1 APIService apiservices - api-extensions cluster generation /status
    """,
    "certificates.k8s.io": """
        v1 CertificateSigningRequest certificatesigningrequests csr cluster /status /approval
    """,
    "discovery.k8s.io": """
        v1 EndpointSlice endpointslices - generation
    """,
    "events.k8s.io": """
        v1 Event events ev
    """,
    "rbac.authorization.k8s.io": """
        v1 ClusterRole clusterroles - cluster
        v1 ClusterRoleBinding clusterrolebindings - cluster
        v1 Role roles -
        v1 RoleBinding rolebindings -
        v1beta1 ClusterRole clusterroles - cluster
        v1beta1 ClusterRoleBinding clusterrolebindings - cluster
        v1beta1 Role roles -
        v1beta1 RoleBinding rolebindings -
    """,
    "apiextensions.k8s.io": """
        v1 CustomResourceDefinition customresourcedefinitions crd,crds cluster generation api-extensions /status
        v1beta1 CustomResourceDefinition customresourcedefinitions crd,crds cluster generation api-extensions /status
    """,
    "coordination.k8s.io": """
        v1 Lease leases -
    """,
    "authentication.k8s.io": """
        v1 SelfSubjectReview selfsubjectreviews - cluster create
        v1 TokenReview tokenreviews - cluster create
    """,
    "authorization.k8s.io": """
        v1 LocalSubjectAccessReview localsubjectaccessreviews - create
        v1 SelfSubjectAccessReview selfsubjectaccessreviews - cluster create
        v1 SelfSubjectRulesReview selfsubjectrulesreviews - cluster create
        v1 SubjectAccessReview subjectaccessreviews - cluster create
    """,
    "extensions": """
        v1beta1 Deployment deployments - generation /status /scale
        v1beta1 ReplicaSet replicasets - generation /status /scale
        v1beta1 Ingress ingresses - generation /status
        v1beta1 DaemonSet daemonsets - generation /status
    """,
}

#: Groups in a real server's order of preference: where two have a kind of one name, clients take the first. Others
#: come after these. The group `extensions` is last here: `kubectl get ingress` shows today's kind.
ORDER = (
    "", "apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io",
    "authorization.k8s.io", "autoscaling", "batch", "certificates.k8s.io", "networking.k8s.io", "policy",
    "rbac.authorization.k8s.io", "storage.k8s.io", "admissionregistration.k8s.io", "apiextensions.k8s.io",
    "scheduling.k8s.io", "coordination.k8s.io", "node.k8s.io", "discovery.k8s.io", "extensions",
)

#: Old homes of kinds: (group, plural) → the group that stores them.
MOVED = {
    ("extensions", "deployments"): "apps",
    ("extensions", "replicasets"): "apps",
    ("extensions", "daemonsets"): "apps",
    ("extensions", "ingresses"): "networking.k8s.io",
    ("events.k8s.io", "events"): "",
}

#: Versions of storage that are not v1.
STORED = {"autoscaling": "v2", "metrics.k8s.io": "v1beta1"}

#: Groups and kinds of which an update must say what revision it was made from.
CONDITIONAL: frozenset[str | tuple[str, str]] = frozenset((
    "admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "coordination.k8s.io",
    "flowcontrol.apiserver.k8s.io", "node.k8s.io", ("policy", "poddisruptionbudgets"),
))

#: Field selectors beyond metadata.name and metadata.namespace, by (group of storage, plural).
FIELDS: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "pods"): (
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
        "spec.hostNetwork", "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName",
    ),
    ("", "nodes"): ("spec.unschedulable",),
    ("", "namespaces"): ("status.phase",),
    ("", "secrets"): ("type",),
    ("", "services"): ("spec.clusterIP", "spec.type"),
    ("", "events"): (
        "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
        "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason",
        "reportingComponent", "source", "type",
    ),
    ("", "replicationcontrollers"): ("status.replicas",),
    ("apps", "replicasets"): ("status.replicas",),
    ("certificates.k8s.io", "certificatesigningrequests"): ("spec.signerName",),
    ("batch", "jobs"): ("status.successful",),
}


def built_in_resources() -> list[Resource]:
    """Every line of the table as a Resource; versions of one kind share their storage."""
    found = []
    for group in sorted(TABLE, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER)):
        for line in TABLE[group].split("\n"):
            if words := line.split():
                found.append(_resource(group, words))
    return found


def _resource(group: str, words: list[str]) -> Resource:
    version, kind, plural, short = words[:4]
    flags = words[4:]
    home = MOVED.get((group, plural), group)
    categories = tuple(flag for flag in flags if flag in ("all", "api-extensions"))
    return Resource(
        group=group,
        version=version,
        kind=kind,
        plural=plural,
        singular=kind.lower(),
        short_names=() if short == "-" else tuple(short.split(",")),
        categories=categories,
        namespaced="cluster" not in flags,
        subresources=frozenset(flag[1:] for flag in flags if flag.startswith("/")),
        verbs=("create",) if "create" in flags else ("get", "list") if "read" in flags else VERBS,
        storage=(home, plural),
        stored_as=f"{home}/{STORED.get(home, 'v1')}" if home else "v1",
        generation="generation" in flags,
        conditional=home in CONDITIONAL or (home, plural) in CONDITIONAL,
        returns_deleted="returned" in flags,
        list_kind=f"{kind}List",
        fields=FIELDS.get((home, plural), ()),
    )

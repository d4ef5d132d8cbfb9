"""Roles and bindings that every cluster has from its first second. Made once: who changes or deletes one means it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["ensure_roles"]

Object = dict[str, Any]

GROUP = "rbac.authorization.k8s.io"
#: Marks in the store that these were made; raised when there are more.
MADE = ("rbac-bootstrap", "1")
LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
READ = ("get", "list", "watch")
WRITE = ("create", "delete", "deletecollection", "patch", "update")
DISCOVERY = ("/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz",
             "/version", "/version/")  # fmt: skip
#: Group → kinds that those who use a namespace see and change.
USED: dict[str, tuple[str, ...]] = {
    "": ("configmaps", "endpoints", "events", "persistentvolumeclaims", "pods", "pods/log", "pods/status",
         "replicationcontrollers", "replicationcontrollers/scale", "serviceaccounts", "services"),
    "apps": ("controllerrevisions", "daemonsets", "deployments", "deployments/scale", "replicasets",
             "replicasets/scale", "statefulsets", "statefulsets/scale"),
    "autoscaling": ("horizontalpodautoscalers",),
    "batch": ("cronjobs", "jobs"),
    "discovery.k8s.io": ("endpointslices",),
    "extensions": ("daemonsets", "deployments", "deployments/scale", "ingresses", "replicasets"),
    "networking.k8s.io": ("ingresses", "networkpolicies"),
    "policy": ("poddisruptionbudgets",),
}  # fmt: skip
#: What the programs of the mesh ask for beyond what the manifests of 2017 grant them, which are applied as they are:
#: kinds that came later. The whole namespace of the control plane gets it, and nobody else.
MESH_NAMESPACE = "istio-system"
MESH: tuple[Object, ...] = (
    {"apiGroups": ["networking.istio.io", "security.istio.io", "telemetry.istio.io", "extensions.istio.io"],
     "resources": ["*"], "verbs": [*READ, "update", "patch"]},
    {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses", "ingressclasses", "ingresses/status"],
     "verbs": [*READ, "update", "patch"]},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": [*READ]},
    {"apiGroups": ["admissionregistration.k8s.io"],
     "resources": ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
     "verbs": [*READ, "create", "update", "patch"]},
    {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": [*READ, "create", "update", "patch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
)  # fmt: skip


def ensure_roles(api: Api) -> None:
    """Makes them in a new cluster, or one of before there were any."""
    if api.store.meta(MADE[0]) == MADE[1]:
        return
    for obj in [*_roles(), *_bindings()]:
        resource = api.resource(obj["apiVersion"], obj["kind"])
        if api.find(resource, None, obj["metadata"]["name"]) is None:
            api.create(resource, None, obj)
    api.store.set_meta(*MADE)


def _roles() -> list[Object]:
    edit = [{"apiGroups": [g], "resources": list(r), "verbs": [*WRITE, *READ]} for g, r in USED.items()]
    view = [{"apiGroups": [g], "resources": list(r), "verbs": [*READ]} for g, r in USED.items()]
    used = {"apiGroups": ["metrics.k8s.io"], "resources": ["nodes", "pods"], "verbs": [*READ]}
    seen = {"apiGroups": [""], "resources": ["limitranges", "namespaces", "resourcequotas"], "verbs": [*READ]}
    more = [
        {"apiGroups": [""], "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
         "resources": ["secrets", "pods/attach", "pods/eviction", "pods/exec", "pods/portforward", "pods/proxy",
                       "services/proxy"]},
        {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]},
        {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]},
    ]  # fmt: skip
    roles = {"apiGroups": [GROUP], "resources": ["rolebindings", "roles"], "verbs": [*WRITE, *READ]}
    reviews = {"apiGroups": ["authorization.k8s.io"], "resources": ["localsubjectaccessreviews"], "verbs": ["create"]}
    own = [
        {"apiGroups": ["authorization.k8s.io"], "verbs": ["create"],
         "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]},
        {"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"]},
    ]  # fmt: skip
    delegator = [
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
        {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
    ]
    everything = [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ]
    public = ["/healthz", "/livez", "/readyz", "/version", "/version/"]
    return [
        _role("cluster-admin", everything),
        _role("admin", [*edit, seen, used, *more, roles, reviews], collects="admin"),
        _role("edit", [*edit, seen, used, *more], collects="edit"),
        _role("view", [*view, seen, used], collects="view"),
        _role("system:discovery", [{"nonResourceURLs": list(DISCOVERY), "verbs": ["get"]}]),
        _role("system:basic-user", own),
        _role("system:public-info-viewer", [{"nonResourceURLs": public, "verbs": ["get"]}]),
        _role("system:auth-delegator", delegator),
        _role("meshlab:mesh", list(MESH)),
    ]


def _role(name: str, rules: list[Object], collects: str = "") -> Object:
    made: Object = {
        "apiVersion": f"{GROUP}/v1", "kind": "ClusterRole", "metadata": {"name": name, "labels": LABELS},
        "rules": rules,
    }
    if collects:
        # Roles that other programs bring join by this label.
        label = f"rbac.authorization.k8s.io/aggregate-to-{collects}"
        made["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]}
    return made


def _bindings() -> list[Object]:
    return [
        _binding("cluster-admin", "system:masters"),
        _binding("system:discovery", "system:authenticated"),
        _binding("system:basic-user", "system:authenticated"),
        _binding("system:public-info-viewer", "system:authenticated", "system:unauthenticated"),
        _binding("meshlab:mesh", f"system:serviceaccounts:{MESH_NAMESPACE}"),
    ]


def _binding(role: str, *groups: str) -> Object:
    return {
        "apiVersion": f"{GROUP}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": role, "labels": LABELS},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": GROUP, "kind": "Group", "name": group} for group in groups],
    }

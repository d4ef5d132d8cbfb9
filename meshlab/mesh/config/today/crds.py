"""Today's schemas as CustomResourceDefinitions.

`python -m meshlab.mesh.config.today.crds > manifests/istio-today/crds.yaml` writes the manifest anew; a test sees to
that it is not forgotten.
"""

from __future__ import annotations

import sys
from typing import Any

from meshlab.mesh.config.today.kinds import GATEWAY_API, GROUPS, Kind, kinds, status_schema
from meshlab.mesh.config.today.schema import openapi

__all__ = ["access", "definition", "manifest"]

_HEAD = """\
# Today's kinds of Istio and of Kubernetes' Gateway API, as far as meshlab serves them: schemas and rules, so that
# what makes no sense is refused when it is written. On a cluster with Istio, Istio's own definitions take their place.
# The last objects let the control plane of 0.4, whose own role knows nothing of these kinds, read them and say in
# their status what became of them. Made by `python -m meshlab.mesh.config.today.crds`.
"""
#: Pilot's service account in the manifests of 0.4: name, namespace.
_PILOT = ("istio-pilot-service-account", "istio-system")
_ROLE = "istio-pilot-today-istio-system"


def definition(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind."""
    schema: dict[str, Any] = {"type": "object", "properties": {"spec": openapi(kind.spec)}}
    schema["properties"]["status"] = openapi(status_schema(kind))
    if kind.group == GATEWAY_API:
        schema["required"] = ["spec"]
    columns = [{"name": name, "type": type_, "jsonPath": path} for name, type_, path in kind.columns]
    versions = []
    for number, version in enumerate(kind.versions):
        made: dict[str, Any] = {"name": version, "served": True, "storage": number == 0}
        if columns:
            made["additionalPrinterColumns"] = columns
        made["schema"] = {"openAPIV3Schema": schema}
        made["subresources"] = {"status": {}}
        versions.append(made)
    names: dict[str, Any] = {
        "kind": kind.kind,
        "listKind": f"{kind.kind}List",
        "plural": kind.plural,
        "singular": kind.kind.lower(),
        "categories": ["gateway-api"] if kind.group == GATEWAY_API else ["istio-io", kind.group.replace(".", "-")],
    }
    if kind.short:
        names["shortNames"] = list(kind.short)
    meta: dict[str, Any] = {"name": f"{kind.plural}.{kind.group}"}
    if kind.group == GATEWAY_API:
        # The API's own group is protected: whoever defines its kinds says under whose approval.
        url = "https://github.com/kubernetes-sigs/gateway-api/pull/3328"
        meta["annotations"] = {"api-approved.kubernetes.io": url}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": meta,
        "spec": {
            "group": kind.group,
            "names": names,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "versions": versions,
        },
    }


def access() -> list[dict[str, Any]]:
    """What Pilot may do with these kinds: a role and its binding."""
    group, name = "rbac.authorization.k8s.io", {"name": _ROLE}
    rules = [
        {"apiGroups": list(GROUPS), "resources": ["*"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": list(GROUPS), "resources": ["*/status"], "verbs": ["get", "update", "patch"]},
        {"apiGroups": [GATEWAY_API], "resources": ["gatewayclasses"], "verbs": ["create"]},
        {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses/status"], "verbs": ["get", "update", "patch"]},
    ]
    subject = {"kind": "ServiceAccount", "name": _PILOT[0], "namespace": _PILOT[1]}
    reference = {"apiGroup": group, "kind": "ClusterRole", "name": _ROLE}
    version = f"{group}/v1"
    return [
        {"apiVersion": version, "kind": "ClusterRole", "metadata": dict(name), "rules": rules},
        {
            "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": dict(name), "subjects": [subject],
            "roleRef": reference,
        },
    ]  # fmt: skip


def manifest() -> str:
    """All definitions as YAML, and Pilot's access to them. Versions of one kind share their schema by an anchor."""
    import yaml

    objects = [*(definition(kind) for kind in kinds().values()), *access()]
    texts = [yaml.safe_dump(each, sort_keys=False, width=118) for each in objects]
    return _HEAD + "---\n" + "---\n".join(texts)


if __name__ == "__main__":
    sys.stdout.write(manifest())

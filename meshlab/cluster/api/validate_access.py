"""Rules of RBAC's roles and bindings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshlab.cluster.api import formats
from meshlab.cluster.api.causes import Cause, go_struct, invalid, required, unsupported
from meshlab.cluster.api.validate_meta import selector

__all__ = ["role", "role_binding"]

Object = Mapping[str, Any]
RBAC = "rbac.authorization.k8s.io"


def role(obj: Object, _old: Object | None) -> list[Cause]:
    causes: list[Cause] = []
    if (aggregated := obj.get("aggregationRule")) is not None:
        path = "aggregationRule.clusterRoleSelectors"
        if not aggregated.get("clusterRoleSelectors"):
            why = "at least one clusterRoleSelector required if aggregationRule is non-nil"
            causes.append(required(path, why))
        for i, chosen in enumerate(aggregated.get("clusterRoleSelectors") or ()):
            causes += selector(f"{path}[{i}]", chosen)
    for i, rule in enumerate(obj.get("rules") or ()):
        path = f"rules[{i}]"
        if not rule.get("verbs"):
            causes.append(required(f"{path}.verbs", "verbs must contain at least one value"))
        if rule.get("nonResourceURLs"):
            if obj.get("kind") == "Role":
                why = "namespaced rules cannot apply to non-resource URLs"
                causes.append(invalid(f"{path}.nonResourceURLs", rule["nonResourceURLs"], why))
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                why = "rules cannot apply to both regular resources and non-resource URLs"
                causes.append(invalid(f"{path}.nonResourceURLs", rule["nonResourceURLs"], why))
            continue
        if not rule.get("apiGroups"):
            causes.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
        if not rule.get("resources"):
            causes.append(required(f"{path}.resources", "resource rules must supply at least one resource"))
    return causes


def role_binding(obj: Object, old: Object | None) -> list[Cause]:
    reference = obj.get("roleRef") or {}
    causes: list[Cause] = []
    if reference.get("apiGroup") != RBAC:
        causes.append(unsupported("roleRef.apiGroup", reference.get("apiGroup") or "", (RBAC,)))
    kinds = ("Role", "ClusterRole") if obj.get("kind") == "RoleBinding" else ("ClusterRole",)
    if reference.get("kind") not in kinds:
        causes.append(unsupported("roleRef.kind", reference.get("kind") or "", kinds))
    if not reference.get("name"):
        causes.append(required("roleRef.name"))
    for i, subject in enumerate(obj.get("subjects") or ()):
        causes += _subject(f"subjects[{i}]", subject, namespaced=obj.get("kind") == "RoleBinding")
    if old is not None and reference != (old.get("roleRef") or {}):
        shown = go_struct(reference, "APIGroup", "Kind", "Name", APIGroup="", Kind="", Name="")
        causes.append(invalid("roleRef", shown, "cannot change roleRef"))
    return causes


def _subject(path: str, subject: Object, *, namespaced: bool) -> list[Cause]:
    kind, group = subject.get("kind") or "", subject.get("apiGroup") or ""
    causes: list[Cause] = []
    if not subject.get("name"):
        causes.append(required(f"{path}.name"))
    if kind == "ServiceAccount":
        if name := subject.get("name"):
            causes += [invalid(f"{path}.name", name, why) for why in formats.dns_subdomain(name)]
        if group:
            causes.append(unsupported(f"{path}.apiGroup", group, ("",)))
        if not namespaced and not subject.get("namespace"):
            causes.append(required(f"{path}.namespace"))
    elif kind in ("User", "Group"):
        if group != RBAC:
            causes.append(unsupported(f"{path}.apiGroup", group, (RBAC,)))
    else:
        causes.append(unsupported(f"{path}.kind", kind, ("ServiceAccount", "User", "Group")))
    return causes

"""Answers whether a user may do something, from the roles and bindings in the store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from meshlab.cluster.api.auth import User
from meshlab.cluster.api.rbac.attributes import Attributes
from meshlab.cluster.api.rbac.rules import allows
from meshlab.cluster.api.selectors import selector_object
from meshlab.cluster.api.store import Change, Store

__all__ = ["MASTERS", "Access", "Decision"]

Object = Mapping[str, Any]
Rules = tuple[Mapping[str, Any], ...]

GROUP = "rbac.authorization.k8s.io"
ROLES, BINDINGS = f"{GROUP}/roles", f"{GROUP}/rolebindings"
CLUSTER_ROLES, CLUSTER_BINDINGS = f"{GROUP}/clusterroles", f"{GROUP}/clusterrolebindings"
#: Who is in this group may do everything, whatever is stored.
MASTERS = "system:masters"


@dataclass(frozen=True)
class Decision:
    allowed: bool
    #: By which binding; or which role is missing.
    reason: str = ""


@dataclass(frozen=True)
class _Binding:
    #: "" for a ClusterRoleBinding.
    namespace: str
    name: str
    role_kind: str
    role: str

    def granted(self, subject: str) -> str:
        kind = "RoleBinding" if self.namespace else "ClusterRoleBinding"
        name = f"{self.name}/{self.namespace}" if self.namespace else self.name
        return f'RBAC: allowed by {kind} "{name}" of {self.role_kind} "{self.role}" to {subject}'


class Access:
    """Looks at the store; what it finds is kept until a role or binding changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        #: Subject, as `_subjects` names it, → what is bound to it.
        self._bound: dict[str, list[_Binding]] | None = None
        store.listen(self._changed)

    def _changed(self, change: Change) -> None:
        if change.collection in (BINDINGS, CLUSTER_BINDINGS):
            self._bound = None

    def decide(self, user: User, attributes: Attributes) -> Decision:
        """Whether this user may do this."""
        if MASTERS in user.groups:
            return Decision(True)
        missing: list[str] = []
        for binding, subject in self._of(user):
            if binding.namespace and binding.namespace != attributes.namespace:
                continue
            rules = self._rules(binding)
            if rules is None:
                kind = binding.role_kind.lower()
                missing.append(f'{kind}.{GROUP} "{binding.role}" not found')
            elif any(allows(rule, attributes) for rule in rules):
                return Decision(True, binding.granted(subject))
        if not missing:
            return Decision(False)
        texts = list(dict.fromkeys(missing))
        return Decision(False, "RBAC: " + (texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"))

    def rules_of(self, user: User, namespace: str) -> list[Mapping[str, Any]]:
        """Every rule that grants this user something in a namespace ("": cluster-wide only)."""
        if MASTERS in user.groups:
            everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
            return [everything, {"verbs": ["*"], "nonResourceURLs": ["*"]}]
        found: list[Mapping[str, Any]] = []
        for binding, _ in self._of(user):
            if binding.namespace in ("", namespace):
                found += self._rules(binding) or ()
        return found

    def role_rules(self, namespace: str, reference: Mapping[str, Any]) -> Rules | None:
        """The rules of the role that a binding in `namespace` refers to; None where there is no such role."""
        return self._rules(_Binding(namespace, "", reference.get("kind", ""), reference.get("name", "")))

    def _of(self, user: User) -> Iterator[tuple[_Binding, str]]:
        if self._bound is None:
            self._bound = self._collect()
        for subject, shown in _subjects(user):
            for binding in self._bound.get(subject, ()):
                yield binding, shown

    def _collect(self) -> dict[str, list[_Binding]]:
        bound: dict[str, list[_Binding]] = {}
        for collection in (CLUSTER_BINDINGS, BINDINGS):
            for entry in self._store.entries(collection):
                meta, reference = entry.obj["metadata"], entry.obj.get("roleRef") or {}
                binding = _Binding(
                    meta.get("namespace", ""), meta["name"], reference.get("kind", ""), reference.get("name", "")
                )
                for subject in entry.obj.get("subjects") or ():
                    bound.setdefault(_key(subject), []).append(binding)
        return bound

    def _rules(self, binding: _Binding) -> Rules | None:
        if binding.role_kind == "Role":
            entry = self._store.get(ROLES, f"{binding.namespace}/{binding.role}")
        else:
            entry = self._store.get(CLUSTER_ROLES, binding.role)
        if entry is None:
            return None
        rules: list[Mapping[str, Any]] = list(entry.obj.get("rules") or ())
        if aggregation := entry.obj.get("aggregationRule"):
            rules += self._aggregated(aggregation.get("clusterRoleSelectors") or (), entry.key)
        return tuple(rules)

    def _aggregated(self, selectors: Iterable[Object], own: str) -> Iterator[Mapping[str, Any]]:
        matches = [selector_object(selector) for selector in selectors]
        for entry in self._store.entries(CLUSTER_ROLES):
            if entry.key != own and any(match(entry.obj) for match in matches):
                yield from entry.obj.get("rules") or ()
                if further := entry.obj.get("aggregationRule"):
                    yield from self._aggregated(further.get("clusterRoleSelectors") or (), entry.key)


def _key(subject: Object) -> str:
    if subject.get("kind") == "ServiceAccount":
        return f"User system:serviceaccount:{subject.get('namespace', '')}:{subject.get('name', '')}"
    return f"{subject.get('kind', '')} {subject.get('name', '')}"


def _subjects(user: User) -> Iterator[tuple[str, str]]:
    """The keys under which a user may be bound, and how reasons name them."""
    shown = f'User "{user.name}"'
    if user.name.startswith("system:serviceaccount:") and user.name.count(":") == 3:
        _, _, namespace, name = user.name.split(":")
        shown = f'ServiceAccount "{name}/{namespace}"'
    yield f"User {user.name}", shown
    for group in user.groups:
        yield f"Group {group}", f'Group "{group}"'

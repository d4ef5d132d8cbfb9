"""Stands before the verbs: is the caller who he says he is, and may he do this?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.auth import User
from meshlab.cluster.api.rbac.access import MASTERS, Access
from meshlab.cluster.api.rbac.attributes import Attributes
from meshlab.cluster.api.rbac.rules import compact, uncovered
from meshlab.cluster.api.registry import Resource
from meshlab.cluster.api.request import Target, flag
from meshlab.cluster.api.status import Forbidden

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["Guard"]

GROUP = "rbac.authorization.k8s.io"
VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
ACCOUNT = "system:serviceaccount:"


class Guard:
    """Authorization of requests. Every method raises Forbidden, or lets pass."""

    def __init__(self, access: Access) -> None:
        self.access = access

    def caller(self, request: web.BaseRequest, user: User) -> User:
        """The user to act as: the one that is impersonated, if any."""
        name = request.headers.get("Impersonate-User")
        if not name and "Impersonate-Group" not in request.headers and "Impersonate-Uid" not in request.headers:
            return user
        groups = request.headers.getall("Impersonate-Group", [])
        if not name:
            if groups or request.headers.get("Impersonate-Uid"):
                raise Forbidden("requested impersonation without impersonating a user", details={})
            return user
        if name.startswith(ACCOUNT) and name.count(":") == 3:
            _, _, namespace, account = name.split(":")
            self._require(user, Attributes("impersonate", "", "serviceaccounts", "", namespace, account))
            groups = groups or ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
        else:
            self._require(user, Attributes("impersonate", "", "users", name=name))
        for group in request.headers.getall("Impersonate-Group", []):
            self._require(user, Attributes("impersonate", "", "groups", name=group))
        return User(name, tuple(dict.fromkeys([*groups, "system:authenticated"])))

    def path(self, request: web.BaseRequest, path: str, user: User) -> None:
        """A path that is no resource."""
        if MASTERS not in user.groups:
            self._require(user, Attributes(VERBS.get(request.method, "").lower(), path=path))

    def resource(self, request: web.BaseRequest, target: Target, user: User) -> None:
        """A verb on a resource."""
        if MASTERS in user.groups:
            return
        resource, query = target.resource, request.query
        verb, name = VERBS.get(request.method, ""), target.name or ""
        if verb == "get" and (target.watch or (target.subresource is None and flag(query, "watch"))):
            verb = "watch"
        elif target.name is None and verb in ("get", "delete"):
            verb = {"get": "list", "delete": "deletecollection"}[verb]
        if not name and verb in ("list", "watch", "deletecollection"):
            name = _selected_name(query.get("fieldSelector", ""))
        self._require(user, Attributes(
            verb, resource.group, resource.plural, target.subresource or "", target.namespace or "", name
        ))

    def creation(self, target: Target, user: User) -> None:
        """Where a request that looks like another verb creates: an update of what is missing, a command run by GET."""
        if MASTERS not in user.groups:
            group, plural = target.resource.group, target.resource.plural
            self._require(user, Attributes(
                "create", group, plural, target.subresource or "", target.namespace or "", target.name or ""
            ))

    def concerns(self, resource: Resource, user: User) -> bool:
        """Whether writes of this kind, by this user, grant rights: see `grants`."""
        return resource.storage[0] == GROUP and MASTERS not in user.groups

    def grants(self, resource: Resource, namespace: str, obj: Mapping[str, Any], user: User) -> None:
        """That who writes a role or binding holds himself what it grants, or may `escalate` or `bind`."""
        if not self.concerns(resource, user):
            return
        meta = obj.get("metadata") or {}
        name = str(meta.get("name") or "") if isinstance(meta, Mapping) else ""
        reference = obj.get("roleRef")
        if resource.plural.endswith("bindings"):
            reference = reference if isinstance(reference, Mapping) else {}
            plural = "roles" if reference.get("kind") == "Role" else "clusterroles"
            may = Attributes("bind", GROUP, plural, "", namespace, str(reference.get("name") or ""))
            wanted = self.access.role_rules(namespace, reference)
            if wanted is None:
                return
        else:
            may = Attributes("escalate", GROUP, resource.plural, "", namespace, name)
            wanted = tuple(rule for rule in obj.get("rules") or () if isinstance(rule, Mapping))
        lacking = uncovered(self.access.rules_of(user, namespace), wanted)
        if not lacking or self.access.decide(user, may).allowed:
            return
        groups = " ".join(f'"{group}"' for group in user.groups)
        raise Forbidden.of(
            resource, name,
            f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n'
            + compact(lacking),
        )

    def _require(self, user: User, attributes: Attributes) -> None:
        decision = self.access.decide(user, attributes)
        if not decision.allowed:
            raise attributes.refusal(user.name, decision.reason)


def _selected_name(selector: str) -> str:
    """The name that a field selector asks for: who may read one object may also list and watch it."""
    for term in selector.split(","):
        key, equals, value = term.replace("==", "=").partition("=")
        if equals and key.strip() == "metadata.name":
            return value.strip()
    return ""


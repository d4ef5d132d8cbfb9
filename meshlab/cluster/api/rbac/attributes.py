"""What a request wants, as authorization sees it, and the words of a refusal. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshlab.cluster.api.status import Forbidden

__all__ = ["Attributes"]


@dataclass(frozen=True)
class Attributes:
    """A verb on a resource, or on a `path` that is none."""

    #: get, list, watch, create, update, patch, delete, deletecollection, impersonate, escalate, bind …
    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    #: "" = all namespaces, or a resource that has none.
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def wanted(self) -> str:
        """`pods`, `pods/log`: how rules name it."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    def refusal(self, user: str, reason: str = "") -> Forbidden:
        """The 403, worded as a real server does."""
        who = f"User {json.dumps(user)} cannot {self.verb}"
        if self.path:
            return Forbidden(f'forbidden: {who} path "{self.path}"' + (f": {reason}" if reason else ""), details={})
        where = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        why = f'{who} resource "{self.wanted}" in API group "{self.group}" {where}'
        if reason:
            why = f"{why}: {reason}"
        qualified = f"{self.resource}.{self.group}" if self.group else self.resource
        named = f'{qualified} "{self.name}"' if self.name else qualified
        details: dict[str, Any] = {"name": self.name} if self.name else {}
        if self.group:
            details["group"] = self.group
        details["kind"] = self.resource
        return Forbidden(f"{named} is forbidden: {why}", details=details)

    @classmethod
    def of_review(cls, spec: Mapping[str, Any]) -> Attributes:
        """From a SubjectAccessReview's spec."""
        if outside := spec.get("nonResourceAttributes"):
            return cls(outside.get("verb", ""), path=outside.get("path", ""))
        asked = spec.get("resourceAttributes") or {}
        return cls(
            asked.get("verb", ""), asked.get("group", ""), asked.get("resource", ""), asked.get("subresource", ""),
            asked.get("namespace", ""), asked.get("name", ""),
        )

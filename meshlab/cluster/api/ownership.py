"""Who owns which field of an object: `metadata.managedFields`, taken apart and put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from meshlab.cluster.api.fieldset import Path, Paths, decode_fields, encode_fields, path_text

__all__ = ["Conflict", "Fields", "Managed", "Owner", "owner_of"]

Object = dict[str, Any]
#: More updaters than this are merged, oldest first.
MAX_UPDATERS = 10


@dataclass(frozen=True)
class Owner:
    """What makes an entry of managedFields another: appliers are the same in every version."""

    manager: str
    operation: str
    version: str
    subresource: str = ""

    def described(self) -> str:
        text = f'"{self.manager}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return text + (f" using {self.version}" if self.operation == "Update" else "")


@dataclass
class Fields:
    paths: Paths
    version: str
    time: str | None = None


@dataclass
class Managed:
    """All owners of an object's fields."""

    owners: dict[Owner, Fields] = field(default_factory=dict)

    @classmethod
    def of(cls, obj: Mapping[str, Any] | None) -> Managed:
        made = cls()
        for entry in ((obj or {}).get("metadata") or {}).get("managedFields") or ():
            operation, version = entry.get("operation", "Update"), entry.get("apiVersion", "")
            owner = owner_of(entry.get("manager", ""), operation, version, entry.get("subresource", ""))
            made.owners[owner] = Fields(decode_fields(entry.get("fieldsV1") or {}), version, entry.get("time"))
        return made

    def encoded(self) -> list[Object]:
        rows = []
        for owner, fields in self.owners.items():
            if not fields.paths:
                continue
            row: Object = {"manager": owner.manager, "operation": owner.operation, "apiVersion": fields.version}
            if fields.time:
                row["time"] = fields.time
            row |= {"fieldsType": "FieldsV1", "fieldsV1": encode_fields(fields.paths)}
            if owner.subresource:
                row["subresource"] = owner.subresource
            rows.append(row)
        rows.sort(key=lambda r: (r["operation"], r.get("time", ""), r["manager"], r["apiVersion"],
                                 r.get("subresource", "")))  # fmt: skip
        return rows

    def capped(self) -> None:
        """Merges the oldest updaters of a version into one, until there are few enough."""
        updaters = [owner for owner in self.owners if owner.operation == "Update"]
        updaters.sort(key=lambda o: (self.owners[o].time or "", o.manager))
        excess, first = len(updaters) - MAX_UPDATERS, {}
        for owner in updaters:
            if excess <= 0:
                return
            fields = self.owners[owner]
            if fields.version not in first:
                first[fields.version] = owner
                continue
            bucket = owner_of("ancient-changes", "Update", fields.version, "")
            if bucket not in self.owners:
                self.owners[bucket] = self.owners.pop(first[fields.version])
            kept = self.owners[bucket]
            self.owners[bucket] = replace(kept, paths=kept.paths | fields.paths, time=fields.time)
            del self.owners[owner]
            excess -= 1


def owner_of(manager: str, operation: str, version: str, subresource: str) -> Owner:
    return Owner(manager or "unknown", operation, version if operation == "Update" else "", subresource)


class Conflict(Exception):
    """Fields that others own. `conflicts` holds {"manager", "field", "message"}; str() is the Status's message."""

    def __init__(self, conflicts: list[tuple[Owner, Path]]) -> None:
        ordered = sorted(conflicts, key=lambda c: (c[0].manager, c[1]))
        self.pairs = ordered
        self.conflicts = [
            {"manager": owner.manager, "field": path_text(path), "message": f"conflict with {owner.described()}"}
            for owner, path in ordered
        ]
        if len(ordered) == 1:
            owner, path = ordered[0]
            text = f"1 conflict: conflict with {owner.described()}: {path_text(path)}"
        else:
            lines: list[str] = []
            for owner in dict.fromkeys(owner for owner, _ in ordered):
                lines.append(f"conflicts with {owner.described()}:")
                lines += [f"- {path_text(path)}" for other, path in ordered if other == owner]
            text = f"{len(ordered)} conflicts: " + "\n".join(lines)
        super().__init__(f"Apply failed with {text}")

"""Tables: what `kubectl get` asks for instead of the objects, so that the server decides what to show.

Objects may come in any version of their kind: they are brought to the stored one before their cells are made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from meshlab.cluster.api.columns import custom_columns, definitions
from meshlab.cluster.api.convert import convert, stored_version
from meshlab.cluster.api.durations import age
from meshlab.cluster.api.jsonpath import find, printed
from meshlab.cluster.api.rows import CELLS as OTHER_CELLS
from meshlab.cluster.api.rows_pods import CELLS as POD_CELLS
from meshlab.cluster.api.rows_pods import pod_conditions
from meshlab.cluster.api.schema import Schemas
from meshlab.cluster.api.validation import ResourceLike

__all__ = ["partial_metadata", "table"]

Object = Mapping[str, Any]
META_VERSION = "meta.k8s.io/v1"


def table(
    resource: ResourceLike,
    objects: Iterable[Object],
    *,
    include: str = "Metadata",
    now: datetime,
    crd_columns: Sequence[dict[str, Any]] | None = None,
    schemas: Schemas | None = None,
    custom: bool = False,
    headings: bool = True,
) -> dict[str, Any]:
    """A Table of these objects. Its `metadata` is empty: a list's revision is its maker's to add.

    `include` says what stands beside the cells: None, Metadata or Object. `custom` marks a custom resource, whose
    columns are `crd_columns`. Without `headings` there are no columnDefinitions, as in all but the first
    event of a watch.
    """
    schemas = schemas or Schemas.load()
    stored = stored_version(f"{resource.group}/{resource.version}".removeprefix("/"), resource.kind)
    group = stored.rpartition("/")[0]
    if custom:
        heads = custom_columns(schemas, crd_columns)
    else:
        heads = definitions(schemas, group, resource.kind) if headings else []
    rows = []
    for obj in objects:
        if custom:
            cells = _custom(obj, heads, crd_columns or (), now)
        else:
            seen = obj if "kind" in obj else {"apiVersion": stored, "kind": resource.kind, **obj}
            cells = _cells(convert(seen, stored), group, resource.kind, now)
        row: dict[str, Any] = {"cells": cells}
        if (group, resource.kind) == ("", "Pod") and (conditions := pod_conditions(obj)):
            row["conditions"] = conditions
        if include == "Object":
            row["object"] = obj
        elif include != "None":
            row["object"] = partial_metadata(obj)
        else:
            row["object"] = None
        rows.append(row)
    return {
        "kind": "Table", "apiVersion": META_VERSION, "metadata": {},
        "columnDefinitions": heads if headings else [], "rows": rows,
    }  # fmt: skip


def partial_metadata(obj: Object) -> dict[str, Any]:
    """An object reduced to its metadata."""
    return {
        "kind": "PartialObjectMetadata", "apiVersion": META_VERSION, "metadata": obj.get("metadata") or {},
    }  # fmt: skip


def _cells(obj: Object, group: str, kind: str, now: datetime) -> list[Any]:
    maker = POD_CELLS.get((group, kind)) or OTHER_CELLS.get((group, kind))
    if maker is not None:
        return maker(obj, now)
    meta = obj.get("metadata") or {}
    return [meta.get("name", ""), meta.get("creationTimestamp")]


def _custom(obj: Object, heads: Sequence[Object], columns: Sequence[Object], now: datetime) -> list[Any]:
    meta = obj.get("metadata") or {}
    cells: list[Any] = [meta.get("name", "")]
    if not columns:
        return [*cells, age(meta.get("creationTimestamp"), now)]
    for head, column in zip(heads[1:], columns, strict=True):
        found = find(obj, str(column.get("jsonPath", "")))
        cells.append(_custom_cell(str(head["type"]), found, now) if found else None)
    return cells


def _custom_cell(kind: str, found: Sequence[Any], now: datetime) -> Any:
    """A value in its column's type; nothing where it is of another."""
    value = found[0]
    if kind == "string":
        return " ".join(printed(item) for item in found)
    if kind == "date":
        try:
            return age(str(value), now)
        except ValueError:
            return "<invalid>"
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if kind == "integer" else value

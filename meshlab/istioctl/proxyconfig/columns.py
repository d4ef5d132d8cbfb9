"""Tables as Go's text/tabwriter lays them out with spaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["columns", "managed_by"]


def columns(rows: Iterable[Sequence[object]], padding: int = 5) -> str:
    """Each column as wide as its widest cell, then `padding` spaces; the last as it is.

    >>> columns([("NAME", "PORT"), ("svcb", 80)], padding=2)
    'NAME  PORT\\nsvcb  80\\n'
    """
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[number]) for row in cells) + padding for number in range(len(cells[0]) - 1)]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)) + row[-1] + "\n"
        for row in cells
    )


def managed_by(resource: Mapping[str, Any]) -> str:
    """`name.namespace` of the rule that istiod made something from, as its metadata says; "" where it does not."""
    fields = ((resource.get("metadata") or {}).get("filter_metadata") or {}).get("istio") or {}
    path = str(fields.get("config") or "")
    if not path:
        return ""
    parts = path.split("/")
    if not path.startswith("/apis/networking.istio.io/"):
        return "<unknown>"
    return f"{parts[7]}.{parts[5]}" if len(parts) == 8 else ""

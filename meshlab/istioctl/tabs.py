"""Tables with tabs, as Go's text/tabwriter makes them for istioctl."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["table"]

TAB = 8


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns filled up with tabs to a multiple of 8.

    0.4.0 asked for no padding at all, by which a name of exactly 8 or 16 characters ran into the next column; here
    there is always a tab between.
    """
    columns = max(map(len, rows))
    widths = [max(len(row[number]) for row in rows) // TAB * TAB + TAB for number in range(columns - 1)]
    lines = []
    for row in rows:
        cells = [
            cell + "\t" * -((len(cell) - width) // TAB) for cell, width in zip(row[:-1], widths, strict=True)
        ]
        lines.append("".join(cells) + row[-1])
    return "".join(f"{line}\n" for line in lines)

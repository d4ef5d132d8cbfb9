"""A measured figure beside its budget, and a lab to measure on."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from meshlab.lab import Lab, connect
from meshlab.settings import Settings

__all__ = ["Figure", "lab", "own_home", "quantile", "say"]


@dataclass(frozen=True)
class Figure:
    """`values` in `unit`; the line shows their median, smallest and largest."""

    what: str
    values: Sequence[float]
    unit: str
    budget: str

    def __str__(self) -> str:
        middle = statistics.median(self.values)
        spread = (
            f"({min(self.values):.4g} to {max(self.values):.4g}, n={len(self.values)})" if len(self.values) > 1 else ""
        )
        return f"{self.what:<58} {middle:>8.4g} {self.unit:<4} budget {self.budget:<10} {spread}"


def quantile(values: Sequence[float], q: float) -> float:
    """The smallest value that at least a share q of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(q * 1000) * len(ordered) // 1000) - 1))]


def say(line: str) -> None:
    print(f"    {line}", file=sys.stderr, flush=True)


@contextmanager
def own_home() -> Iterator[Settings]:
    """A lab's folder of its own in the environment; whatever runs in it is stopped at the end."""
    from meshlab.cluster.daemon import stop

    before = os.environ.get("MESHLAB_HOME")
    with tempfile.TemporaryDirectory(prefix="meshlab-bench-") as folder:
        os.environ["MESHLAB_HOME"] = str(Path(folder) / "home")
        try:
            yield Settings.load()
        finally:
            stop(Settings.load())
            if before is None:
                del os.environ["MESHLAB_HOME"]
            else:
                os.environ["MESHLAB_HOME"] = before


@contextmanager
def lab(*needs: str) -> Iterator[Lab]:
    """A lab of its own with these things in it."""
    with own_home():
        found = connect(report=say)
        found.require(*needs)
        yield found

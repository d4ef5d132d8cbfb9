"""Where a browser on this machine finds an add-on's page."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Page"]


@dataclass(frozen=True)
class Page:
    """`http://host:port/path`."""

    host: str
    port: int
    path: str

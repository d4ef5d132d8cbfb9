"""A workbook that teaches how a service mesh governs microservices, with an embedded lab of real parts.

>>> import meshlab                       # doctest: +SKIP
>>> lab = meshlab.connect()              # doctest: +SKIP
>>> lab.install()                        # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .lab import Lab, connect

__all__ = ["Lab", "connect"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`connect` and `Lab` on first use: the daemon and the pods import this package and need neither."""
    if name in ("Lab", "connect"):
        from .uninterrupted import uninterrupted

        with uninterrupted():
            from . import lab

        return getattr(lab, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

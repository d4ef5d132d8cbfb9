"""Files that others read while they are written: a reader sees the old content or the new one, never half of it."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["replace"]


def replace(path: Path, text: str) -> None:
    """Write `text` beside `path`, mode 0600, and move it there. OSError leaves the old file as it was.

    Envoy notices a file by this move; it does not look at files that are written in place.
    """
    draft = path.with_name(f".{path.name}.new")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)
    draft.replace(path)

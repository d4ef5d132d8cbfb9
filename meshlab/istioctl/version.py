"""What this istioctl says of itself.

It behaves as 0.4.0 and says so; who built it and with what is said truthfully.
"""

from __future__ import annotations

import platform

__all__ = ["REVISION", "VERSION", "build", "version_line", "version_text"]

VERSION = "0.4.0"
#: The commit of istio/istio that is tagged 0.4.0, whose behaviour this is.
REVISION = "4ea861ef32f5641094f600e61c1ff9346a612196"


def build() -> str:
    """`meshlab@0.1.0`: whose build this is."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"meshlab@{version('meshlab')}"
    except PackageNotFoundError:
        return "meshlab@source"


def version_line() -> str:
    """On one line, for the annotation of injected pods."""
    return f"{build()}-{VERSION}-{REVISION}"


def version_text() -> str:
    return (
        f"Version: {VERSION}\n"
        f"GitRevision: {REVISION}\n"
        "GitBranch: release-0.4\n"
        f"User: {build()}\n"
        f"GolangVersion: none (Python {platform.python_version()})\n"
    )

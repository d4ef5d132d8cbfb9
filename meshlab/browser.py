"""The browser of the tests: Debian's Chromium, as an ordinary user gets it.

Only tests need it, so that only `meshlab test` fetches it: some 100 MB, against 22 for all else that the lab takes
from Debian. What is unpacked is the headless shell, with those of its libraries that the machine lacks and a font.
"""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path

from .debian import unpack
from .errors import Missing
from .settings import Settings

__all__ = ["driver_environment", "fetch_browser", "find_browser"]

SHELL = "chromium-headless-shell"
#: The names under which systems have it.
NAMES = ("chromium", SHELL, "chromium-browser", "google-chrome")


def find_browser(settings: Settings) -> Path:
    """The browser: the machine's, else the one unpacked by us. Raises `Missing`."""
    own = settings.tools / "chromium" / SHELL
    for found in (*map(shutil.which, NAMES), str(own) if own.exists() else None):
        if found:
            return Path(found)
    raise Missing("there is no Chromium on this machine", why=f"neither {own} nor on PATH", then="meshlab test")


def fetch_browser(settings: Settings) -> Path:
    """Unpacks Debian's Chromium and what drives it into the environment, unless they are there. Raises `Missing`."""
    driver_environment(settings)
    try:
        return find_browser(settings)
    except Missing:
        folder = settings.tools / "chromium"
        # Not the drivers of graphics cards, which are recommended and as large as all else.
        pattern = r"lib(?!gl1-mesa-dri)|zlib"
        unpack([SHELL, "chromium-common", "fonts-dejavu-core"], folder, pattern=pattern, lacking=True)
        libraries = sorted({str(path.parent) for path in folder.rglob("*.so*")})
        (folder / "fonts.conf").write_text(
            f"""<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{folder}/usr/share/fonts</dir><cachedir>{folder}/cache</cachedir></fontconfig>
"""
        )
        start = folder / SHELL
        start.write_text(f"""#!/bin/sh
export LD_LIBRARY_PATH="{":".join(libraries)}" FONTCONFIG_FILE="{folder}/fonts.conf"
exec "{folder}/usr/lib/chromium/{SHELL}" "$@"
""")
        start.chmod(0o755)
    return find_browser(settings)


def driver_environment(settings: Settings) -> dict[str, str]:
    """What Playwright's own program needs in its environment: where a library is that a bare Debian lacks.

    Fetches it the first time. Raises `Missing`.
    """
    try:
        ctypes.CDLL("libatomic.so.1")
        return {}
    except OSError:
        folder = settings.tools / "libatomic"
        if not folder.exists():
            unpack(["libatomic1"], folder)
        (library,) = {path.parent for path in folder.rglob("libatomic.so.1")}
        return {"LD_LIBRARY_PATH": str(library)}

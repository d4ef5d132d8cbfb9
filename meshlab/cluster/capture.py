"""Which way a lab's connections are captured: chosen when it is first started, and kept with it.

The choice decides the addresses that are stored with Services and pods, so that a lab cannot change it later.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace

from meshlab.errors import LabError
from meshlab.settings import Capture, Settings

__all__ = ["WORDS", "choose", "possible"]

log = logging.getLogger(__name__)

#: What `--capture` takes.
WORDS = (*(each.value for each in Capture), "auto")


def choose(settings: Settings, wanted: Capture | None) -> Settings:
    """The settings with the lab's own capture, written down for a lab that has none yet; None takes what there is.

    A new lab for which nothing is wanted takes what MESHLAB_CAPTURE says (shim, iptables or auto), or the shim.
    Raises LabError where the lab has another one, or where this machine does not let it have the one it wants.
    """
    had = settings.network.capture
    if settings.database.exists():
        if wanted is not None and wanted is not had:
            raise LabError(
                f"this lab captures by {had.value}, not by {wanted.value}",
                why="its Services and pods have addresses that go with it",
                then=f"meshlab reset && meshlab up --capture {wanted.value}",
            )
        return settings
    said = os.environ.get("MESHLAB_CAPTURE", "")
    if wanted is None and said:
        if said not in WORDS:
            raise LabError(f"MESHLAB_CAPTURE is {said!r}", why=f"it is one of {', '.join(WORDS)}")
        wanted = possible(settings, log.info) if said == "auto" else Capture(said)
    chosen = wanted or had
    if chosen is Capture.IPTABLES:
        from meshlab.cluster.network.namespaces.lab import check

        check(settings)
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings.capture_file.touch(0o600)
    settings.capture_file.write_text(f"{chosen.value}\n")
    return replace(settings, network=replace(settings.network, capture=chosen))


def possible(settings: Settings, report: Callable[[str], None]) -> Capture:
    """The better of the two ways: what the lab has, else iptables where this machine lets it; says why not."""
    if settings.database.exists():
        return settings.network.capture
    from meshlab.cluster.network.namespaces.lab import check

    try:
        check(settings)
    except LabError as error:
        report(f"capture by the shim, for Python programs: {error.seen}" + (f" ({error.why})" if error.why else ""))
        return Capture.SHIM
    report("capture by iptables, for any program")
    return Capture.IPTABLES

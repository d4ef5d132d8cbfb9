"""`proxy-config log`: how much each part of an Envoy writes into its log, shown or changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from meshlab.errors import MeshlabError

__all__ = ["changes", "logged"]

LEVELS = ("trace", "debug", "info", "warning", "error", "critical", "off")
#: The level with which sidecars of this mesh start.
USUAL = "warning"
#: All loggers at once.
ALL = "level"


def changes(wanted: str, *, reset: bool = False) -> dict[str, str]:
    """Logger → level from `--level`: `debug`, `http:debug,router:info`. Raises MeshlabError."""
    if reset and wanted:
        raise MeshlabError("--level cannot be combined with --reset")
    if reset:
        return {ALL: USUAL}
    found: dict[str, str] = {}
    for each in wanted.split(",") if wanted else ():
        *logger, level = re.split("[:=]+", each)
        level = {"none": "off"}.get(level, level)
        if level not in LEVELS:
            raise MeshlabError(f"unrecognized logging level: {level}", why=f"there are {', '.join(LEVELS)}")
        found[logger[-1] if logger else ALL] = level
    return found


def logged(name: str, ask: Callable[[str], str], wanted: Mapping[str, str]) -> str:
    """The levels of a proxy, changed as wanted. `ask` posts to its admin interface. Raises MeshlabError."""
    said = ask("logging")
    known = set(re.findall(r"^ +([\w.-]+): ", said, re.MULTILINE))
    for logger in wanted:
        if logger != ALL and logger not in known:
            raise MeshlabError(f"unrecognized logger name: {logger}", why=f"there are {', '.join(sorted(known))}")
    for logger, level in sorted(wanted.items(), key=lambda item: item[0] != ALL):
        said = ask(f"logging?{logger}={level}")
    return f"{name}:\n{said}"

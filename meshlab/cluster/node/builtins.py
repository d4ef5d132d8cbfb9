"""Init containers that the node does itself.

`proxy_init` of Istio writes iptables rules. Here it writes down what should be captured, for the pod's shim and its
probes, and leads connections to the sidecar by the lab's own means, which are such rules or that shim. Privileged
set-up of a host, such as sysctl for core dumps, is said in the container's log and not done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from meshlab.cluster.node.images import Builtin
from meshlab.errors import LabError

__all__ = ["capture_of", "explains", "run_builtin"]


def capture_of(args: Sequence[str]) -> dict[str, Any]:
    """What `proxy_init -p PORT -u UID [-i RANGES]` would capture. ValueError for arguments that it would refuse.

    >>> capture_of(["-p", "15001", "-u", "1337"])
    {'port': 15001, 'uid': 1337, 'ranges': '*'}
    """
    known = {"-p": "15001", "-u": "1337", "-i": "", "-m": "REDIRECT", "-b": "", "-d": "", "-x": ""}
    position = 0
    while position < len(args):
        name = args[position]
        if name not in known or position + 1 >= len(args):
            raise ValueError(f"prepare_proxy.sh: illegal option {name}\n"
                             "usage: prepare_proxy.sh -p PORT -u UID [-i RANGES]")
        known[name] = args[position + 1]
        position += 2
    return {"port": int(known["-p"]), "uid": int(known["-u"]), "ranges": known["-i"] or "*"}


def explains(container: dict[str, Any], command_honoured: bool) -> bool:
    """Whether a container asks for privileges over its host, which the lab has no right to give."""
    context = container.get("securityContext") or {}
    return command_honoured and bool(context.get("privileged"))


def run_builtin(builtin: Builtin, container: dict[str, Any], *, capture: Path, log: Path,
                redirect: Callable[[int, str], str]) -> int:
    """Do it, say so in the container's log, and return its exit code.

    `redirect(port, ranges)` leads the pod's connections to its sidecar and says how.
    """
    args = [str(arg) for arg in container.get("args") or []]
    if builtin is Builtin.CAPTURE:
        try:
            wanted = capture_of(args)
        except ValueError as error:
            _say(log, str(error))
            return 1
        try:
            done = redirect(wanted["port"], wanted["ranges"])
        except (LabError, OSError) as error:
            _say(log, str(error))
            return 1
        draft = capture.with_suffix(".tmp")
        draft.write_text(json.dumps(wanted))
        draft.rename(capture)
        _say(log, done.rstrip())
        return 0
    line = " ".join([*(str(part) for part in container.get("command") or []), *args])
    _say(log, f"privileged set-up of the host is not done by this lab; it would have been: {line}")
    return 0


def _say(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text + "\n")

"""What a container sees of this machine's files: its mounts, and folders that are its own.

A container has no file system of its own here. What its manifest mounts lies below `root/`, and paths in its arguments
and variables are made those of this machine (see `paths`). `/tmp` is its own as well, and so is the file of its last
message: programs of all containers would meet there. A program that has such a path in its code, not in its arguments,
sees this machine's.

For commands that come later (exec, probes, hooks) everything that is there below the root counts, so that what
`kubectl cp` has brought is found.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from meshlab.cluster.node.account import VOLUME, mounts_of
from meshlab.cluster.node.paths import ContainerPaths, PodPaths, rewrite
from meshlab.cluster.node.volumes import mount

__all__ = ["View"]

#: Folders that a container has to itself without mounting anything.
PRIVATE = ("/tmp",)  # noqa: S108 - that is the name, not the place
#: Where a program may leave its last words, and how many bytes of them are kept; a kubelet's numbers.
MESSAGE_FILE, MESSAGE, LOG_MESSAGE = "/dev/termination-log", 4096, 2048
_PATH = re.compile(r"(?<![\w./~-])(?:/[\w.+@%~-]+)+")


class View:
    """The files of one container."""

    def __init__(self, files: ContainerPaths, spec: Mapping[str, Any]) -> None:
        self.root = files.root
        self._files, self._spec = files, spec

    @property
    def _message_file(self) -> str:
        return str(self._spec.get("terminationMessagePath") or MESSAGE_FILE)

    @property
    def places(self) -> list[str]:
        """Paths of the container that lie below `root`."""
        mounts = [str(entry["mountPath"]) for entry in mounts_of(self._spec)]
        return [*mounts, *(private for private in PRIVATE if private not in mounts), self._message_file]

    def make(self, pod: PodPaths) -> None:
        """Everything for a new run: what an earlier one wrote outside its volumes is gone. Raises BadReference."""
        shutil.rmtree(self.root, ignore_errors=True)
        mount(self._files, pod, [m for m in mounts_of(self._spec) if m["name"] != VOLUME or pod.has(VOLUME)])
        for private in PRIVATE:
            self.at(private).mkdir(parents=True, exist_ok=True)
        message = self.at(self._message_file)
        message.parent.mkdir(parents=True, exist_ok=True)
        message.touch(0o600)

    def at(self, path: str) -> Path:
        """Where a path of the container is."""
        return self.root / path.lstrip("/")

    def local(self, text: str) -> str:
        """An argument or variable of the container's own program."""
        return rewrite(text, self.root, self.places)

    def seen(self, text: str) -> str:
        """An argument of a command that is run in the container later."""
        places = self.places

        def one(found: re.Match[str]) -> str:
            path = found[0]
            inside = self.at(path)
            below = any(path == place or path.startswith(place.rstrip("/") + "/") for place in places)
            return str(inside) if below or inside.is_symlink() or inside.exists() else path

        return _PATH.sub(one, text)

    def command(self, argv: Sequence[str]) -> list[str]:
        """A command that is run in the container later. `tar`, by which kubectl copies, works below the root alone."""
        if argv and argv[0].rpartition("/")[2] == "tar":
            return self._tar(argv)
        return [self.seen(part) for part in argv]

    def _tar(self, argv: Sequence[str]) -> list[str]:
        made: list[str] = []
        for before, part in zip(["", *argv], argv, strict=False):
            inside = self.at(part)
            if before == "-C":
                if not inside.exists() and Path(part).is_dir():
                    inside.mkdir(parents=True)  # a folder that the container would have from its image
                made.append(str(inside))
            elif part.startswith("/") and part != argv[0]:
                # Names in the archive are the container's, not this machine's; a mount itself is a link.
                made += [*(["-h"] if inside.is_symlink() else []), "-C", str(self.root), part.lstrip("/") or "."]
            else:
                made.append(part)
        return made

    def last_words(self, code: int, log: Path) -> str:
        """The message with which a run has ended."""
        message = self.at(self._message_file)
        try:
            text = message.read_bytes()[:MESSAGE].decode(errors="replace")
        except OSError:
            text = ""
        if text or not code or self._spec.get("terminationMessagePolicy") != "FallbackToLogsOnError":
            return text
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_MESSAGE))
            return file.read().decode(errors="replace")

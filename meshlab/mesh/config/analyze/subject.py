"""One object under analysis: its JSON, where it came from, and the line of each of its parts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from meshlab.mesh.config.goyaml import Chunk, YamlError, documents, load

__all__ = ["Broken", "Path", "Subject", "read_file", "subject"]

Path = tuple[str | int, ...]
_STEP = re.compile(r"\.?([A-Za-z_][-\w]*)|\[([^\]]*)\]")


@dataclass(frozen=True)
class Broken:
    """A document that does not parse."""

    file: str
    line: int
    reason: str


@dataclass(frozen=True, eq=False)
class Subject:
    """`file` "" for an object of a live lab, which has no lines."""

    obj: Mapping[str, Any]
    file: str = ""
    lines: Mapping[Path, int] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return str(self.obj.get("kind") or "")

    @property
    def group(self) -> str:
        version = str(self.obj.get("apiVersion") or "")
        return version.partition("/")[0] if "/" in version else ""

    @property
    def namespace(self) -> str:
        return str((self.obj.get("metadata") or {}).get("namespace") or "default")

    @property
    def name(self) -> str:
        return str((self.obj.get("metadata") or {}).get("name") or "")

    @property
    def spec(self) -> Mapping[str, Any]:
        found = self.obj.get("spec")
        return found if isinstance(found, Mapping) else {}

    @property
    def identity(self) -> tuple[str, str, str, str]:
        return self.group, self.kind, self.namespace, self.name

    def place(self, *path: str | int) -> str:
        """`file:line` of a part, or of what is closest around it; "" without a file."""
        if not self.file:
            return ""
        wanted: Path = path
        while wanted not in self.lines and wanted:
            wanted = wanted[:-1]
        return f"{self.file}:{self.lines.get(wanted, 1)}"

    def place_of(self, problem: str) -> str:
        """The place that a problem's text begins with: `spec.http[0].route`, `http[0]: match[1]: …`."""
        head = re.match(r"[A-Za-z_][^\s:]*(?:: [A-Za-z_][^\s:]*)*", problem)
        path: list[str | int] = []
        for name, index in _STEP.findall((head.group() if head else "").replace(": ", ".")):
            step: str | int = name or (int(index) if index.isdigit() else index)
            if not path and step != "spec":
                path.append("spec")
            if (*path, step) not in self.lines:
                break
            path.append(step)
        return self.place(*path)


def subject(obj: Mapping[str, Any]) -> Subject:
    """An object of a live lab."""
    return Subject(obj)


def read_file(text: str, file: str) -> Iterator[Subject | Broken]:
    """The documents of a file; a List's items one by one."""
    for chunk in documents(text):
        try:
            value = load(chunk)
        except YamlError as error:
            yield Broken(file, error.line or chunk.line, str(error))
            continue
        if value is None:
            continue
        if not isinstance(value, Mapping):
            yield Broken(file, chunk.line, "the document is no object")
            continue
        lines = _lines(chunk)
        if value.get("kind") == "List" and isinstance(value.get("items"), list):
            for number, item in enumerate(value["items"]):
                if isinstance(item, Mapping):
                    size = len(("items", number))
                    own = {path[size:]: line for path, line in lines.items() if path[:size] == ("items", number)}
                    yield Subject(item, file, own)
        else:
            yield Subject(value, file, lines)


def _lines(chunk: Chunk) -> dict[Path, int]:
    """Path → line of each value. The document loaded, so that its depth and size are known to be bounded.

    What an anchor names stands where it is written; an alias of it is one place.
    """
    import yaml

    found: dict[Path, int] = {}
    root = yaml.compose(chunk.text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    waiting: list[tuple[Path, yaml.Node, int]] = [((), root, 0)] if root is not None else []
    seen: set[int] = set()
    while waiting:
        path, node, line = waiting.pop()
        found[path] = chunk.line + (line or node.start_mark.line)
        if id(node) in seen:
            continue
        seen.add(id(node))
        inside: list[tuple[Path, yaml.Node, int]] = []
        if isinstance(node, yaml.MappingNode):
            inside = [((*path, str(key.value)), value, key.start_mark.line) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            inside = [((*path, number), value, value.start_mark.line) for number, value in enumerate(node.value)]
        waiting += reversed(inside)  # in the order of the text: the anchor before its aliases
    return found

"""Descriptions of Kubernetes' types and fields, for `kubectl explain` and the headings of columns.

They are Kubernetes' own sentences, so we do not carry them: they are read from the sources of the installed
`kubernetes` package, whose models hold them as text. The package is never imported, which would take half a second
and 60 MB. A model is a file of some ten kilobytes, read when somebody asks for its type, and not kept; the few
texts that headings show are. Fields that hold a struct have no text there. Where there is no package, or no such
field in it, a few words of ours stand in.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

__all__ = ["Descriptions"]

#: A field of a model, and its description as a Python literal: the package from release 36 on, and before.
FIELDS = (
    re.compile(r"^    (\w+): .*?description=(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')\)$", re.M),
    re.compile(r'^        """Gets the (\w+) of this \w+\.  # noqa: E501\n\n        (.*?)  # noqa: E501$', re.M | re.S),
)
#: JSON names of attributes.
NAMES = re.compile(r"^        ['\"](\w+)['\"]: ['\"]([\w$-]+)['\"],?$", re.M)
#: The first line of a model's own description.
OWN = re.compile(r'^class \w+\(BaseModel\):\n    """\n    (.*?)\n\n?    (?:Attributes:|""")', re.M | re.S)
#: A list with numbers, before which each end of line has become a blank.
NUMBERED = re.compile(r" {2,}\d+\. ")
#: Texts of headings to keep: all kinds together have fewer.
KEPT = 500


class Descriptions:
    """Looks texts up by Go type (`core.v1.PodSpec`) and field."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` holds the package's models; None finds the installed package's."""
        self._folder = folder
        self._kept: dict[tuple[str, str], str] = {}

    def of_type(self, name: str) -> dict[str, str]:
        """Texts of a type ("") and of its fields by their JSON names; empty where nobody describes it."""
        source = self._source(name)
        if not source:
            return {}
        names = dict(NAMES.findall(source[source.find("attribute_map"):]))
        found = {}
        if own := OWN.search(source):
            found[""] = own[1].strip().replace('\\"', '"')
        for i, pattern in enumerate(FIELDS):
            for python, text in pattern.findall(source):
                shown = ast.literal_eval(text) if i == 0 else text.replace('\\"', '"')
                found[names.get(python, python)] = _lines(shown)
        return found

    def field(self, name: str, field: str) -> str:
        """The text of one field, ours where there is no other; kept."""
        key = (name, field)
        if key not in self._kept:
            if len(self._kept) >= KEPT:
                self._kept.clear()
            own = f"{field} of the {_words(name.rpartition('.')[2])}"
            self._kept[key] = self.of_type(name).get(field) or own
        return self._kept[key]

    def _source(self, name: str) -> str:
        if self._folder is None:
            self._folder = _models()
        for file in _files(name):
            try:
                return (self._folder / file).read_text(encoding="utf-8")
            except OSError:
                continue  # another name, or no package: what is not there describes nothing
        return ""


def _models() -> Path:
    """The folder of the installed package's models; it is enough that it does not exist."""
    spec = PathFinder.find_spec("kubernetes")
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places), "") if places else "kubernetes") / "client" / "models"


def _files(name: str) -> Iterator[str]:
    """Where a type may be described: kinds of two groups carry theirs in the name; a beta's fields are v1's."""
    group, version, kind = name.split(".")
    kind = _snake(kind)
    for of in dict.fromkeys((version, "v1")):
        yield f"{group}_{of}_{kind}.py"
        yield f"{of}_{kind}.py"


def _snake(name: str) -> str:
    """As the package's generator makes file names: HTTPGetAction → http_get_action."""
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()


def _words(name: str) -> str:
    return _snake(name).replace("_", " ")


def _lines(text: str) -> str:
    """The package's sources have blanks for ends of line; these two it is plain where they were."""
    text = text.replace(".  Populated by the system", ".\n\nPopulated by the system")
    if NUMBERED.search(text):
        return re.sub(r" {2,}(?=(\d?))", _broken, text)
    return re.sub(r" {2,}([*-]) (?=\S)", r"\n \1 ", text)


def _broken(blanks: re.Match[str]) -> str:
    """What several blanks were in a text with a numbered list: an empty line, or the indentation of a new one."""
    width, number = len(blanks[0]), blanks[1]
    if width == 2 and not number:
        return "\n\n"
    return "\n\n" + (width - 2) * " " if width > 3 and number else "\n" + (width - 1) * " "

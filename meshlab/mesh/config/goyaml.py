"""YAML and JSON documents as Istio 0.4.0 read and wrote them.

0.4.0 was built with go-yaml v2, which differs from PyYAML where it matters to a rule's verdict: `y` and `on` are
booleans, `010` is 8, `1:30` is a string, a repeated key means the last one, and `--- # text` does not start a new
document. Numbers pass through a 32-bit float on their way into a rule. All of that is kept here, so that a file
is valid for this package exactly when it was for the original.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from meshlab.mesh.config.gotext import number_text

__all__ = ["Chunk", "YamlError", "documents", "dump", "load"]

_TRUE = frozenset(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"))
_FALSE = frozenset(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"))
_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_SPECIAL = {
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_INT = re.compile(r"([-+]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|0[0-7]*|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
_BASE60 = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?\Z")
_TAG = "tag:yaml.org,2002:"
#: Aliases may repeat parts of a document; more values than this mean a document made to exhaust memory.
MAX_VALUES = 500_000
#: Nobody's rule is deeper; Python's stack ends before libyaml's own limit of 1,000.
MAX_DEPTH = 100


class YamlError(ValueError):
    """A document does not parse; the text is the parser's, `line` (from 1) where it noticed, or 0."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Chunk:
    """The text of one document and the line (from 1) on which it starts."""

    text: str
    line: int
    is_json: bool = False


def documents(text: str, *, guess_json: bool = True) -> Iterator[Chunk]:
    """Split a stream into documents, as Kubernetes' reader did.

    A stream that starts with `{` is a sequence of JSON values, unless `guess_json` is False. Otherwise a line of
    `---` and nothing else ends a document, provided something came before it; `--- # comment` does not, and the
    parser then reads only what is before it.
    """
    if guess_json and text.lstrip().startswith("{"):
        yield from _json_values(text)
        return
    lines = text.replace("\r\n", "\n").split("\n")
    if lines and lines[-1] == "":
        lines.pop()
    start, held = 1, list[str]()
    for number, line in enumerate(lines, 1):
        if held and line.startswith("---") and not line[3:].strip():
            yield Chunk("\n".join(held) + "\n", start)
            start, held = number + 1, []
        else:
            held.append(line)
    if held:
        yield Chunk("\n".join(held) + "\n", start)


def _json_values(text: str) -> Iterator[Chunk]:
    decoder = json.JSONDecoder()
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        try:
            _, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = len(text)  # loading the rest reports what is wrong with it
        yield Chunk(text[at:end], text.count("\n", 0, at) + 1, is_json=True)
        at = end


def load(chunk: Chunk | str) -> Any:
    """The value of a document: dicts with string keys, lists, strings, ints, floats, bools and None.

    Raises YamlError with go-yaml's text (`yaml: line 3: mapping values are not allowed in this context`).
    """
    if isinstance(chunk, str):
        chunk = Chunk(chunk, 1)
    if chunk.is_json:
        return _load_json(chunk)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(chunk.text)
    try:
        return _Builder(loader, chunk).document()
    except yaml.MarkedYAMLError as error:
        raise _parse_error(error, chunk) from None
    except yaml.YAMLError as error:
        raise YamlError(f"yaml: {error}".splitlines()[0], chunk.line) from None
    finally:
        loader.dispose()


def _load_json(chunk: Chunk) -> Any:
    def refuse(text: str) -> Any:
        raise ValueError(f"invalid character '{text[0]}' looking for beginning of value")

    try:
        value = json.loads(chunk.text, parse_constant=refuse, parse_float=_finite)
    except json.JSONDecodeError as error:
        line = chunk.line + error.lineno - 1
        raise YamlError(f"json: line {line - 1}: {error.msg[:1].lower()}{error.msg[1:]}", line) from None
    except (ValueError, RecursionError) as error:
        raise YamlError(f"json: {error}", chunk.line) from None


    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        if not level:
            return value
        level = [item for each in level if isinstance(each, (dict, list)) for item in _items(each)]
    raise YamlError("json: exceeded max depth", chunk.line)


def _items(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"cannot unmarshal number {text} into Go value of type float64")
    return value


def _parse_error(error: yaml.MarkedYAMLError, chunk: Chunk) -> YamlError:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or "unknown problem parsing YAML content"
    line = mark.line if mark else 0
    where = f"line {line}: " if line else ""
    return YamlError(f"yaml: {where}{problem}", chunk.line + line)


@dataclass(frozen=True, slots=True)
class _Anchored:
    """What an anchor stands for, and how many values that is when aliases are written out."""

    value: Any
    size: int


class _Builder:
    """Values from the parser's events by go-yaml's rules.

    PyYAML's own composer recurses in C without a limit and dies of deep documents; this one counts depth, and
    what aliases multiply, before it goes on.
    """

    def __init__(self, loader: Any, chunk: Chunk) -> None:
        self._loader = loader
        self._chunk = chunk
        self._values = 0
        self._anchors: dict[str, _Anchored | None] = {}

    def document(self) -> Any:
        """The first document; None where there is none."""
        self._loader.get_event()
        if self._loader.check_event(yaml.StreamEndEvent):
            return None
        self._loader.get_event()
        return self._node(self._loader.get_event(), 0)

    def _fail(self, event: yaml.NodeEvent, reason: str) -> YamlError:
        return YamlError(f"yaml: {reason}", self._line(event))

    def _line(self, event: yaml.NodeEvent) -> int:
        return self._chunk.line + (event.start_mark.line if event.start_mark else 0)

    def _node(self, event: yaml.NodeEvent, depth: int) -> Any:
        self._count(event, 1)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if depth > MAX_DEPTH:
            raise self._fail(event, "exceeded max depth")
        before = self._values
        if event.anchor:
            self._anchors[event.anchor] = None
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = []
            while not isinstance(item := self._loader.get_event(), yaml.SequenceEndEvent):
                value.append(self._node(item, depth + 1))
        else:
            value = self._mapping(depth)
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(value, self._values - before + 1)
        return value

    def _count(self, event: yaml.NodeEvent, values: int) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            raise self._fail(event, "document contains excessive aliasing")

    def _alias(self, event: yaml.AliasEvent) -> Any:
        if event.anchor not in self._anchors:
            raise self._fail(event, f"unknown anchor '{event.anchor}' referenced")
        anchored = self._anchors[event.anchor]
        if anchored is None:
            raise self._fail(event, f"anchor '{event.anchor}' value contains itself")
        self._count(event, anchored.size)
        return anchored.value

    def _mapping(self, depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        while not isinstance(event := self._loader.get_event(), yaml.MappingEndEvent):
            merge = isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]
            key = "<<" if merge else self._node(event, depth + 1)
            value = self._node(self._loader.get_event(), depth + 1)
            if merge:
                for each in reversed(value) if isinstance(value, list) else [value]:
                    if not isinstance(each, dict):
                        raise self._fail(event, "map merge requires map or sequence of maps as the value")
                    out.update(each)
                continue
            if isinstance(key, (dict, list)):
                raise self._fail(event, f"invalid map key: {key!r}")
            if key is None:
                raise YamlError("Unsupported map key of type: %!s(<nil>), key: <nil>", self._line(event))
            out[_text_of(key)] = value
        return out

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        if event.tag is None:
            return _resolve(event.value) if event.implicit[0] else event.value
        try:
            return _tagged(event.tag.removeprefix(_TAG), event.value)
        except ValueError as error:
            raise self._fail(event, str(error)) from None


def _tagged(tag: str, text: str) -> Any:
    """A scalar with a tag. Raises ValueError."""
    if tag == "binary":
        try:
            return base64.b64decode(text, validate=False).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            raise ValueError("!!binary value contains invalid base64 data") from None
    wanted = {"int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),)}.get(tag)
    if wanted is None:
        return text  # !!str, and any tag of somebody's own
    value = _resolve(text)
    if isinstance(value, bool) is not (tag == "bool") or not isinstance(value, wanted):
        raise ValueError(f"cannot decode !!{_kind(value)} `{text}` as a !!{tag}")
    return value


def _kind(value: Any) -> str:
    names: dict[type, str] = {bool: "bool", int: "int", float: "float", type(None): "null"}
    return names.get(type(value), "str")


def _resolve(text: str) -> Any:
    """What a plain scalar means."""
    if text in _NULL:
        return None
    if text[0] not in "yYnNtTfFoO~.+-0123456789<":
        return text
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if text in _SPECIAL:
        return _SPECIAL[text]
    if text[0] == ".":
        return float(text) if _FLOAT.match(text) else text
    if text[0] not in "+-0123456789":
        return text
    plain = text.replace("_", "")
    if found := _INT.match(plain):
        value = _integer(found[1], found[2])
        if -(2**63) <= value < 2**64:
            return value
    if _FLOAT.match(plain):
        number = float(plain)
        return text if math.isinf(number) else number
    return text


def _integer(sign: str, digits: str) -> int:
    prefixes = {"0x": 16, "0b": 2, "0o": 8}
    if base := prefixes.get(digits[:2].lower()):
        digits = digits[2:]
    value = int(digits, base or (8 if digits[0] == "0" else 10))
    return -value if sign == "-" else value


def _text_of(value: Any) -> str:
    """A scalar as text: what go-yaml and its JSON bridge make of keys, and of values where text is wanted."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return number_text(value)
    return str(value)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Writes every scalar as a string node, so that only `_scalar_text` decides what is quoted."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.yaml_implicit_resolvers = {}


def _represent_scalar(dumper: yaml.Dumper, value: Any) -> yaml.ScalarNode:
    style = None
    if value is None:
        text = "null"
    elif isinstance(value, str):
        text = value
        if _resolve(text) is not text or text == "<<" or _BASE60.match(text):
            style = '"'
        elif "\n" in text:
            style = "|"
    else:
        text = _text_of(value)
    return dumper.represent_scalar(_TAG + "str", text, style=style)


for _type in (str, int, float, bool, type(None)):
    _Dumper.add_representer(_type, _represent_scalar)


def dump(value: Any) -> str:
    """YAML in go-yaml's form: keys sorted, lists not indented, quotes only where text looks like something else.

    Floats are written with 32 bits, as go-yaml did.
    """
    options: dict[str, Any] = {"default_flow_style": False, "sort_keys": False, "allow_unicode": True}
    return str(yaml.dump(_ordered(value), Dumper=_Dumper, **options))


def _ordered(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _ordered(value[key]) for key in sorted(value, key=_sort_key)}
    if isinstance(value, (list, tuple)):
        return [_ordered(item) for item in value]
    return value


def _sort_key(key: str) -> list[tuple[int, int, int, str]]:
    """go-yaml's order of keys: letters after everything else, runs of digits by their number."""
    parts: list[tuple[int, int, int, str]] = []
    for run in re.findall(r"\d+|.", key, re.DOTALL):
        if run[0].isalpha():
            parts.append((1, 0, 0, run))
        elif run.isdigit():
            parts.append((0, int(run), len(run), run))
        else:
            parts.append((0, 0, 0, run))
    return parts

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
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

__all__ = ["Chunk", "YamlError", "documents", "dump", "go_quote", "json_number", "load", "number_text", "round32"]

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
_MERGE = object()
#: Aliases may repeat parts of a document; more values than this mean a document made to exhaust memory.
MAX_VALUES = 500_000
#: libyaml's own limit is 1,000; half of it leaves room on Python's stack.
MAX_DEPTH = 400


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
    try:
        loader = _Loader(chunk.text)
        try:
            if not loader.check_node():
                return None
            node = loader.get_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise _parse_error(error, chunk) from None
    except yaml.YAMLError as error:
        raise YamlError(f"yaml: {error}".splitlines()[0], chunk.line) from None
    except RecursionError:
        raise YamlError("yaml: exceeded max depth", chunk.line) from None
    return _Builder().build(node)


def _load_json(chunk: Chunk) -> Any:
    def refuse(text: str) -> Any:
        raise ValueError(f"invalid character '{text[0]}' looking for beginning of value")

    try:
        return json.loads(chunk.text, parse_constant=refuse, parse_float=_finite)
    except json.JSONDecodeError as error:
        line = chunk.line + error.lineno - 1
        raise YamlError(f"json: line {line - 1}: {error.msg[:1].lower()}{error.msg[1:]}", line) from None
    except (ValueError, RecursionError) as error:
        raise YamlError(f"json: {error}", chunk.line) from None


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"cannot unmarshal number {text} into Go value of type float64")
    return value


def _parse_error(error: yaml.MarkedYAMLError, chunk: Chunk) -> YamlError:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or "unknown problem parsing YAML content"
    line = mark.line if mark else 0
    if problem.startswith("found undefined alias") and mark:
        alias = re.match(r"\*([-\w]+)", chunk.text.split("\n")[line][mark.column :])
        return YamlError(f"yaml: unknown anchor '{alias[1] if alias else ''}' referenced", chunk.line + line)
    where = f"line {line}: " if line else ""
    return YamlError(f"yaml: {where}{problem}", chunk.line + line)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's parser with nothing resolved: plain scalars keep a tag that says that they were plain."""

    def resolve(self, kind: type, value: str | None, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            return "plain" if implicit[0] else _TAG + "str"
        return _TAG + ("seq" if kind is yaml.SequenceNode else "map")


class _Builder:
    """Values from nodes by go-yaml's rules, with limits on depth and on what aliases multiply."""

    def __init__(self) -> None:
        self._values = 0
        self._open: set[int] = set()

    def build(self, node: yaml.Node, depth: int = 0) -> Any:
        self._values += 1
        if depth > MAX_DEPTH:
            raise YamlError("yaml: exceeded max depth", node.start_mark.line + 1)
        if self._values > MAX_VALUES:
            raise YamlError("yaml: document contains excessive aliasing", node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node.tag, node.value)
        if id(node) in self._open:
            raise YamlError("yaml: anchor value contains itself", node.start_mark.line + 1)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.build(item, depth + 1) for item in node.value]
            return self._mapping(node.value, depth)
        finally:
            self._open.discard(id(node))

    def _mapping(self, pairs: Iterable[tuple[yaml.Node, yaml.Node]], depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key_node, value_node in pairs:
            if isinstance(key_node, yaml.ScalarNode) and key_node.value == "<<" and key_node.tag == "plain":
                out.update(self._merged(value_node, depth))
                continue
            key = self.build(key_node, depth + 1)
            if isinstance(key, (dict, list)):
                raise YamlError(f"yaml: invalid map key: {key!r}", key_node.start_mark.line + 1)
            if key is None:
                raise YamlError("Unsupported map key of type: %!s(<nil>), key: <nil>", key_node.start_mark.line + 1)
            out[_text_of(key)] = self.build(value_node, depth + 1)
        return out

    def _merged(self, node: yaml.Node, depth: int) -> dict[str, Any]:
        nodes = reversed(node.value) if isinstance(node, yaml.SequenceNode) else [node]
        out: dict[str, Any] = {}
        for each in nodes:
            if not isinstance(each, yaml.MappingNode):
                line = node.start_mark.line + 1
                raise YamlError("yaml: map merge requires map or sequence of maps as the value", line)
            out.update(self.build(each, depth + 1))
        return out


def _scalar(tag: str, text: str) -> Any:
    if tag == "plain":
        value = _resolve(text)
        return text if value is _MERGE else value
    short = tag.removeprefix(_TAG)
    if short == "binary":
        try:
            return base64.b64decode(text, validate=False).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            raise YamlError("yaml: !!binary value contains invalid base64 data") from None
    wanted = {"int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),)}.get(short)
    if wanted is None:
        return text  # !!str, and any tag of somebody's own
    value = _resolve(text)
    if isinstance(value, bool) is not (short == "bool") or not isinstance(value, wanted):
        raise YamlError(f"yaml: cannot decode !!{_kind(value)} `{text}` as a !!{short}")
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
    if text == "<<":
        return _MERGE
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


def number_text(value: float) -> str:
    """A float as go-yaml writes it: the shortest digits that give the same *32-bit* float.

    >>> number_text(80.5), number_text(50.0), number_text(-2147483648.0)
    ('80.5', '50', '-2.1474836e+09')
    """
    try:
        (single,) = struct.unpack("<f", struct.pack("<f", value))
    except OverflowError:
        single = math.copysign(math.inf, value)
    if math.isnan(single):
        return ".nan"
    if math.isinf(single):
        return ".inf" if single > 0 else "-.inf"
    for digits in range(1, 10):
        text = f"{single:.{digits - 1}e}"
        if struct.unpack("<f", struct.pack("<f", float(text)))[0] == single:
            break
    mantissa, exponent = text.split("e")
    power = int(exponent)
    if -4 <= power < 6:
        return f"{float(text):.{max(0, digits - 1 - power)}f}"
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"


def round32(value: float) -> float:
    """The number that reaches a rule: `number_text` read back. Infinite for what no 32-bit float can hold."""
    try:
        text = number_text(float(value))
    except OverflowError:
        return math.copysign(math.inf, value)
    special = {".inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}
    return special[text] if text in special else float(text)


def json_number(value: float) -> str:
    """A number as Go's JSON writes it: no exponent between 1e-6 and 1e21."""
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    text = repr(float(value))
    return text if abs(value) < 1e-6 or abs(value) >= 1e21 else f"{value:.17g}" if "e" in text else text


def go_quote(text: str) -> str:
    """Go's %q."""
    named = {'"': '\\"', "\\": "\\\\", "\a": "\\a", "\b": "\\b", "\f": "\\f"}
    named |= {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
    parts = []
    for char in text:
        code = ord(char)
        if char in named:
            parts.append(named[char])
        elif char.isprintable():
            parts.append(char)
        elif code < 0x80:
            parts.append(f"\\x{code:02x}")
        else:
            parts.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return '"' + "".join(parts) + '"'


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
        if _resolve(text) is not text or _BASE60.match(text):
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

"""Functions that Kubernetes adds to CEL: lists, URLs, addresses, regular expressions, quantities. Pure.

Values that are types of their own in Kubernetes are maps (URLs) or strings (quantities) here; what a rule may ask of
them is the same. Rules that use what is not there (`MISSING`) are stored and not checked.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from meshlab.cluster.api.quantity import QuantityError, parse

__all__ = ["MISSING", "TABLE", "TWO_VARIABLES", "Function"]

#: Functions of a real server that nothing here knows. `indexOf` is there for strings, and lists cannot be added to it.
MISSING = frozenset((
    "authorizer", "cidr", "containsCIDR", "containsIP", "family", "format", "ip", "isCanonical", "isSemver",
    "jsonpatch", "lastIndexOf", "major", "masked", "minor", "named", "patch", "prefixLength", "semver", "sets",
    "transformList", "transformMap", "transformMapEntry", "validate",
))  # fmt: skip
#: Comprehensions over keys and values, which are younger than our language.
TWO_VARIABLES = re.compile(r"\.(all|exists|existsOne|exists_one)\(\s*\w+\s*,\s*\w+\s*,")

#: (name, whether it is called on its first argument, types of the arguments, type of the answer, what it does).
#: Types: s string, l list, m map, d anything, b bool, i int, f double.
Function = tuple[str, bool, str, str, Callable[..., Any]]


def _plain(value: Any) -> Any:
    return value.value() if hasattr(value, "plain_value") else value


def _is_url(text: str) -> bool:
    try:
        found = urlsplit(text)
    except ValueError:
        return False
    return bool(found.scheme) if not text.startswith("/") else True


def _url(text: str) -> dict[str, Any]:
    if not _is_url(text):
        raise ValueError(f"URL parse error during conversion from string: parse {text!r}: invalid URI for request")
    found: SplitResult = urlsplit(text)
    host = found.hostname or ""
    port = str(found.port or "")
    shown = f"[{host}]" if ":" in host else host
    return {
        "scheme": found.scheme, "hostname": host, "host": f"{shown}:{port}" if port else shown, "port": port,
        "path": unquote(found.path), "query": parse_qs(found.query),
    }


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


def _is_quantity(text: str) -> bool:
    try:
        parse(text)
    except QuantityError:
        return False
    return True


def _quantity(text: str) -> str:
    parse(text)
    return text


def _compare(one: str, other: str) -> int:
    a, b = parse(one)[0], parse(other)[0]
    return (a > b) - (a < b)


def _sorted(values: list[Any]) -> bool:
    plain = [_plain(v) for v in values]
    return all(a <= b for a, b in pairwise(plain))


def _find(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    return found[0] if found else ""


TABLE: tuple[Function, ...] = (
    ("isSorted", True, "l", "b", _sorted),
    ("sum", True, "l", "d", lambda values: sum(_plain(v) for v in values)),
    ("min", True, "l", "d", lambda values: min(_plain(v) for v in values)),
    ("max", True, "l", "d", lambda values: max(_plain(v) for v in values)),
    ("find", True, "ss", "s", _find),
    ("findAll", True, "ss", "l", lambda text, pattern: [m[0] for m in re.finditer(pattern, text)]),
    ("isURL", False, "s", "b", _is_url),
    ("url", False, "s", "m", _url),
    ("getScheme", True, "m", "s", lambda url: _plain(url["scheme"])),
    ("getHost", True, "m", "s", lambda url: _plain(url["host"])),
    ("getHostname", True, "m", "s", lambda url: _plain(url["hostname"])),
    ("getPort", True, "m", "s", lambda url: _plain(url["port"])),
    ("getEscapedPath", True, "m", "s", lambda url: _plain(url["path"])),
    ("getQuery", True, "m", "m", lambda url: _plain(url["query"])),
    ("isIP", False, "s", "b", _is_address),
    ("isCIDR", False, "s", "b", _is_network),
    ("isQuantity", False, "s", "b", _is_quantity),
    ("quantity", False, "s", "s", _quantity),
    ("compareTo", True, "ss", "i", _compare),
    ("isLessThan", True, "ss", "b", lambda one, other: _compare(one, other) < 0),
    ("isGreaterThan", True, "ss", "b", lambda one, other: _compare(one, other) > 0),
    ("asInteger", True, "s", "i", lambda text: int(parse(text)[0])),
    ("asApproximateFloat", True, "s", "f", lambda text: float(parse(text)[0])),
)

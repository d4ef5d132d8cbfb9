"""Names, hosts, addresses, expressions: what istiod takes for one. Each check gives its problems as texts."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from ipaddress import ip_address, ip_network

from meshlab.mesh.config.gotext import go_quote
from meshlab.mesh.config.names import check_fqdn, is_label

__all__ = [
    "PSEUDO_HEADERS",
    "at",
    "check_export_to",
    "check_gateway_names",
    "check_header_name",
    "check_host",
    "check_labels",
    "check_name",
    "check_one_line",
    "check_regex",
    "is_address",
    "is_cidr",
]

_WILD_LABEL = re.compile(r"(?:\*|(?:\*|\*-)?[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)\Z")
_TOKEN = re.compile(r"[-_A-Za-z0-9!#$%&'*+.^`|~]+\Z")
#: What a request is matched by besides its headers.
PSEUDO_HEADERS = frozenset((":method", ":scheme", ":authority", ":path", ":status"))
_LABEL_KEY = re.compile(r"(?:[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?\Z")
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?\Z")
#: What Python knows and RE2 (Envoy's) does not: look-around, back-references, atomic groups, possessive quantifiers.
_NOT_RE2 = re.compile(r"\(\?(?:[=!>(#]|<[=!])|\(\?P=|\\[1-9]|(?<!\\)[*+?}]\+")


def at(place: str, problems: Iterable[str]) -> list[str]:
    """Problems with their place in front."""
    return [f"{place}: {each}" for each in problems]


def is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_cidr(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


def check_host(name: str, *, wildcard: bool = True) -> list[str]:
    """A domain name, perhaps with a wildcard as (part of) its first label."""
    if len(name) > 255:
        return [f"domain name {go_quote(name)} too long (max 255)"]
    if not name:
        return ["empty domain name not allowed"]
    first, dot, rest = name.partition(".")
    fits = _WILD_LABEL.match(first) if wildcard else is_label(first)
    if len(first) > 63 or not fits:
        return [f"domain name {go_quote(name)} invalid (label {go_quote(first)} invalid)"]
    if problems := check_fqdn(rest.removesuffix(".")) if dot else []:
        return problems
    last = name.rstrip(".").rpartition(".")[2]
    if last.isdigit():
        return [f"domain name {go_quote(name)} invalid (top level domain {go_quote(last)} cannot be all-numeric)"]
    return []


def check_name(name: str, what: str) -> list[str]:
    if not name:
        return [f"{what} cannot be empty"]
    return [] if is_label(name) else [f"{what} is invalid: {name}"]


def check_gateway_names(names: Iterable[str]) -> list[str]:
    found = []
    for name in names:
        namespace, slash, own = name.rpartition("/")
        if slash and (not namespace or not own):
            found.append(f"config namespace and gateway name cannot be empty: {name}")
        elif "/" in namespace:
            found.append(f"gateway name must be of form [config namespace]/[gateway name]: {name}")
        elif (slash and not is_label(namespace) and namespace != ".") or check_fqdn(own):
            found.append(f"invalid value for gateway name: {name}")
    return found


def check_labels(labels: Iterable[tuple[str, str]]) -> list[str]:
    found = []
    for key, value in labels:
        if not _LABEL_KEY.match(key):
            found.append(f"invalid tag key: {go_quote(key)}")
        if not _LABEL_VALUE.match(value) or len(value) > 63:
            found.append(f"invalid tag value: {go_quote(value)}")
    return found


def check_header_name(name: str, *, others: Collection[str] = ()) -> list[str]:
    """A token of HTTP, or one of `others`."""
    if not name:
        return ["header name cannot be empty"]
    if name.startswith("@request.auth.claims"):
        return [f"header name {name}: requests are not routed by claims of tokens here"]
    if name not in others and not _TOKEN.match(name):
        return [f"header name {name} is not a valid header name"]
    return []


def check_one_line(text: str, where: str) -> list[str]:
    """Names that istiod does not look at, and that Envoy refuses, and with them the whole table, if they break off."""
    return [f"{where}: {go_quote(text)} is no name of a header"] if re.search("[\0\r\n]", text) else []


def check_regex(pattern: str, where: str) -> list[str]:
    """Whether Envoy (RE2) takes a regular expression."""
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return [f"{where}: error parsing regexp: {error}: `{pattern}`"]
    if found := _NOT_RE2.search(pattern.replace(r"\\", "")):
        return [f"{where}: error parsing regexp: invalid or unsupported Perl syntax: `{found.group()}`"]
    return []


def check_export_to(values: Iterable[str], *, nobody: bool = False) -> list[str]:
    """`nobody`: `~` is allowed, which istiod takes for services only."""
    listed = list(values)
    found = [
        f"exportTo must be a namespace, . (its own), * (all) or ~ (none), not {go_quote(each)}"
        for each in listed
        if each not in (".", "*", "~") and not is_label(each)
    ]
    if len(listed) != len(set(listed)):
        found.append("duplicate entries in exportTo")
    if len(listed) > 1 and {"*", "~"} & set(listed):
        found.append("cannot have both public (*) or none (~) and other targets in exportTo")
    if "~" in listed and not nobody:
        found.append("exportTo ~ (none) is not allowed for Istio configuration objects")
    return found

"""Envoy's choices, made again from its tables: which listener, which virtual host, why each route fits or does not.

What a log line does not hold (most headers) is not known here; a condition on it is then neither true nor false. Who
explains compares with the route that Envoy names, and says so where the two differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from meshlab.phrases import later, tr
from meshlab.sidecars.dump import ConfigDump, socket_of

__all__ = ["Asked", "Fit", "Tried", "find_host", "find_listener", "http_manager", "route_name", "tried"]

Fields = dict[str, Any]
HTTP = "envoy.filters.network.http_connection_manager"
#: Headers that Envoy itself may add before it looks for a route.
ADDED = ("x-forwarded-", "x-envoy-", "x-b3-")
ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 - as Envoy writes it, nothing is bound here


class Fit(Enum):
    YES = later("fits")
    NO = later("does not fit")
    #: It depends on something that nobody wrote down.
    OPEN = later("cannot be known")


@dataclass(frozen=True)
class Asked:
    """What is known of a request at one proxy. `complete`: `headers` are all that it has."""

    authority: str
    path: str
    method: str
    headers: Mapping[str, str]
    complete: bool = False

    def header(self, name: str) -> str | None:
        known = {":authority": self.authority, ":path": self.path, ":method": self.method, "host": self.authority}
        return known.get(name, self.headers.get(name))


@dataclass(frozen=True)
class Tried:
    """One route of a virtual host, in order, and why it fits or does not."""

    route: Fields
    fit: Fit
    why: str


def find_listener(dump: ConfigDump, address: str) -> Fields | None:
    """The one that takes connections to `address` (ip:port): of that address, else of any address on that port."""
    host, _, port = address.rpartition(":")
    there = [each for each in dump.listeners if port.isdigit() and socket_of(each.get("address"))[1] == int(port)]
    for names in ((host.strip("[]"),), ANYWHERE):
        for each in there:
            if socket_of(each.get("address"))[0] in names:
                return each
    return None


def http_manager(listener: Mapping[str, Any]) -> Fields | None:
    """The HTTP connection manager of a listener's chains, the first; None of one that passes connections on."""
    chains = [*(listener.get("filter_chains") or ()), listener.get("default_filter_chain") or {}]
    for chain in chains:
        for each in chain.get("filters") or ():
            if each.get("name") == HTTP:
                found: Fields = each.get("typed_config") or {}
                return found
    return None


def find_host(table: Mapping[str, Any], authority: str) -> Fields | None:
    """The virtual host for a Host: the whole name, else the longest `*end`, else the longest `begin*`, else `*`."""
    wanted = authority.lower()
    if table.get("ignore_port_in_host_matching"):
        wanted = re.sub(r":\d+$", "", wanted)
    best: tuple[int, int] = (0, -1)
    found: Fields | None = None
    for host in table.get("virtual_hosts") or ():
        for each in host.get("domains") or ():
            domain = str(each).lower()
            if domain == wanted:
                rank = (4, len(domain))
            elif domain == "*":
                rank = (1, 0)
            elif domain.startswith("*") and wanted.endswith(domain[1:]) and len(wanted) > len(domain) - 1:
                rank = (3, len(domain))
            elif domain.endswith("*") and wanted.startswith(domain[:-1]) and len(wanted) > len(domain) - 1:
                rank = (2, len(domain))
            else:
                continue
            if rank > best:
                best, found = rank, host
    return found


def route_name(route: Mapping[str, Any]) -> str:
    """What Envoy writes into the log; "" for one without a name."""
    return str(route.get("name") or "")


def tried(host: Mapping[str, Any], asked: Asked) -> list[Tried]:
    """Each route in order, up to the first that fits for certain."""
    found = []
    for route in host.get("routes") or ():
        fit, why = _fit(route.get("match") or {}, asked)
        found.append(Tried(route, fit, why))
        if fit is Fit.YES:
            break
    return found


def _fit(match: Fields, asked: Asked) -> tuple[Fit, str]:
    """Every condition must hold; the first that does not is the reason."""
    open_: list[str] = []
    for fit, why in (*_path(match, asked), *_headers(match, asked), *_query(match, asked), *_share(match)):
        if fit is Fit.NO:
            return fit, why
        if fit is Fit.OPEN:
            open_.append(why)
    return (Fit.OPEN, "; ".join(open_)) if open_ else (Fit.YES, "")


def _path(match: Fields, asked: Asked) -> Iterator[tuple[Fit, str]]:
    path = asked.path.partition("?")[0]
    fold = match.get("case_sensitive") is False

    def same(text: str) -> str:
        return text.lower() if fold else text

    if "path" in match:
        yield _yes(
            same(path) == same(match["path"]), tr("its path is {wanted}, not {path}", wanted=match["path"], path=path)
        )
    if match.get("prefix"):
        why = tr("paths begin with {wanted}, not {path}", wanted=match["prefix"], path=path)
        yield _yes(same(path).startswith(same(match["prefix"])), why)
    if "path_separated_prefix" in match:
        begin = same(match["path_separated_prefix"])
        fits = same(path) == begin or same(path).startswith(begin + "/")
        why = tr("paths are {wanted} or below, not {path}", wanted=match["path_separated_prefix"], path=path)
        yield _yes(fits, why)
    if "safe_regex" in match:
        expression = str(match["safe_regex"].get("regex", ""))
        yield _regex(expression, path, tr("its path is like {wanted}, not {path}", wanted=expression, path=path))


def _regex(expression: str, text: str, why: str) -> tuple[Fit, str]:
    try:
        return _yes(re.fullmatch(expression, text) is not None, why)
    except re.error:
        return Fit.OPEN, tr("the expression {expression} is Envoy's to read", expression=expression)


def _headers(match: Fields, asked: Asked) -> Iterator[tuple[Fit, str]]:
    for each in match.get("headers") or ():
        name = str(each.get("name", "")).lower()
        value, said = asked.header(name), header_text(each)
        if value is None and not name.startswith(":") and (not asked.complete or name.startswith(ADDED)):
            yield Fit.OPEN, tr("it wants {what}, and no log says whether the request had it", what=said)
            continue
        fits = _header(each, value)
        if fits is None:
            yield Fit.OPEN, tr("it wants {what}", what=said)
        else:
            found = tr("not there") if value is None else value
            yield _yes(fits, tr("it wants {what}, and {name} is {found}", what=said, name=name, found=found))


def _header(wanted: Fields, value: str | None) -> bool | None:
    inverted = bool(wanted.get("invert_match"))
    if "present_match" in wanted:
        return (value is not None) is (bool(wanted["present_match"]) is not inverted)
    if value is None and wanted.get("treat_missing_header_as_empty"):
        value = ""
    if value is None:
        return False
    found = _text(_string_of(wanted), value)
    return None if found is None else found is not inverted


def _string_of(wanted: Fields) -> Fields:
    """The matcher of a header or parameter, also as Envoy wrote it before 1.26."""
    old = {
        "exact_match": "exact",
        "prefix_match": "prefix",
        "suffix_match": "suffix",
        "safe_regex_match": "safe_regex",
        "contains_match": "contains",
    }
    return wanted.get("string_match") or {new: wanted[name] for name, new in old.items() if name in wanted}


def _text(wanted: Fields, value: str) -> bool | None:
    """None: a kind of matcher that is not known here."""
    if wanted.get("ignore_case"):
        wanted = {k: v.lower() if isinstance(v, str) else v for k, v in wanted.items()}
        value = value.lower()
    if "exact" in wanted:
        return value == str(wanted["exact"])
    if "prefix" in wanted:
        return value.startswith(str(wanted["prefix"]))
    if "suffix" in wanted:
        return value.endswith(str(wanted["suffix"]))
    if "contains" in wanted:
        return str(wanted["contains"]) in value
    if "safe_regex" in wanted:
        fit, _ = _regex(str(wanted["safe_regex"].get("regex", "")), value, "")
        return None if fit is Fit.OPEN else fit is Fit.YES
    return None


#: How a condition on a header or parameter is said.
_CONDITIONS = {
    "exact": later("{name} = {value}"),
    "prefix": later("{name} begins with {value}"),
    "suffix": later("{name} ends with {value}"),
    "contains": later("{name} contains {value}"),
    "safe_regex": later("{name} like {value}"),
}


def header_text(wanted: Fields) -> str:
    """`x-case = fault`, `x-case like a.*`, `x-case`, … with "not" where it is turned around."""
    said, string = str(wanted.get("name", "")), _string_of(wanted)
    for kind, template in _CONDITIONS.items():
        if kind in string:
            value = string[kind].get("regex", "") if kind == "safe_regex" else string[kind]
            said = tr(template, name=said, value=value)
            break
    return tr("not {what}", what=said) if wanted.get("invert_match") else said


def _query(match: Fields, asked: Asked) -> Iterator[tuple[Fit, str]]:
    from urllib.parse import parse_qs

    given = parse_qs(asked.path.partition("?")[2], keep_blank_values=True)
    for each in match.get("query_parameters") or ():
        name = str(each.get("name", ""))
        value = given.get(name, [None])[0]
        if "present_match" in each:
            fits: bool | None = (value is not None) is bool(each["present_match"])
        else:
            fits = value is not None and _text(_string_of(each), value)
        why = tr("it wants the parameter {what}", what=header_text(each))
        yield (Fit.OPEN, why) if fits is None else _yes(fits, why)


def _share(match: Fields) -> Iterator[tuple[Fit, str]]:
    if "runtime_fraction" in match:
        yield Fit.OPEN, tr("it takes a share of the requests, by chance")


def _yes(fits: bool, why: str) -> tuple[Fit, str]:
    return (Fit.YES, "") if fits else (Fit.NO, why)

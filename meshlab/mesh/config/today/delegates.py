"""VirtualServices that leave some of their routes to others: one VirtualService as it is when these are put in.

A delegate is a VirtualService without hosts. What the root says of a block holds for each of the delegate's routes
unless the route says it itself; a route whose match would take what the root's does not is left out, as in istiod.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from meshlab.mesh.config.today.stored import Stored

__all__ = ["delegates_of", "merged"]

Fields = Mapping[str, Any]
#: What a route of a delegate has from its root unless it says something itself.
_INHERITED = ("rewrite", "directResponse", "timeout", "retries", "fault", "mirror", "mirrorPercent", "mirrorPercentage",
              "corsPolicy", "mirrors", "headers")  # fmt: skip
_PATTERNS = ("uri", "scheme", "method", "authority")
_MAPS = ("headers", "withoutHeaders", "queryParams", "sourceLabels")
_SINGLE = (*_PATTERNS, "port", "sourceNamespace", "gateways", "statPrefix")


def delegates_of(stored: Stored) -> tuple[tuple[str, str], ...]:
    """(namespace, name) of each VirtualService that routes are left to; () for most."""
    return tuple(_named(stored, each["delegate"]) for each in stored.spec.get("http") or () if each.get("delegate"))


def _named(stored: Stored, delegate: Fields) -> tuple[str, str]:
    return delegate.get("namespace") or stored.namespace, delegate.get("name") or ""


def merged(root: Stored, find: Callable[[tuple[str, str]], Stored | None]) -> tuple[Stored, list[str]]:
    """The root with its delegates' routes in their places, and what could not be put in."""
    blocks: list[Fields] = []
    lost: list[str] = []
    for number, block in enumerate(root.spec.get("http") or ()):
        if not block.get("delegate"):
            blocks.append(block)
            continue
        name = _named(root, block["delegate"])
        found, text = find(name), "/".join(name)
        if found is None:
            lost.append(f"http[{number}]: there is no delegate VirtualService {text}")
        elif found.visible_in and root.namespace not in found.visible_in:
            lost.append(f"http[{number}]: VirtualService {text} is not exported to namespace {root.namespace}")
        else:
            for position, each in enumerate(found.spec.get("http") or ()):
                if (made := _route(block, _whole(found, each))) is None:
                    lost.append(f"http[{number}]: route {position} of {text} matches what this block does not")
                else:
                    blocks.append(made)
    return replace(root, spec={**root.spec, "http": blocks}), lost


def _whole(stored: Stored, block: Fields) -> Fields:
    """A delegate's route with whole host names: short ones are of its own namespace."""

    def destination(fields: Fields) -> Fields:
        return {**fields, "host": stored.host(fields["host"])}

    found = dict(block)
    for name in ("route", "mirrors"):
        if block.get(name):
            found[name] = [{**each, "destination": destination(each["destination"])} for each in block[name]]
    if block.get("mirror"):
        found["mirror"] = destination(block["mirror"])
    return found


def _route(root: Fields, own: Fields) -> Fields | None:
    matches = _matches(root.get("match") or (), own.get("match") or ())
    if matches is None:
        return None
    found = {name: root[name] for name in _INHERITED if root.get(name) is not None}
    found |= {name: value for name, value in own.items() if value is not None}
    found |= {"match": matches, "name": "-".join(filter(None, (root.get("name"), own.get("name"))))}
    return found


def _matches(root: Iterable[Fields], own: Iterable[Fields]) -> list[Fields] | None:
    """Every pair that goes together; None if some match of the delegate goes with none of the root's."""
    outer, inner = list(root), list(own)
    if not outer or not inner:
        return outer or inner
    found: list[Fields] = []
    for each in inner:
        pairs = [_match(other, each) for other in outer if not _conflict(other, each)]
        if not pairs:
            return None
        found += pairs
    return found


def _match(root: Fields, own: Fields) -> Fields:
    found = dict(own)
    for name in _SINGLE:
        if not own.get(name) and root.get(name):
            found[name] = root[name]
    for name in _MAPS:
        if both := {**(root.get(name) or {}), **(own.get(name) or {})}:
            found[name] = both
    if name := "-".join(filter(None, (root.get("name"), own.get("name")))):
        found["name"] = name
    return found


def _conflict(root: Fields, own: Fields) -> bool:
    """Whether a delegate's match is not part of the root's."""
    pairs = [(root.get(name), own.get(name)) for name in _PATTERNS]
    for name in ("headers", "withoutHeaders", "queryParams"):
        pairs += [((root.get(name) or {}).get(key), each) for key, each in (own.get(name) or {}).items()]
    if any(_narrows(outer, inner) is False for outer, inner in pairs):
        return True
    if bool(root.get("ignoreUriCase")) != bool(own.get("ignoreUriCase")):
        return True
    if root.get("port") and own.get("port") and root["port"] != own["port"]:
        return True
    if root.get("sourceNamespace") and root["sourceNamespace"] != own.get("sourceNamespace"):
        return True
    known = root.get("sourceLabels") or {}
    if any(known.get(key, value) != value for key, value in (own.get("sourceLabels") or {}).items()):
        return True
    return bool(root.get("gateways") and own.get("gateways")) and not set(own["gateways"]) <= set(root["gateways"])


def _narrows(outer: Fields | None, inner: Fields | None) -> bool:
    """Whether all that `inner` takes `outer` takes, as far as istiod looks: expressions are not compared."""
    if outer is None or inner is None:
        return True
    exact, prefix = outer.get("exact"), outer.get("prefix")
    if outer.get("regex") or inner.get("regex"):
        return False
    if exact:
        return bool(inner.get("exact") == exact)
    if prefix:
        return str(inner.get("prefix") or inner.get("exact") or "").startswith(str(prefix))
    return False

"""Amounts of resources (`cpu`, `requests.memory`, `pods` …) and their sums. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from meshlab.cluster.api.quantity import parse, written

__all__ = ["Amounts", "added", "amounts", "of_pod", "shown"]

Object = Mapping[str, Any]
#: Name of a resource → its value, and the form in which it is written.
Amounts = dict[str, tuple[Fraction, str]]


def amounts(given: Mapping[str, Any] | None) -> Amounts:
    """Quantities as they stand in an object."""
    return {name: parse(value) for name, value in (given or {}).items()}


def added(*parts: Mapping[str, tuple[Fraction, str]]) -> Amounts:
    """The sum; each name is written in the form in which it came first, where that was not zero."""
    total: Amounts = {}
    for part in parts:
        for name, (value, form) in part.items():
            before, known = total.get(name, (Fraction(0), form))
            total[name] = (before + value, known if before else form)
    return total


def _largest(*parts: Amounts) -> Amounts:
    most: Amounts = {}
    for part in parts:
        for name, amount in part.items():
            if name not in most or amount[0] > most[name][0]:
                most[name] = amount
    return most


def of_pod(pod: Object, what: str) -> Amounts:
    """The `requests` or `limits` of a whole pod.

    Its containers run together; initialising ones run before, one at a time, unless they are sidecars that stay.
    """
    spec = pod.get("spec") or {}

    def of(container: Object) -> Amounts:
        return amounts((container.get("resources") or {}).get(what))

    running = added(*(of(c) for c in spec.get("containers") or ()))
    first: Amounts = {}
    staying: Amounts = {}
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            staying = added(staying, of(container))
            first = _largest(first, staying)
        else:
            first = _largest(first, added(staying, of(container)))
    total = _largest(added(running, staying), first)
    return added(total, amounts(spec.get("overhead"))) if spec.get("overhead") else total


def shown(of: Mapping[str, tuple[Fraction, str]], names: Iterable[str]) -> str:
    """`cpu=1,memory=64Mi`, sorted."""
    return ",".join(f"{name}={written(*of[name])}" for name in sorted(names) if name in of)

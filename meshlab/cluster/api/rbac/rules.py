"""Rules of roles: what one allows, and whether some cover others. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from meshlab.cluster.api.rbac.attributes import Attributes

__all__ = ["allows", "compact", "uncovered"]

Rule = Mapping[str, Any]


def allows(rule: Rule, attributes: Attributes) -> bool:
    """Whether one PolicyRule grants this."""
    if not _has(rule.get("verbs"), attributes.verb):
        return False
    if attributes.path:
        return any(_path(pattern, attributes.path) for pattern in rule.get("nonResourceURLs") or ())
    if not _has(rule.get("apiGroups"), attributes.group):
        return False
    listed = rule.get("resources") or ()
    anything = f"*/{attributes.subresource}"
    if not _has(listed, attributes.wanted) and not (attributes.subresource and anything in listed):
        return False
    names = rule.get("resourceNames")
    return not names or attributes.name in names


def _has(listed: Iterable[str] | None, value: str) -> bool:
    return bool(listed) and ("*" in (listed or ()) or value in (listed or ()))


def _path(pattern: str, path: str) -> bool:
    return pattern == "*" or pattern == path or (pattern.endswith("*") and path.startswith(pattern[:-1]))


def uncovered(held: Iterable[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """The smallest pieces of `wanted` that no rule of `held` grants."""
    held = list(held)
    return [piece for rule in wanted for piece in _pieces(rule) if not any(_covers(rule_, piece) for rule_ in held)]


def _pieces(rule: Rule) -> Iterable[Rule]:
    for verb in rule.get("verbs") or ():
        for url in rule.get("nonResourceURLs") or ():
            yield {"nonResourceURLs": [url], "verbs": [verb]}
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                piece: dict[str, Any] = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
                for name in rule.get("resourceNames") or [None]:
                    yield piece if name is None else {**piece, "resourceNames": [name]}


def _covers(rule: Rule, piece: Rule) -> bool:
    if not _has(rule.get("verbs"), piece["verbs"][0]):
        return False
    if "nonResourceURLs" in piece:
        return any(_path(pattern, piece["nonResourceURLs"][0]) for pattern in rule.get("nonResourceURLs") or ())
    resource = piece["resources"][0]
    _, _, subresource = resource.partition("/")
    listed = rule.get("resources") or ()
    if not _has(rule.get("apiGroups"), piece["apiGroups"][0]):
        return False
    if not _has(listed, resource) and not (subresource and f"*/{subresource}" in listed):
        return False
    names = rule.get("resourceNames")
    return not names or set(piece.get("resourceNames") or ("",)) <= set(names)


def compact(rules: Iterable[Rule]) -> str:
    """Rules as a real server prints those that somebody lacks, one a line."""
    lines = []
    for rule in rules:
        parts = [
            f"{title}:[{', '.join(chr(34) + str(v) + chr(34) for v in rule[key])}]"
            for key, title in (("nonResourceURLs", "NonResourceURLs"), ("apiGroups", "APIGroups"),
                               ("resources", "Resources"), ("resourceNames", "ResourceNames"), ("verbs", "Verbs"))
            if key in rule
        ]  # fmt: skip
        lines.append("{" + ", ".join(parts) + "}")
    return "\n".join(dict.fromkeys(lines))

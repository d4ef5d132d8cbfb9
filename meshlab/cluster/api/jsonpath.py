"""The JSONPath of CRD columns: `.spec.hosts[0]`, `.status.conditions[?(@.type=="Ready")].status`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

__all__ = ["find", "printed"]

STEP = re.compile(
    r"""
      \.\.(?P<deep>[A-Za-z_][-\w]*)                  # ..name
    | \.?\[\s*['"](?P<quoted>[^'"]+)['"]\s*\]        # ['name']
    | \.(?P<name>(?:\\.|[^.\[\]\\])+)                # .name, with \. for a dot in it
    | \[\s*(?P<index>-?\d+|\*)\s*\]                  # [0] [*]
    | \[\?\(\s*@(?P<left>[^=!<>]+?)\s*(?P<op>==|!=)\s*(?P<right>'[^']*'|"[^"]*"|[^)]+?)\s*\)\]
    """,
    re.VERBOSE,
)


def find(obj: Any, path: str) -> list[Any]:
    """Everything that the path leads to; nothing where it leads nowhere or is no path."""
    text = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    if text and not text.startswith((".", "[")):
        text = "." + text
    found, at = [obj], 0
    while at < len(text):
        match = STEP.match(text, at)
        if match is None:
            return []
        found = [value for item in found for value in _step(item, match)]
        at = match.end()
    return found


def _step(value: Any, match: re.Match[str]) -> Iterator[Any]:
    if name := match["quoted"] or match["name"]:
        name = name.replace("\\.", ".")
        if isinstance(value, dict) and name in value:
            yield value[name]
    elif deep := match["deep"]:
        yield from _deep(value, deep)
    elif index := match["index"]:
        items = list(value.values()) if isinstance(value, dict) else value
        if isinstance(items, list):
            if index == "*":
                yield from items
            elif -len(items) <= int(index) < len(items):
                yield items[int(index)]
    elif isinstance(value, list):
        wanted = match["right"].strip("'\"")
        for item in value:
            seen = find(item, match["left"])
            same = bool(seen) and printed(seen[0]) == wanted
            if same == (match["op"] == "=="):
                yield item


def _deep(value: Any, name: str) -> Iterator[Any]:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if isinstance(value, dict) and name in value:
        yield value[name]
    for child in children:
        yield from _deep(child, name)


def printed(value: Any) -> str:
    """A value as JSONPath prints it: strings bare, everything else as JSON."""
    import json

    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))

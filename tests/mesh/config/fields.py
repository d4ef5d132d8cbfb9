"""Every field of a kind's schema, documents in which they stand, and which of them a translation reads."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from meshlab.mesh.config.today.schema import Schema

__all__ = ["Reading", "leaves", "samples"]

Path = tuple[str, ...]
#: Values that a pattern or a translator asks for, by the end of the path.
SPECIAL: dict[str, Any] = {
    "targetPort": 8080, "defaultEndpoint": "127.0.0.1:8080", "bytes": "YQ==", "port": 80, "number": 80,
    "addresses[]": "127.1.2.3", "destinationSubnets[]": "127.0.0.0/8", "address": "127.1.2.3", "protocol": "HTTP",
    "retryOn": "5xx,503", "captureMode": "IPTABLES", "egress[].hosts[]": "*/*", "kind": "Service",
    "parentRefs[].kind": "Gateway", "sniHosts[]": "a.test", "group": "", "ttl": "1s", "backoff": "1s",
    "timeouts.request": "1s", "timeouts.backendRequest": "1s", "status": 200, "statusCode": 302,
}


def leaves(schema: Schema, path: Path = ()) -> Iterator[Path]:
    """Paths of all fields that hold a value; `[]` is any item of a list. Maps are values."""
    if schema.type == "array" and schema.items is not None:
        yield from leaves(schema.items, (*path[:-1], path[-1] + "[]"))
    elif schema.properties:
        for name, each in schema.properties.items():
            yield from leaves(each, (*path, name))
    else:
        yield path


def samples(schema: Schema, count: int) -> Iterator[Any]:
    """Documents that together have every field: chosen by chance, the same ones each time."""
    dice = Random(4)  # noqa: S311 - nothing secret
    for _ in range(count):
        yield _value(schema, (), dice)


def _value(schema: Schema, path: Path, dice: Random) -> Any:
    end = ".".join(path)
    if schema.type in ("string", "integer"):
        for name, value in SPECIAL.items():
            if end == name or end.endswith("." + name):
                return value
    if schema.enum:
        return dice.choice(schema.enum)
    if schema.type == "array" and schema.items is not None:
        return [_value(schema.items, (*path[:-1], path[-1] + "[]"), dice) for _ in range(dice.choice((1, 2)))]
    if schema.properties:
        return _object(schema, path, dice)
    if schema.type == "object":
        key = "80" if path[-1] == "portLevelMtls" else "k"
        return {key: _value(schema.items, (*path, key), dice) if schema.items is not None else "v"}
    if schema.type == "boolean":
        return dice.random() < 0.5
    if schema.type in ("integer", "number"):
        return max(1, int(schema.low or 0)) if schema.high is None or schema.high >= 1 else schema.high
    return "1s" if "duration" in end.lower() or any("duration" in r.cel for r in schema.rules) else "a"


def _object(schema: Schema, path: Path, dice: Random) -> dict[str, Any]:
    left: set[str] = set()
    for group in (*schema.at_most_one, *schema.exactly_one):
        left |= set(group) - {dice.choice(group)}
    found = {
        name: _value(each, (*path, name), dice) for name, each in schema.properties.items()
        if name in schema.required or "replaceFullPath" in schema.properties
        or (name not in left and dice.random() < 0.7)
    }
    if "extensionRef" in schema.properties:  # a filter of an HTTPRoute is of the one kind that its type names
        kind = dice.choice([name for name in schema.properties if name != "type"])
        title = {"urlRewrite": "URLRewrite", "cors": "CORS"}.get(kind, kind[0].upper() + kind[1:])
        found = {"type": title, kind: _value(schema.properties[kind], (*path, kind), dice)}
    return found


class Reading(dict[str, Any]):
    """A document that notes which of its fields are asked for."""

    def __init__(self, document: Any, seen: set[Path], path: Path = ()) -> None:
        super().__init__({name: _reading(value, seen, (*path, name)) for name, value in document.items()})
        self._seen, self._path = seen, path

    def __getitem__(self, name: str) -> Any:
        self._note(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self._note(name)
        return super().get(name, default)

    def _note(self, name: str) -> None:
        self._seen.add((*self._path, name))


def _reading(value: Any, seen: set[Path], path: Path) -> Any:
    if isinstance(value, dict):
        return Reading(value, seen, path)
    if isinstance(value, list):
        return [_reading(each, seen, (*path[:-1], path[-1] + "[]")) for each in value]
    return value

"""What a request's path and query mean, before anything is looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from meshlab.cluster.api.registry import Registry, Resource
from meshlab.cluster.api.status import ApiError, BadRequest, NotFound

__all__ = ["NoSuchPath", "Target", "flag", "number", "target_of"]

#: What may follow /api/v1/namespaces/NAME without being a kind in that namespace.
NAMESPACE_SUBRESOURCES = ("status", "finalize")


class NoSuchPath(ApiError):
    """No API at this path: answered as text, as Go's HTTP server does."""

    code, reason = 404, "NotFound"


@dataclass(frozen=True)
class Target:
    """A collection, an object, or a subresource (with what follows it, for proxies)."""

    resource: Resource
    namespace: str | None = None
    name: str | None = None
    subresource: str | None = None
    rest: str = ""
    #: The deprecated /api/v1/watch/… form.
    watch: bool = False


def target_of(path: str, registry: Registry) -> Target:
    """The target of a path below /api/ or /apis/. NoSuchPath or NotFound where there is none."""
    parts = path.split("/")
    if parts[1] == "api":
        group, rest = "", parts[2:]
    else:
        group, rest = parts[2] if len(parts) > 2 else "", parts[3:]
    if not rest or rest == [""]:
        raise NoSuchPath("404 page not found")
    version, rest = rest[0], rest[1:]
    if version not in registry.groups().get(group, ()):
        raise NoSuchPath("404 page not found")
    watch = bool(rest) and rest[0] == "watch"
    if watch:
        rest = rest[1:]
    namespace: str | None = None
    if len(rest) > 2 and rest[0] == "namespaces" and not (
        not group and rest[2] in NAMESPACE_SUBRESOURCES and len(rest) == 3
    ):
        namespace, rest = rest[1], rest[2:]
    if not rest or not rest[0]:
        raise NotFound.path()
    resource = registry.find(group, version, rest[0])
    if resource is None or (namespace is not None and not resource.namespaced):
        raise NotFound.path()
    name = rest[1] if len(rest) > 1 and rest[1] else None
    subresource = rest[2] if len(rest) > 2 else None
    if name is not None and resource.namespaced and namespace is None:
        raise NotFound.path()
    if subresource is not None and subresource not in resource.subresources:
        raise NotFound.path()
    # A proxy's path keeps its own slash: none, "" and "/" are different to the program behind it.
    tail = "/" + "/".join(rest[3:]) if len(rest) > 3 else ""
    if tail and subresource != "proxy":
        raise NotFound.path()
    return Target(resource, namespace, name, subresource, tail, watch)


def flag(query: Mapping[str, str], name: str) -> bool:
    """A boolean parameter as Go's conversion reads it: present and neither false nor 0."""
    value = query.get(name)
    return value is not None and value.lower() not in ("false", "0")


def number(query: Mapping[str, str], name: str) -> int | None:
    """An integer parameter; None if absent. BadRequest where it is none."""
    value = query.get(name)
    if value is None or value == "":
        return None
    try:
        return int(value)
    except ValueError:
        raise BadRequest(f'strconv.ParseInt: parsing "{value}": invalid syntax') from None

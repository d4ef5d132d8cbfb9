"""Which kinds are served, as data.

A `Resource` is one kind in one version: everything that discovery, the HTTP layer and the storage need to know of
it. Kinds of several versions share a `storage` key; objects are stored in the version named by `stored_as`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

__all__ = ["VERBS", "Registry", "Resource"]

#: What every stored kind can do, in the order of discovery.
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True)
class Resource:
    """One kind in one version of its group."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    namespaced: bool = True
    #: status, scale, log, proxy, binding, eviction, token, finalize, exec, attach, portforward, approval
    subresources: frozenset[str] = frozenset()
    verbs: tuple[str, ...] = VERBS
    #: (group, plural) under which objects of all versions are kept.
    storage: tuple[str, str] = ("", "")
    #: apiVersion of the objects in the store.
    stored_as: str = ""
    #: Whether metadata.generation counts changes of the specification.
    generation: bool = False
    #: Whether DELETE answers with the object; otherwise with a Status.
    returns_deleted: bool = False
    #: Whether an update must say which revision it was made from.
    conditional: bool = False
    #: Whether a CustomResourceDefinition made it.
    custom: bool = False
    list_kind: str = ""
    #: Field selectors beyond metadata.name and metadata.namespace.
    fields: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """`pods`, `deployments.apps`: how messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def collection(self) -> str:
        """Name of its collection in the store."""
        return f"{self.storage[0]}/{self.storage[1]}"


@dataclass
class Registry:
    """All resources served now; custom ones come and go."""

    _by_plural: dict[tuple[str, str, str], Resource] = field(default_factory=dict)
    _by_kind: dict[tuple[str, str], Resource] = field(default_factory=dict)
    #: Counts changes, so that discovery documents can be cached.
    version: int = 0
    _groups: dict[str, list[str]] | None = None
    _built_in: dict[str, Resource] = field(default_factory=dict)

    @classmethod
    def of(cls, resources: Iterable[Resource]) -> Registry:
        registry = cls()
        for resource in resources:
            registry.add(resource)
        return registry

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        return self._by_plural.get((group, version, plural))

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        return self._by_kind.get((api_version, kind))

    def built_in(self, kind: str) -> Resource:
        """A built-in by its kind alone, in the version in which it is stored. KeyError if there is none."""
        if not self._built_in:
            self._built_in = {
                r.kind: r for r in reversed(self._by_plural.values())
                if not r.custom and r.api_version == r.stored_as
            }
        return self._built_in[kind]

    def all(self) -> list[Resource]:
        return list(self._by_plural.values())

    def groups(self) -> dict[str, list[str]]:
        """Group → versions in order of preference; the core group is "". Not to be changed."""
        if self._groups is None:
            found: dict[str, list[str]] = {}
            for resource in self._by_plural.values():
                versions = found.setdefault(resource.group, [])
                if resource.version not in versions:
                    versions.append(resource.version)
            for group in {r.group for r in self._by_plural.values() if r.custom}:
                found[group].sort(key=_priority)
            self._groups = found
        return self._groups

    def in_version(self, group: str, version: str) -> list[Resource]:
        """Sorted by plural."""
        return sorted(
            (r for r in self._by_plural.values() if (r.group, r.version) == (group, version)),
            key=lambda r: r.plural,
        )

    def sharing(self, collection: str) -> Iterator[Resource]:
        """Every version of the kind that this collection holds."""
        return (r for r in self._by_plural.values() if r.collection == collection)

    def add(self, resource: Resource) -> None:
        self._by_plural[resource.group, resource.version, resource.plural] = resource
        self._by_kind[resource.api_version, resource.kind] = resource
        if not resource.custom:
            self._built_in = {}
        self.version += 1
        self._groups = None

    def remove(self, resource: Resource) -> None:
        self._by_plural.pop((resource.group, resource.version, resource.plural), None)
        self._by_kind.pop((resource.api_version, resource.kind), None)
        self.version += 1
        self._groups = None


def _priority(version: str) -> tuple[int, int, int, str]:
    """Kubernetes' order: v2, v1, v1beta2, v1beta1, v1alpha1, then others by name."""
    import re

    match = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if not match:
        return 3, 0, 0, version
    stage = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return stage, -int(match[1]), -int(match[3] or 0), version

"""What the steps of a conversion share: notes, documents, and the names that are given on the way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from meshlab.mesh.config.labels import Labels
from meshlab.mesh.config.outside import PLACEHOLDER, ExternalService

__all__ = ["API_VERSION", "Converted", "Note", "Spec", "Weight", "Work", "document", "label"]

Spec = dict[str, Any]
API_VERSION = "networking.istio.io/v1"


class Weight(Enum):
    """How much a note matters."""

    #: Nothing says it any more.
    LOST = "lost"
    #: It is said, and means something slightly different.
    CHANGED = "changed"
    #: It was not in force before either.
    IDLE = "not in force"


@dataclass(frozen=True, slots=True)
class Note:
    """What a reader of the converted documents must know of one rule (`key`)."""

    weight: Weight
    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.weight.value}: {self.key}: {self.text}"


@dataclass(frozen=True)
class Converted:
    """One document, the rules it comes from, and what is to be said of it."""

    obj: Mapping[str, Any]
    origins: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()


@dataclass
class Work:
    """What is known while one set of rules is converted."""

    domain: str
    #: Host → selector of the Service, as far as Services are known.
    selectors: Mapping[str, Labels]
    external: dict[str, ExternalService] = field(default_factory=dict)
    #: Host → labels → name of the subset.
    subsets: dict[str, dict[Labels, str]] = field(default_factory=dict)
    names: set[tuple[str, str, str]] = field(default_factory=set)

    def subset(self, host: str, labels: Labels) -> str:
        """A name for a version, the same for the same labels."""
        known = self.subsets.setdefault(host, {})
        if labels not in known:
            text = labels.get("version", "") if set(labels) == {"version"} else "-".join(labels.values())
            name = base = label(text) or "all"
            number = 2
            while name in known.values():
                name, number = f"{base[:59]}-{number}", number + 1
            known[labels] = name
        return known[labels]

    def reference(self, host: str, namespace: str) -> str:
        """A host as written in a document of this namespace: short for its own services."""
        if host in self.external:
            return self.external_hosts(host)[0]
        return host.removesuffix(f".{namespace}.svc.{self.domain}") if namespace else host

    def external_hosts(self, host: str) -> list[str]:
        """The hosts of an external service's entry, which needs a name: a placeholder for an address."""
        found = self.external[host]
        return list(found.hosts) or [label(host.replace("/", "-")) + PLACEHOLDER]

    def name(self, kind: str, namespace: str, wanted: str) -> str:
        """A free name for a document."""
        name, number = wanted, 2
        while (kind, namespace, name) in self.names:
            name, number = f"{wanted}-{number}", number + 1
        self.names.add((kind, namespace, name))
        return name


def label(text: str) -> str:
    """The text as a DNS label, "" if nothing of it is left."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace("*", "wildcard")).strip("-")[:63].strip("-")


def document(kind: str, name: str, namespace: str, spec: Spec) -> Spec:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}

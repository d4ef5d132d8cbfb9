"""An object of today's API as it is stored: what the translators to the model need of its metadata, and its spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshlab.mesh.config.durations import Duration
from meshlab.mesh.config.labels import Labels
from meshlab.mesh.config.routing import MESH, Origin

__all__ = ["Stored", "duration", "labels", "texts"]


@dataclass(frozen=True)
class Stored:
    """One object. Its spec has passed its schema (`validate.problems`), so that its types are known."""

    kind: str
    namespace: str
    name: str
    spec: Mapping[str, Any]
    group: str = ""
    created: str = ""
    revision: str = ""
    #: The mesh's domain, used to complete short host names.
    domain: str = "cluster.local"
    labels: Labels = Labels()  # noqa: RUF009 - immutable
    annotations: Labels = Labels()  # noqa: RUF009 - immutable

    @classmethod
    def of(cls, obj: Mapping[str, Any], domain: str = "cluster.local") -> Stored:
        """From an object as JSON; one without a namespace is taken for one of `default`."""
        meta = obj.get("metadata") or {}
        return cls(
            kind=str(obj.get("kind") or ""),
            namespace=str(meta.get("namespace") or "default"),
            name=str(meta.get("name") or ""),
            spec=obj.get("spec") or {},
            group=str(obj.get("apiVersion") or "").partition("/")[0],
            created=str(meta.get("creationTimestamp") or ""),
            revision=str(meta.get("resourceVersion") or ""),
            domain=domain,
            labels=labels(meta.get("labels")),
            annotations=labels(meta.get("annotations")),
        )

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"

    @property
    def origin(self) -> Origin:
        return Origin(self.key, self.revision)

    def host(self, name: str) -> str:
        """A whole host name: one without a dot is of this object's namespace.

        >>> Stored("VirtualService", "default", "v", {}).host("svcb")
        'svcb.default.svc.cluster.local'
        """
        if not name or "." in name or "*" in name:
            return name
        return f"{name}.{self.namespace}.svc.{self.domain}"

    def gateways(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """Gateways as `namespace/name`; a bare name is of this object's namespace, `mesh` stays."""
        return tuple(each if each == MESH or "/" in each else f"{self.namespace}/{each}" for each in names or ())

    @property
    def visible_in(self) -> tuple[str, ...]:
        """exportTo: namespaces that see it, () for all."""
        listed = texts(self.spec.get("exportTo"))
        if not listed or "*" in listed:
            return ()
        return tuple(self.namespace if each == "." else each for each in listed)


def texts(value: Any) -> tuple[str, ...]:
    return tuple(value or ())


def labels(value: Any) -> Labels:
    return Labels({str(k): str(v) for k, v in (value or {}).items()})


def duration(value: Any) -> Duration | None:
    """None for none. The schema has checked the form."""
    return None if value is None else Duration.parse(value)

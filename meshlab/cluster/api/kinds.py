"""What the types of objects decide: decoding, defaults, conversion between versions, validation, ownership.

The functions themselves are pure and live next door (`strict`, `defaults`, `convert`, `validation`, `structural`,
`apply`); this is where a `Resource` meets them. Built-in kinds have Go-like types, custom ones the structural schema
of their definition.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.conversions import Conversions
from meshlab.cluster.api.crd import Definitions
from meshlab.cluster.api.registry import Resource
from meshlab.cluster.api.status import BadRequest, CauseLike, Conflict, Invalid, UnsupportedMediaType

if TYPE_CHECKING:
    from meshlab.cluster.api.schema import Node, Schemas

__all__ = ["Kinds", "Undecodable", "check_kind", "check_name"]

Object = dict[str, Any]
#: Versions that a kind had before: a real server still has their types, and knows what it does not serve.
EARLIER = re.compile(r"v1|v\d+(alpha|beta)\d+")
#: Receives the text of a warning for the client.
Warn = Callable[[str], None]


class Undecodable(BadRequest):
    """An object that is none of its kind; `why` is what Go's decoder says of it."""

    def __init__(self, resource: Resource, why: str) -> None:
        kind = resource.kind
        super().__init__(f'{kind} in version "{resource.version}" cannot be handled as a {kind}: {why}')
        self.why = why


class Kinds:
    """Applies types to objects. One per server."""

    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self.conversions = Conversions()
        self._schemas: Schemas | None = None

    @property
    def schemas(self) -> Schemas:
        if self._schemas is None:
            from meshlab.cluster.api.schema import Schemas

            self._schemas = Schemas.load()
        return self._schemas

    def node(self, resource: Resource) -> Node | None:
        """The type of a kind; that of a custom one follows from its schema."""
        if resource.custom:
            return self.definitions.node(resource)
        return self.schemas.for_kind(resource.api_version, resource.kind)

    # Decoding

    def decode(self, resource: Resource, obj: Object, validation: str, warn: Warn) -> Object:
        """The object as its type has it.

        `validation` says what becomes of unknown fields: Ignore, Warn or Strict. Raises BadRequest.
        """
        if resource.custom:
            pruned, unknown = self.definitions.prune(resource, obj)
            message = "strict decoding error: " + ", ".join(f'unknown field "{path}"' for path in unknown)
        else:
            node = self.node(resource)
            if node is None:
                return obj
            from meshlab.cluster.api.strict import DecodeError, decode

            try:
                decoded = decode(obj, node)
            except DecodeError as error:
                raise Undecodable(resource, str(error)) from None
            pruned, unknown = decoded.obj, decoded.unknown
            message = decoded.strict_message() if unknown else ""
        if unknown and validation == "Strict":
            raise Undecodable(resource, message)
        if unknown and validation == "Warn":
            for path in unknown:
                warn(f'unknown field "{path}"')
        return pruned

    def decode_as(self, api_version: str, kind: str, obj: Any) -> Object:
        """An object of a kind that is no resource (DeleteOptions, Eviction, TokenRequest …). Raises BadRequest."""
        from meshlab.cluster.api.strict import DecodeError, decode

        node = self.schemas.for_kind(api_version, kind)
        assert node is not None, (api_version, kind)  # noqa: S101 (the types are ours)
        try:
            if not isinstance(obj, Mapping):
                raise DecodeError(f"json: cannot unmarshal into Go value of type {node.go_type}")
            return decode(obj, node).obj
        except DecodeError as error:
            version = api_version.rpartition("/")[2]
            message = f'{kind} in version "{version}" cannot be handled as a {kind}: {error}'
            raise BadRequest(message) from None

    # Defaults, conversion, validation

    def defaults(self, resource: Resource, obj: Object) -> Object:
        if resource.custom:
            return self.definitions.default(resource, obj)
        from meshlab.cluster.api.defaults import apply_defaults

        return apply_defaults(obj)

    def to_storage(self, resource: Resource, obj: Object) -> Object:
        """From the version of `resource` to the one that is stored."""
        return self.convert(resource, obj, resource.stored_as)

    def from_storage(self, resource: Resource, obj: Object) -> Object:
        return self.convert(resource, obj, resource.api_version)

    def converts(self, resource: Resource) -> bool:
        """Whether a webhook is asked for other versions of a kind."""
        return resource.custom and self.definitions.webhook(resource) is not None

    def all_from_storage(self, resource: Resource, objects: Sequence[Object]) -> list[Object]:
        """Like `from_storage`; a webhook is asked about all of them at once."""
        if resource.custom and (webhook := self.definitions.webhook(resource)):
            made = self.conversions.convert_all(webhook, resource, objects, resource.api_version)
            return [self._completed(resource, new, old) for new, old in zip(made, objects, strict=True)]
        return [self.from_storage(resource, obj) for obj in objects]

    def convert(self, resource: Resource, obj: Object, api_version: str) -> Object:
        if obj["apiVersion"] == api_version:
            return obj
        if resource.custom:
            if webhook := self.definitions.webhook(resource):
                made = self.conversions.convert(webhook, resource, obj, api_version)
                return self._completed(resource, made, obj) if api_version == resource.api_version else made
            return {**obj, "apiVersion": api_version}
        from meshlab.cluster.api.convert import convert

        return convert(obj, api_version)

    def _completed(self, resource: Resource, new: Object, old: Object) -> Object:
        """What a webhook made, without fields that its version does not have, and with its defaults."""
        if new is old:
            return new
        return self.definitions.default(resource, self.definitions.prune(resource, new)[0])

    def validate(
        self, resource: Resource, obj: Object, old: Object | None, subresource: str | None = None
    ) -> None:
        """Raises Invalid with every cause."""
        causes: Sequence[CauseLike]
        if resource.custom:
            causes = self.definitions.validate(resource, obj, old)
        else:
            from meshlab.cluster.api.validation import validate

            causes = validate(obj, resource, old=old, subresource=subresource)
        if causes:
            raise Invalid.of(resource, obj["metadata"].get("name", ""), causes)

    # Patches

    def strategic(self, resource: Resource, obj: Object, patch: Any) -> Object:
        node = None if resource.custom else self.node(resource)
        if node is None:
            raise no_strategic()
        from meshlab.cluster.api.strategic import strategic_merge

        return strategic_merge(obj, patch, node)

    def apply(
        self, resource: Resource, live: Object | None, config: Object, manager: str, force: bool,
        subresource: str | None,
    ) -> Object:
        """Server-side apply. Raises Conflict."""
        from meshlab.cluster.api import apply

        try:
            return apply.apply(
                live, config, manager=manager, force=force, node=self.node(resource),
                api_version=resource.api_version, now=datetime.now(UTC), subresource=subresource,
            )
        except apply.Conflict as conflict:
            raise Conflict.managers(str(conflict), conflict.conflicts) from None

    def track(
        self, resource: Resource, live: Object | None, new: Object, manager: str, subresource: str | None
    ) -> list[Object]:
        """metadata.managedFields after `manager` wrote `new`."""
        from meshlab.cluster.api import apply

        return apply.track(
            live, new, manager=manager, operation="Update", subresource=subresource, node=self.node(resource),
            api_version=resource.api_version, now=datetime.now(UTC),
        )


def no_strategic() -> UnsupportedMediaType:
    """Custom kinds have no types to merge by."""
    return UnsupportedMediaType(
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
    )


def check_name(own: Any, name: str) -> None:
    """That an object has the name that the path of its request says. Raises BadRequest."""
    if not own:
        raise BadRequest(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
    if own != name:
        raise BadRequest(f"the name of the object ({own}) does not match the name on the URL ({name})")


def check_kind(resource: Resource, obj: Mapping[str, Any]) -> None:
    """That an object sent to a resource says that it is one; a built-in need not say it. Raises BadRequest."""
    kind, api_version = obj.get("kind"), obj.get("apiVersion")
    if not resource.custom:
        kind, api_version = kind or resource.kind, api_version or resource.api_version
    if kind == resource.kind and api_version == resource.api_version:
        return
    if not kind:
        raise BadRequest("Object 'Kind' is missing in the body of the request")
    group, _, version = str(api_version or "").rpartition("/")
    if kind != resource.kind and not resource.custom:
        internal = resource.group.split(".")[0] or "core"
        raise BadRequest(
            f'{kind} in version "{version}" cannot be handled as a {resource.kind}: converting '
            f"({(group.split('.')[0] + '/') if group else ''}{version}.{kind}) to ({internal}.{resource.kind}): "
            "unknown conversion"
        )
    if resource.custom and kind != resource.kind:
        raise BadRequest(
            f"the kind in the data ({kind}) does not match the expected kind ({resource.kind})"
        )
    if not resource.custom and (group != resource.group or not EARLIER.fullmatch(version)):
        raise BadRequest(
            f'{kind} in version "{version}" cannot be handled as a {resource.kind}: no kind "{kind}" is registered for '
            f'version "{api_version}" in scheme "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"'
        )
    raise BadRequest(
        f"the API version in the data ({api_version}) does not match the expected API version "
        f"({resource.api_version})"
    )

"""Bodies: what a client sends becomes a dict, what it wants to accept decides what it gets.

An answer is an object, a list, a Table or only metadata. Stored JSON is sent as it is wherever possible.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.kinds import Kinds
from meshlab.cluster.api.listing import Page
from meshlab.cluster.api.registry import Resource
from meshlab.cluster.api.status import BadRequest, NotAcceptable, UnsupportedMediaType
from meshlab.cluster.api.store import Entry, encode

if TYPE_CHECKING:
    from meshlab.cluster.api.schema import Schemas

__all__ = ["Form", "Renderer", "accepted", "decode_body", "loads", "parse_json", "parse_yaml"]

Object = dict[str, Any]

JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
ENVELOPE = b"k8s\0"
GO_TYPE = (
    'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
)
#: Media types as the 406 of a real server lists them.
SUPPORTED = "application/json, application/yaml, application/vnd.kubernetes.protobuf"


@dataclass(frozen=True)
class Form:
    """What a client accepts: `as_` is "", Table, PartialObjectMetadata or a discovery list."""

    as_: str = ""
    version: str = ""
    yaml: bool = False

    @property
    def content_type(self) -> str:
        return YAML if self.yaml else JSON


@lru_cache(maxsize=64)  # clients say the same with every request
def accepted(header: str | None, known: tuple[str, ...] = ("Table", "PartialObjectMetadata")) -> Form:
    """The first form of an Accept header that we have. Raises NotAcceptable."""
    if not header:
        return Form()
    for entry in header.split(","):
        media, *params = (part.strip() for part in entry.split(";"))
        values = dict(p.split("=", 1) for p in params if "=" in p)
        if media not in (JSON, YAML, "application/*", "*/*"):
            continue
        if (kind := values.get("as", "")) and kind.removesuffix("List") not in known and kind not in known:
            continue
        if kind and values.get("v") not in ("v1", "v1beta1", "v2", "v2beta1"):
            continue
        name = kind if kind in known else kind.removesuffix("List")
        return Form(name, values.get("v", ""), media == YAML)
    raise NotAcceptable(f"only the following media types are accepted: {SUPPORTED}", details={})


# What comes in


def decode_body(body: bytes, content_type: str, resource: Resource | None, schemas: Schemas) -> Any:
    """The value in a request's body. Raises BadRequest or UnsupportedMediaType."""
    media = content_type.partition(";")[0].strip().lower()
    kind = resource.kind if resource else "object"
    if media in (PROTOBUF,) or (not media and body.startswith(ENVELOPE)):
        from meshlab.cluster.api.protobuf import ProtobufError, decode

        try:
            return decode(body, schemas)
        except ProtobufError as error:
            raise BadRequest(_unrecognized(kind, str(error), body)) from None
    if media in (YAML, "application/x-yaml", "text/yaml") or media.endswith("+yaml"):
        try:
            return parse_yaml(body)
        except ValueError as error:
            raise BadRequest(f"error converting YAML to JSON: {error}") from None
    # `kubectl scale --current-replicas` sends no type at all.
    if media in ("", JSON, "application/octet-stream", "*/*") or media.endswith("+json"):
        return parse_json(body, kind)
    raise UnsupportedMediaType(
        f"the body of the request was in an unknown format - accepted media types include: {SUPPORTED}"
    )


def parse_json(body: bytes, kind: str) -> Any:
    """JSON; the errors are worded as Go words them."""
    try:
        return loads(body)
    except json.JSONDecodeError as error:
        raise BadRequest(_unrecognized(kind, _syntax(body, error), body)) from None
    except ValueError as error:
        raise BadRequest(_unrecognized(kind, str(error), body)) from None


def loads(body: bytes) -> Any:
    """The value of a JSON text. ValueError where it is none, or nests deeper than we follow."""
    try:
        value = _decoder.decode(body.decode("utf-8", "replace"))
        # Half a pair of surrogates is no character, and could not be stored: Go reads it as U+FFFD.
        return _whole(value) if b"\\u" in body else value
    except RecursionError:
        raise ValueError("exceeded max depth") from None


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value) or math.isnan(value):
        raise ValueError(f"json: cannot unmarshal number {text} into Go value of type float64")
    return value


#: Python's own takes NaN and Infinity, and makes infinity of 1e999; no other program could read them again.
_decoder = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return value


def object_body(value: Any, resource: Resource, body: bytes) -> Object:
    """That a body is an object."""
    if isinstance(value, dict):
        return value
    words: dict[type, str] = {str: "string", bool: "bool", int: "number", float: "number", list: "array"}
    if value is None:
        return {}
    why = f"json: cannot unmarshal {words[type(value)]} into Go value of type {GO_TYPE}"
    raise BadRequest(_unrecognized(resource.kind, why, body))


def parse_yaml(body: bytes) -> Any:
    """The value of a YAML text. ValueError where it is none."""
    if body.lstrip().startswith(b"{"):
        try:
            return loads(body)
        except ValueError:
            pass  # flow-style YAML looks like JSON
    import yaml

    try:
        value = yaml.load(body, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
        return loads(json.dumps(value, default=_yaml_value).encode())
    except (yaml.YAMLError, TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _yaml_value(value: Any) -> str:
    """YAML reads dates where Kubernetes means text."""
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    raise TypeError(f"cannot use a {type(value).__name__}")


def _unrecognized(kind: str, why: str, body: bytes) -> str:
    return (
        f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; "
        f"json parse error: {why} ({_summary(body)})"
    )


def _summary(body: bytes, longest: int = 30) -> str:
    if not body:
        return "<empty>"
    cut = body[:longest]
    text = cut.decode("utf-8", "replace") if body[:1] == b"{" else cut.hex()
    return text + (" ..." if len(body) > longest else "")


def _syntax(body: bytes, error: ValueError) -> str:
    at = getattr(error, "pos", None)
    text = body.decode("utf-8", "replace")
    if at is None or at >= len(text.rstrip()):
        return "unexpected end of JSON input"
    where = "looking for beginning of value" if "Expecting value" in str(error) else "in JSON document"
    if "property name" in str(error):
        where = "looking for beginning of object key string"
    elif "Extra data" in str(error):
        where = "after top-level value"
    return f"invalid character '{text[at]}' {where}"


# What goes out


class Renderer:
    """Turns stored objects into the bodies of answers."""

    def __init__(self, types: Kinds) -> None:
        self.types = types

    def one(self, resource: Resource, entry: Entry, form: Form, include: str = "") -> bytes:
        """A stored object."""
        if not form.as_ and not form.yaml and entry.obj["apiVersion"] == resource.api_version:
            return entry.data + b"\n"
        return self.object(resource, self.types.from_storage(resource, entry.obj), form, include)

    def object(self, resource: Resource, obj: Object, form: Form, include: str = "") -> bytes:
        """Any object, by form; Statuses and subresources' kinds stay what they are."""
        if form.as_ and obj.get("kind") == resource.kind:
            if form.as_ == "Table":
                meta = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
                obj = self.table(resource, [obj], form, include) | {"metadata": meta}
            else:
                obj = partial(obj, form.version)
        return dump(obj, form)

    def page(self, resource: Resource, page: Page, form: Form, include: str = "") -> bytes:
        """A list, from one page."""
        meta: Object = {"resourceVersion": str(page.revision)}
        if page.token:
            meta["continue"] = page.token
        if page.remaining is not None:
            meta["remainingItemCount"] = page.remaining
        if form.as_ == "Table":
            objects = self._objects(resource, page)
            return dump(self.table(resource, objects, form, include) | {"metadata": meta}, form)
        if form.as_:
            items = [partial(obj, form.version) for obj in self._objects(resource, page)]
            kind, version = "PartialObjectMetadataList", f"meta.k8s.io/{form.version}"
            return dump({"kind": kind, "apiVersion": version, "metadata": meta, "items": items}, form)
        version = resource.api_version
        if not form.yaml and version == resource.stored_as and not (
            resource.custom and any(e.obj["apiVersion"] != version for e in page.entries)
        ):
            head = encode({"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": meta})
            rows = b",".join(self._item(resource, page.entries))
            return head[:-1] + b',"items":[' + rows + b"]}\n"
        objects = self._objects(resource, page)
        if not resource.custom:
            objects = [{k: v for k, v in o.items() if k not in ("kind", "apiVersion")} for o in objects]
        return dump({
            "kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": meta, "items": objects,
        }, form)

    def _objects(self, resource: Resource, page: Page) -> list[Object]:
        return self.types.all_from_storage(resource, [entry.obj for entry in page.entries])

    def _item(self, resource: Resource, entries: Iterable[Entry]) -> Iterable[bytes]:
        if resource.custom:
            return (e.data for e in entries)
        # Items of built-in lists do not repeat kind and apiVersion, which begin every stored object.
        head = encode({"kind": resource.kind, "apiVersion": resource.api_version})[:-1] + b","
        size = len(head)
        return (
            b"{" + e.data[size:] if e.data.startswith(head)
            else encode({k: v for k, v in e.obj.items() if k not in ("kind", "apiVersion")})
            for e in entries
        )

    def table(self, resource: Resource, objects: list[Object], form: Form, include: str = "") -> Object:
        """kubectl's columns. `include` is None, Metadata or Object: what each row carries along."""
        from meshlab.cluster.api.table import table

        columns = self.types.definitions.version(resource).columns if resource.custom else None
        made: Object = table(
            resource, objects, include=include or "Metadata", now=datetime.now(UTC), crd_columns=columns,
            custom=resource.custom,
        )
        made["apiVersion"] = f"meta.k8s.io/{form.version or 'v1'}"
        return made


def partial(obj: Mapping[str, Any], version: str) -> Object:
    return {
        "kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{version or 'v1'}", "metadata": obj["metadata"],
    }


def dump(obj: Any, form: Form = Form()) -> bytes:
    if form.yaml:
        import yaml

        dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
        return yaml.dump(obj, Dumper=dumper, sort_keys=True, default_flow_style=False).encode()
    return encode(obj) + b"\n"

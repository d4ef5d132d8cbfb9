"""Spans of version 2 as Zipkin's protobuf (`zipkin.proto3.ListOfSpans`), which sidecars send.

As JSON the same spans cost Envoy three times as much. What comes is looked at only as far as queries need it, and kept
as it came: of the many spans of a load hardly one is ever read. The messages are declared here, as Zipkin publishes
them: no package has them compiled. Imported when the first such body comes, as the library takes 3 MB.
"""

from __future__ import annotations

import socket
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from meshlab.addons.spans import BadSpan, Kept, Span, checked

__all__ = ["from_protobuf", "messages", "span_of"]

#: Message → its fields in the order of their numbers, which are 1, 2, 3, …: name, type, and "*" where it is a list.
#: A map is on the wire what a list of its entries is, and a message what its bytes are.
_FIELDS = {
    "Endpoint": "service_name:string ipv4:bytes ipv6:bytes port:int32",
    "Annotation": "timestamp:fixed64 value:string",
    "Tag": "key:string value:string",
    "Span": "trace_id:bytes parent_id:bytes id:bytes kind:int32 name:string timestamp:fixed64 duration:uint64 "
    "local_endpoint:Endpoint remote_endpoint:Endpoint annotations:Annotation* tags:Tag* debug:bool shared:bool",
    "ListOfSpans": "spans:bytes*",
}
_PACKAGE = "zipkin.proto3"
_KINDS = ("", "CLIENT", "SERVER", "PRODUCER", "CONSUMER")
#: Bytes of an address → its family and its key in JSON.
_ADDRESSES = {4: (socket.AF_INET, "ipv4"), 16: (socket.AF_INET6, "ipv6")}


def from_protobuf(body: bytes) -> list[Kept]:
    """The spans of a `ListOfSpans`. Raises BadSpan."""
    try:
        return [_kept(data) for data in messages()["ListOfSpans"].FromString(body).spans]
    except DecodeError as error:
        raise BadSpan(f"no ListOfSpans of protobuf: {error}") from None


def _kept(data: bytes) -> Kept:
    raw = messages()["Span"].FromString(data)
    trace, own = raw.trace_id, raw.id
    if len(trace) not in (8, 16) or len(own) != 8 or len(raw.parent_id) not in (0, 8):
        raise BadSpan(f"ids must have 8 bytes, and traceId 8 or 16: trace_id {trace.hex()!r}, id {own.hex()!r}")
    return Kept(trace.hex(), raw.local_endpoint.service_name.lower(), raw.name.lower(), raw.timestamp, data)


def span_of(data: bytes) -> Span:
    """The object of the JSON format."""
    raw = messages()["Span"].FromString(data)
    span: Span = {"traceId": raw.trace_id.hex(), "id": raw.id.hex()}
    if raw.parent_id:
        span["parentId"] = raw.parent_id.hex()
    if 0 < raw.kind < len(_KINDS):
        span["kind"] = _KINDS[raw.kind]
    for key in ("name", "timestamp", "duration", "debug", "shared"):
        if value := getattr(raw, key):
            span[key] = value
    for key, endpoint in (("localEndpoint", "local_endpoint"), ("remoteEndpoint", "remote_endpoint")):
        if raw.HasField(endpoint):
            span[key] = _endpoint(getattr(raw, endpoint))
    if raw.annotations:
        span["annotations"] = [{"timestamp": each.timestamp, "value": each.value} for each in raw.annotations]
    if raw.tags:
        span["tags"] = {each.key: each.value for each in raw.tags}
    return checked(span)


def _endpoint(raw: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"serviceName": raw.service_name} if raw.service_name else {}
    for packed in (raw.ipv4, raw.ipv6):
        if len(packed) in _ADDRESSES:
            family, key = _ADDRESSES[len(packed)]
            found[key] = socket.inet_ntop(family, packed)
    if raw.port:
        found["port"] = raw.port
    return found


@cache
def messages() -> dict[str, Any]:
    """The messages' classes by name."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="zipkin.proto", package=_PACKAGE, syntax="proto3")
    for message, fields in _FIELDS.items():
        made = file.message_type.add(name=message)
        for number, each in enumerate(fields.split(), 1):
            name, _, kind = each.rstrip("*").partition(":")
            label = field.LABEL_REPEATED if each.endswith("*") else field.LABEL_OPTIONAL
            if kind in _FIELDS:
                made.field.add(
                    name=name, number=number, label=label, type=field.TYPE_MESSAGE, type_name=f".{_PACKAGE}.{kind}"
                )
            else:
                made.field.add(name=name, number=number, label=label, type=field.Type.Value(f"TYPE_{kind.upper()}"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _FIELDS}

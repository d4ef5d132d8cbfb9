"""The OpenAPI documents at /openapi/v2 and /openapi/v3, as HTTP answers.

They are made when asked for and not kept; clients keep them by the hash in their address, which covers the schemas
of custom resources.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from meshlab.cluster.api.codec import dump
from meshlab.cluster.api.request import NoSuchPath
from meshlab.cluster.api.status import NotFound

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["document"]

#: kubectl asks for v2 in protobuf only; JSON breaks it.
PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"


def document(api: Api, path: str) -> web.Response:
    """What is at /openapi/`path`. Raises NoSuchPath or NotFound."""
    from meshlab.cluster.api import openapi

    if path == "v2":
        return web.Response(body=openapi.v2_protobuf(), headers={"Content-Type": PROTOBUF})
    if path == "v3":
        return _json(dump(openapi.v3_index(api.registry, salt=api.definitions.digest())))
    match path.split("/"):
        case ["v3", "api", version]:
            group = ""
        case ["v3", "apis", group, version]:
            pass
        case _:
            raise NoSuchPath("404 page not found")
    if version not in api.registry.groups().get(group, ()):
        raise NotFound.path()
    custom = {
        resource.kind: schema for resource in api.registry.in_version(group, version)
        if resource.custom and (schema := api.definitions.version(resource).schema) is not None
    }
    made = openapi.v3_document(group, version, api.registry, schemas=api.types.schemas, custom=custom)
    return _json(dump(made))


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")

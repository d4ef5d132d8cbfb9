"""The three patches that need no manager, applied to an object."""

from __future__ import annotations

from typing import Any

from meshlab.cluster.api.kinds import Kinds
from meshlab.cluster.api.registry import Resource
from meshlab.cluster.api.status import ApiError, BadRequest, Invalid

__all__ = ["TYPES", "patched"]

Object = dict[str, Any]

#: Content-Type → kind of patch.
TYPES = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}


class _TooLarge(ApiError):
    code, reason = 413, "RequestEntityTooLarge"


def patched(types: Kinds, resource: Resource, live: Object, patch: Any, kind: str) -> Object:
    """A new object: `live` with the patch applied. Raises BadRequest, Invalid or UnsupportedMediaType."""
    from meshlab.cluster.api.patch import PatchError, json_patch, merge_patch

    try:
        match kind:
            case "json":
                result = json_patch(live, patch)
            case "merge":
                result = merge_patch(live, patch)
            case "strategic":
                result = types.strategic(resource, live, patch)
            case _:
                raise ValueError(kind)
    except PatchError as error:
        if error.reason == "Invalid":
            raise Invalid.rejected() from None
        if error.reason == "RequestEntityTooLarge":
            raise _TooLarge(str(error)) from None
        raise BadRequest(str(error)) from None
    if not isinstance(result, dict):
        raise Invalid.rejected()
    made: Object = result
    return made

"""What the API server refuses, as exceptions that know their Status body.

    ApiError                    code   reason
    ├── BadRequest              400    BadRequest
    ├── Unauthorized            401    Unauthorized
    ├── Forbidden               403    Forbidden
    ├── NotFound                404    NotFound
    ├── MethodNotAllowed        405    MethodNotAllowed
    ├── NotAcceptable           406    NotAcceptable
    ├── AlreadyExists           409    AlreadyExists
    ├── Conflict                409    Conflict
    ├── Expired                 410    Expired
    ├── UnsupportedMediaType    415    UnsupportedMediaType
    ├── Invalid                 422    Invalid
    ├── TooManyRequests         429    TooManyRequests
    ├── InternalError           500    InternalError
    └── ServiceUnavailable      503    ServiceUnavailable

Clients compare these bodies by byte, so the order of their keys is that of the real server.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from meshlab.cluster.api.registry import Resource

__all__ = [
    "AlreadyExists", "ApiError", "BadRequest", "CauseLike", "Conflict", "Expired", "Forbidden", "InternalError",
    "Invalid", "MethodNotAllowed", "NotAcceptable", "NotFound", "ServiceUnavailable", "TooManyRequests",
    "Unauthorized", "UnsupportedMediaType", "success",
]


class CauseLike(Protocol):
    """One reason for a 422: `field` path, machine's `reason`, `message` without the field."""

    @property
    def field(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def message(self) -> str: ...


class ApiError(Exception):
    """An answer that is not a success. `details` None leaves the key out, {} keeps it empty."""

    code = 500
    reason = "InternalError"

    def __init__(self, message: str, *, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message, self.details = message, details
        #: ListMeta of the Status: a continue token, where one goes on.
        self.metadata: dict[str, Any] = {}

    def status(self) -> dict[str, Any]:
        """The Status object, keys in the order of a real server."""
        body: dict[str, Any] = {
            "kind": "Status", "apiVersion": "v1", "metadata": self.metadata, "status": "Failure",
            "message": self.message, "reason": self.reason,
        }
        if self.details is not None:
            body["details"] = dict(self.details)
        body["code"] = self.code
        return body


class BadRequest(ApiError):
    code, reason = 400, "BadRequest"


class Unauthorized(ApiError):
    code, reason = 401, "Unauthorized"

    def __init__(self, message: str = "Unauthorized") -> None:
        super().__init__(message)


class Forbidden(ApiError):
    code, reason = 403, "Forbidden"

    @classmethod
    def of(cls, resource: Resource, name: str, why: str, **details: Any) -> Forbidden:
        return cls(f'{resource.qualified} "{name}" is forbidden: {why}', details=_named(resource, name) | details)


class NotFound(ApiError):
    code, reason = 404, "NotFound"

    @classmethod
    def of(cls, resource: Resource, name: str) -> NotFound:
        return cls(f'{resource.qualified} "{name}" not found', details=_named(resource, name))

    @classmethod
    def path(cls) -> NotFound:
        """No such resource in a group version that exists."""
        return cls("the server could not find the requested resource", details={})


class MethodNotAllowed(ApiError):
    code, reason = 405, "MethodNotAllowed"

    def __init__(self, message: str = "the server does not allow this method on the requested resource") -> None:
        super().__init__(message, details={})


class NotAcceptable(ApiError):
    code, reason = 406, "NotAcceptable"


class AlreadyExists(ApiError):
    code, reason = 409, "AlreadyExists"

    @classmethod
    def of(cls, resource: Resource, name: str) -> AlreadyExists:
        return cls(f'{resource.qualified} "{name}" already exists', details=_named(resource, name))


class Conflict(ApiError):
    code, reason = 409, "Conflict"

    @classmethod
    def of(cls, resource: Resource, name: str, why: str = "") -> Conflict:
        why = why or (
            "the object has been modified; please apply your changes to the latest version and try again"
        )
        message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
        return cls(message, details=_named(resource, name))

    @classmethod
    def kind(cls, resource: Resource, name: str, why: str) -> Conflict:
        """Like `of`, of a check that knows the kind of an object and not its resource."""
        qualified = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
        details = _named(resource, name) | {"kind": resource.kind}
        return cls(f'Operation cannot be fulfilled on {qualified} "{name}": {why}', details=details)

    @classmethod
    def managers(cls, message: str, conflicts: Iterable[Mapping[str, str]]) -> Conflict:
        """Of server-side apply: each conflict has a `field` and a `message`."""
        causes = [
            {"reason": "FieldManagerConflict", "message": c["message"], "field": c["field"]} for c in conflicts
        ]
        return cls(message, details={"causes": causes})


class Expired(ApiError):
    code, reason = 410, "Expired"


class UnsupportedMediaType(ApiError):
    code, reason = 415, "UnsupportedMediaType"


class Invalid(ApiError):
    code, reason = 422, "Invalid"

    @classmethod
    def of(cls, resource: Resource, name: str, causes: Iterable[CauseLike]) -> Invalid:
        return cls.kind(resource.kind, resource.group, name, causes)

    @classmethod
    def kind(cls, kind: str, group: str, name: str, causes: Iterable[CauseLike]) -> Invalid:
        listed = list(causes)
        lines = list(dict.fromkeys(f"{c.field}: {c.message}" if c.field else c.message for c in listed))
        text = lines[0] if len(lines) == 1 else "[" + ", ".join(lines) + "]"
        details: dict[str, Any] = {"name": name} if name else {}
        if group:
            details["group"] = group
        if kind:
            details["kind"] = kind
        details["causes"] = [
            {"reason": c.reason, "message": c.message, **({"field": c.field} if c.field else {})} for c in listed
        ]
        qualified = f"{kind}.{group}" if group else kind
        return cls(f'{qualified} "{name}" is invalid: {text}', details=details)

    @classmethod
    def rejected(cls) -> Invalid:
        """A patch that cannot be applied to this object."""
        return cls("the server rejected our request due to an error in our request", details={})


class TooManyRequests(ApiError):
    code, reason = 429, "TooManyRequests"


class InternalError(ApiError):
    code, reason = 500, "InternalError"

    @classmethod
    def because(cls, why: str) -> InternalError:
        return cls(f"Internal error occurred: {why}", details={"causes": [{"message": why}]})


class ServiceUnavailable(ApiError):
    code, reason = 503, "ServiceUnavailable"


def success(resource: Resource, name: str, uid: str | None) -> dict[str, Any]:
    """What DELETE answers for most kinds."""
    details = _named(resource, name)
    if uid:
        details["uid"] = uid
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def _named(resource: Resource, name: str) -> dict[str, Any]:
    details = {"name": name}
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.plural
    return details

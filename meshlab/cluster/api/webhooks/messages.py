"""AdmissionReview of admission.k8s.io: the question, and what an answer says. Pure."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshlab.cluster.api.registry import Resource
from meshlab.cluster.api.status import ApiError
from meshlab.cluster.api.webhooks.review import Attributes

__all__ = ["Answer", "BadAnswer", "Denied", "question", "read"]

Object = dict[str, Any]
#: Options of each operation.
OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}


class BadAnswer(Exception):
    """What came back is no answer to what was asked."""


class Denied(ApiError):
    """A webhook refused. The code and reason are the webhook's own."""

    def __init__(self, hook: str, status: Mapping[str, Any]) -> None:
        self.code = int(status.get("code") or 0)
        if self.code < 400:
            self.code = 400
        self.reason = str(status.get("reason") or "")
        said = f'admission webhook "{hook}" denied the request'
        if why := status.get("message") or status.get("reason"):
            said = f"{said}: {why}"
        else:
            said = f"{said} without explanation"
        super().__init__(said, details=status.get("details"))

    def status(self) -> Object:
        made = super().status()
        if not self.reason:
            del made["reason"]
        return made


@dataclass(frozen=True)
class Answer:
    """`patch` is JSON patch operations; `warnings` are for the client."""

    allowed: bool
    patch: list[Any]
    warnings: tuple[str, ...]
    status: Mapping[str, Any]


def question(
    attributes: Attributes,
    uid: str,
    version: str,
    wanted: Resource,
    new: Object | None,
    old: Object | None,
    user: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Object:
    """The AdmissionReview to send. `new` and `old` are in the version of `wanted`, which the webhook's rule names."""
    asked = attributes.resource
    request: Object = {"uid": uid, "kind": _kind(attributes, wanted), "resource": _resource(wanted)}
    if attributes.subresource:
        request["subResource"] = attributes.subresource
    request |= {"requestKind": _kind(attributes, asked), "requestResource": _resource(asked)}
    if attributes.subresource:
        request["requestSubResource"] = attributes.subresource
    if attributes.name:
        request["name"] = attributes.name
    if attributes.namespace:
        request["namespace"] = attributes.namespace
    request |= {
        "operation": attributes.operation,
        "userInfo": dict(user),
        "object": new,
        "oldObject": old,
        "dryRun": attributes.dry_run,
        "options": {"kind": OPTIONS[attributes.operation], "apiVersion": "meta.k8s.io/v1", **options},
    }
    return {"kind": "AdmissionReview", "apiVersion": f"admission.k8s.io/{version}", "request": request}


def _kind(attributes: Attributes, resource: Resource) -> Object:
    if attributes.kind is not None:
        group, _, version = attributes.kind[0].rpartition("/")
        return {"group": group, "version": version, "kind": attributes.kind[1]}
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _resource(resource: Resource) -> Object:
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}


def read(body: bytes, uid: str, version: str, *, mutating: bool) -> Answer:
    """The answer in a webhook's body. Raises BadAnswer."""
    try:
        review = json.loads(body)
    except ValueError as error:
        raise BadAnswer(f"couldn't get version/kind; json parse error: {error}") from None
    expected = f"admission.k8s.io/{version}"
    if not isinstance(review, dict) or (review.get("kind"), review.get("apiVersion")) != ("AdmissionReview", expected):
        have = review if isinstance(review, dict) else {}
        raise BadAnswer(
            f"expected webhook response of {expected}, Kind=AdmissionReview, got {have.get('apiVersion', '')}, "
            f"Kind={have.get('kind', '')}"
        )
    response = review.get("response")
    if not isinstance(response, dict):
        raise BadAnswer("webhook response was absent")
    if response.get("uid") != uid:
        raise BadAnswer(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
    patch = _patch(response, mutating=mutating)
    warnings = tuple(str(w) for w in response.get("warnings") or ())
    status = response.get("status")
    return Answer(bool(response.get("allowed")), patch, warnings, status if isinstance(status, dict) else {})


def _patch(response: Mapping[str, Any], *, mutating: bool) -> list[Any]:
    text, kind = response.get("patch") or "", response.get("patchType") or ""
    if not text:
        if kind:
            raise BadAnswer("webhook returned response.patchType but not response.patch")
        return []
    if not mutating:
        raise BadAnswer("validating webhook may not return response.patch")
    if not kind:
        raise BadAnswer("webhook returned response.patch but not response.patchType")
    if kind != "JSONPatch":
        raise BadAnswer(f"invalid response.patchType of {json.dumps(kind)}")
    try:
        operations = json.loads(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise BadAnswer(f"response.patch is no JSON patch: {error}") from None
    if not isinstance(operations, list):
        raise BadAnswer("response.patch is no JSON patch: it is no list")
    return operations

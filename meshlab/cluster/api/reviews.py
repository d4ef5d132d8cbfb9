"""What is created but not kept: reviews of access and tokens, and the verbs that are subresources.

Reviews of access say what roles and bindings decide, as they do for requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.admission import Reason
from meshlab.cluster.api.auth import AUDIENCE, Auth, User
from meshlab.cluster.api.causes import invalid
from meshlab.cluster.api.eviction import evict
from meshlab.cluster.api.kinds import check_kind
from meshlab.cluster.api.metadata import timestamp
from meshlab.cluster.api.rbac import Access, Attributes
from meshlab.cluster.api.registry import Resource
from meshlab.cluster.api.request import Target
from meshlab.cluster.api.status import BadRequest, Conflict, Invalid

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["SUBRESOURCES", "create", "requested", "subresource"]

Object = dict[str, Any]

#: Seconds that a token may be asked for at most.
LONGEST = 2**32
#: Subresources that are POSTed to, and the kinds of what is sent.
SUBRESOURCES = {
    "binding": ("v1", "Binding"),
    "eviction": ("policy/v1", "Eviction"),
    "token": ("authentication.k8s.io/v1", "TokenRequest"),
}


def create(
    api: Api, auth: Auth, access: Access, resource: Resource, namespace: str | None, body: Object, user: User,
    dry_run: bool,
) -> Object:
    """The answer to a POST of one of these kinds."""
    check_kind(resource, body)
    body = api.types.decode_as(resource.api_version, resource.kind, body)
    spec = body.get("spec") or {}
    match resource.kind:
        case "Binding":
            return _bind(api, namespace or "", (body.get("metadata") or {}).get("name", ""), body, dry_run)
        case "SelfSubjectReview":
            status: Object = {"userInfo": user.info()}
        case "TokenReview":
            status = _reviewed(auth, spec)
        case "SelfSubjectRulesReview":
            rules = access.rules_of(user, spec.get("namespace", ""))
            status = {
                "resourceRules": [r for r in rules if r.get("resources")],
                "nonResourceRules": [r for r in rules if r.get("nonResourceURLs")],
                "incomplete": False,
            }
        case _:
            status = _access(access, resource, spec, namespace, user)
    return {
        "kind": resource.kind, "apiVersion": resource.api_version,
        "metadata": body.get("metadata") or {}, "spec": spec, "status": status,
    }


def _reviewed(auth: Auth, spec: Object) -> Object:
    """The status of a TokenReview: who the token's bearer is, and for whom of those who are asked about it is."""
    if not spec.get("token"):
        raise BadRequest("token is required for TokenReview in authentication")
    audiences = spec.get("audiences") or [AUDIENCE]
    found = auth.reviewed(str(spec["token"]), audiences)
    if found is None:
        return {"user": {}, "error": "invalid bearer token"}
    return {"authenticated": True, "user": found[0].info(), "audiences": found[1]}


def _access(access: Access, resource: Resource, spec: Object, namespace: str | None, user: User) -> Object:
    if ("resourceAttributes" in spec) is ("nonResourceAttributes" in spec):
        causes = [Reason("spec.resourceAttributes", "FieldValueInvalid",
                         "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be "
                         "specified")]  # fmt: skip
        raise Invalid.kind(resource.kind, resource.group, "", causes)
    if resource.kind != "SelfSubjectAccessReview":
        if not spec.get("user") and not spec.get("groups"):
            message = "Required value: at least one of user or group must be specified"
            raise Invalid.kind(resource.kind, resource.group, "", [Reason("spec.user", "FieldValueRequired", message)])
        user = User(spec.get("user", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""))
    asked = Attributes.of_review(spec)
    if namespace is not None and asked.namespace != namespace:
        message = f'Invalid value: "{asked.namespace}": must match metadata.namespace'
        cause = Reason("spec.resourceAttributes.namespace", "FieldValueInvalid", message)
        raise Invalid.kind(resource.kind, resource.group, "", [cause])
    decision = access.decide(user, asked)
    return {"allowed": decision.allowed, **({"reason": decision.reason} if decision.reason else {})}


def subresource(api: Api, auth: Auth, target: Target, body: Object, dry_run: bool) -> Object:
    """POST to pods/NAME/binding, pods/NAME/eviction or serviceaccounts/NAME/token."""
    namespace, name = target.namespace or "", target.name or ""
    body = api.types.decode_as(*SUBRESOURCES[target.subresource or ""], body)
    if target.subresource == "binding":
        return _bind(api, namespace, name, body, dry_run)
    if target.subresource == "token":
        return _token(api, auth, target.resource, namespace, name, body)
    options = body.get("deleteOptions") or {}
    evict(api, namespace, name, options, dry_run or bool(options.get("dryRun")))
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _bind(api: Api, namespace: str, name: str, body: Mapping[str, Any], dry_run: bool) -> Object:
    target = body.get("target") or {}
    if not target.get("name"):
        cause = Reason("target.name", "FieldValueRequired", "Required value")
        raise Invalid.kind("Binding", "", name, [cause])
    if not dry_run:
        api.bind(namespace, name, target["name"])
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _token(api: Api, auth: Auth, resource: Resource, namespace: str, name: str, body: Mapping[str, Any]) -> Object:
    api.get(resource, namespace, name)
    spec = body.get("spec") or {}
    seconds = spec.get("expirationSeconds") or 3600
    if not 600 <= seconds <= LONGEST:
        limit = "less than 10 minutes" if seconds < 600 else "larger than 2^32 seconds"
        cause = invalid("spec.expirationSeconds", seconds, f"may not specify a duration {limit}")
        raise Invalid.kind("TokenRequest", "authentication.k8s.io", "", [cause])
    audiences = spec.get("audiences") or [AUDIENCE]
    pod = _bound_pod(api, namespace, name, spec.get("boundObjectRef"))
    token = auth.issue(namespace, name, pod=pod, seconds=seconds, audiences=audiences)
    expires = timestamp(datetime.now(UTC) + timedelta(seconds=seconds))
    return {
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": timestamp()},
        "spec": {"boundObjectRef": None, **spec, "audiences": audiences, "expirationSeconds": seconds},
        "status": {"token": token, "expirationTimestamp": expires},
    }


def _bound_pod(api: Api, namespace: str, account: str, reference: Object | None) -> tuple[str, str] | None:
    """(name, uid) of the pod that a token is bound to: it is good as long as that is there. Raises ApiError."""
    if not reference:
        return None
    if (reference.get("apiVersion"), reference.get("kind")) != ("v1", "Pod"):
        raise BadRequest(f"cannot bind token to object of type {reference.get('kind', '')}")
    pods, name = api.kinds("Pod"), str(reference.get("name", ""))
    pod = api.get(pods, namespace, name)
    uid = str(pod["metadata"]["uid"])
    if (pod["spec"].get("serviceAccountName") or "default") != account:
        why = f'cannot bind token for serviceaccount "{account}" to pod running with different serviceaccount name.'
        raise BadRequest(why)
    if reference.get("uid") and reference["uid"] != uid:
        why = f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record"
        raise Conflict.kind(pods, name, f"{why}. The object might have been deleted and then recreated")
    return name, uid


def requested(resource: Resource, body: Object, user: User) -> Object:
    """What is to be created, with who asks for it where the kind has a place for that: a request for a certificate."""
    if resource.storage != ("certificates.k8s.io", "certificatesigningrequests"):
        return body
    spec = body.get("spec")
    info = user.info()
    return {**body, "spec": {**(spec if isinstance(spec, Mapping) else {}), **info}}

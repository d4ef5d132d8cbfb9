"""Versions of custom resources that a webhook converts into each other.

Everything that reads or writes objects is synchronous, and a program cannot be asked there. As with admission
(`webhooks`), who needs a conversion that is not known raises `Pending`; `settled` asks, and runs it again. What is
known is kept by content, so that nothing is asked twice: an answer's metadata is the object's own but for labels and
annotations, and changes of the rest of it need no new one.

Who runs without `settled` (the lab's own controllers) sees the object with the version's name changed, as without a
webhook: they look at metadata only.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from meshlab.cluster.api.filling import copied
from meshlab.cluster.api.metadata import new_uid
from meshlab.cluster.api.status import InternalError
from meshlab.cluster.api.store import encode
from meshlab.cluster.api.webhooks.call import CallFailed
from meshlab.cluster.api.webhooks.review import Pending

if TYPE_CHECKING:
    from meshlab.cluster.api.registry import Resource

__all__ = ["Conversions", "Poster", "settled"]

Object = dict[str, Any]
T = TypeVar("T")

#: Converted objects that are kept; beyond that the oldest go.
KEPT = 5000
#: Seconds that a webhook has, as a real server gives it.
TIMEOUT = 30
#: Runs of one call: an object that is changed meanwhile needs another.
RUNS = 50
#: What of metadata is part of what a webhook converts.
CONVERTED_META = ("name", "namespace", "uid", "labels", "annotations")
VERSIONS = ("v1", "v1beta1")


class Poster(Protocol):
    """Sends a body to a webhook by its clientConfig. Raises CallFailed."""

    def post(self, client: Mapping[str, Any], body: bytes, seconds: int) -> Awaitable[bytes]: ...


class Conversions:
    """What webhooks have made of objects. One per server."""

    def __init__(self) -> None:
        #: Who carries the questions; None where there is no server, and nobody is asked.
        self.poster: Poster | None = None
        self._kept: OrderedDict[tuple[str, str], Object] = OrderedDict()
        self._asking = False

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Within, whoever needs what is not known raises Pending. For synchronous code only."""
        before, self._asking = self._asking, True
        try:
            yield
        finally:
            self._asking = before

    def convert(self, webhook: Mapping[str, Any], resource: Resource, obj: Object, api_version: str) -> Object:
        """The object in another version. Raises Pending if that must be asked first."""
        return self.convert_all(webhook, resource, [obj], api_version)[0]

    def convert_all(
        self, webhook: Mapping[str, Any], resource: Resource, objects: Sequence[Object], api_version: str
    ) -> list[Object]:
        """Like `convert`; what is not known of all of them is one question."""
        if self.poster is None or not self._asking:
            return [obj if obj["apiVersion"] == api_version else {**obj, "apiVersion": api_version} for obj in objects]
        missing: list[Object] = []
        made: list[Object] = []
        for obj in objects:
            if obj["apiVersion"] == api_version:
                made.append(obj)
                continue
            known = self._kept.get((_digest(obj), api_version))
            if known is None:
                missing.append(obj)
            else:
                made.append(_with_metadata(copied(known), obj))
        if missing:
            raise Pending(lambda: self._ask(webhook, resource, missing, api_version))
        return made

    async def _ask(
        self, webhook: Mapping[str, Any], resource: Resource, objects: Sequence[Object], api_version: str
    ) -> None:
        what = f"conversion webhook for {objects[0]['apiVersion']}, Kind={resource.kind}"
        assert self.poster is not None  # noqa: S101 (it was there when it was found that we must ask)
        spoken = [v for v in webhook.get("conversionReviewVersions") or () if v in VERSIONS] or list(VERSIONS)
        review, uid = f"apiextensions.k8s.io/{spoken[0]}", new_uid()
        body = encode({
            "kind": "ConversionReview", "apiVersion": review,
            "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": list(objects)},
        })  # fmt: skip
        try:
            answer = await self.poster.post(webhook.get("clientConfig") or {}, body, TIMEOUT)
            converted = _read(answer, review, uid)
        except CallFailed as error:
            why = str(error).removeprefix("failed to call webhook: ")
            raise InternalError(f"{what} failed: {why}") from None
        except ValueError as error:
            raise InternalError(f"{what} failed: {error}") from None
        if len(converted) != len(objects):
            raise InternalError(f"{what} returned {len(converted)} objects, expected {len(objects)}")
        for i, (obj, new) in enumerate(zip(objects, converted, strict=True)):
            if fault := _fault(obj, new, api_version):
                raise InternalError(f"{what} returned invalid converted object at index {i}: {fault}")
            self._keep((_digest(obj), api_version), new)

    def _keep(self, key: tuple[str, str], obj: Object) -> None:
        self._kept[key] = obj
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)


async def settled(conversions: Conversions, call: Callable[[], T]) -> T:
    """What `call()` answers, once every conversion that it needs is known; it may be run more than once."""
    for _ in range(RUNS):
        try:
            with conversions.asked():
                return call()
        except Pending as pending:
            await pending.ask()
    raise InternalError("the objects changed each time that they had been converted")


def _digest(obj: Mapping[str, Any]) -> str:
    meta = {key: obj["metadata"][key] for key in CONVERTED_META if key in obj["metadata"]}
    return hashlib.sha256(encode({**obj, "metadata": meta})).hexdigest()


def _with_metadata(new: Object, obj: Mapping[str, Any]) -> Object:
    """A converted object with what the server keeps of the original's metadata: all but labels and annotations."""
    own = new.get("metadata") or {}
    meta = {key: value for key, value in obj["metadata"].items() if key not in ("labels", "annotations")}
    meta |= {key: own[key] for key in ("labels", "annotations") if own.get(key)}
    return {**new, "metadata": meta}


def _read(body: bytes, review: str, uid: str) -> list[Any]:
    """The objects in a webhook's answer. ValueError where it says no, or nothing."""
    answer = json.loads(body)
    have = answer if isinstance(answer, dict) else {}
    if (have.get("apiVersion"), have.get("kind")) != (review, "ConversionReview"):
        raise ValueError(
            f"expected webhook response of {review}, Kind=ConversionReview, got {have.get('apiVersion', '')}, "
            f"Kind={have.get('kind', '')}"
        )
    response = have.get("response")
    if not isinstance(response, dict):
        raise ValueError("no response provided")
    if response.get("uid") != uid:
        raise ValueError(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
    result = response.get("result") or {}
    if result.get("status") != "Success":
        said = result.get("message") or f"response.result.status was '{result.get('status', '')}', not 'Success'"
        raise ValueError(said)
    converted = response.get("convertedObjects") or []
    return converted if isinstance(converted, list) else [converted]


def _fault(obj: Object, new: Any, api_version: str) -> str:
    """Why what came back is not the object in the other version; "" if it is."""
    if not isinstance(new, dict) or not isinstance(new.get("metadata"), dict):
        return "missing metadata in converted object"
    if new.get("apiVersion") != api_version:
        return f"invalid groupVersion (expected {api_version}, received {new.get('apiVersion', '')})"
    pairs: Iterable[tuple[str, Any, Any]] = (
        ("kind", obj["kind"], new.get("kind")),
        *((key, obj["metadata"].get(key), new["metadata"].get(key)) for key in ("name", "namespace")),
        ("UID", obj["metadata"].get("uid"), new["metadata"].get("uid")),
    )
    for word, before, after in pairs:
        if (before or "") != (after or ""):
            return f"must have the same {word}: {before} != {after}"
    return ""

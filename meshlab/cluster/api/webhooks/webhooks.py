"""Asking webhooks, in their order, and taking in what they answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from meshlab.cluster.api.filling import copied
from meshlab.cluster.api.metadata import new_uid
from meshlab.cluster.api.status import BadRequest, InternalError
from meshlab.cluster.api.store import Change, encode
from meshlab.cluster.api.webhooks.call import Caller, CallFailed, Endpoint
from meshlab.cluster.api.webhooks.conditions import Conditions
from meshlab.cluster.api.webhooks.matching import Hook, hooks_of, selects, wanted_as
from meshlab.cluster.api.webhooks.messages import Answer, BadAnswer, Denied, question, read
from meshlab.cluster.api.webhooks.review import Attributes

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["Asker", "Webhooks"]

log = logging.getLogger(__name__)

Object = dict[str, Any]
Warn = Callable[[str], None]

GROUP = "admissionregistration.k8s.io"
MUTATING, VALIDATING = f"{GROUP}/mutatingwebhookconfigurations", f"{GROUP}/validatingwebhookconfigurations"
#: Webhooks without side effects, which may be asked about what only seems to happen.
HARMLESS = ("None", "NoneOnDryRun")
#: Versions of AdmissionReview that we speak, in the order of preference. Both are the same but for their name.
REVIEWS = ("v1", "v1beta1")


class Asker:
    """On whose behalf webhooks are asked: `user` is a UserInfo, `options` of the request; `warn` hears warnings."""

    def __init__(self, user: Mapping[str, Any], options: Mapping[str, Any], warn: Warn) -> None:
        self.user, self.options, self.warn = user, options, warn


class Webhooks:
    """The webhook configurations that are stored. One per server."""

    def __init__(self, api: Api, endpoint: Endpoint) -> None:
        from meshlab.cluster.api.policies import Policies  # which itself chooses by the rules of webhooks

        self.api = api
        self._caller = api.types.conversions.poster = Caller(endpoint)
        self._conditions = Conditions()
        self._hooks: dict[str, list[Hook]] = {}
        #: What decides without asking anybody.
        self.policies = Policies(api, self._as)
        api.store.listen(self._changed)

    async def close(self) -> None:
        await self._caller.close()

    def any(self) -> bool:
        """Whether there is any webhook or policy at all."""
        return bool(self._of(MUTATING) or self._of(VALIDATING)) or self.policies.any()

    def _changed(self, change: Change) -> None:
        self._hooks.pop(change.collection, None)

    def _of(self, collection: str) -> list[Hook]:
        if collection not in self._hooks:
            self._hooks[collection] = hooks_of(entry.obj for entry in self.api.store.entries(collection))
        return self._hooks[collection]

    # Who is to be asked

    def mutating(self, attributes: Attributes, asker: Asker) -> list[Hook]:
        return self._wanting(MUTATING, attributes, asker)

    def validating(self, attributes: Attributes, asker: Asker) -> list[Hook]:
        return self._wanting(VALIDATING, attributes, asker)

    def _wanting(self, collection: str, attributes: Attributes, asker: Asker) -> list[Hook]:
        return [hook for hook in self._of(collection) if self._wants(hook, attributes, asker)]

    def _wants(self, hook: Hook, attributes: Attributes, asker: Asker) -> bool:
        if attributes.resource.group == GROUP:
            return False  # a webhook cannot keep anybody from repairing it
        versions = self.api.registry.sharing(attributes.resource.collection)
        if wanted_as(hook, attributes, versions) is None:
            return False
        selected = selects(hook, attributes, self._namespace_labels(attributes))
        return selected and self._conditions.meets(hook, attributes, asker.user)

    def _namespace_labels(self, attributes: Attributes) -> Mapping[str, str] | None:
        if attributes.resource.storage == ("", "namespaces"):
            obj: Mapping[str, Any] = attributes.new or attributes.old or {}
        elif attributes.namespace:
            entry = self.api.store.get("/namespaces", attributes.namespace)
            obj = entry.obj if entry else {}
        else:
            return None
        labels: Mapping[str, str] = (obj.get("metadata") or {}).get("labels") or {}
        return labels

    # Asking

    async def mutate(self, attributes: Attributes, asker: Asker) -> Object | None:
        """The object after every mutating webhook, each seeing what those before it did. Raises ApiError.

        Those that ask for it are asked once more if another changed the object after them.
        """
        at = attributes
        again: list[tuple[Hook, Object | None]] = []
        for hook in self._of(MUTATING):
            if not self._wants(hook, at, asker):
                continue
            changed = await self._mutated(hook, at, asker)
            if hook.spec.get("reinvocationPolicy") == "IfNeeded":
                again.append((hook, changed))
            at = _with(at, changed)
        for hook, seen in again:
            if at.new != seen and self._wants(hook, at, asker):
                at = _with(at, await self._mutated(hook, at, asker))
        return at.new

    async def _mutated(self, hook: Hook, attributes: Attributes, asker: Asker) -> Object | None:
        from meshlab.cluster.api.patch import PatchError, json_patch

        wanted = self._wanted(hook, attributes)
        answer = await self._ask(hook, attributes, asker, mutating=True)
        if answer is None or not answer.patch or attributes.new is None:
            return attributes.new
        try:
            patched = json_patch(self._as(attributes, attributes.new, wanted), answer.patch)
        except PatchError as error:
            raise InternalError.because(str(error)) from None
        if not isinstance(patched, dict) or not isinstance(patched.get("metadata"), dict):
            raise InternalError.because(f'the patch of admission webhook "{hook.name}" leaves no object')
        if attributes.kind is not None or wanted == attributes.resource:
            return patched
        types = self.api.types
        return types.from_storage(attributes.resource, types.to_storage(wanted, patched))

    async def validate(self, attributes: Attributes, asker: Asker) -> None:
        """Asks all validating webhooks at once. Raises the first refusal, in their order."""
        hooks = [hook for hook in self._of(VALIDATING) if self._wants(hook, attributes, asker)]
        asked = (self._ask(hook, attributes, asker, mutating=False) for hook in hooks)
        for outcome in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _ask(self, hook: Hook, attributes: Attributes, asker: Asker, *, mutating: bool) -> Answer | None:
        """The answer that allows it; None where the webhook failed and that does not matter. Raises ApiError."""
        if attributes.dry_run and hook.spec.get("sideEffects") not in HARMLESS:
            raise BadRequest(f'admission webhook "{hook.name}" does not support dry run')
        uid, version, wanted = new_uid(), _version(hook), self._wanted(hook, attributes)
        new = None if attributes.new is None else self._as(attributes, attributes.new, wanted)
        old = None if attributes.old is None else self._as(attributes, attributes.old, wanted)
        body = encode(question(attributes, uid, version, wanted, new, old, asker.user, asker.options))
        try:
            data = await self._caller.post(hook.spec.get("clientConfig") or {}, body, hook.timeout)
            answer = read(data, uid, version, mutating=mutating)
        except (CallFailed, BadAnswer) as error:
            if hook.ignores_failures:
                log.warning("webhook %s failed, which it allows: %s", hook.name, error)
                return None
            raise InternalError.because(f'failed calling webhook "{hook.name}": {error}') from None
        for warning in answer.warnings:
            asker.warn(warning)
        if not answer.allowed:
            raise Denied(hook.name, answer.status)
        return answer

    def _wanted(self, hook: Hook, attributes: Attributes) -> Any:
        versions = self.api.registry.sharing(attributes.resource.collection)
        return wanted_as(hook, attributes, versions) or attributes.resource

    def _as(self, attributes: Attributes, obj: Object, wanted: Any) -> Object:
        """A copy of an object in the version that the webhook's rule names."""
        if attributes.kind is not None or wanted == attributes.resource:
            return dict(copied(obj))
        types = self.api.types
        stored = types.to_storage(attributes.resource, dict(copied(obj)))
        return types.from_storage(wanted, stored)


def _with(attributes: Attributes, new: Object | None) -> Attributes:
    from dataclasses import replace

    return replace(attributes, new=new)


def _version(hook: Hook) -> str:
    spoken = hook.spec.get("admissionReviewVersions") or REVIEWS[:1]
    return next((version for version in spoken if version in REVIEWS), REVIEWS[0])

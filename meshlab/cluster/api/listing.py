"""Lists, pages of lists, and the start of watches.

A continue token pins the revision of its first page, so that the pages of one list agree with each other.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshlab.cluster.api.registry import Resource
from meshlab.cluster.api.selectors import Match, SelectorError, field_selector, label_selector
from meshlab.cluster.api.status import ApiError, BadRequest, Expired
from meshlab.cluster.api.store import Compacted, Entry
from meshlab.cluster.api.watch import Watch

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["Page", "Reader"]

EXPIRED_PAGE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
    "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
    "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
    "modified, or deleted between the time the first chunk was returned and now may show up in the list."
)
#: How a token says that it carries on at the newest revision after its own has expired.
INCONSISTENT = -1
#: Of the form of continue tokens.
VERSION = "meta.k8s.io/v1"


@dataclass(frozen=True)
class Page:
    """Part of a list, at one revision."""

    entries: list[Entry]
    revision: int
    #: "" on the last page.
    token: str = ""
    #: Objects after this page; None where selectors make it unknown.
    remaining: int | None = None


class Reader:
    def __init__(self, api: Api) -> None:
        self.api = api

    def selector(self, resource: Resource, labels: str, fields: str) -> Match | None:
        """One function for both selectors. Raises BadRequest."""
        try:
            by_label = label_selector(labels)
            # Pods, events, nodes … name an unknown field in another way than kinds without fields of their own.
            by_field = field_selector(fields, resource.fields, strict_names=bool(resource.fields))
        except SelectorError as error:
            raise BadRequest(str(error)) from None
        if by_label is None or by_field is None:
            return by_label or by_field
        return lambda obj: by_label(obj) and by_field(obj)

    def page(
        self, resource: Resource, namespace: str | None = None, labels: str = "", fields: str = "", *,
        limit: int = 0, token: str = "", exact: int | None = None, minimum: int = 0,
    ) -> Page:
        """Up to `limit` objects (0 = all), from where `token` stopped; `exact` = as of that revision.

        Raises Expired, or a 504 where `minimum` is a revision still to come.
        """
        store = self.api.store
        match = self.selector(resource, labels, fields)
        prefix = f"{namespace}/" if namespace and resource.namespaced else ""
        after, at = "", exact
        if token:
            after, at = _resume(token)
            if exact is not None or minimum:
                raise BadRequest("specifying resource version is not allowed when using continue")
            if at == INCONSISTENT:
                at = None
        if minimum > store.revision:
            raise TooLarge(minimum, store.revision)
        if at is None or at == store.revision:
            revision, entries = store.revision, store.entries(resource.collection, prefix)
        else:
            if exact is not None and at > store.revision:
                raise TooLarge(at, store.revision)
            try:
                revision, entries = at, store.list_at(resource.collection, prefix, at)
            except Compacted:
                if not token:
                    raise Expired(f"The resourceVersion for the provided list is too old: {at}") from None
                error = Expired(EXPIRED_PAGE)
                error.metadata = {"continue": _token(INCONSISTENT, after)}
                raise error from None
        if after:
            entries = [e for e in entries if e.key > after]
        if match is not None:
            entries = [e for e in entries if match(e.obj)]
        if not limit or len(entries) <= limit:
            return Page(entries, revision)
        kept = entries[:limit]
        remaining = len(entries) - limit if match is None else None
        return Page(kept, revision, _token(revision, kept[-1].key), remaining)

    def watch(
        self, resource: Resource, namespace: str | None, since: int | None, labels: str, fields: str, *,
        initial_end: bool = False, skip_initial: bool = False,
    ) -> Watch:
        """Opens a watch; see `Api.watch`. `skip_initial`: from now on, whatever there is."""
        store = self.api.store
        match = self.selector(resource, labels, fields)
        prefix = f"{namespace}/" if namespace and resource.namespaced else ""
        if since is not None and since > store.revision:
            raise TooLarge(since, store.revision)
        history = []
        if since:
            try:
                history = store.history(resource.collection, since)
            except Compacted:
                raise Expired(f"too old resource version: {since} ({store.compacted})") from None
        watch = self.api.hub.open(resource.collection, prefix, match)
        if resource.api_version != resource.stored_as and not resource.custom:
            watch.convert = lambda obj: self.api.types.from_storage(resource, obj)
        if since:
            for change in history:
                watch.offer(change)
        elif not skip_initial:
            for entry in store.entries(resource.collection, prefix):
                if match is None or match(entry.obj):
                    watch.push("ADDED", entry)
        if initial_end:
            watch.bookmark(resource.api_version, resource.kind, store.revision, initial_end=True)
        return watch


def _resume(token: str) -> tuple[str, int]:
    """(the key after which to go on, at which revision) of a token. Raises BadRequest."""
    wrong = "invalid continue token: continue key is not valid"
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except ValueError:
        at = next((i for i, c in enumerate(token) if not (c.isascii() and (c.isalnum() or c in "-_"))), len(token) - 1)
        raise BadRequest(f"{wrong}: illegal base64 data at input byte {at}") from None
    try:
        value = json.loads(text)
        version, revision, start = value.get("v", ""), int(value.get("rv", 0)), str(value.get("start", ""))
    except (ValueError, AttributeError, TypeError):
        raise BadRequest(f"{wrong}: it holds no JSON object of a continue token") from None
    if version != VERSION:
        raise BadRequest(f"{wrong}: server does not recognize this encoded version {version}")
    if revision == 0:
        raise BadRequest(f"{wrong}: incorrect encoded start resourceVersion (version {VERSION})")
    if not start:
        raise BadRequest(f"{wrong}: encoded start key empty (version {VERSION})")
    return start.removesuffix("\0"), revision


class TooLarge(ApiError):
    """A revision that does not exist yet; a client that sees this tries again or lists anew."""

    code, reason = 504, "Timeout"

    def __init__(self, asked: int, current: int) -> None:
        text = f"Too large resource version: {asked}, current: {current}"
        cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
        super().__init__(text, details={"causes": [cause], "retryAfterSeconds": 1})


def _token(revision: int, after: str) -> str:
    data = json.dumps({"v": VERSION, "rv": revision, "start": f"{after}\0"}, separators=(",", ":"))
    return base64.urlsafe_b64encode(data.encode()).decode().rstrip("=")

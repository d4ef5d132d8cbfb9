"""Watches over HTTP: one JSON object a line until the client or the time limit ends it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from meshlab.cluster.api.api import Api
from meshlab.cluster.api.codec import Form, Renderer, accepted, partial
from meshlab.cluster.api.conversions import settled
from meshlab.cluster.api.options import check_list
from meshlab.cluster.api.registry import Resource
from meshlab.cluster.api.request import Target, flag, number
from meshlab.cluster.api.status import ApiError, BadRequest, Expired, MethodNotAllowed
from meshlab.cluster.api.store import encode
from meshlab.cluster.api.watch import Event, Watch

__all__ = ["Watching"]

#: Seconds after which a watch ends where the client names no limit (a real server: 30 to 60 minutes).
LONGEST = (1800, 3600)
#: Seconds between bookmarks for clients that want them.
BOOKMARKS = 60.0


class Watching:
    def __init__(self, api: Api, render: Renderer) -> None:
        self.api, self.render = api, render

    async def handle(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        """Streams events. A revision that is gone is an ERROR event in a stream of status 200."""
        query, resource = request.query, target.resource
        if "watch" not in resource.verbs:
            raise MethodNotAllowed
        form = accepted(request.headers.get("Accept"))
        since = _since(query)
        initial = query.get("sendInitialEvents")
        check_list(query, watch=True)
        fields = query.get("fieldSelector", "")
        if target.name is not None:
            fields = ",".join(f for f in (fields, f"metadata.name={target.name}") if f)
        bookmarks = flag(query, "allowWatchBookmarks")
        seconds = number(query, "timeoutSeconds") or random.randint(*LONGEST)  # noqa: S311
        with_initial = initial is not None and flag(query, "sendInitialEvents")
        error: ApiError | None = None
        watch: Watch | None = None
        try:
            watch = self.api.reader.watch(
                resource, target.namespace, None if with_initial else since, query.get("labelSelector", ""),
                fields, initial_end=with_initial and bookmarks,
                skip_initial=initial is not None and not with_initial and not since,
            )
        except Expired as expired:
            error = expired
        kind = "application/json"
        response = web.StreamResponse(headers={"Content-Type": kind, "Cache-Control": "no-cache, private"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        if error is not None or watch is None:
            assert error is not None  # noqa: S101 (one or the other)
            await response.write(_frame("ERROR", encode(error.status())))
        else:
            async with watch:
                await self._stream(response, resource, watch, form, query, bookmarks, float(seconds))
        await response.write_eof()
        return response

    async def _stream(
        self, response: web.StreamResponse, resource: Resource, watch: Watch, form: Form,
        query: Mapping[str, str], bookmarks: bool, seconds: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        mark = loop.time() + BOOKMARKS
        include, first = query.get("includeObject", ""), True
        while (now := loop.time()) < end and not watch.closed:
            try:
                async with asyncio.timeout_at(min(end, mark)):
                    await watch.wait()
            except TimeoutError:
                if bookmarks and loop.time() >= mark:
                    watch.bookmark(resource.api_version, resource.kind, self.api.store.revision)
                mark = max(now, loop.time()) + BOOKMARKS
            try:
                events = await self._converted(resource, watch.ready())
            except ApiError as error:  # it fell behind, or the webhook that converts its objects failed
                await response.write(_frame("ERROR", encode(error.status())))
                return
            if not events:
                continue
            frames = []
            for event in events:
                frames.append(self._event(resource, event, form, include, first))
                first = False
            await response.write(b"".join(frames))

    async def _converted(self, resource: Resource, events: list[Event]) -> list[Event]:
        """Events in the version that was asked for; of built-in kinds they are already."""
        if not resource.custom:
            return events
        others = [e for e in events if e.entry is not None and e.object["apiVersion"] != resource.api_version]
        if not others:
            return events
        types = self.api.types
        made = await settled(
            types.conversions, lambda: types.all_from_storage(resource, [event.object for event in others])
        )
        new = {id(event): obj for event, obj in zip(others, made, strict=True)}
        return [Event(e.type, new[id(e)], e.revision) if id(e) in new else e for e in events]

    def _event(self, resource: Resource, event: Event, form: Form, include: str, first: bool) -> bytes:
        if not form.as_:
            return _frame(event.type, event.entry.data if event.entry else encode(event.object))
        if form.as_ == "Table":
            made = self.render.table(resource, [event.object] if event.type != "BOOKMARK" else [], form, include)
            if not first:
                made["columnDefinitions"] = None
            made["metadata"] = {"resourceVersion": str(event.revision)}
            if event.type == "BOOKMARK" and (notes := event.object["metadata"].get("annotations")):
                made["rows"] = [_bookmark_row(event.object, notes)]
        else:
            made = partial(event.object, form.version)
        return _frame(event.type, encode(made))


def _bookmark_row(obj: Mapping[str, Any], annotations: Mapping[str, str]) -> dict[str, Any]:
    """kubectl finds the end of the initial events in the object of a bookmark's only row."""
    meta = {**obj["metadata"], "annotations": dict(annotations)}
    obj = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
    return {"cells": [], "object": obj}


def _frame(type_: str, data: bytes) -> bytes:
    return b'{"type":"' + type_.encode() + b'","object":' + data + b"}\n"


def _since(query: Mapping[str, str]) -> int | None:
    text = query.get("resourceVersion", "")
    if text and not text.isdigit():
        why = f'strconv.ParseUint: parsing "{text}": invalid syntax'
        raise BadRequest(f'resourceVersion: Invalid value: "{text}": {why}')
    return int(text) if text else None

"""Pilot's debug port: plain HTTP, JSON answers.

    GET /ready                  200 once the world is known
    GET /debug/syncz            every proxy: per kind the version sent and acknowledged, refusals
    GET /debug/config_dump?proxy=ID
    GET /debug/problems         stored rules that are not in force, and why
    GET /debug/inforce?kind=routerules&resourceVersion=N&timeout=5
                                (or ?changes=<plural>@<revision>,… [&names=<Kind>/<namespace>/<name>,…])
                                waits; {"inForce", "ms", "proxies": {id: ms}, "rejected": {id: reason},
                                "missing": {what waits for something that is not there: reason}}
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from meshlab.mesh.pilot.control import Control
from meshlab.mesh.pilot.registry import KINDS
from meshlab.mesh.pilot.unserved import unserved

__all__ = ["DebugServer"]

log = logging.getLogger("meshlab.pilot")

#: Seconds that a client may take to send its request, and the longest wait that it may ask for.
PATIENCE, LONGEST = 5.0, 300.0
DEFAULT_TIMEOUT = 5.0


class BadRequest(ValueError):
    """A question that cannot be answered; the text says why."""


class DebugServer:
    """HTTP/1.1 with one request per connection: enough for people, `lab.apply()` and probes."""

    def __init__(self, control: Control, host: str, port: int) -> None:
        self._control, self._host, self.port = control, host, port
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, self._host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                line = await reader.readline()
                while (await reader.readline()).strip():
                    pass
            method, target, *_ = [*line.decode("latin-1").split(), "", ""]
            status, body = await self._answer(method, target)
            data = json.dumps(body, indent=1).encode() + b"\n"
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
            )
            writer.write(head.encode() + data)
            await writer.drain()
        except (TimeoutError, ConnectionError, ValueError) as error:
            log.debug("a debug connection ended: %s", error)
        finally:
            writer.close()

    async def _answer(self, method: str, target: str) -> tuple[HTTPStatus, Any]:
        url = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        if method not in ("GET", "HEAD"):
            return HTTPStatus.METHOD_NOT_ALLOWED, {"error": f"{method} is not served, only GET"}
        try:
            if url.path == "/debug/inforce":
                return HTTPStatus.OK, await self._in_force(query)
            if url.path == "/debug/config_dump":
                return self._dump(query)
        except BadRequest as error:
            return HTTPStatus.BAD_REQUEST, {"error": str(error)}
        control = self._control
        if url.path == "/ready":
            known = control.world is not None
            return (HTTPStatus.OK if known else HTTPStatus.SERVICE_UNAVAILABLE), {"ready": known}
        if url.path == "/debug/syncz":
            return HTTPStatus.OK, self._status()
        if url.path == "/debug/problems":
            return HTTPStatus.OK, self._problems()
        return HTTPStatus.NOT_FOUND, {"error": f"nothing at {url.path}"}

    def _problems(self) -> dict[str, str]:
        world = self._control.world
        if world is None:
            return {}
        return {each.key: each.reason for each in (*world.problems, *unserved(world))}

    def _status(self) -> dict[str, Any]:
        control = self._control
        found: dict[str, Any] = {c.proxy.node: c.status() for c in control.connections.values()}
        for node, reason in control.broken.items():
            found.setdefault(node, {})["broken"] = reason
        return {"generation": control.generation, "proxies": found, "sources": control.trouble()}

    def _dump(self, query: Mapping[str, str]) -> tuple[HTTPStatus, Any]:
        wanted = query.get("proxyID") or query.get("proxy")  # istiod's name for it, and ours
        if not wanted:
            raise BadRequest("config_dump needs ?proxy=<pod>.<namespace>")
        for connection in self._control.connections.values():
            proxy = connection.proxy
            if wanted in (proxy.id, proxy.node, proxy.ip) and connection.snapshot is not None:
                return HTTPStatus.OK, {
                    "proxy": proxy.node, "version": connection.snapshot.version, "lingering": connection.lingering,
                    **connection.snapshot.json(),
                }
        known = sorted(c.proxy.id for c in self._control.connections.values())
        return HTTPStatus.NOT_FOUND, {"error": f"no proxy {wanted} is connected", "proxies": known}

    async def _in_force(self, query: Mapping[str, str]) -> dict[str, Any]:
        try:
            timeout = min(LONGEST, float(query.get("timeout", DEFAULT_TIMEOUT)))
            if "changes" in query:
                pairs = [each.rpartition("@") for each in query["changes"].split(",")]
                wanted = [(kind, int(revision)) for kind, _, revision in pairs]
            else:
                wanted = [(query["kind"], int(query["resourceVersion"]))]
        except (KeyError, ValueError) as error:
            raise BadRequest(
                "inforce needs ?kind=<plural>&resourceVersion=<number> or ?changes=<plural>@<number>,…"
                f" [&timeout=<seconds>]: {error}"
            ) from error
        # What Pilot does not look at, no proxy waits for.
        known = [each for each in wanted if each[0] in KINDS]
        found = await self._control.all_in_force(known, timeout, query.get("names", "").split(","))
        return {
            "inForce": found.in_force, "ms": found.ms, "proxies": found.proxies, "rejected": found.rejected,
            "missing": found.missing,
        }

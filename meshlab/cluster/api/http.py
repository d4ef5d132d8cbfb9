"""The API server's HTTP side: TLS, authentication, and who handles which path.

It is a thin layer: a request becomes a call of `Api`, an `ApiError` becomes its Status. aiohttp's low-level server is
used without its application, router and middlewares, which would take a third of a request's time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from meshlab.cluster.api.aggregation import Aggregation
from meshlab.cluster.api.api import Api
from meshlab.cluster.api.auth import Auth, User
from meshlab.cluster.api.codec import accepted, dump
from meshlab.cluster.api.discovery import AGGREGATED, Discovery, version_info
from meshlab.cluster.api.health import Health
from meshlab.cluster.api.metrics import CONTENT_TYPE, Metrics
from meshlab.cluster.api.proxy import Proxy
from meshlab.cluster.api.rbac import Access, Guard
from meshlab.cluster.api.request import NoSuchPath, target_of
from meshlab.cluster.api.status import ApiError, BadRequest, InternalError, Unauthorized
from meshlab.cluster.api.streams import Kubelet
from meshlab.cluster.api.verbs import Verbs
from meshlab.cluster.api.webhooks import Webhooks

__all__ = ["Server"]

log = logging.getLogger(__name__)

#: Bytes of a request's body; a real server takes 3 MB.
LARGEST_BODY = 3 * 1024 * 1024
#: Seconds that requests under way get when the server stops; watches are ended before.
SHUTDOWN = 1.0


class TooLarge(ApiError):
    code, reason = 413, "RequestEntityTooLarge"


class Server:
    """Serves an Api. `start()` listens and returns; `stop()` ends every watch and connection."""

    def __init__(self, api: Api, auth: Auth, listener: socket.socket, kubelet: Kubelet | None = None, *,
                 also: Sequence[socket.socket] = ()) -> None:
        """`listener` is a bound socket; whoever binds it knows whether the address is free. `also` are further ones."""
        self.api, self.auth = api, auth
        self._also = also
        self._listener = listener
        self.host, self.port = listener.getsockname()[:2]
        self.proxy = Proxy(api, kubelet)
        self.aggregation = Aggregation(api, self.proxy)
        self.discovery = Discovery(api.registry, f"{self.host}:{self.port}", self.aggregation.groups)
        self.health, self.metrics = Health(api.store), Metrics()
        self.guard = Guard(Access(api.store))
        self.verbs = Verbs(api, auth, self.proxy, kubelet, self.guard)
        self.webhooks = api.webhooks = Webhooks(api, self.proxy.endpoint)
        self._runner: web.ServerRunner | None = None

    @property
    def kubelet(self) -> Kubelet | None:
        return self.verbs.kubelet

    @kubelet.setter
    def kubelet(self, kubelet: Kubelet | None) -> None:
        self.verbs.kubelet = self.proxy.kubelet = kubelet

    async def start(self, certificate: ssl.SSLContext | None) -> None:
        """Listens; with TLS if there is a certificate."""
        loop = asyncio.get_running_loop()

        def request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
            return web.BaseRequest(
                message, payload, protocol, writer, task, loop, client_max_size=LARGEST_BODY
            )

        server = web.Server(
            self.handle, request_factory=request, handler_cancellation=True, access_log=None,
            keepalive_timeout=75.0, max_line_size=65536, max_field_size=65536,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN, handle_signals=False)
        await self._runner.setup()
        for listener in (self._listener, *self._also):
            await web.SockSite(self._runner, listener, ssl_context=certificate, backlog=512).start()

    async def stop(self) -> None:
        self.api.hub.close()
        await self.proxy.close()
        await self.webhooks.close()
        if self._runner is not None and self._runner.server is not None:
            open_ = [handler.transport for handler in self._runner.server.connections]
            await self._runner.cleanup()
            for transport in open_:
                if transport is not None:
                    transport.abort()  # closing politely would wait for each client's TLS to say goodbye
            await asyncio.sleep(0)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request; never raises but for cancellation."""
        answer = await self._answer(request)
        self.metrics.answered(request.method, answer.status)
        return answer

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._route(request)
        except NoSuchPath:
            return web.Response(status=404, body=b"404 page not found\n", content_type="text/plain")
        except ApiError as error:
            return failure(error)
        except (ConnectionError, asyncio.CancelledError):
            raise  # the client went away
        except web.HTTPRequestEntityTooLarge:
            return failure(TooLarge(f"limit is {LARGEST_BODY}", details={}))
        except RecursionError:
            return failure(BadRequest("the request nests too deep"))
        except Exception as error:
            log.exception("%s %s", request.method, request.path)
            return failure(InternalError.because(f"{type(error).__name__}: {error}"))

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.rel_url.raw_path
        path = unquote(path) if "%" in path else path
        user = self.auth.user(request.headers.get("Authorization"))
        if user is None and "Authorization" not in request.headers and request.transport is not None:
            user = self.auth.certified(request.transport.get_extra_info("peercert"))
        below = path.startswith(("/api/", "/apis/"))
        if not below and self.health.concerns(path):
            return self.health.answer(path, request.query)
        if not below and path.rstrip("/") == "/version":
            return web.Response(body=json.dumps(version_info(), indent=2).encode(), content_type="application/json")
        if user is None:
            raise Unauthorized
        user = self.guard.caller(request, user)
        if below:
            if document := self._discovery(path, request):
                self.guard.path(request, path, user)
                return document
            if path.startswith("/apis/") and (service := self.aggregation.serves(path)) is not None:
                self.guard.resource(request, self.aggregation.target(path), user)
                return await self.aggregation.handle(request, service, user)
            target = target_of(path, self.api.registry)
            self.guard.resource(request, target, user)
            return await self.verbs.handle(request, target, user)
        self.guard.path(request, path, user)
        return self._elsewhere(path, request, user)

    def _discovery(self, path: str, request: web.BaseRequest) -> web.Response | None:
        if path.count("/") > 4 or path.rstrip("/").count("/") > 3:
            return None
        document = self.discovery.document(path)
        if document is None:
            return None
        if request.method not in ("GET", "HEAD"):
            return None
        return web.Response(body=dump(document), content_type="application/json")

    def _elsewhere(self, path: str, request: web.BaseRequest, user: User) -> web.Response:
        """/api, /apis, OpenAPI and the list of paths."""
        if path in ("/api", "/apis"):
            form = accepted(request.headers.get("Accept"), ("APIGroupDiscoveryList",))
            if form.as_ and form.version in ("v2", "v2beta1"):
                document = self.discovery.document(path, form.version)
                headers = {"Content-Type": AGGREGATED.format(form.version), "Vary": "Accept"}
                return web.Response(body=dump(document), headers=headers)
            return web.Response(body=dump(self.discovery.document(path)), content_type="application/json")
        if path == "/metrics":
            return web.Response(body=self.metrics.text(self.api), headers={"Content-Type": CONTENT_TYPE})
        if path == "/":
            groups = self.api.registry.groups()
            paths = ["/api", *(f"/api/{v}" for v in groups[""]), "/apis"]
            paths += [f"/apis/{g}/{v}" for g, versions in groups.items() if g for v in versions]
            paths += ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]
            return web.Response(body=dump({"paths": paths}), content_type="application/json")
        if path.startswith("/openapi/"):
            from meshlab.cluster.api.documents import document as openapi_document

            return openapi_document(self.api, path.removeprefix("/openapi/").strip("/"))
        raise NoSuchPath("404 page not found")


def failure(error: ApiError) -> web.Response:
    """The Status of an error."""
    headers = {}
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="meshlab"'
    return web.Response(
        status=error.code, body=dump(error.status()), content_type="application/json", headers=headers
    )

"""The service and pod proxy: HTTP to what runs inside the lab, through the API server.

`…/services/[https:]NAME[:PORT]/proxy/PATH` goes to a ready endpoint of the service, `…/pods/[https:]NAME[:PORT]/proxy/
PATH` to the pod. Bodies are streamed both ways.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

from aiohttp import web

from meshlab.cluster.api.request import Target
from meshlab.cluster.api.status import BadRequest, ServiceUnavailable
from meshlab.cluster.api.streaming.upgrade import proxy_upgrade, wants_upgrade
from meshlab.cluster.api.streams import Kubelet, KubeletError
from meshlab.settings import bound_port

if TYPE_CHECKING:
    import aiohttp

    from meshlab.cluster.api.api import Api

__all__ = ["Proxy", "relocated"]

#: Headers that belong to one connection, not to the message; and the token, which is for the API server only.
HOP_BY_HOP = frozenset((
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailers",
    "transfer-encoding", "upgrade", "host", "authorization", "content-length",
))
#: By these a server behind an APIService knows who asks (…-User, …-Group, …-Uid, …-Extra-*): only we may say it.
WHO = "x-remote-"
PIECE = 64 * 1024
#: Names and values.
Headers = Sequence[tuple[str, str]]
#: Parts of a path up to and with `proxy`.
PROXY_DEPTH = 8


@dataclass(frozen=True)
class Backend:
    scheme: str
    host: str
    port: int


class Proxy:
    def __init__(self, api: Api, kubelet: Kubelet | None) -> None:
        self.api, self.kubelet = api, kubelet
        #: Returns when the network inside follows what is stored; whoever is asked may call others there.
        self.caught_up: Callable[[], Awaitable[None]] | None = None
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def handle(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        """Forwards one request. 503 where nothing answers."""
        if not target.rest and request.method in ("GET", "HEAD"):
            where = str(request.rel_url.with_path(request.path + "/", keep_query=True))
            return web.Response(status=301, headers={"Location": where})
        if self.caught_up is not None:
            await self.caught_up()
        backend = self.backend(target)
        path = quote(target.rest or "/", safe="/:@!$&'()*+,;=~-._%")
        query = request.rel_url.raw_query_string
        path += f"?{query}" if query else ""
        if wants_upgrade(request):
            return await proxy_upgrade(request, backend.scheme, backend.host, backend.port, path, _headers(request))
        return await self.forward(request, f"{backend.scheme}://{backend.host}:{backend.port}{path}")

    def backend(self, target: Target) -> Backend:
        """Where a target's requests go."""
        scheme, name, port = _split(target.name or "")
        namespace = target.namespace or ""
        match target.resource.plural:
            case "services":
                host, number = self.endpoint(namespace, name, port)
            case "pods":
                host, number = self._pod(target, namespace, name, port)
            case _:
                raise BadRequest("the node has no proxy of its own: use a pod's or a service's")
        return Backend(scheme or "http", host, bound_port(number))

    def endpoint(self, namespace: str, name: str, port: str) -> tuple[str, int]:
        """A ready address of a service's port (its number or name); "" is its only one. Raises ApiError."""
        service = self.api.get(self.api.kinds("Service"), namespace, name)
        ports = service["spec"].get("ports") or []
        if not port:
            if len(ports) != 1:
                raise ServiceUnavailable(f'no endpoints available for service "{name}"')
            wanted = ports[0].get("name", "")
        elif port.isdigit():
            matching = [p for p in ports if p["port"] == int(port)]
            if not matching:
                raise ServiceUnavailable(f'no service port {port} found for service "{name}"')
            wanted = matching[0].get("name", "")
        else:
            wanted = port
        endpoints = self.api.find(self.api.kinds("Endpoints"), namespace, name) or {}
        ready = [
            (address["ip"], p["port"])
            for subset in endpoints.get("subsets") or ()
            for p in subset.get("ports") or () if p.get("name", "") == wanted
            for address in subset.get("addresses") or ()
        ]
        if not (ready := ready or self._in_slices(namespace, name, wanted)):
            asked = f"{name}:{port}" if port else name
            raise ServiceUnavailable(f'no endpoints available for service "{asked}"')
        chosen: tuple[str, int] = random.choice(ready)  # noqa: S311
        return chosen

    def _in_slices(self, namespace: str, name: str, port: str) -> list[tuple[str, int]]:
        """Ready addresses of a service whose author wrote EndpointSlices, and no Endpoints."""
        slices, _ = self.api.list(
            self.api.kinds("EndpointSlice"), namespace, label_selector=f"kubernetes.io/service-name={name}")
        return [
            (address, p["port"])
            for one in slices
            for p in one.get("ports") or () if (p.get("name") or "") == port and p.get("port")
            for endpoint in one.get("endpoints") or () if (endpoint.get("conditions") or {}).get("ready") is not False
            for address in endpoint["addresses"][:1]
        ]

    def _pod(self, target: Target, namespace: str, name: str, port: str) -> tuple[str, int]:
        pod = self.api.get(target.resource, namespace, name)
        host = (pod.get("status") or {}).get("podIP") or ""
        if not host and self.kubelet is not None:
            try:
                host = self.kubelet.address(namespace, name)
            except KubeletError as error:
                raise BadRequest(str(error)) from None
        if not host:
            raise BadRequest(f"address not allowed: pod {name} has none yet")
        return host, _pod_port(pod, port)

    def _connected(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            # No total limit: logs and loads are long. Nothing is changed on the way: neither compressed nor cooked.
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=5.0), auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(), trust_env=False,
                connector=aiohttp.TCPConnector(limit=0, ssl=False),
            )
        return self._session

    async def get(self, url: str, headers: Headers, largest: int) -> tuple[int, bytes]:
        """Status and body, for questions of the server's own. ServiceUnavailable where nobody answers."""
        import aiohttp
        from yarl import URL

        try:
            async with self._connected().get(URL(url, encoded=True), headers=headers, allow_redirects=False) as answer:
                body = b""
                async for piece in answer.content.iter_chunked(PIECE):
                    body += piece
                    if len(body) > largest:
                        raise ServiceUnavailable(f"the answer is larger than {largest} bytes")
                return answer.status, body
        except (aiohttp.ClientError, OSError) as error:
            raise ServiceUnavailable(f"error trying to reach service: {error}") from None

    async def forward(self, request: web.BaseRequest, url: str, also: Headers = ()) -> web.StreamResponse:
        """Passes a request on to `url`, with further headers. ServiceUnavailable where nobody answers."""
        import aiohttp
        from yarl import URL

        headers = [*_headers(request), *also]
        body = request.content if request.can_read_body else None
        if body is not None and request.content_length is not None:
            # Without it the body would go on in chunks, which small servers do not understand.
            headers.append(("Content-Length", str(request.content_length)))
        sent = False
        try:
            async with self._connected().request(
                request.method, URL(url, encoded=True), headers=headers, data=body, allow_redirects=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
            ) as answer:
                response = web.StreamResponse(status=answer.status, reason=answer.reason)
                for key, value in answer.headers.items():
                    if key.lower() == "content-length":
                        response.content_length = int(value)
                    elif key.lower() == "location":
                        where = relocated(value, request.rel_url.raw_path, URL(url).host, request.host)
                        response.headers.add(key, where)
                    elif key.lower() not in HOP_BY_HOP:
                        response.headers.add(key, value)
                await response.prepare(request)
                sent = True
                async for piece in answer.content.iter_chunked(PIECE):
                    await response.write(piece)
                await response.write_eof()
                return response
        except (aiohttp.ClientError, OSError) as error:
            if sent:
                raise ConnectionResetError(str(error)) from error
            raise ServiceUnavailable(f"error trying to reach service: {error}") from None


def relocated(location: str, asked: str, backend: str | None, server: str) -> str:
    """Where a redirect leads as seen from the client; `asked` is the path of the request to this server.

    A path of the backend's own comes below the proxy's; a relative one and another host stay as they are.
    """
    to = urlsplit(location)
    if (to.netloc and to.netloc != server and to.hostname != backend) or not to.path.startswith("/"):
        return location
    # /api/v1/namespaces/N/services/NAME/proxy, to which the backend may already have been told to redirect.
    prefix = "/".join(asked.split("/")[:PROXY_DEPTH])
    path = to.path if to.path.startswith(prefix) else prefix + to.path
    return urlunsplit(("", "", path, to.query, to.fragment))


def _headers(request: web.BaseRequest) -> list[tuple[str, str]]:
    """The headers that go on."""
    kept = [(k, v) for k, v in request.headers.items() if not (k.lower() in HOP_BY_HOP or k.lower().startswith(WHO))]
    return [*kept, ("X-Forwarded-Uri", request.path), ("X-Forwarded-For", request.remote or "")]


def _split(name: str) -> tuple[str, str, str]:
    """`[scheme:]name[:port]` → its parts. NotFound where there are too many, or an unknown scheme."""
    parts = name.split(":")
    if len(parts) == 1:
        return "", name, ""
    if len(parts) == 2:
        return "", parts[0], parts[1]
    if len(parts) == 3 and parts[0] in ("", "http", "https"):
        return parts[0], parts[1], parts[2]
    raise BadRequest(f'invalid service request "{name}"')


def _pod_port(pod: Mapping[str, Any], port: str) -> int:
    ports = [p for c in pod["spec"].get("containers") or () for p in c.get("ports") or ()]
    if port.isdigit():
        return int(port)
    for candidate in ports:
        if not port or candidate.get("name") == port:
            return int(candidate["containerPort"])
    if not port:
        return 80
    raise BadRequest(f'pod {pod["metadata"]["name"]} has no port named "{port}"')



"""The way to a cluster: the official client, plus raw requests for what it has no methods for.

Both engines are reached through a kubeconfig. Services inside the cluster are reached through the API server's
proxy, or by a port-forward where that is closed (`meshlab.inward`), so nothing here needs a route to a pod.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import quote, urlencode

from .errors import LabError, ManifestError, Rejected
from .inward import Inward, Lost, Unsent
from .reply import Reply
from .uninterrupted import uninterrupted

if TYPE_CHECKING:
    from typing import Unpack

    from kubernetes.client import ApiClient
    from websocket import WebSocket

__all__ = ["Access", "Reply"]


class _Options(TypedDict, total=False):
    """What `Access.request` takes besides method and path."""

    query: Mapping[str, object] | None
    body: object
    headers: Mapping[str, str] | None
    timeout: float
    check: bool


#: Methods that may be sent again when nobody knows whether the first one arrived.
_REPEATABLE = ("GET", "HEAD", "PUT", "DELETE")
#: Seconds: first and longest pause between attempts, and the longest that a server's Retry-After is obeyed at once.
_PAUSE, _LONGEST_PAUSE, _LONGEST_WAIT = 0.1, 2.0, 30.0


class Access:
    """One cluster of a kubeconfig; `context` as in kubectl, the current one by default.

    `patience`: seconds for which a connection that is refused or lost is tried again. A lab on this machine answers
    or is down, so it has none; the way to a cluster breaks now and then. A server that says 429 with Retry-After is
    obeyed in any case, for `throttled` seconds in all. `hint` is the command to type when nobody answers.
    """

    def __init__(
        self,
        kubeconfig: Path,
        context: str | None = None,
        *,
        patience: float = 0.0,
        throttled: float = 60.0,
        hint: str = "meshlab up",
    ) -> None:
        self.kubeconfig, self.context = kubeconfig, context
        self.patience, self.throttled, self.hint = patience, throttled, hint
        self._plurals: dict[tuple[str, str], tuple[str, bool]] = {}
        self.inward = Inward(self)

    @cached_property
    def client(self) -> ApiClient:
        with uninterrupted():
            from kubernetes.client import ApiClient, Configuration
            from kubernetes.config import ConfigException, load_kube_config

        configuration = Configuration()
        try:
            load_kube_config(str(self.kubeconfig), context=self.context, client_configuration=configuration)
        except ConfigException as error:
            raise LabError(f"{self.kubeconfig} does not lead to a cluster", why=str(error), then=self.hint) from error
        if configuration.host.startswith("https://127."):
            configuration.proxy = None  # the client would obey HTTP_PROXY even for loopback
        return ApiClient(configuration)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        check: bool = True,
    ) -> Reply:
        """One request; `body` is sent as JSON unless it is bytes. Raises `Rejected` for a status ≥ 400 if `check`."""
        data, sent = _body(body, headers)
        if query:
            path += ("&" if "?" in path else "?") + urlencode({k: str(v) for k, v in query.items()})
        reply = self.persist(method, lambda: self.send(method, path, data, sent, timeout))
        if check and reply.status >= 400:
            raise Rejected.answer(reply.status, reply.body)
        return reply

    def persist(self, method: str, send: Callable[[], Reply]) -> Reply:
        """Sends until there is an answer: again after a lost connection, a 429, or a login that has run out."""
        from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

        start, pause, logged_in, waited = time.monotonic(), _PAUSE, False, 0.0
        while True:
            try:
                reply = send()
            except (HTTPError, Lost) as error:
                unsent = isinstance(error, (ConnectTimeoutError, NewConnectionError, Unsent))
                if time.monotonic() - start < self.patience and (unsent or method in _REPEATABLE):
                    time.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
                    continue
                if isinstance(error, Lost):
                    raise LabError(str(error), then=self.hint) from error
                raise LabError(
                    f"the API server at {self.client.configuration.host} does not answer",
                    why=str(error),
                    then=self.hint,
                ) from error
            wait = _retry_after(reply)
            if wait is not None and waited + wait <= self.throttled:
                time.sleep(wait)
                waited += wait
            elif reply.status == 401 and not logged_in and self.patience:
                logged_in = True
                self.__dict__.pop("client", None)  # a token of a plug-in has run out: it is asked for another
            else:
                return reply

    def send(self, method: str, path: str, data: bytes | None, headers: dict[str, str], timeout: float) -> Reply:
        from urllib3 import Timeout

        sent = dict(headers)
        self.client.update_params_for_auth(sent, [], ["BearerToken"], path, method, data)
        answer = self.client.rest_client.pool_manager.request(
            method,
            self.client.configuration.host + path,
            body=data,
            headers=sent,
            timeout=Timeout(connect=5.0, read=timeout),
            retries=False,
        )
        return Reply(answer.status, answer.headers, answer.data)

    def service(
        self, namespace: str, name: str, port: int | str, path: str, *, method: str = "GET", **options: Unpack[_Options]
    ) -> Reply:
        """A request to a Service, through the API server's proxy or a port-forward; `options` as in `request`."""
        return self._inside("services", namespace, name, port, path, method, options)

    def pod(
        self, namespace: str, name: str, port: int, path: str, *, method: str = "GET", **options: Unpack[_Options]
    ) -> Reply:
        """A request to a pod, through the API server's proxy or a port-forward; `options` as in `request`."""
        return self._inside("pods", namespace, name, port, path, method, options)

    def _inside(
        self, kind: str, namespace: str, name: str, port: int | str, path: str, method: str, options: _Options
    ) -> Reply:
        data, headers = _body(options.get("body"), options.get("headers"))
        reply = self.inward.ask(
            kind, namespace, name, port, path, method=method, query=options.get("query"), body=data, headers=headers,
            timeout=options.get("timeout", 30.0),
        )  # fmt: skip
        if options.get("check", True) and reply.status >= 400:
            raise Rejected.answer(reply.status, reply.body)
        return reply

    def upgrade(self, path: str, protocols: Sequence[str], timeout: float) -> WebSocket:
        """A WebSocket to the API server, by the kubeconfig's login. Raises `LabError`, `Rejected`."""
        from .upgrade import open_websocket, proxy_of, tls_of

        way = self.client.configuration
        headers: dict[str, str] = {}
        self.client.update_params_for_auth(headers, [], ["BearerToken"], path, "GET", None)
        return open_websocket(way.host, path, protocols, timeout, headers=headers, tls=tls_of(way), proxy=proxy_of(way))

    def path(self, api_version: str, kind: str, namespace: str | None, name: str | None = None) -> str:
        """URL path of a kind's collection or of one object. Raises `ManifestError` for a kind nobody serves."""
        base = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
        key = (api_version, kind)
        if key not in self._plurals:
            reply = self.request("GET", base, check=False)
            served = reply.json().get("resources", []) if reply.status == 200 else []
            for resource in served:
                if "/" not in resource["name"]:
                    self._plurals[api_version, resource["kind"]] = (
                        resource["name"],
                        bool(resource["namespaced"]),
                    )
            if key not in self._plurals:
                raise ManifestError(
                    f"no kind {kind} in {api_version} on this cluster",
                    why="the kind is misspelt, or its CustomResourceDefinition is not installed",
                    then="kubectl api-resources",
                )
        plural, namespaced = self._plurals[key]
        place = f"/namespaces/{namespace or 'default'}" if namespaced else ""
        return f"{base}{place}/{plural}" + (f"/{quote(name)}" if name else "")

    def find(self, api_version: str, kind: str, namespace: str | None, name: str) -> dict[str, Any] | None:
        """One object, or None where there is none."""
        reply = self.request("GET", self.path(api_version, kind, namespace, name), check=False)
        if reply.status == 404:
            return None
        if reply.status >= 400:
            raise Rejected.answer(reply.status, reply.body)
        return dict(reply.json())

    def items(self, api_version: str, kind: str, namespace: str | None = None, **query: str) -> list[dict[str, Any]]:
        """All objects of a kind, in one namespace or (None) in all."""
        path = self.path(api_version, kind, namespace or "default")
        if namespace is None:
            path = path.replace("/namespaces/default/", "/", 1)
        found = self.request("GET", path, query=query).json()
        return [{"apiVersion": api_version, "kind": kind, **item} for item in found.get("items") or []]

    def served(
        self, api_version: str, kind: str, namespace: str | None = None, **query: str
    ) -> list[dict[str, Any]] | None:
        """As `items`, but None where nobody serves the kind: it comes with a control plane that is not installed."""
        try:
            return self.items(api_version, kind, namespace, **query)
        except ManifestError:
            return None
        except Rejected as error:
            if error.code != 404:
                raise
            return None

    def watch(self, path: str, since: str, *, timeout: float) -> Iterator[dict[str, Any]]:
        """Events of a collection after a resourceVersion, for at most `timeout` seconds.

        It ends early when the connection breaks: `meshlab.follow` goes on where it ended. Raises `Rejected` where
        the server refuses to be watched.
        """
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError

        headers = {"Accept": "application/json"}
        self.client.update_params_for_auth(headers, [], ["BearerToken"], path, "GET", None)
        query = urlencode({"watch": "true", "resourceVersion": since, "timeoutSeconds": max(1, round(timeout))})
        try:
            answer = self.client.rest_client.pool_manager.request(
                "GET",
                f"{self.client.configuration.host}{path}{'&' if '?' in path else '?'}{query}",
                headers=headers,
                preload_content=False,
                timeout=Timeout(connect=5.0, read=timeout),
                retries=False,
            )
        except HTTPError:
            return
        try:
            if answer.status != 200:
                raise Rejected.answer(answer.status, answer.read())
            rest = b""
            while chunk := answer.read1():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield json.loads(line)
        except HTTPError:
            return
        finally:
            answer.close()


def _body(body: object, headers: Mapping[str, str] | None) -> tuple[bytes | None, dict[str, str]]:
    """What is sent, and the headers that say what it is."""
    sent = {"Accept": "application/json", **(headers or {})}
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    if data is not None:
        sent.setdefault("Content-Type", "application/json")
    return data, sent


def _retry_after(reply: Reply) -> float | None:
    """Seconds after which the server wants to be asked again; None where it does not say so."""
    said = reply.headers.get("Retry-After")
    if reply.status not in (429, 503) or said is None:
        return None
    try:
        return min(max(float(said), _PAUSE), _LONGEST_WAIT)
    except ValueError:
        return 1.0  # a date; one second is what a kube-apiserver says

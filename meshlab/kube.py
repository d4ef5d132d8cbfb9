"""A small client of the Kubernetes API for pods and tools.

The official client takes half a second and 60 MB to import, which a sidecar's agent or `istioctl` cannot
afford. This one knows paths, JSON and watches, and nothing of the kinds: objects are plain dicts as the
server sent them.

    kube = Kube.from_kubeconfig()
    kube.list(("v1", "Pod", "default"))["items"]
    kube.create(("config.istio.io/v1alpha2", "RouteRule", "default"), {...})
    informer = Informer(kube, ("v1", "services"))
    informer.start(lambda type, obj: ...)       # in a thread; ADDED, MODIFIED, DELETED
    informer.synced.wait(5)

Whatever the server refuses is raised as `errors.Rejected`, which holds its Status; what cannot be reached at
all is `errors.LabError`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from meshlab.errors import LabError, Rejected
from meshlab.kubeconfig import Access, tls_context

if TYPE_CHECKING:
    import urllib3

__all__ = ["Informer", "Kube", "Raw", "Target"]

Object = dict[str, Any]
#: A path (`/api/v1/nodes`), or (apiVersion, kind or plural[, namespace[, name[, subresource]]]);
#: namespace None or "" = all namespaces, or a kind that has none.
Target = str | tuple[str | None, ...]

PATCH_TYPES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
#: Seconds. A watch is ended by the server after WATCH_TIMEOUT; a longer silence means a dead connection.
WATCH_TIMEOUT = 300
#: Seconds between attempts to reconnect: doubled from the first to the last, so that a restarted server is
#: found at once and one that stays away costs nothing.
BACKOFF = (0.05, 2.0)


@dataclass(frozen=True)
class Raw:
    """An answer as it came: status code, headers (names in lower case) and body."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", "replace")


class Kube:
    """A connection pool to one API server. Threads may share it."""

    def __init__(
        self,
        server: str,
        *,
        token: str | None = None,
        ca: bytes | None = None,
        certificate: tuple[bytes, bytes] | None = None,
        verify: bool = True,
        namespace: str = "default",
        server_name: str = "",
        proxy: str = "",
    ) -> None:
        """`ca` and `certificate` (certificate, key) are PEM; `namespace` is that of objects without one.

        `server_name` is what its certificate calls the server, `proxy` the URL of one on the way to it.
        """
        import urllib3

        self.server = server.rstrip("/")
        self.namespace = namespace
        self.headers = {"Accept": "application/json", "User-Agent": "meshlab"}
        if token:
            self.headers["Authorization"] = f"Bearer {token}"
        self.tls = tls_context(ca, certificate, verify) if self.server.startswith("https") else None
        self.server_name, self.proxy = server_name, proxy
        options: dict[str, Any] = {"maxsize": 8, "retries": False, "ssl_context": self.tls}
        if server_name:
            options |= {"server_hostname": server_name, "assert_hostname": server_name}
        self._pool = urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)
        self._plurals: dict[tuple[str, str], str] = {}

    @classmethod
    def from_kubeconfig(cls, path: str | Path | None = None, context: str | None = None) -> Kube:
        """The server of a kubeconfig: `path`, else the first file of $KUBECONFIG, else the lab's own.

        Raises LabError where the file is missing or names no server.
        """
        access = Access.load(path, context)
        return cls(
            access.server, token=access.token, ca=access.ca, certificate=access.certificate,
            verify=access.verify, namespace=access.namespace, server_name=access.server_name, proxy=access.proxy,
        )

    def close(self) -> None:
        """Closes idle connections; a request opens new ones."""
        self._pool.clear()

    # Paths

    def path(self, target: Target) -> str:
        """The URL path of a target; a kind (upper-case initial) is looked up in discovery once."""
        if isinstance(target, str):
            return target
        parts = [*target, None, None, None][:5]
        api_version, noun, namespace, name, subresource = parts
        if not api_version or not noun:
            raise ValueError(f"a target needs an apiVersion and a kind or plural, not {target!r}")
        plural = noun if noun[0].islower() else self.plural(api_version, noun)
        path = _base(api_version)
        if namespace:
            path += f"/namespaces/{quote(namespace, safe='')}"
        path += f"/{plural}"
        for part in (name, subresource):
            if part:
                path += f"/{quote(part, safe='')}"
        return path

    def path_of(self, obj: Mapping[str, Any], *, namespace: str | None = None, name: bool = True) -> str:
        """The path of an object by what it says of itself; without `name` that of its collection."""
        api_version, kind = obj["apiVersion"], obj["kind"]
        plural = self.plural(api_version, kind)
        scoped = self._plurals[api_version, "namespaced:" + kind] == "yes"
        meta = obj.get("metadata") or {}
        space = (meta.get("namespace") or namespace or self.namespace) if scoped else None
        return self.path((api_version, plural, space, meta.get("name") if name else None))

    def plural(self, api_version: str, kind: str) -> str:
        """`pods` for `Pod`. Raises Rejected (404) for a kind that the server does not have."""
        if (api_version, kind) not in self._plurals:
            for resource in self.get(_base(api_version))["resources"]:
                if "/" not in resource["name"]:
                    self._plurals[api_version, resource["kind"]] = resource["name"]
                    flag = "yes" if resource["namespaced"] else "no"
                    self._plurals[api_version, "namespaced:" + resource["kind"]] = flag
        try:
            return self._plurals[api_version, kind]
        except KeyError:
            message = f'no matches for kind "{kind}" in version "{api_version}"'
            raise Rejected({"code": 404, "reason": "NotFound", "message": message}) from None

    # Verbs

    def get(self, target: Target, **query: Any) -> Object:
        """One object (or whatever JSON is at that path)."""
        return self._json("GET", self.path(target), None, query)

    def list(
        self, target: Target, *, label_selector: str = "", field_selector: str = "", **query: Any
    ) -> Object:
        """A whole List: `items`, and `metadata.resourceVersion` from which to watch."""
        return self._json("GET", self.path(target), None, {
            "labelSelector": label_selector or None, "fieldSelector": field_selector or None, **query
        })

    def create(self, target: Target | None, obj: Mapping[str, Any], **query: Any) -> Object:
        """POST to a collection; target None = the collection that the object itself names."""
        path = self.path(target) if target else self.path_of(obj, name=False)
        return self._json("POST", path, obj, query)

    def replace(self, target: Target | None, obj: Mapping[str, Any], **query: Any) -> Object:
        """PUT; 409 if `metadata.resourceVersion` is given and no longer the stored one."""
        return self._json("PUT", self.path(target) if target else self.path_of(obj), obj, query)

    def patch(self, target: Target, patch: Any, kind: str = "merge", **query: Any) -> Object:
        """PATCH; kind is json, merge, strategic or apply (which wants fieldManager=…)."""
        return self._json("PATCH", self.path(target), patch, query, PATCH_TYPES[kind])

    def delete(self, target: Target, **options: Any) -> Object:
        """DELETE; options as in DeleteOptions: propagationPolicy, gracePeriodSeconds, preconditions."""
        return self._json("DELETE", self.path(target), options or None, {})

    def raw(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        query: Mapping[str, Any] | None = None,
    ) -> Raw:
        """Any request, its answer whatever the status: for the service proxy, logs and non-JSON paths."""
        response = self._request(method, path + _query(query or {}), body, headers or {}, timeout)
        return Raw(response.status, {k.lower(): v for k, v in response.headers.items()}, response.data)

    def watch(
        self, target: Target, since: str | int | None = None, *, timeout: int = WATCH_TIMEOUT,
        opened: Callable[[urllib3.BaseHTTPResponse], None] | None = None, **query: Any,
    ) -> Iterator[tuple[str, Object]]:
        """(type, object) of each event until the server ends the watch; BOOKMARKs are passed on.

        Raises Rejected for an ERROR event (410: list again). `opened` receives the response, to end it early.
        """
        full = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": timeout,
                "resourceVersion": since, **query}
        from urllib3.exceptions import HTTPError

        response = self._request(
            "GET", self.path(target) + _query(full), None, {}, timeout + 30.0, stream=True
        )
        try:
            if response.status != 200:
                raise Rejected.answer(response.status, response.read())
            if opened is not None:
                opened(response)
            rest = b""
            while chunk := response.read1():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise Rejected(event["object"])
                    yield event["type"], event["object"]
        except (HTTPError, OSError) as error:
            raise LabError(f"the watch of {self.path(target)} was cut: {error}") from error
        finally:
            response.close()

    # Transport

    def _json(
        self, method: str, path: str, body: Any, query: Mapping[str, Any], type_: str = "application/json"
    ) -> Object:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": type_} if data is not None else {}
        response = self._request(method, path + _query(query), data, headers, 30.0)
        if response.status >= 400:
            raise Rejected.answer(response.status, response.data)
        answer: Object = json.loads(response.data)
        return answer

    def _request(
        self, method: str, path: str, body: Any, headers: Mapping[str, str], timeout: float,
        stream: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        import urllib3

        # A kept-alive connection may have been closed by a server that restarted: one retry on a fresh one is
        # safe for what has no effect twice.
        attempts = 2 if method == "GET" else 1
        for attempt in range(1, attempts + 1):
            try:
                return self._pool.request(
                    method, self.server + path, body=body, headers={**self.headers, **headers},
                    redirect=False, preload_content=not stream,
                    timeout=urllib3.Timeout(connect=5.0, read=timeout),
                )
            except urllib3.exceptions.HTTPError as error:
                if attempt == attempts:
                    raise LabError(
                        f"cannot reach the API server at {self.server}", why=str(error), then="meshlab status"
                    ) from error
        raise AssertionError("unreachable")


class Informer:
    """A local copy of a collection, kept current by list + watch in a thread.

    `on_change(type, object)` is called in that thread, once per change and in order: ADDED for each object of
    the first list, then ADDED, MODIFIED, DELETED. After a break (the server restarted, the revision is too
    old) it lists again and calls for the differences only: a caller sees no break and nothing twice.
    """

    def __init__(self, kube: Kube, target: Target, **query: Any) -> None:
        self.kube, self.target, self.query = kube, target, query
        #: Set once the first list has been handed over.
        self.synced = threading.Event()
        #: (namespace, name) → object. Read it from on_change, or copy it: the thread changes it.
        self.objects: dict[tuple[str, str], Object] = {}
        #: Everything up to this resourceVersion has been handed over.
        self.revision = 0
        #: The last error of the connection, None while all is well.
        self.error: Exception | None = None
        self._stop = threading.Event()
        self._response: urllib3.BaseHTTPResponse | None = None
        self._thread: threading.Thread | None = None

    def start(self, on_change: Callable[[str, Object], None]) -> Informer:
        """Begins; returns at once. An exception of `on_change` ends the informer and is kept in `error`."""
        self._thread = threading.Thread(
            target=self._run, args=(on_change,), name=f"informer {self.target}", daemon=True
        )
        self._thread.start()
        return self

    def stop(self, timeout: float = 2.0) -> None:
        """Ends the watch and joins the thread."""
        self._stop.set()
        response = self._response
        if response is not None:
            response.shutdown()  # wakes the blocked read
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def __enter__(self) -> Informer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, on_change: Callable[[str, Object], None]) -> None:
        wait, listed = BACKOFF[0], False
        while not self._stop.is_set():
            try:
                if not listed:
                    self._list(on_change)
                    listed = True
                for type_, obj in self.kube.watch(
                    self.target, self.revision, opened=self._opened, **self.query
                ):
                    wait, self.error = BACKOFF[0], None
                    self._event(type_, obj, on_change)
                    if self._stop.is_set():
                        return
                continue
            except Rejected as error:
                # 410: our revision is gone. 404: the kind is not there yet (a CRD to come) or no longer.
                self.error, listed = error, False
                if error.code == 410:
                    continue
            except LabError as error:
                self.error = error
            except Exception as error:  # a bug of the caller: keep it for whoever looks, do not spin
                self.error = error
                raise
            finally:
                self._response = None
            self._stop.wait(wait)
            wait = min(wait * 2, BACKOFF[1])

    def _opened(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response
        if self._stop.is_set():
            response.shutdown()

    def _list(self, on_change: Callable[[str, Object], None]) -> None:
        answer = self.kube.list(self.target, **self.query)
        kind, api_version = str(answer.get("kind", "List"))[:-4], answer.get("apiVersion")
        fresh: dict[tuple[str, str], Object] = {}
        for item in answer["items"]:
            # Items of a list carry no kind of their own.
            item = {"kind": kind, "apiVersion": api_version, **item}
            fresh[_key(item)] = item
        for key in [k for k in self.objects if k not in fresh]:
            on_change("DELETED", self.objects.pop(key))
        for key, obj in fresh.items():
            before = self.objects.get(key)
            self.objects[key] = obj
            if before is None:
                on_change("ADDED", obj)
            elif before["metadata"].get("resourceVersion") != obj["metadata"].get("resourceVersion"):
                on_change("MODIFIED", obj)
        self.revision, self.error = int(answer["metadata"]["resourceVersion"]), None
        self.synced.set()

    def _event(self, type_: str, obj: Object, on_change: Callable[[str, Object], None]) -> None:
        if type_ != "BOOKMARK":
            if type_ == "DELETED":
                self.objects.pop(_key(obj), None)
            else:
                self.objects[_key(obj)] = obj
            on_change(type_, obj)
        self.revision = int(obj["metadata"]["resourceVersion"])


def _key(obj: Mapping[str, Any]) -> tuple[str, str]:
    meta = obj["metadata"]
    return meta.get("namespace", ""), meta["name"]


def _base(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _query(query: Mapping[str, Any]) -> str:
    given = {k: v for k, v in query.items() if v is not None}
    return "?" + urlencode(given) if given else ""

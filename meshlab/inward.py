"""The way to what runs inside a cluster: the API server's proxy, or a port-forward where that leads nowhere.

The proxy leads nowhere for two reasons. The right `services/proxy` or `pods/proxy` is missing; or the API server has no
route to pods, as in clouds whose firewall lets it through to kubelets only. A port-forward needs neither: it goes
through the kubelet. Which way is open is found out once for each namespace.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from .errors import LabError, MeshlabError
from .reply import Reply
from .tunnel import Tunnel, request

if TYPE_CHECKING:
    from .access import Access

__all__ = ["Inward", "Lost", "Unsent", "closed", "endpoint"]

#: What an API server says that could not reach a pod, in part.
_UNREACHED = "error trying to reach service"
#: Seconds for the first question of all: an API server without a route to pods tries for 30.
_FIRST = 5.0


class Lost(Exception):
    """A connection into a pod broke; nobody knows whether the request arrived."""


class Unsent(Lost):
    """The connection was not made, so nothing was sent."""


class Inward:
    """Requests to Services and pods. One `Access` has one of these."""

    def __init__(self, access: Access) -> None:
        self._access = access
        #: Kind and namespace → why the proxy is closed there; "" where it is open.
        self._closed: dict[tuple[str, str], str] = {}

    def ask(
        self,
        kind: str,
        namespace: str,
        name: str,
        port: int | str,
        path: str,
        *,
        method: str = "GET",
        query: Mapping[str, object] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str],
        timeout: float = 30.0,
    ) -> Reply:
        """The answer, whatever its status. `kind` is `services` or `pods`.

        Raises `LabError` with what was said to both ways, if none is open.
        """
        from urllib3 import HTTPHeaderDict

        if query:
            path += ("&" if "?" in path else "?") + urlencode({k: str(v) for k, v in query.items()})
        key, proxy = (kind, namespace), f"/api/v1/namespaces/{namespace}/{kind}/{name}:{port}/proxy"
        # A lab on this machine is not far from its pods: there is nothing to find out.
        if key not in self._closed and self._access.patience:
            self._closed[key] = self._first(proxy)
        refused = self._closed.get(key, "")
        if not refused:
            reply = self._access.request(method, proxy + path, body=body, headers=headers, timeout=timeout, check=False)
            refused = closed(reply)
            if not refused:
                return reply

        def send() -> Reply:
            pod, number = self._pod(kind, namespace, name, port)
            try:
                tunnel = Tunnel.open(self._access.upgrade, namespace, pod, number, timeout=timeout)
            except LabError as error:
                raise Unsent(f"{error.seen}: {error.why}") from error
            try:
                status, said, data = request(tunnel, method, path, body, headers)
            except LabError as error:
                raise Lost(f"{error.seen}: {error.why}") from error
            return Reply(status, HTTPHeaderDict(said), data)

        try:
            reply = self._access.persist(method, send)
        except MeshlabError as error:
            self._closed.pop(key, None)
            forward = ": ".join(filter(None, [error.seen, error.why]))
            raise LabError(
                f"no way leads to {name} in {namespace}, port {port}",
                why=f"the API server's proxy: {refused}; a port-forward: {forward}",
                then=f"kubectl auth can-i create pods/portforward -n {namespace}",
            ) from error
        self._closed[key] = refused
        return reply

    def tunnel(self, kind: str, namespace: str, name: str, port: int | str, *, timeout: float = 30.0) -> Tunnel:
        """A connection to a pod, or to one that is ready behind a Service, by a port-forward.

        Raises `LabError`, `Rejected`.
        """
        pod, number = self._pod(kind, namespace, name, port)
        return Tunnel.open(self._access.upgrade, namespace, pod, number, timeout=timeout)

    def _pod(self, kind: str, namespace: str, name: str, port: int | str) -> tuple[str, int]:
        return endpoint(self._access, namespace, name, port) if kind == "services" else (name, int(port))

    def _first(self, proxy: str) -> str:
        """Is the proxy open? Whatever a service answers says that it is."""
        from urllib3.exceptions import HTTPError, ReadTimeoutError

        try:
            return closed(self._access.send("GET", f"{proxy}/", None, {}, _FIRST))
        except ReadTimeoutError:
            return f"it says nothing for {_FIRST:g} s"
        except HTTPError:
            return ""  # the request itself finds out what is wrong with the connection


def closed(reply: Reply) -> str:
    """Why the API server's proxy leads nowhere; "" where the answer is what the service said."""
    if reply.status not in (403, 502, 503, 504):
        return ""
    try:
        status: Any = json.loads(reply.body)
    except ValueError:
        return ""
    if not isinstance(status, dict) or status.get("kind") != "Status" or status.get("apiVersion") != "v1":
        return ""
    message = str(status.get("message") or "")
    forbidden = reply.status == 403 and (status.get("details") or {}).get("kind") in ("services", "pods")
    return message if forbidden or _UNREACHED in message else ""


def endpoint(access: Access, namespace: str, service: str, port: int | str) -> tuple[str, int]:
    """A ready pod behind a Service, and its port behind the Service's `port` (number or name).

    Raises `LabError` where there is none.
    """
    found = access.find("v1", "Service", namespace, service)
    ports = ((found or {}).get("spec") or {}).get("ports") or []
    wanted = next((each for each in ports if str(port) in (str(each["port"]), each.get("name"))), None)
    if wanted is None:
        seen = f"service {namespace}/{service} has no port {port}" if found else f"no service {namespace}/{service}"
        raise LabError(seen, then=f"kubectl get services -n {namespace}")
    slices = access.items(
        "discovery.k8s.io/v1", "EndpointSlice", namespace, labelSelector=f"kubernetes.io/service-name={service}"
    )
    for each in slices:
        numbers = [p["port"] for p in each.get("ports") or () if (p.get("name") or "") == (wanted.get("name") or "")]
        for candidate in (each.get("endpoints") or ()) if numbers else ():
            target = candidate.get("targetRef") or {}
            if target.get("kind") == "Pod" and (candidate.get("conditions") or {}).get("ready") is not False:
                return str(target["name"]), int(numbers[0])
    raise LabError(
        f"no pod is ready behind service {namespace}/{service}",
        why="its EndpointSlices name none",
        then=f"kubectl get pods -n {namespace}",
    )

"""Aggregation: groups of the API that somebody else serves.

An APIService that names a service says that everything below /apis/GROUP/VERSION is answered there; metrics for
autoscalers come this way. The connection is TLS, with whatever certificate the server has: an address of the lab's own
network leads to nobody else.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import web

from meshlab.cluster.api.auth import User
from meshlab.cluster.api.proxy import Proxy
from meshlab.cluster.api.registry import Resource
from meshlab.cluster.api.request import Target
from meshlab.cluster.api.status import ApiError, NotFound, ServiceUnavailable
from meshlab.settings import bound_port

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["Aggregation"]

Object = dict[str, Any]
#: Bytes of an answer to the lab's own questions.
LARGEST = 3 * 1024 * 1024


class Aggregation:
    """Knows who serves what, and asks them. `proxy` finds the services' endpoints and holds the connections."""

    def __init__(self, api: Api, proxy: Proxy) -> None:
        self._api, self._proxy = api, proxy

    def serves(self, path: str) -> Object | None:
        """The APIService of a path below /apis/, if a service is behind it and the group is not our own."""
        parts = path.split("/")
        if len(parts) < 4 or not parts[3] or parts[3] in self._api.registry.groups().get(parts[2], ()):
            return None
        found = self._api.find(self._api.kinds("APIService"), None, f"{parts[3]}.{parts[2]}")
        return found if found is not None and (found.get("spec") or {}).get("service") else None

    def groups(self) -> tuple[tuple[str, str], ...]:
        """Groups and versions that are available this way, for discovery."""
        found = []
        for entry in self._api.store.entries(self._api.kinds("APIService").collection):
            # What is stored was not always thought through: such a one serves nothing.
            spec = entry.obj.get("spec") or {}
            at = (str(spec.get("group") or ""), str(spec.get("version") or ""))
            conditions = (entry.obj.get("status") or {}).get("conditions") or ()
            if self.serves("/apis/" + "/".join(at)) is not None and any(
                    c.get("type") == "Available" and c.get("status") == "True" for c in conditions):
                found.append(at)
        return tuple(found)

    @staticmethod
    def target(path: str) -> Target:
        """The same path as roles and bindings name it."""
        _, _, group, version, *rest = path.rstrip("/").split("/")
        namespace = None
        if len(rest) > 2 and rest[0] == "namespaces":
            namespace, rest = rest[1], rest[2:]
        resource = Resource(group, version, "", rest[0] if rest else "", "")
        return Target(resource, namespace, rest[1] if len(rest) > 1 else None, "/".join(rest[2:]) or None)

    async def handle(self, request: web.BaseRequest, service: Object, user: User) -> web.StreamResponse:
        """Passes a request on, with who asks. ServiceUnavailable where nobody answers."""
        url = self._address(service) + str(request.rel_url)
        known = [("X-Remote-User", user.name), *(("X-Remote-Group", group) for group in user.groups)]
        return await self._proxy.forward(request, url, known)

    async def fetch(self, path: str) -> Object:
        """The lab's own question: the JSON at a path. Raises ApiError."""
        service = self.serves(urlsplit(path).path)
        if service is None:
            raise NotFound.path()
        status, body = await self._proxy.get(self._address(service) + path, [
            ("X-Remote-User", "system:serviceaccount:kube-system:horizontal-pod-autoscaler"),
            ("Accept", "application/json")], LARGEST)  # fmt: skip
        try:
            found: Object = json.loads(body)
        except ValueError:
            raise ServiceUnavailable(f"an answer of {path} is no JSON ({status})") from None
        if status >= 400:
            error = ApiError(str(found.get("message") or f"the server answered {status}"))
            raise NotFound(error.message, details={}) if status == 404 else error
        return found

    def _address(self, service: Object) -> str:
        """https://ADDRESS:PORT of a ready endpoint."""
        to = service["spec"]["service"]
        try:
            host, port = self._proxy.endpoint(to.get("namespace", ""), to.get("name", ""), str(to.get("port") or 443))
        except ApiError as error:
            raise ServiceUnavailable(f"the server is currently unable to handle the request: {error.message}") from None
        return f"https://{host}:{bound_port(port)}"

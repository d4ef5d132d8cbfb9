"""Sends one request from a pod that runs the client's program, and says what came back."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from meshlab.errors import LabError
from meshlab.kube import Kube, Raw
from meshlab.phrases import tr

__all__ = ["CLIENT", "Answered", "Order", "send"]

#: The pod outside the mesh, as `namespace/service`.
CLIENT = "client/client"
REQUEST_ID = "x-request-id"


@dataclass(frozen=True)
class Order:
    """A request to be made from the pods of service `source` (`namespace/name`)."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    source: str = CLIENT
    #: Seconds.
    timeout: float = 30.0
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def sent_headers(self) -> dict[str, str]:
        """All that it is sent with, in lower case: those of the client's program, the caller's own, and an id."""
        given = {name.lower(): value for name, value in self.headers.items()}
        return {"user-agent": "meshlab-client", "accept": "*/*", REQUEST_ID: self.request_id, **given}


@dataclass(frozen=True)
class Answered:
    """`status` 0: no answer, `error` says what the connection did. `ms` as the caller measured it."""

    status: int
    ms: float
    headers: Mapping[str, str]
    body: str
    error: str = ""

    def __str__(self) -> str:
        if self.error:
            return f"{self.error} ({self.ms:.1f} ms)"
        return tr("HTTP {status} in {ms:.1f} ms", status=self.status, ms=self.ms)


def send(kube: Kube, order: Order) -> Answered:
    """Raises LabError if there is nobody who could send."""
    namespace, _, name = order.source.rpartition("/")
    path = f"/api/v1/namespaces/{namespace or 'default'}/services/{name}:8080/proxy/curl"
    body = {"method": order.method, "url": order.url, "headers": order.sent_headers, "n": 1, "timeout": order.timeout}
    reply = kube.raw("POST", path, json.dumps(body), {"Content-Type": "application/json"}, timeout=order.timeout + 5)
    if reply.status >= 400:
        raise LabError(
            f"no request can be sent from {order.source}",
            why=_message(reply),
            then="lab.require('client'), or kubectl apply -f manifests/demo/client.yaml",
        )
    found: dict[str, Any] = json.loads(reply.data)["answers"][0]
    headers = {str(name).lower(): str(value) for name, value in (found.get("headers") or {}).items()}
    return Answered(
        int(found.get("status") or 0),
        float(found.get("ms") or 0.0),
        headers,
        str(found.get("body") or ""),
        str(found.get("error") or ""),
    )


def _message(reply: Raw) -> str:
    """What the API server says of a request that did not arrive: its Status, or the text of whoever stopped it."""
    try:
        return str(json.loads(reply.data)["message"])
    except (ValueError, KeyError, TypeError):
        return reply.text.strip()[:300] or f"HTTP {reply.status}"

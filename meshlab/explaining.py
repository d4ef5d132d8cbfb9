"""`lab.explain`: what became of one request, from what the sidecars of this cluster wrote down."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .access import Access
from .kube import Kube
from .sidecars.explain import explain
from .sidecars.explanation import Explanation
from .sidecars.order import CLIENT, Order
from .sidecars.sidecars import Sidecars

__all__ = ["explained"]


def explained(
    access: Access,
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    source: str = CLIENT,
    timeout: float = 30.0,
) -> Explanation:
    """Makes the request from the pods of service `source` (`namespace/name`, or a name in default) and follows it."""
    order = Order(url, method, dict(headers or {}), source if "/" in source else f"default/{source}", timeout)
    return explain(Sidecars(_small(access)), order)


def _small(access: Access) -> Kube:
    """The same cluster by the small client, with which commands in containers are run."""
    found = access.client.configuration
    proved: dict[str, str] = {}
    access.client.update_params_for_auth(proved, [], ["BearerToken"], "/", "GET", None)
    token = {name.lower(): value for name, value in proved.items()}.get("authorization", "").removeprefix("Bearer ")

    def content(path: str | None) -> bytes | None:
        return Path(path).read_bytes() if path else None

    certificate, key = content(found.cert_file), content(found.key_file)
    return Kube(
        found.host,
        token=token or None,
        ca=content(found.ssl_ca_cert),
        verify=bool(found.verify_ssl),
        certificate=(certificate, key) if certificate and key else None,
    )

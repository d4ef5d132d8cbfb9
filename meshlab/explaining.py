"""`lab.explain`: what became of one request, from what the sidecars of this cluster wrote down."""

from __future__ import annotations

from collections.abc import Mapping

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
    return explain(Sidecars(Kube.from_kubeconfig(access.kubeconfig, access.context)), order)

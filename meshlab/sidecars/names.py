"""Whose an address is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from meshlab.sidecars.sidecars import Pod

__all__ = ["Names"]


class Names:
    """Pods and services by their IPs."""

    def __init__(self, pods: Iterable[Pod], services: Iterable[Mapping[str, Any]]) -> None:
        """`services` as the API has them."""
        self._known = {
            str(each["spec"]["clusterIP"]): f"service {each['metadata']['name']}"
            for each in services
            if each["spec"].get("clusterIP") not in (None, "", "None")
        } | {each.ip: each.name for each in pods if each.ip}

    def of(self, address: str) -> str:
        """`127.40.0.7:8080 (svcb-v0.2-…)`, or the address alone."""
        known = self._known.get(address.rpartition(":")[0])
        return f"{address} ({known})" if known else address

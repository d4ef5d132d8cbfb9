"""Envoy's `config_dump`, taken apart: plain dicts as Envoy wrote them, whoever configured it.

Names of clusters say what they lead to, in two spellings:

    outbound|80|v1|svcb.default.svc.cluster.local       istiod's: direction, port, subset, host
    out.svcb.default.svc.cluster.local|http|version=v1  0.4's: host, name of the port, labels
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["ClusterName", "ConfigDump", "address_text", "socket_of"]

Fields = dict[str, Any]


@dataclass(frozen=True)
class ClusterName:
    """What a cluster's name says; "" for what it does not."""

    name: str
    direction: str = ""
    host: str = ""
    #: A number, or (0.4) a port's name.
    port: str = ""
    subset: str = ""

    @property
    def structured(self) -> bool:
        """Whether the name is one that says something."""
        return bool(self.direction)

    @classmethod
    def of(cls, name: str) -> ClusterName:
        """
        >>> ClusterName.of("outbound|80|v1|b.default.svc.cluster.local").subset
        'v1'
        >>> ClusterName.of("out.b.default.svc.cluster.local|http|version=v0.2").subset
        'version=v0.2'
        >>> ClusterName.of("in.8080").port
        '8080'
        """
        parts = name.split("|")
        if len(parts) > 3 and "bound" in parts[0]:
            return cls(name, parts[0], parts[3], parts[1], parts[2])
        if name.startswith("in.") and name[3:].isdigit():
            return cls(name, "inbound", "", name[3:])
        if name.startswith("out.") and name != "out.orig-dst-cluster-tcp":
            host, *rest = name[4:].split("|")
            # An unnamed port leaves no part behind; labels have an equals sign.
            port = rest.pop(0) if rest and "=" not in rest[0] else ""
            return cls(name, "outbound", host, port, "|".join(part for part in rest if part))
        return cls(name)


class ConfigDump:
    """Parts of one dump. Each is a list of what Envoy calls by the same name; missing sections are empty."""

    def __init__(self, configs: list[Fields]) -> None:
        self._sections = {str(each.get("@type", "")).rpartition(".")[2]: each for each in configs}
        self.configs = configs

    @classmethod
    def of(cls, text: str) -> ConfigDump:
        """From the text of `/config_dump`."""
        found = json.loads(text)
        return cls(list(found.get("configs") or ()))

    def section(self, name: str) -> Fields:
        """`ListenersConfigDump`, …, as it is."""
        return self._sections.get(name, {})

    @property
    def bootstrap(self) -> Fields:
        found: Fields = self.section("BootstrapConfigDump").get("bootstrap") or {}
        return found

    @property
    def listeners(self) -> list[Fields]:
        """Those in use: active ones, not such as warm up or drain."""
        found = self.section("ListenersConfigDump")
        active = (each.get("active_state") or {} for each in found.get("dynamic_listeners") or ())
        return [each["listener"] for each in (*active, *(found.get("static_listeners") or ())) if each.get("listener")]

    @property
    def clusters(self) -> list[Fields]:
        found = self.section("ClustersConfigDump")
        listed = [*(found.get("dynamic_active_clusters") or ()), *(found.get("static_clusters") or ())]
        return [each["cluster"] for each in listed if each.get("cluster")]

    @property
    def routes(self) -> list[Fields]:
        """Route tables, those of RDS first."""
        found = self.section("RoutesConfigDump")
        listed = [*(found.get("dynamic_route_configs") or ()), *(found.get("static_route_configs") or ())]
        return [each["route_config"] for each in listed if each.get("route_config")]

    @property
    def endpoints(self) -> list[Fields]:
        """`ClusterLoadAssignment`s; only a dump with `include_eds` has them."""
        found = self.section("EndpointsConfigDump")
        listed = [*(found.get("dynamic_endpoint_configs") or ()), *(found.get("static_endpoint_configs") or ())]
        return [each["endpoint_config"] for each in listed if each.get("endpoint_config")]

    def secrets(self) -> Iterator[tuple[str, Fields]]:
        """(WARMING or ACTIVE, dynamic secret) of each."""
        found = self.section("SecretsConfigDump")
        for state in ("WARMING", "ACTIVE"):
            for each in found.get(f"dynamic_{state.lower()}_secrets") or ():
                yield state, each

    def cluster(self, name: str) -> Fields | None:
        return next((each for each in self.clusters if each.get("name") == name), None)

    def route_table(self, name: str) -> Fields | None:
        return next((each for each in self.routes if each.get("name") == name), None)


def socket_of(address: Mapping[str, Any] | None) -> tuple[str, int]:
    """Address and port of Envoy's `Address`; a path or an internal listener's name with port 0."""
    found = address or {}
    if socket := found.get("socket_address"):
        return str(socket.get("address", "")), int(socket.get("port_value") or 0)
    if pipe := found.get("pipe"):
        return str(pipe.get("path", "")), 0
    if internal := found.get("envoy_internal_address"):
        return f"envoy://{internal.get('server_listener_name', '')}/{internal.get('endpoint_id', '')}", 0
    return "", 0


def address_text(address: Mapping[str, Any] | None) -> str:
    """`10.0.0.1:80`, or a path."""
    host, port = socket_of(address)
    return f"{host}:{port}" if port else host

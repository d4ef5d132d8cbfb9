"""`istioctl proxy-config KIND POD`: what is asked, and in which form it is printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from meshlab.errors import MeshlabError
from meshlab.istioctl.proxyconfig.bootstrap import versions
from meshlab.istioctl.proxyconfig.clusters import cluster_table, clusters
from meshlab.istioctl.proxyconfig.columns import columns
from meshlab.istioctl.proxyconfig.endpoints import assigned_table, endpoint_table, endpoints
from meshlab.istioctl.proxyconfig.filters import Filters
from meshlab.istioctl.proxyconfig.listeners import listener_table, listeners
from meshlab.istioctl.proxyconfig.names import camel
from meshlab.istioctl.proxyconfig.routes import route_table, routes
from meshlab.istioctl.proxyconfig.secrets import secret_table
from meshlab.sidecars.dump import ConfigDump

__all__ = ["KINDS", "everything", "kind_of", "printed"]

#: Kind → its short names, and what Envoy's admin interface is asked.
KINDS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "all": (("a",), "config_dump?include_eds=true"),
    "bootstrap": (("b",), "config_dump"),
    "cluster": (("clusters", "c"), "config_dump"),
    "ecds": (("ec",), "config_dump"),
    "endpoint": (("endpoints", "ep"), "clusters?format=json"),
    "listener": (("listeners", "l"), "config_dump"),
    "log": (("o",), "logging"),
    "route": (("routes", "r"), "config_dump"),
    "secret": (("secrets", "s"), "config_dump"),
}
_TABLES: Mapping[str, Callable[[ConfigDump, Filters], str]] = {
    "cluster": cluster_table,
    "listener": listener_table,
    "route": route_table,
    "bootstrap": lambda dump, wanted: versions(dump),
    "ecds": lambda dump, wanted: _extensions(dump),
    "secret": lambda dump, wanted: secret_table(dump, named=wanted.named),
}
_RESOURCES: Mapping[str, Callable[[ConfigDump, Filters], Sequence[Any] | Mapping[str, Any]]] = {
    "cluster": clusters,
    "listener": listeners,
    "route": routes,
    "bootstrap": lambda dump, wanted: dump.section("BootstrapConfigDump"),
    "secret": lambda dump, wanted: dump.section("SecretsConfigDump"),
    "ecds": lambda dump, wanted: dump.section("EcdsConfigDump"),
    "all": lambda dump, wanted: {"configs": dump.configs},
}


def kind_of(word: str) -> str:
    """The kind that a word means. Raises MeshlabError."""
    for kind, (others, _) in KINDS.items():
        if word == kind or word in others:
            return kind
    raise MeshlabError(f'unknown command "{word}" for "istioctl proxy-config"', why=f"there are {', '.join(KINDS)}")


def printed(kind: str, text: str, output: str, wanted: Filters, *, headers: bool = False) -> str:
    """What is shown of the admin interface's answer `text`. `output` "" is what the kind has by default."""
    output = output or ("json" if kind == "bootstrap" else "short")
    if output not in ("json", "yaml", "short"):
        raise MeshlabError(f'output format "{output}" not supported', why="there are json, yaml and short")
    if kind == "endpoint":
        if output == "short":
            return endpoint_table(text, wanted)
        return _encoded(endpoints(text, wanted), output)
    dump = ConfigDump.of(text)
    if output != "short":
        return _encoded(_RESOURCES[kind](dump, wanted), output)
    return everything(dump, wanted, headers=headers) if kind == "all" else _TABLES[kind](dump, wanted)


def everything(dump: ConfigDump, wanted: Filters, *, headers: bool) -> str:
    """All tables, each row called by its kind and name."""
    named = replace(wanted, named=True)
    parts = {
        "BOOTSTRAP INFO": versions(dump),
        "CLUSTER INFO": cluster_table(dump, named),
        "LISTENER INFO": listener_table(dump, named),
        "ROUTE INFO": route_table(dump, named),
        "SECRET INFO": secret_table(dump, named=True),
        "ENDPOINTS INFO": assigned_table(dump, named),
    }
    return "\n".join((f"------ {title} ------\n\n" if headers else "") + text for title, text in parts.items())


def _extensions(dump: ConfigDump) -> str:
    """Filters that come by a configuration of their own."""
    listed = (each.get("ecds_filter") or {} for each in dump.section("EcdsConfigDump").get("ecds_filters") or ())
    rows = [(each.get("name") or "", (each.get("typed_config") or {}).get("@type") or "") for each in listed]
    return columns([("ECDS NAME", "TYPE"), *sorted((name, kind.rpartition("/")[2]) for name, kind in rows)])


def _encoded(found: Any, output: str) -> str:
    """As messages of their own kind: without its name, and with the names of fields that JSON gives them."""
    listed = found if isinstance(found, list | tuple) else [found]
    named = [{key: each for key, each in camel(one).items() if key != "@type"} for one in listed]
    found = named if isinstance(found, list | tuple) else named[0]
    if output == "yaml":
        import yaml

        return str(yaml.safe_dump(found, sort_keys=False))
    return json.dumps(found, indent=4) + "\n"

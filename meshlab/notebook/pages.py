"""Links to the pages of the add-ons, as a browser reaches them: directly, or behind a hub's server.

On Binder and JupyterHub the browser sees only the notebook server, below a prefix that JUPYTERHUB_SERVICE_PREFIX
holds. jupyter-server-proxy passes on what is asked of `{prefix}proxy/{host}:{port}/`, without that part of the path;
links are made of both.
"""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshlab.settings import bound_port

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["Pages", "address_of", "pages"]

#: Add-on → the path of the page that the lessons talk about. Debian's Prometheus has the classic pages only. Not /,
#: which redirects: jupyter-server-proxy puts its prefix before an address that has it already.
PATHS = {"prometheus": "classic/targets", "grafana": "", "servicegraph": "dotviz", "zipkin": ""}


def address_of(host: str, port: int, path: str, environ: Mapping[str, str]) -> str:
    """The URL of a page for the browser: behind a hub relative to its prefix, else direct."""
    prefix = environ.get("JUPYTERHUB_SERVICE_PREFIX", "")
    if not prefix:
        return f"http://{host}:{port}/{path}"
    return f"{prefix.rstrip('/')}/proxy/{host}:{port}/{path}"


@dataclass(frozen=True)
class Pages:
    """Name → URL; prints as lines and shows as links."""

    links: Mapping[str, str]

    def __str__(self) -> str:
        return "\n".join(f"{name:14}{url}" for name, url in self.links.items())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = (
            f'<li><a href="{html.escape(url, quote=True)}" target="_blank" rel="noopener">{html.escape(name)}</a></li>'
            for name, url in self.links.items()
        )
        return f"<ul>{''.join(rows)}</ul>"


def pages(lab: Lab) -> Pages:
    """The pages of the add-ons that are installed."""
    links = {}
    for name, path in PATHS.items():
        found = lab.access.find("v1", "Service", "istio-system", name)
        if found is not None:
            port = bound_port(int(found["spec"]["ports"][0]["port"]))
            links[name] = address_of(found["spec"]["clusterIP"], port, path, os.environ)
    return Pages(links)

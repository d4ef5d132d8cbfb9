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

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["Pages", "address_of", "pages"]

#: In the order of the lessons.
ADDONS = ("prometheus", "grafana", "servicegraph", "zipkin")


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
    """The pages of the add-ons that are installed. On a cluster a port-forward to each, until `lab.close()`."""
    found = {name: lab.engine.page(name) for name in ADDONS}
    return Pages(
        {name: address_of(page.host, page.port, page.path, os.environ) for name, page in found.items() if page}
    )

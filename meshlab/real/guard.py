"""Is this a cluster to practise on? Asked of the kubeconfig alone, before a single request.

Names say it (`prod`, `live`), and addresses do: a cluster for practice runs on this machine or in this network, one
that has a public address belongs to somebody's cloud. Whoever means it confirms by the context's name.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from ..errors import LabError
from .contexts import Context

__all__ = ["Unconfirmed", "guard", "worry"]

#: Words of which one in a context's or cluster's name or its server's says that others live off this cluster.
_WORDS = frozenset({"prod", "prd", "production", "productive", "live", "customer", "customers"})
#: What the API servers of managed clusters are called.
_CLOUDS = (
    ".eks.amazonaws.com", ".azmk8s.io", ".gke.goog", ".googleapis.com", ".ondigitalocean.com", ".linodelke.net",
    ".k8s.ovh.net", ".scw.cloud", ".civo.com", ".openshiftapps.com", ".appdomain.cloud", ".oraclecloud.com",
    ".aliyuncs.com", ".myhuaweicloud.com", ".tencentcs.com", ".vultr-k8s.com", ".exo.io", ".ibm.com",
)  # fmt: skip
#: Names by which a machine calls itself, or a router the machines beside it.
_NEAR = ("localhost", "docker.internal", "minikube.internal")
_NEAR_ENDINGS = (".localhost", ".local", ".lan", ".home", ".home.arpa", ".test", ".docker.internal")


class Unconfirmed(LabError):
    """The context looks like production and nobody has confirmed it; nothing was asked of it."""


def worry(context: Context) -> str:
    """Why this context should be confirmed; empty where nothing speaks against it."""
    for what, name in (("context", context.name), ("cluster", context.cluster)):
        if said := _WORDS & set(_words(name)):
            return f"the {what} is called {name}, and {sorted(said)[0]!r} is part of it"
    host = (urlsplit(context.server).hostname or "").lower()
    if said := _WORDS & set(_words(host)):
        return f"its server is {host}, and {sorted(said)[0]!r} is part of it"
    if host.endswith(_CLOUDS):
        return f"its server {host} belongs to a cloud"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if host in _NEAR or host.endswith(_NEAR_ENDINGS) or "." not in host:
            return ""
        return f"its server {host} is not on this machine"
    if address.is_loopback or address.is_private or address.is_link_local:
        return ""
    return f"its server has the public address {address}"


def _words(name: str) -> list[str]:
    """`prod2-eu` as prod, eu: digits at a word's end are numbers of its kind."""
    return [word.rstrip("0123456789") for word in re.split(r"[^a-z0-9]+", name.lower())]


def guard(context: Context, confirm: bool | str = False, ask: Callable[[str], str] | None = None) -> None:
    """Passes, or raises `Unconfirmed`. `confirm` is True or the context's name; `ask` lets somebody type it."""
    reason = worry(context)
    if not reason or confirm is True or confirm == context.name:
        return
    if not confirm and ask is not None:
        question = f"{context} looks like production: {reason}.\nType the context's name to use it all the same: "
        if ask(question).strip() == context.name:
            return
    raise Unconfirmed(
        f"context {context.name} was not confirmed, and nothing was asked of it",
        why=f"{reason}; what is learnt here is learnt by breaking things",
        then=f"meshlab.connect(context={context.name!r}, confirm={context.name!r}), if that is what you want; commands "
        f"take --confirm {context.name}, or MESHLAB_CONFIRM={context.name} before them",
    )

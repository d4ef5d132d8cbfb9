"""From a context's name to an engine: chosen, guarded, and only then touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ..settings import Settings
from .cluster import RealCluster
from .contexts import choose, copy
from .guard import guard
from .home import link_commands, settings_for, users_kubeconfig

__all__ = ["cluster"]


def cluster(
    name: str, kubeconfig: str | Path | None, confirm: bool | str, ask: Callable[[str], str] | None = None
) -> RealCluster:
    """The cluster of this context. Raises `LabError` where there is none, `Unconfirmed` where nobody confirmed it."""
    base = Settings.load()
    users = str(kubeconfig) if kubeconfig else users_kubeconfig(os.environ, base)
    context = choose(name, users)
    guard(context, confirm, ask)
    settings = settings_for(base, context)
    copy(context, settings.kubeconfig, users)
    link_commands(settings)
    return RealCluster(settings, context, users)

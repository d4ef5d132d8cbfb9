"""The folder of one context in meshlab's home: its kubeconfig, commands and manifests."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from ..settings import Settings
from .contexts import Context
from .guard import worry

__all__ = ["environment", "link_commands", "settings_for", "users_kubeconfig"]

#: The istioctl of a cluster: kube-inject, create, replace and delete mean something else there.
_ISTIOCTL = """#!{python}
import sys

from meshlab.real.istioctl import main

sys.exit(main())
"""


def settings_for(base: Settings, context: Context) -> Settings:
    """Settings whose home is the folder of this context; two contexts never share one."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", context.name).strip("-.")[:40] or "context"
    digest = hashlib.sha256(f"{context.name} {context.server}".encode()).hexdigest()[:8]
    return Settings(base.home / "contexts" / f"{plain}-{digest}")


def users_kubeconfig(environ: Mapping[str, str], base: Settings) -> str | None:
    """The user's own $KUBECONFIG, not one that a lab has put there; None for kubectl's own choice."""
    for name in ("MESHLAB_KUBECONFIG", "KUBECONFIG"):
        said = environ.get(name)
        if said and not any(Path(part).is_relative_to(base.home) for part in said.split(os.pathsep) if part):
            return said
    # An environment variable that a lab has set would lead kubectl back to that lab.
    return str(Path.home() / ".kube" / "config") if environ.get("KUBECONFIG") else None


def environment(
    settings: Settings, context: Context, base: Mapping[str, str], kubeconfig: str | None
) -> dict[str, str]:
    """Variables with which kubectl, istioctl and meshlab find this cluster."""
    path = base.get("PATH", os.defpath).split(os.pathsep)
    own = [str(settings.bin)]
    found = {
        "PATH": os.pathsep.join([*own, *(p for p in path if p not in own)]),
        "KUBECONFIG": str(settings.kubeconfig),
        "KUBECACHEDIR": str(settings.home / "kubectl-cache"),
        "MESHLAB_CONTEXT": context.name,
    }
    if worry(context):
        # Whoever has come here has confirmed it; the kernels that he starts need not ask him again.
        found["MESHLAB_CONFIRM"] = context.name
    return found | ({"MESHLAB_KUBECONFIG": kubeconfig} if kubeconfig else {})


def link_commands(settings: Settings) -> None:
    """Makes `home/bin`: kubectl and meshlab of this environment, and the istioctl of a cluster."""
    settings.bin.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("kubectl", "meshlab"):
        link, target = settings.bin / name, Path(sys.prefix) / "bin" / name
        if not link.is_symlink() or link.readlink() != target:
            link.unlink(missing_ok=True)
            link.symlink_to(target)
    program = settings.bin / "istioctl"
    text = _ISTIOCTL.format(python=sys.executable)
    if not program.exists() or program.read_text() != text:
        program.write_text(text)
        program.chmod(0o700)

"""Contexts of a kubeconfig, and a copy that holds one of them only.

kubectl itself reads the kubeconfig: it merges the files of $KUBECONFIG as everybody expects. Whoever works with the
lab afterwards (kubectl, Helm, the official client) is given the copy, so that no current context that changes in the
meantime leads a command to another cluster. Plug-ins that log in (exec) stay in it as they are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import LabError

__all__ = ["Context", "choose", "contexts", "copy"]


@dataclass(frozen=True)
class Context:
    """One context: how it is called, the cluster's name in the kubeconfig, and the address of its API server."""

    name: str
    cluster: str
    server: str
    namespace: str = "default"

    def __str__(self) -> str:
        return f"{self.name} ({self.server})"


def contexts(kubeconfig: str | None = None) -> list[Context]:
    """All contexts of the files of `kubeconfig` (as $KUBECONFIG; by default kubectl's own choice)."""
    found = json.loads(_view(kubeconfig, "-o", "json"))
    servers = {each["name"]: str(each["cluster"].get("server") or "") for each in found.get("clusters") or ()}
    out = []
    for each in found.get("contexts") or ():
        spec = each["context"]
        cluster = str(spec.get("cluster") or "")
        out.append(Context(each["name"], cluster, servers.get(cluster, ""), str(spec.get("namespace") or "default")))
    return out


def choose(name: str, kubeconfig: str | None = None) -> Context:
    """The context of this name. Raises `LabError` with the names that there are."""
    known = contexts(kubeconfig)
    for each in known:
        if each.name == name:
            if not each.server:
                raise LabError(f"context {name} names no server", then="kubectl config view")
            return each
    raise LabError(
        f"no context {name!r} in {kubeconfig or os.environ.get('KUBECONFIG') or '~/.kube/config'}",
        why=f"there are {', '.join(each.name for each in known)}" if known else "there are none",
        then="kubectl config get-contexts",
    )


def copy(context: Context, file: Path, kubeconfig: str | None = None) -> None:
    """Writes a kubeconfig (mode 0600) that holds this context only, with its certificates and plug-ins."""
    text = _view(kubeconfig, "--minify", "--flatten", "--raw", "--context", context.name)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.unlink(missing_ok=True)
    part.touch(0o600)
    part.write_text(text)
    part.replace(file)


def _view(kubeconfig: str | None, *words: str) -> str:
    env: Mapping[str, str] = {**os.environ, "KUBECONFIG": kubeconfig} if kubeconfig else os.environ
    kubectl = Path(sys.prefix) / "bin" / "kubectl"
    command = [str(kubectl), "config", "view", *words]
    done = subprocess.run(command, env=dict(env), capture_output=True, text=True, check=False, timeout=30)
    if done.returncode:
        raise LabError("the kubeconfig cannot be read", why=done.stderr.strip(), then="kubectl config view")
    return done.stdout

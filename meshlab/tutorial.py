"""The tutorial's files and what each of them brings up."""

from __future__ import annotations

import shutil
from pathlib import Path

from .errors import ManifestError
from .settings import Network, Settings
from .states import Deployment

__all__ = [
    "ADDONS", "CONTROL_PLANE", "DEMO", "EXTERNAL", "addon_file", "check_addon", "demo_file", "files", "install_file",
    "plain",
]  # fmt: skip

_PLANE = ("istio-mixer", "istio-pilot", "istio-ingress", "istio-ca")
CONTROL_PLANE = tuple(Deployment("istio-system", name) for name in _PLANE)
ADDONS = {name: Deployment("istio-system", name) for name in ("prometheus", "grafana", "servicegraph", "zipkin")}
#: File of manifests/demo → the Deployment in it, and whether it gets a sidecar.
DEMO = {
    "svca-v0.1": (Deployment("default", "svca"), True),
    "svcb-v0.1": (Deployment("default", "svcb"), True),
    "svcb-v0.2": (Deployment("default", "svcb-v0.2"), True),
    "svcb-broken": (Deployment("default", "svcb-broken"), True),
    "msgd": (Deployment("external", "msgd"), False),
    "client": (Deployment("client", "client"), False),
}
#: The host outside the mesh in the plain files: that of the first slot.
EXTERNAL = Network(0).external


def plain() -> Path:
    """Folder of the manifests as they are in the repository, with the addresses of the first slot."""
    found = Path(__file__).resolve().parent.parent / "manifests"
    if not found.is_dir():
        raise ManifestError(
            f"no folder {found}",
            why="meshlab runs from a checkout, and this one has no manifests",
            then="git checkout -- manifests",
        )
    return found


def files(settings: Settings) -> Path:
    """Folder of the manifests as this lab's addresses need them.

    The files hold the addresses of the first slot. A lab with others gets a copy in its home with its own.
    """
    if settings.network.external == EXTERNAL:
        return plain()
    copy = settings.home / "manifests"
    shutil.copytree(plain(), copy, dirs_exist_ok=True)
    for path in copy.rglob("*.yaml"):
        text = path.read_text()
        changed = text.replace(EXTERNAL, settings.network.external)
        if changed != text:
            path.write_text(changed)
    return copy


def install_file(root: Path, *, auth: bool = False) -> Path:
    """The control plane of the tutorial; `auth`: with mutual TLS in the whole mesh."""
    return root / "istio-0.4.0" / "install" / "kubernetes" / ("istio-auth.yaml" if auth else "istio.yaml")


def check_addon(name: str) -> None:
    """Raises `ManifestError` for a name that is no addon's."""
    if name not in ADDONS:
        raise ManifestError(f"no addon {name!r}", why=f"there are {', '.join(ADDONS)}")


def addon_file(root: Path, name: str) -> Path:
    check_addon(name)
    return root / "istio-0.4.0" / "install" / "kubernetes" / "addons" / f"{name}.yaml"


def demo_file(root: Path, name: str) -> Path:
    if name not in DEMO:
        raise ManifestError(f"no demo service {name!r}", why=f"there are {', '.join(DEMO)}")
    return root / "demo" / f"{name}.yaml"

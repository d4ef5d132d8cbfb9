"""The one place that names what an engine can do.

    Lab ──→ Engine ─┬─ Embedded      the lab of this machine
                    └─ RealCluster   a cluster of a kubeconfig (meshlab/real)

A Lab asks its engine to do things, or whether it can; nowhere else is there a branch on which one it is.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from . import installation, tutorial
from .access import Access
from .capability import Capability
from .errors import LabError
from .inforce import InForce, Writer
from .pages import Page
from .settings import Settings, bound_port
from .states import Deployment, not_ready, wait_ready

if TYPE_CHECKING:
    from .real.preflight import Preflight

__all__ = ["Capability", "Commands", "Embedded", "Engine", "Page", "RuleWriter"]

Report = Callable[[str], None]


#: Add-on → the path of the page that the lessons talk about. Debian's Prometheus has the classic pages only. Not /,
#: which redirects: jupyter-server-proxy puts its prefix before an address that has it already.
_PAGES = {"prometheus": "classic/targets", "grafana": "", "servicegraph": "dotviz", "zipkin": ""}


class RuleWriter(Protocol):
    """Stores and deletes objects and returns when they are in force."""

    def apply(self, documents: Iterable[Mapping[str, Any]], *, timeout: float | None = 30.0) -> InForce: ...

    def delete(self, documents: Iterable[Mapping[str, Any]], *, timeout: float | None = 30.0) -> InForce: ...

    def settled(self, *, timeout: float = 30.0) -> InForce: ...


class Commands(Protocol):
    """What an engine may ask of the Lab that it works for."""

    report: Report

    def kubectl(self, command: str, *, stdin: str | None = None, check: bool = True) -> str: ...

    def istioctl(self, command: str, *, stdin: str | None = None, check: bool = True) -> str: ...


class Engine(Protocol):
    """What a Lab runs on."""

    name: str
    capabilities: frozenset[Capability]
    #: How a port is named that the mesh shall take for TCP: "" where none at all is enough.
    unnamed_port: str
    settings: Settings
    access: Access
    #: Label selector of the objects that a checkpoint is about; "" is all.
    selector: str
    #: How much longer than in the embedded lab things may take before somebody gives up.
    slowness: float
    #: Seconds between two looks of Prometheus at a counter.
    scrape: float

    @property
    def writer(self) -> RuleWriter: ...

    @property
    def network(self) -> Any: ...

    @property
    def files(self) -> Path: ...

    @property
    def addons_namespace(self) -> str: ...

    @property
    def control_plane(self) -> tuple[Deployment, ...]: ...

    def installed(self) -> bool: ...

    def can(self, capability: Capability) -> bool: ...

    def environment(self, base: Mapping[str, str]) -> dict[str, str]: ...

    def addon(self, name: str) -> Deployment: ...

    def page(self, name: str) -> Page | None: ...

    def close(self) -> None: ...

    def versions(self) -> dict[str, str]: ...

    def preflight(self) -> Preflight: ...

    def install(self, lab: Commands, *, timeout: float, **options: Any) -> float: ...

    def uninstall(self, lab: Commands, *, timeout: float) -> list[str]: ...

    def addons(self, lab: Commands, names: tuple[str, ...], *, timeout: float) -> float: ...

    def deploy(self, lab: Commands, names: tuple[str, ...], *, timeout: float) -> float: ...

    def remove(self, lab: Commands, names: tuple[str, ...]) -> None: ...


class Embedded:
    """The lab of this machine: meshlab's API server, node and control plane."""

    name = "embedded"
    capabilities = frozenset(Capability) - {Capability.ISTIOD}
    unnamed_port = ""
    addons_namespace = "istio-system"
    control_plane = tutorial.CONTROL_PLANE
    selector = ""
    slowness = 1.0
    scrape = 1.0

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.access = Access(settings.kubeconfig)
        self.writer = Writer(self.access)

    @property
    def network(self) -> Any:
        return self.settings.network

    @property
    def files(self) -> Path:
        return tutorial.files(self.settings)

    def installed(self) -> bool:
        """Is the control plane there and ready?"""
        return not not_ready(self.access, self.control_plane)

    def can(self, capability: Capability) -> bool:
        return capability in self.capabilities

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """Variables with which kubectl and istioctl find this lab."""
        path = base.get("PATH", os.defpath).split(os.pathsep)
        own = [str(self.settings.bin)]
        return {
            "PATH": os.pathsep.join([*own, *(p for p in path if p not in own)]),
            "KUBECONFIG": str(self.settings.kubeconfig),
            # kubectl keeps what it discovered by host and port for six hours: a new lab must not see an old one's
            "KUBECACHEDIR": str(self.settings.home / "kubectl-cache"),
            "MESHLAB_HOME": str(self.settings.home),
        }

    def addon(self, name: str) -> Deployment:
        return tutorial.ADDONS[name]

    def page(self, name: str) -> Page | None:
        """Services have addresses on this machine."""
        found = self.access.find("v1", "Service", self.addons_namespace, name)
        if found is None:
            return None
        port = bound_port(int(found["spec"]["ports"][0]["port"]))
        return Page(found["spec"]["clusterIP"], port, _PAGES[name])

    def close(self) -> None:
        """Nothing is held open: the lab is a process of its own."""

    def versions(self) -> dict[str, str]:
        """What a lesson was seen with."""
        from . import __version__

        found = self.access.request("GET", "/version").json()
        return {"engine": self.name, "meshlab": __version__, "kubernetes": found["gitVersion"], "istio": "0.4.0 (ours)"}

    def preflight(self) -> Preflight:
        from .real.preflight import embedded

        lacking = not_ready(self.access, self.control_plane)
        return embedded(str(self.settings.home), self.versions(), lacking)

    def install(self, lab: Commands, *, timeout: float, **options: Any) -> float:
        """`auth` and `today` as `installation.install` takes them; returns the seconds until it was ready."""
        auth, today = bool(options.pop("auth", False)), bool(options.pop("today", False))
        if options:
            raise LabError(f"{', '.join(options)}: only a cluster's Istio has this choice", then="lab.install()")
        return installation.install(
            self.access, lab.kubectl, self.files, auth=auth, today=today, timeout=timeout, report=lab.report
        )

    def uninstall(self, lab: Commands, *, timeout: float) -> list[str]:
        raise LabError("the embedded lab is not uninstalled but reset", then="meshlab reset")

    def addons(self, lab: Commands, names: tuple[str, ...], *, timeout: float) -> float:
        start = time.monotonic()
        paths = [tutorial.addon_file(self.files, name) for name in names]
        lacking = not_ready(self.access, [self.addon(name) for name in names])
        for name, path in zip(names, paths, strict=True):
            if self.addon(name) in lacking:
                lab.kubectl(f"apply -f {shlex.quote(str(path))}")
        wait_ready(self.access, lacking, timeout=timeout, report=lab.report)
        return time.monotonic() - start

    def deploy(self, lab: Commands, names: tuple[str, ...], *, timeout: float) -> float:
        """Services of the mesh get their sidecar by `istioctl kube-inject`, as in the tutorial."""
        start = time.monotonic()
        files = {name: tutorial.demo_file(self.files, name) for name in names}
        wanted = [tutorial.DEMO[name][0] for name in names]
        for name, file in files.items():
            path = shlex.quote(str(file))
            if tutorial.DEMO[name][1]:
                lab.kubectl("apply -f -", stdin=str(lab.istioctl(f"kube-inject -f {path}")))
            else:
                lab.kubectl(f"apply -f {path}")
        wait_ready(self.access, wanted, timeout=timeout, report=lab.report)
        return time.monotonic() - start

    def remove(self, lab: Commands, names: tuple[str, ...]) -> None:
        for name in names:
            path = shlex.quote(str(tutorial.demo_file(self.files, name)))
            lab.kubectl(f"delete --ignore-not-found -f {path} --wait=true --cascade=foreground")

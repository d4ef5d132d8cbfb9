"""A cluster of a kubeconfig as an engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from .. import tutorial
from ..access import Access
from ..capability import Capability
from ..doors import Doors
from ..errors import LabError, MeshlabError
from ..pages import Page
from ..settings import Settings
from ..states import Deployment, not_ready, wait_gone, wait_ready
from . import istio as istios
from .contexts import Context
from .found import Istio, look
from .home import environment
from .inforce import Istiod
from .inject import inject
from .manifests import MSGD, UNNAMED, msgd_address, msgd_service, write_files
from .owned import SELECTOR, TRANSLATED, Owned, ours
from .places import MESHLAB, SYSTEM
from .preflight import Preflight, preflight
from .removal import remove_all
from .rules import definitions
from .writer import ClusterWriter

__all__ = ["PATIENCE", "Place", "RealCluster"]

#: Seconds for which a lost connection to the API server is tried again.
PATIENCE = 20.0
#: Add-on → the page that the lessons talk about, of the images that a cluster runs.
_PAGES = {"prometheus": "targets", "grafana": "dashboards", "servicegraph": "dotviz", "zipkin": "zipkin/"}
Report = Callable[[str], None]


@dataclass(frozen=True)
class Place:
    """Addresses of a cluster that lessons speak of, as its own network has them.

    `external` is msgd's (the tutorial's before there is one), `node` that of a machine; `services` and `pods` are the
    first two numbers of theirs, "" where there are none yet.
    """

    external: str
    services: str
    pods: str
    node: str


class RealCluster:
    """Kubernetes and Istio as they are at work. Nothing is asked of the cluster before something is wanted of it."""

    name = "cluster"
    capabilities = frozenset({Capability.ISTIOD})
    unnamed_port = UNNAMED
    #: Checkpoints are about what is ours; translations follow the rules that they come from.
    selector = f"{SELECTOR},{TRANSLATED}!=true"
    #: Images have to come from registries, and sidecars have to start.
    slowness = 5.0
    #: As manifests/cluster/addons/prometheus.yaml has it: every second, as in the lab, is too often for others' pods.
    scrape = 5.0

    def __init__(self, settings: Settings, context: Context, kubeconfig: str | None = None) -> None:
        self.settings, self.context, self._users = settings, context, kubeconfig
        self.access = Access(settings.kubeconfig, patience=PATIENCE, hint=f"meshlab preflight --context {context.name}")
        self.writer = ClusterWriter(self.access, self._istiod)
        self._owned, self._doors = Owned(self.access), Doors()

    def __str__(self) -> str:
        return f"cluster {self.context}"

    # -- what is there ------------------------------------------------------------------------------------

    @cached_property
    def istio(self) -> Istio | None:
        """The mesh that is used, as it was when it was looked at; an installation looks again."""
        return look(self.access).istio

    def _istiod(self) -> Istiod | None:
        if self.istio is None:
            self.__dict__.pop("istio", None)  # none yet is no answer to keep
        istio = self.istio
        return Istiod(self.access, istio.namespace, istio.deployment, istio.revision) if istio else None

    @property
    def network(self) -> Place:
        server = self.access.find("v1", "Service", "default", "kubernetes") or {}
        pods = [pod.get("status") or {} for pod in self.access.items("v1", "Pod")]
        own = [str(each["podIP"]) for each in pods if each.get("podIP") and each.get("podIP") != each.get("hostIP")]
        return Place(
            external=msgd_address(self.access),
            services=_prefix(str((server.get("spec") or {}).get("clusterIP") or "")),
            pods=_prefix(own[0]) if own else "",
            node=next((str(each["hostIP"]) for each in pods if each.get("hostIP")), ""),
        )

    @property
    def files(self) -> Path:
        """The manifests for this cluster, written anew where an address in them has changed."""
        target = self.settings.home / "manifests"
        write_files(tutorial.plain(), target, msgd_address(self.access), self.addons_namespace)
        return target

    @property
    def addons_namespace(self) -> str:
        """Beside an Istio of ours, as in the tutorial; otherwise in a namespace of our own."""
        return SYSTEM if self.istio is None or self.istio.ours else MESHLAB

    @property
    def control_plane(self) -> tuple[Deployment, ...]:
        if self.istio is None:
            return (Deployment(SYSTEM, "istiod"),)
        return (Deployment(self.istio.namespace, self.istio.deployment),)

    def installed(self) -> bool:
        """Is istiod ready, and are the kinds of 2018 defined?"""
        if not_ready(self.access, self.control_plane):
            return False
        return all(
            self.access.find(each["apiVersion"], each["kind"], None, each["metadata"]["name"]) for each in definitions()
        )

    def can(self, capability: Capability) -> bool:
        return capability in self.capabilities

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        return environment(self.settings, self.context, base, self._users)

    def addon(self, name: str) -> Deployment:
        tutorial.check_addon(name)
        return Deployment(self.addons_namespace, name)

    def page(self, name: str) -> Page | None:
        """A port of this machine with a port-forward behind it, until `close` or the end of this process."""
        namespace = self.addons_namespace
        found = self.access.find("v1", "Service", namespace, name)
        if found is None:
            return None
        port = int(found["spec"]["ports"][0]["port"])
        tunnel = partial(self.access.inward.tunnel, "services", namespace, name, port)
        return Page(*self._doors.to(name, tunnel), _PAGES[name])

    def close(self) -> None:
        self._doors.close()

    def versions(self) -> dict[str, str]:
        from .. import __version__

        found = look(self.access)
        version = found.istio.version if found.istio else "none"
        return {"engine": self.name, "meshlab": __version__, "kubernetes": found.kubernetes, "istio": version}

    def preflight(self) -> Preflight:
        return preflight(self.access, str(self.context))

    # -- changing it --------------------------------------------------------------------------------------

    def install(self, lab: Any, *, timeout: float, **options: Any) -> float:
        """Istio, unless there is one, and the kinds of 2018.

        `version`, `charts` (a folder in place of Istio's repository), `small`, `gateway`, `values` by release, and
        `change=True`, by which somebody else's Istio gets the mesh configuration that the lessons need.
        """
        start = time.monotonic()
        known = {"version", "charts", "small", "gateway", "values", "change"}
        if strange := sorted(set(options) - known):
            raise LabError(f"lab.install() knows no {strange[0]}", why=f"there are {', '.join(sorted(known))}")
        charts = options.get("charts")
        parts = istios.components(
            small=bool(options.get("small")),
            gateway=bool(options.get("gateway", True)),
            values=options.get("values"),
        )
        self.__dict__["istio"] = istios.install(
            self.access,
            version=str(options.get("version") or istios.ISTIO_VERSION),
            charts=Path(charts) if charts else None,
            parts=parts,
            change=bool(options.get("change")),
            timeout=timeout,
            report=lab.report,
        )
        for each in [_namespace(self.addons_namespace), *definitions(), *msgd_service()]:
            self._owned.apply(each)
        lab.report("  rules of v1alpha2 can be stored; they are translated")
        return time.monotonic() - start

    def uninstall(self, lab: Any, *, timeout: float) -> list[str]:
        """Removes exactly what meshlab made; returns a line for each thing, and for what stays why."""
        self.close()
        done = remove_all(self.access, timeout=timeout)
        self.__dict__.pop("istio", None)
        for line in done:
            lab.report(line)
        return done

    def addons(self, lab: Any, names: tuple[str, ...], *, timeout: float) -> float:
        start = time.monotonic()
        self._owned.apply(_namespace(self.addons_namespace))
        for name in names:
            found = self.access.find("apps/v1", "Deployment", *astuple(self.addon(name)))
            if found is not None and not ours(found):
                lab.report(f"  {self.addon(name)} is there and not meshlab's: it is used as it is")
                continue
            self._apply(lab, tutorial.addon_file(self.files, name), mesh=False)
        wait_ready(self.access, [self.addon(name) for name in names], timeout=timeout, report=lab.report)
        return time.monotonic() - start

    def deploy(self, lab: Any, names: tuple[str, ...], *, timeout: float) -> float:
        start = time.monotonic()
        for name in names:
            self._apply(lab, tutorial.demo_file(self.files, name), mesh=tutorial.DEMO[name][1])
        wait_ready(self.access, [tutorial.DEMO[n][0] for n in names], timeout=timeout, report=lab.report)
        return time.monotonic() - start

    def remove(self, lab: Any, names: tuple[str, ...]) -> None:
        for name in names:
            for document in _read(tutorial.demo_file(self.files, name)):
                # Scripts are shared by versions, and msgd's address stands in the rules' files: they stay.
                address = document["kind"] == "Service" and document["metadata"]["name"] == MSGD[1]
                if document["kind"] in ("Deployment", "Service") and not address:
                    self._owned.delete(document)
        wait_gone(self.access, [tutorial.DEMO[name][0] for name in names], timeout=120.0)

    def _apply(self, lab: Any, file: Path, *, mesh: bool) -> None:
        revision = self.istio.revision if self.istio else "default"
        for document in _read(file):
            stored, changed = self._owned.apply(inject(document, revision) if mesh else document)
            if changed:
                lab.report(f"  {stored['kind']} {stored['metadata']['name']} applied")


def _prefix(address: str) -> str:
    """`10.96` of `10.96.0.1`."""
    return ".".join(address.split(".")[:2])


def _namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _read(file: Path) -> list[dict[str, Any]]:
    import yaml

    try:
        return [d for d in yaml.safe_load_all(file.read_text()) if d]
    except OSError as error:
        raise MeshlabError(f"{file} cannot be read", why=error.strerror or str(error)) from error

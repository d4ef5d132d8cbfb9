"""What is on a cluster and what is missing there, before anything is changed.

Only reads, and questions to the API server about our own rights.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..access import Access
from ..states import Deployment
from . import capacity
from .checks import Check, Level
from .found import Found, Istio, look
from .istio import ISTIO_VERSION, OLDEST_KUBERNETES
from .quantities import cpu, memory
from .rights import needed, refused
from .trial import trial

__all__ = ["Check", "Level", "Preflight", "embedded", "preflight"]


@dataclass(frozen=True)
class Preflight:
    """All findings, and what was found. `ok` if nothing is missing."""

    place: str
    checks: tuple[Check, ...]
    found: Found

    @property
    def ok(self) -> bool:
        return not self.missing

    @property
    def missing(self) -> tuple[Check, ...]:
        return tuple(each for each in self.checks if each.level is Level.MISSING)

    def __str__(self) -> str:
        count = len(self.missing)
        lacking = "one thing is missing" if count == 1 else f"{count} things are missing"
        verdict = "ready for the lessons" if self.ok else lacking
        return "\n".join([f"preflight of {self.place}", *map(str, self.checks), f"{verdict}; nothing was changed"])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        colours = {Level.OK: "#1a7f37", Level.NOTE: "#9a6700", Level.MISSING: "#cf222e"}
        rows = "".join(
            f'<tr><td style="color:{colours[c.level]}"><b>{c.level.value}</b></td><td>{html.escape(c.what)}</td>'
            f'<td style="text-align:left">{html.escape(c.seen)}'
            + (f"<br><code>{html.escape(c.then)}</code>" if c.then else "")
            + "</td></tr>"
            for c in self.checks
        )
        head = "<tr><th></th><th>what</th><th>seen</th></tr>"
        return f"<table><caption>preflight of {html.escape(self.place)}</caption>{head}{rows}</table>"


def preflight(access: Access, place: str) -> Preflight:
    """Looks at the cluster. Raises `LabError` only if it does not answer at all."""
    found = look(access)
    denied = list(found.denied)
    checks = [*_kubernetes(found), *_istio(found), *_mesh(found.istio)]
    checks += [
        *_rights(access, found.istio),
        *trial(access, found.istio),
        *_capacity(access, found, denied),
        *_addons(found),
    ]
    if denied:
        seen = f"may not be listed: {', '.join(sorted(set(denied)))}; what is said of them here may be wrong"
        checks.append(Check(Level.NOTE, "view", seen))
    return Preflight(place, tuple(checks), found)


def embedded(place: str, versions: dict[str, str], lacking: dict[Deployment, str]) -> Preflight:
    """The same question of the embedded lab, which brings all that it needs."""
    seen = "; ".join(f"{deployment}: {why}" for deployment, why in lacking.items())
    checks = (
        Check(Level.OK, "kubernetes", f"{versions['kubernetes']}, meshlab's own"),
        Check(Level.NOTE, "istio", f"{seen}: lab.install() brings it") if lacking else
        Check(Level.OK, "istio", f"{versions['istio']}: pilot, mixer, ingress and ca are ready"),
        Check(Level.OK, "rights", "all"),
    )  # fmt: skip
    return Preflight(place, checks, Found(versions["kubernetes"]))


def _kubernetes(found: Found) -> Iterator[Check]:
    numbers = re.match(r"v?(\d+)\.(\d+)", found.kubernetes)
    brought = found.istio is None or found.istio.ours  # an Istio that is there has its own opinion
    if brought and numbers and (int(numbers[1]), int(numbers[2])) < OLDEST_KUBERNETES:
        oldest = ".".join(map(str, OLDEST_KUBERNETES))
        seen = f"{found.kubernetes}; Istio {ISTIO_VERSION} wants {oldest} or newer"
        yield Check(Level.MISSING, "kubernetes", seen, "a newer cluster, or lab.install(version=…) with an older Istio")
    else:
        yield Check(Level.OK, "kubernetes", found.kubernetes)


def _istio(found: Found) -> Iterator[Check]:
    if not found.istios and found.remote:
        hooks = ", ".join(found.remote)
        seen = f"a control plane outside the cluster injects here ({hooks}); the lessons have to ask istiod itself"
        yield Check(Level.MISSING, "istio", seen, "a cluster with an istiod of its own, or one without a mesh")
        return
    if not found.istios:
        yield Check(Level.OK, "istio", f"none yet: lab.install() brings {ISTIO_VERSION}, with sidecars")
        if found.groups:
            seen = f"definitions of {', '.join(found.groups)} are there without an istiod; they will be used"
            yield Check(Level.NOTE, "istio", seen)
        return
    for each in found.istios:
        used = each is found.istio
        whose = "installed by meshlab" if each.ours else "not meshlab's: it will be used and never changed"
        yield Check(Level.OK if used else Level.NOTE, "istio", f"{each} ({whose if used else 'not used'})")
    istio = found.istio
    if istio is not None and not istio.injectors:
        seen = f"no webhook of {istio.namespace} injects sidecars; the lessons need them"
        yield Check(Level.MISSING, "injection", seen, "kubectl get mutatingwebhookconfigurations")
    if istio is not None and not istio.ready:
        then = f"kubectl -n {istio.namespace} describe deployment {istio.deployment}"
        yield Check(Level.MISSING, "istio", f"{istio.deployment} is not ready", then)
    if istio is not None and not istio.debug:
        seen = "istiod shows no debug pages (ENABLE_DEBUG_ON_HTTP=false), so nobody can say when a rule is in force"
        then = f"kubectl -n {istio.namespace} set env deployment/{istio.deployment} ENABLE_DEBUG_ON_HTTP-"
        yield Check(Level.MISSING, "debug pages", seen, then)
    for group in ("networking.istio.io", "security.istio.io", "telemetry.istio.io"):
        if group not in found.groups:
            seen = f"{group}/v1 is not served: its CRDs are missing"
            yield Check(Level.MISSING, "definitions", seen, "helm upgrade istio-base")
    if found.gateways:
        shown = "; ".join(f"{name} at {address}" for name, address in found.gateways.items())
        yield Check(Level.OK, "gateway", shown)
    else:
        yield Check(Level.NOTE, "gateway", "none: lesson 11 needs one", "lab.install() adds one if Istio is meshlab's")


def _mesh(istio: Istio | None) -> Iterator[Check]:
    if istio is None:
        return
    if istio.mesh.unread:
        seen = f"its configuration cannot be read, {istio.mesh.unread}; whether lessons 03 and 07 work will show"
        yield Check(Level.NOTE, "mesh", seen, f"kubectl auth can-i get configmaps -n {istio.namespace}")
        return
    if istio.mesh.outbound != "REGISTRY_ONLY":
        seen = f"outbound traffic: {istio.mesh.outbound}; lesson 03's closed way out will be open"
        yield Check(Level.NOTE, "mesh", seen)
    else:
        yield Check(Level.OK, "mesh", "outbound traffic: REGISTRY_ONLY, as the lessons need it")
    if istio.mesh.zipkin:
        shown = ", ".join(f"{name} to {where}" for name, where in istio.mesh.zipkin.items())
        yield Check(Level.OK, "tracing", f"Zipkin's protocol: {shown}")
    else:
        yield Check(Level.NOTE, "tracing", "no provider that speaks Zipkin's protocol; lesson 07 will show no traces")


def _rights(access: Access, istio: Istio | None) -> Iterator[Check]:
    lacking, replaced = refused(access, needed(istio))
    for right in replaced:
        yield Check(Level.NOTE, "rights", f"not allowed: {right}; a port-forward takes its place")
    if not lacking:
        yield Check(Level.OK, "rights", "all that the installation and the lessons need")
    for right in lacking:
        where = f" -n {right.namespace}" if right.namespace else ""
        what = f"{right.resource}.{right.group}" if right.group else right.resource
        yield Check(Level.MISSING, "rights", f"not allowed: {right}", f"kubectl auth can-i {right.verb} {what}{where}")


def _capacity(access: Access, found: Found, denied: list[str]) -> Iterator[Check]:
    rooms = capacity.room(access, denied)
    if not rooms:
        if "Node" not in denied:
            yield Check(Level.MISSING, "capacity", "no node takes pods", "kubectl get nodes")
        return
    needs = [*capacity.ADDONS, *capacity.DEMO]
    if found.istio is None:
        needs += [capacity.ISTIOD, capacity.GATEWAY]
    shown = "; ".join(map(str, rooms[:4])) + (f"; and {len(rooms) - 4} more" if len(rooms) > 4 else "")
    lacking = capacity.too_big(needs, rooms)
    wanted = f"{cpu(sum(n.cpu for n in needs))} and {memory(sum(n.memory for n in needs))} are needed"
    if lacking:
        seen = f"no room for {', '.join(map(str, lacking))}; {wanted}; free: {shown}"
        yield Check(Level.MISSING, "capacity", seen, "a bigger node, or lab.install(small=True)")
    else:
        yield Check(Level.OK, "capacity", f"{wanted}; free: {shown}")


def _addons(found: Found) -> Iterator[Check]:
    there = ", ".join(f"{name} ({where})" for name, where in sorted(found.addons.items()))
    yield Check(Level.OK, "addons", there or "none yet: lab.addons(…) brings prometheus, grafana, servicegraph, zipkin")

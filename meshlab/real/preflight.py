"""What is on a cluster and what is missing there, before anything is changed.

Only reads, and questions to the API server about our own rights.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..access import Access
from ..phrases import tr
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
        lacking = tr("one thing is missing") if count == 1 else tr("{count} things are missing", count=count)
        verdict = tr("ready for the lessons") if self.ok else lacking
        last = tr("{verdict}; nothing was changed", verdict=verdict)
        return "\n".join([tr("preflight of {place}", place=self.place), *map(str, self.checks), last])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        colours = {Level.OK: "#1a7f37", Level.NOTE: "#9a6700", Level.MISSING: "#cf222e"}
        rows = "".join(
            f'<tr><td style="color:{colours[c.level]}"><b>{tr(c.level.value)}</b></td>'
            f"<td>{html.escape(tr(c.what))}</td>"
            f'<td style="text-align:left">{html.escape(c.seen)}'
            + (f"<br><code>{html.escape(c.then)}</code>" if c.then else "")
            + "</td></tr>"
            for c in self.checks
        )
        head = f"<tr><th></th><th>{tr('what')}</th><th>{tr('seen')}</th></tr>"
        title = html.escape(tr("preflight of {place}", place=self.place))
        return f"<table><caption>{title}</caption>{head}{rows}</table>"


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
        what = ", ".join(sorted(set(denied)))
        seen = tr("may not be listed: {what}; what is said of them here may be wrong", what=what)
        checks.append(Check(Level.NOTE, "view", seen))
    return Preflight(place, tuple(checks), found)


def embedded(place: str, versions: dict[str, str], lacking: dict[Deployment, str]) -> Preflight:
    """The same question of the embedded lab, which brings all that it needs."""
    seen = "; ".join(f"{deployment}: {why}" for deployment, why in lacking.items())
    checks = (
        Check(Level.OK, "kubernetes", tr("{version}, meshlab's own", version=versions["kubernetes"])),
        Check(Level.NOTE, "istio", tr("{seen}: lab.install() brings it", seen=seen)) if lacking else
        Check(Level.OK, "istio", tr("{version}: pilot, mixer, ingress and ca are ready", version=versions["istio"])),
        Check(Level.OK, "rights", tr("all")),
    )  # fmt: skip
    return Preflight(place, checks, Found(versions["kubernetes"]))


def _kubernetes(found: Found) -> Iterator[Check]:
    numbers = re.match(r"v?(\d+)\.(\d+)", found.kubernetes)
    brought = found.istio is None or found.istio.ours  # an Istio that is there has its own opinion
    if brought and numbers and (int(numbers[1]), int(numbers[2])) < OLDEST_KUBERNETES:
        oldest = ".".join(map(str, OLDEST_KUBERNETES))
        known = {"version": found.kubernetes, "istio": ISTIO_VERSION, "oldest": oldest}
        seen = tr("{version}; Istio {istio} wants {oldest} or newer", **known)
        then = tr("a newer cluster, or lab.install(version=…) with an older Istio")
        yield Check(Level.MISSING, "kubernetes", seen, then)
    else:
        yield Check(Level.OK, "kubernetes", found.kubernetes)


def _istio(found: Found) -> Iterator[Check]:
    if not found.istios and found.remote:
        hooks = ", ".join(found.remote)
        seen = tr(
            "a control plane outside the cluster injects here ({hooks}); the lessons have to ask istiod itself",
            hooks=hooks,
        )
        yield Check(Level.MISSING, "istio", seen, tr("a cluster with an istiod of its own, or one without a mesh"))
        return
    if not found.istios:
        seen = tr("none yet: lab.install() brings {version}, with sidecars", version=ISTIO_VERSION)
        yield Check(Level.OK, "istio", seen)
        if found.groups:
            groups = ", ".join(found.groups)
            seen = tr("definitions of {groups} are there without an istiod; they will be used", groups=groups)
            yield Check(Level.NOTE, "istio", seen)
        return
    for each in found.istios:
        used = each is found.istio
        whose = tr("installed by meshlab") if each.ours else tr("not meshlab's: it will be used and never changed")
        yield Check(Level.OK if used else Level.NOTE, "istio", f"{each} ({whose if used else tr('not used')})")
    istio = found.istio
    if istio is not None and not istio.injectors:
        seen = tr("no webhook of {namespace} injects sidecars; the lessons need them", namespace=istio.namespace)
        yield Check(Level.MISSING, "injection", seen, "kubectl get mutatingwebhookconfigurations")
    if istio is not None and not istio.ready:
        then = f"kubectl -n {istio.namespace} describe deployment {istio.deployment}"
        yield Check(Level.MISSING, "istio", tr("{what} is not ready", what=istio.deployment), then)
    if istio is not None and not istio.debug:
        seen = tr("istiod shows no debug pages (ENABLE_DEBUG_ON_HTTP=false), so nobody can say when a rule is in force")
        then = f"kubectl -n {istio.namespace} set env deployment/{istio.deployment} ENABLE_DEBUG_ON_HTTP-"
        yield Check(Level.MISSING, "debug pages", seen, then)
    for group in ("networking.istio.io", "security.istio.io", "telemetry.istio.io"):
        if group not in found.groups:
            seen = tr("{group}/v1 is not served: its CRDs are missing", group=group)
            yield Check(Level.MISSING, "definitions", seen, "helm upgrade istio-base")
    if found.gateways:
        shown = "; ".join(tr("{name} at {address}", name=n, address=a) for n, a in found.gateways.items())
        yield Check(Level.OK, "gateway", shown)
    else:
        then = tr("lab.install() adds one if Istio is meshlab's")
        yield Check(Level.NOTE, "gateway", tr("none: lesson 11 needs one"), then)


def _mesh(istio: Istio | None) -> Iterator[Check]:
    if istio is None:
        return
    if istio.mesh.unread:
        seen = tr(
            "its configuration cannot be read, {why}; whether lessons 03 and 07 work will show", why=istio.mesh.unread
        )
        yield Check(Level.NOTE, "mesh", seen, f"kubectl auth can-i get configmaps -n {istio.namespace}")
        return
    if istio.mesh.outbound != "REGISTRY_ONLY":
        seen = tr("outbound traffic: {mode}; lesson 03's closed way out will be open", mode=istio.mesh.outbound)
        yield Check(Level.NOTE, "mesh", seen)
    else:
        yield Check(Level.OK, "mesh", tr("outbound traffic: REGISTRY_ONLY, as the lessons need it"))
    if istio.mesh.zipkin:
        shown = ", ".join(tr("{name} to {where}", name=n, where=w) for n, w in istio.mesh.zipkin.items())
        yield Check(Level.OK, "tracing", tr("Zipkin's protocol: {providers}", providers=shown))
    else:
        seen = tr("no provider that speaks Zipkin's protocol; lesson 07 will show no traces")
        yield Check(Level.NOTE, "tracing", seen)


def _rights(access: Access, istio: Istio | None) -> Iterator[Check]:
    lacking, replaced = refused(access, needed(istio))
    for right in replaced:
        seen = tr("not allowed: {right}; a port-forward takes its place", right=right)
        yield Check(Level.NOTE, "rights", seen)
    if not lacking:
        yield Check(Level.OK, "rights", tr("all that the installation and the lessons need"))
    for right in lacking:
        where = f" -n {right.namespace}" if right.namespace else ""
        what = f"{right.resource}.{right.group}" if right.group else right.resource
        then = f"kubectl auth can-i {right.verb} {what}{where}"
        yield Check(Level.MISSING, "rights", tr("not allowed: {right}", right=right), then)


def _capacity(access: Access, found: Found, denied: list[str]) -> Iterator[Check]:
    rooms = capacity.room(access, denied)
    if not rooms:
        if "Node" not in denied:
            yield Check(Level.MISSING, "capacity", tr("no node takes pods"), "kubectl get nodes")
        return
    needs = [*capacity.ADDONS, *capacity.DEMO]
    if found.istio is None:
        needs += [capacity.ISTIOD, capacity.GATEWAY]
    shown = "; ".join(map(str, rooms[:4]))
    if len(rooms) > 4:
        shown = tr("{nodes}; and {count} more", nodes=shown, count=len(rooms) - 4)
    lacking = capacity.too_big(needs, rooms)
    sums = {"cpu": cpu(sum(n.cpu for n in needs)), "memory": memory(sum(n.memory for n in needs))}
    wanted = tr("{cpu} and {memory} are needed", **sums)
    if lacking:
        what = ", ".join(map(str, lacking))
        seen = tr("no room for {what}; {wanted}; free: {nodes}", what=what, wanted=wanted, nodes=shown)
        yield Check(Level.MISSING, "capacity", seen, tr("a bigger node, or lab.install(small=True)"))
    else:
        yield Check(Level.OK, "capacity", tr("{wanted}; free: {nodes}", wanted=wanted, nodes=shown))


def _addons(found: Found) -> Iterator[Check]:
    nothing = tr("none yet: lab.addons(…) brings prometheus, grafana, servicegraph, zipkin")
    there = ", ".join(f"{name} ({where})" for name, where in sorted(found.addons.items()))
    yield Check(Level.OK, "addons", there or nothing)

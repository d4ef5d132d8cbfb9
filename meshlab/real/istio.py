"""Istio, by its own Helm charts: base, istiod and a gateway, at the version that the lessons were made with.

What is there already decides what happens: nothing → install; ours, as wanted → nothing; ours, different or half
done → put right; somebody else's → used as it is, and changed only for whoever asks for that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..access import Access
from ..errors import LabError
from ..helm import Chart, Helm, open_helm, owned_releases, release_of
from ..states import Deployment, wait_ready
from .found import Found, Istio, look
from .owned import Owned
from .places import INGRESS, MESHLAB, SYSTEM

__all__ = [
    "ISTIO_VERSION", "OLDEST_KUBERNETES", "REPOSITORY", "Component", "components", "install", "installed", "uninstall",
]  # fmt: skip

#: The pinned version; its charts, packed from the sources of that tag, are what the tests render and install.
ISTIO_VERSION = "1.30.3"
#: What istioctl 1.30 calls the minimum (istioctl/pkg/install/k8sversion).
OLDEST_KUBERNETES = (1, 32)
REPOSITORY = "https://istio-release.storage.googleapis.com/charts"
Report = Callable[[str], None]
Values = dict[str, Any]


@dataclass(frozen=True)
class Component:
    """One release: its chart, where it goes, its values, and the Deployment that has to come up."""

    release: str
    chart: str
    namespace: str
    values: Mapping[str, Any]
    deployment: Deployment | None = None


def mesh_config(addons: str = SYSTEM) -> Values:
    """What the lessons need of a mesh, beyond today's defaults."""
    return {
        # Lesson 03: what nobody allowed is not let out.
        "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
        # Lesson 07: spans go to Zipkin in Zipkin's own protocol.
        "enableTracing": True,
        "extensionProviders": [
            {"name": "zipkin", "zipkin": {"service": f"zipkin.{addons}.svc.cluster.local", "port": 9411}}
        ],
        # Lesson 08: the proxies write an access log.
        "accessLogFile": "/dev/stdout",
    }


def components(
    *, small: bool = False, gateway: bool = True, values: Mapping[str, Any] | None = None
) -> list[Component]:
    """The releases in their order. `small` asks for an eighth of the memory: enough for the lessons on a laptop.

    `values` by release (`{"istiod": {...}}`) are laid over ours.
    """
    # Lesson 11: Ingresses are for our gateway. Of itself istiod looks for pods with istio=ingressgateway.
    mesh = {**mesh_config(), "ingressSelector": "ingress", "ingressService": "istio-ingress"}
    istiod: Values = {"meshConfig": mesh, "autoscaleEnabled": False}
    ingress: Values = {"service": {"type": "ClusterIP"}, "labels": {"istio": "ingress"}}
    if small:
        istiod["resources"] = {"requests": {"cpu": "100m", "memory": "256Mi"}}
        istiod["global"] = {"proxy": {"resources": {"requests": {"cpu": "10m", "memory": "48Mi"}}}}
        ingress["resources"] = {"requests": {"cpu": "10m", "memory": "48Mi"}}
    out = [
        Component("istio-base", "base", SYSTEM, {}),
        Component("istiod", "istiod", SYSTEM, istiod, Deployment(SYSTEM, "istiod")),
    ]
    if gateway:
        out.append(Component("istio-ingress", "gateway", INGRESS, ingress, Deployment(INGRESS, "istio-ingress")))
    more = values or {}
    return [replace(each, values=_merged(each.values, more.get(each.release, {}))) for each in out]


def telemetry() -> dict[str, Any]:
    """Every request is traced, as 0.4 did (today's default is one in a hundred), and counted."""
    return {
        "apiVersion": "telemetry.istio.io/v1",
        "kind": "Telemetry",
        "metadata": {"name": "mesh-default", "namespace": SYSTEM},
        "spec": {
            "tracing": [{"providers": [{"name": "zipkin"}], "randomSamplingPercentage": 100}],
            # What sidecars count is the default; said, because a mesh's own configuration may have switched it off.
            "metrics": [{"providers": [{"name": "prometheus"}]}],
        },
    }


def install(
    access: Access,
    *,
    version: str,
    charts: Path | None,
    parts: list[Component],
    change: bool,
    timeout: float,
    report: Report,
) -> Istio:
    """Brings Istio to what `parts` say, and says each step. Returns the mesh that is there then.

    `charts`: a folder with charts (`base`, `istiod`, `gateway`, or their .tgz) instead of Istio's repository.
    Raises `LabError` with the cause of what does not come up; whatever came up stays, and the next call goes on.
    """
    end = time.monotonic() + timeout
    found = look(access)
    there = found.istio
    if there is None:
        _nobody(found)
    if there is not None and not there.ours and not _begun(access):
        return _used(access, there, charts, change=change, timeout=timeout, report=report)
    owned = Owned(access)
    for part in parts:
        if part.release == "istio-base" and (others := _defined_by_others(access)):
            report(f"  definitions that are there already are used as they are: {len(others)}")
            part = replace(part, values=_merged(part.values, {"base": {"excludedCRDs": others}}))
        owned.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": part.namespace}})
        helm = open_helm(access.kubeconfig, part.namespace)
        _released(access, helm, part, _chart(part.chart, version, charts), end, report)
        if part.deployment is not None:
            left = max(1.0, end - time.monotonic())
            wait_ready(access, [part.deployment], timeout=left, report=report)
        if part.release == "istiod":
            owned.apply(telemetry())
    istio = look(access).istio
    if istio is None:
        raise LabError("istiod was installed and is not found", then=f"kubectl get deployments -n {SYSTEM}")
    return istio


def _nobody(found: Found) -> None:
    """Raises `LabError` where there may be a mesh although no istiod is seen: a second one would take its pods."""
    if "Deployment" in found.denied:
        raise LabError(
            "nobody may say whether Istio is there", why="Deployments may not be listed", then="meshlab preflight"
        )
    if found.remote:
        raise LabError(
            "this cluster is in a mesh whose control plane is outside of it: nothing was installed",
            why=f"sidecars are injected by {', '.join(found.remote)}",
            then="meshlab preflight",
        )


def installed(access: Access) -> list[Component]:
    """Our releases that are there, in the order in which they go: the gateway first, the definitions last."""
    return [part for part in reversed(components()) if _marked(access, part.namespace, part.release)]


def uninstall(access: Access, part: Component, *, timeout: float) -> list[str]:
    """Removes one of our releases; returns what was removed."""
    gone = open_helm(access.kubeconfig, part.namespace).uninstall(part.release, timeout=timeout)
    return [f"release {part.namespace}/{part.release}"] if gone else []


def _released(access: Access, helm: Helm, part: Component, chart: Chart, end: float, report: Report) -> None:
    """The release as wanted: kept, installed, upgraded, or (half done) installed anew."""
    left = max(1.0, end - time.monotonic())
    present = helm.release(part.release)
    if present is not None and not _marked(access, part.namespace, part.release):
        raise LabError(
            f"a release {part.release} is in {part.namespace} that meshlab did not make: it was not touched",
            then=f"helm status {part.release} -n {part.namespace}",
        )
    if present is not None and present.status == "deployed":
        if present.version == chart.version and helm.values(part.release) == part.values:
            report(f"  {part.release} {present.version} is there")
            return
        helm.upgrade(chart, part.release, part.values, timeout=left)
        report(f"  {part.release} upgraded to {chart.version}")
        return
    if present is not None:
        report(f"  {part.release} was left {present.status}: it is installed anew")
        helm.uninstall(part.release, timeout=left)
    helm.install(chart, part.release, part.values, timeout=left)
    report(f"  {part.release} {chart.version} installed")


def _used(access: Access, istio: Istio, charts: Path | None, *, change: bool, timeout: float, report: Report) -> Istio:
    """Somebody else's Istio. With `change` its mesh configuration gets what the lessons need, by its own release."""
    report(f"Istio {istio} is there and not meshlab's: it is used as it is")
    if not change:
        return istio
    deployment = access.find("apps/v1", "Deployment", istio.namespace, istio.deployment) or {"metadata": {}}
    release, _ = release_of(deployment)
    if not release:
        raise LabError(
            "that Istio was not installed by Helm, so meshlab cannot change it",
            why="its Deployment names no release",
            then="set outboundTrafficPolicy and a Zipkin provider the way it was installed, then lab.preflight()",
        )
    helm = open_helm(access.kubeconfig, istio.namespace)
    values = _merged(helm.values(release), {"meshConfig": mesh_config(MESHLAB)})
    chart = _chart("istiod", istio.version, charts)
    helm.upgrade(chart, release, values, timeout=timeout, own=False)
    report(f"  {release}: mesh configuration changed, as asked for (helm rollback {release} takes it back)")
    wait_ready(access, [Deployment(istio.namespace, istio.deployment)], timeout=timeout, report=report)
    return look(access).istio or istio


def _defined_by_others(access: Access) -> list[str]:
    """Istio's definitions that did not come with our release: what Helm leaves behind, or another Istio's."""
    found = []
    for each in access.items("apiextensions.k8s.io/v1", "CustomResourceDefinition"):
        if each["spec"]["group"].endswith(".istio.io") and release_of(each) != ("istio-base", SYSTEM):
            found.append(str(each["metadata"]["name"]))
    return [name for name in sorted(found) if not name.endswith(".config.istio.io")]


def _begun(access: Access) -> bool:
    return _marked(access, SYSTEM, "istiod") or _marked(access, SYSTEM, "istio-base")


def _marked(access: Access, namespace: str, release: str) -> bool:
    """Is there a release of this name that we made?"""
    return bool(access.items("v1", "Secret", namespace, labelSelector=owned_releases(release), limit="1"))


def _chart(name: str, version: str, folder: Path | None) -> Chart:
    if folder is None:
        return Chart(name, version, REPOSITORY)
    for path in (folder / name, folder / f"{name}-{version}.tgz", folder / f"{name}.tgz"):
        if path.exists():
            return Chart(name, version, path=path)
    raise LabError(
        f"no chart {name} in {folder}",
        why=f"neither {name}/ nor {name}-{version}.tgz is there",
        then=f"helm pull {name} --repo {REPOSITORY} --version {version} --destination {folder}",
    )


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> Values:
    """Values laid over values, key by key."""
    out = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = _merged(out[key], value) if both else value
    return out

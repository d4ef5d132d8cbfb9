"""What there is on a cluster of what a mesh is made of. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..access import Access
from ..errors import Rejected
from ..helm import owned_releases, release_of

__all__ = ["Found", "Istio", "Mesh", "look", "maybe"]

Object = dict[str, Any]
#: What lessons look through, by the names under which Istio's samples and the tutorial install them.
ADDONS = ("prometheus", "grafana", "servicegraph", "zipkin", "kiali", "tracing")


@dataclass(frozen=True)
class Mesh:
    """What the mesh's configuration says of what the lessons need."""

    #: ALLOW_ANY (today's default) or REGISTRY_ONLY.
    outbound: str = "ALLOW_ANY"
    #: Names of tracing providers that speak Zipkin's protocol, with the service that they report to.
    zipkin: Mapping[str, str] = field(default_factory=dict)
    protocol_sniffing: bool = True
    #: Why the configuration could not be read; "" where it was. Then what stands above are today's defaults.
    unread: str = ""


@dataclass(frozen=True)
class Istio:
    """One istiod: where, which version and revision, and how pods join its mesh."""

    namespace: str
    deployment: str
    version: str
    revision: str = "default"
    #: Installed by meshlab: it may be changed and removed.
    ours: bool = False
    ready: bool = False
    #: Webhooks that inject sidecars, by name.
    injectors: tuple[str, ...] = ()
    #: ztunnel runs: pods may be in the mesh without a sidecar.
    ambient: bool = False
    #: istiod shows its debug pages (ENABLE_DEBUG_ON_HTTP): without them nobody knows when a rule is in force.
    debug: bool = True
    mesh: Mesh = Mesh()

    def __str__(self) -> str:
        ways = ("sidecars" if self.injectors else "no injection") + (" and ambient" if self.ambient else "")
        return f"{self.version} in {self.namespace}, revision {self.revision}, {ways}"


@dataclass(frozen=True)
class Found:
    """What a look at the cluster showed; `denied` are the kinds that we may not even list."""

    kubernetes: str
    istios: tuple[Istio, ...] = ()
    #: `namespace/name` of gateways' Services, and their addresses.
    gateways: Mapping[str, str] = field(default_factory=dict)
    #: Addon → `namespace/name` of its Service.
    addons: Mapping[str, str] = field(default_factory=dict)
    #: Istio's API groups in version v1 that are served.
    groups: tuple[str, ...] = ()
    #: Webhooks that inject sidecars for a control plane outside the cluster, by name.
    remote: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()

    @property
    def istio(self) -> Istio | None:
        """The mesh to use: ours, else the default revision, else the first."""
        ranked = sorted(self.istios, key=lambda i: (not i.ours, i.revision != "default", i.namespace))
        return ranked[0] if ranked else None


def maybe(access: Access, version: str, kind: str, denied: list[str], selector: str = "") -> list[Object]:
    """Objects of a kind; none where it is not served, and its name in `denied` where we may not see them."""
    try:
        return access.served(version, kind, **({"labelSelector": selector} if selector else {})) or []
    except Rejected as error:
        if error.code != 403:
            raise
        denied.append(kind)
        return []


def look(access: Access) -> Found:
    """Some twelve requests, all of them reads."""
    denied: list[str] = []
    version = str(access.request("GET", "/version").json().get("gitVersion") or "unknown")
    deployments = maybe(access, "apps/v1", "Deployment", denied, "app=istiod")
    daemons = maybe(access, "apps/v1", "DaemonSet", denied, "app=ztunnel") if deployments else []
    hooks = maybe(access, "admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", denied)
    istios = tuple(_istio(access, each, hooks, bool(daemons)) for each in deployments)
    services = maybe(access, "v1", "Service", denied)
    served = access.request("GET", "/apis").json().get("groups") or []
    groups = sorted(
        group["name"]
        for group in served
        if group["name"].endswith("istio.io") and "v1" in [each["version"] for each in group["versions"]]
    )
    places = {i.namespace for i in istios} | {"istio-system", "meshlab"}
    addons = {
        each["metadata"]["name"]: f"{each['metadata']['namespace']}/{each['metadata']['name']}"
        for each in services
        if each["metadata"]["name"] in ADDONS and each["metadata"]["namespace"] in places
    }
    gateways = {
        f"{each['metadata']['namespace']}/{each['metadata']['name']}": _address(each)
        for each in services
        if _is_gateway(each)
    }
    remote = tuple(str(hook["metadata"]["name"]) for hook in hooks if any(map(_is_remote, hook.get("webhooks") or ())))
    return Found(version, istios, gateways, addons, tuple(groups), remote, tuple(dict.fromkeys(denied)))


def _istio(access: Access, deployment: Object, hooks: list[Object], ambient: bool) -> Istio:
    metadata = deployment["metadata"]
    labels = metadata.get("labels") or {}
    revision = str(labels.get("istio.io/rev") or "default")
    containers = deployment["spec"]["template"]["spec"]["containers"]
    images = [str(each["image"]) for each in containers]
    tag = images[0].partition("@")[0].rpartition(":")[2] if images else "unknown"
    said = labels.get("app.kubernetes.io/version")
    injectors = tuple(
        str(each["metadata"]["name"])
        for each in hooks
        # Revisions share a namespace; a webhook says whose it is.
        if (each["metadata"].get("labels") or {}).get("istio.io/rev", revision) == revision
        and any(_injects(hook, str(metadata["namespace"])) for hook in each.get("webhooks") or ())
    )
    return Istio(
        namespace=metadata["namespace"],
        deployment=metadata["name"],
        # The chart's label says what was installed; where it is a chart's own placeholder, the image does.
        version=str(said) if said and said != "1.0.0" else tag,
        revision=revision,
        ours=_released_by_us(access, metadata["namespace"], deployment),
        ready=bool((deployment.get("status") or {}).get("availableReplicas")),
        injectors=injectors,
        ambient=ambient,
        debug=not any(
            each.get("name") == "ENABLE_DEBUG_ON_HTTP" and str(each.get("value")).lower() in ("false", "0", "f")
            for container in containers
            for each in container.get("env") or ()
        ),
        mesh=_mesh(access, metadata["namespace"], revision),
    )


def _injects(hook: Object, namespace: str) -> bool:
    service = (hook.get("clientConfig") or {}).get("service") or {}
    return service.get("namespace") == namespace and str(service.get("path") or "").startswith("/inject")


def _is_remote(hook: Object) -> bool:
    """Does it ask an istiod that no Service of this cluster leads to? So do meshes that a cloud runs."""
    url = str((hook.get("clientConfig") or {}).get("url") or "")
    return "/inject" in url and "istio" in str(hook.get("name") or "")


def _released_by_us(access: Access, namespace: str, deployment: Object) -> bool:
    """Helm keeps a release in a Secret, and ours are marked. Whoever may not see them is told that it is not ours."""
    release, _ = release_of(deployment)
    if not release:
        return False
    path = f"/api/v1/namespaces/{namespace}/secrets"
    reply = access.request("GET", path, query={"labelSelector": owned_releases(release), "limit": 1}, check=False)
    return reply.status == 200 and bool(reply.json().get("items"))


def _mesh(access: Access, namespace: str, revision: str) -> Mesh:
    import yaml

    name = "istio" if revision == "default" else f"istio-{revision}"
    reply = access.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/{name}", check=False)
    where = f"ConfigMap {namespace}/{name}"
    if reply.status != 200:
        return Mesh(unread=f"{where}: {Rejected.answer(reply.status, reply.body).seen}")
    try:
        said = yaml.safe_load((reply.json().get("data") or {}).get("mesh") or "") or {}
    except yaml.YAMLError as error:
        return Mesh(unread=f"{where} is no YAML: {' '.join(str(error).split())}")
    if not isinstance(said, dict):
        return Mesh(unread=f"{where} holds no mesh configuration")
    zipkin = {
        str(each["name"]): f"{each['zipkin'].get('service')}:{each['zipkin'].get('port')}"
        for each in said.get("extensionProviders") or ()
        if each.get("zipkin")
    }
    outbound = str((said.get("outboundTrafficPolicy") or {}).get("mode") or "ALLOW_ANY")
    return Mesh(outbound, zipkin, said.get("protocolDetectionTimeout") != "-1s")


def _is_gateway(service: Object) -> bool:
    labels = service["metadata"].get("labels") or {}
    return (
        str(labels.get("istio") or "").startswith("ingress")
        or labels.get("operator.istio.io/component") == "IngressGateways"
        or "gateway.networking.k8s.io/gateway-name" in labels
    )


def _address(service: Object) -> str:
    given = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    shown = [str(each.get("ip") or each.get("hostname")) for each in given]
    kind = str(service["spec"].get("type") or "ClusterIP")
    return ", ".join(shown) if shown else f"{kind}, no address from outside" if kind == "LoadBalancer" else kind

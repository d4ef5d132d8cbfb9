"""Today's kinds: group, served versions, schema, and how each is spelled and listed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from meshlab.mesh.config.today import destinations, gateway_api, networking, security
from meshlab.mesh.config.today.schema import FREE, Schema, array, integer, obj

__all__ = ["GATEWAY_API", "GROUPS", "NETWORKING", "SECURITY", "TELEMETRY", "Kind", "kind_of", "kinds"]

NETWORKING, SECURITY, TELEMETRY = "networking.istio.io", "security.istio.io", "telemetry.istio.io"
GATEWAY_API = "gateway.networking.k8s.io"
GROUPS = (NETWORKING, SECURITY, TELEMETRY, GATEWAY_API)
_VERSIONS = {
    NETWORKING: ("v1", "v1beta1", "v1alpha3"),
    SECURITY: ("v1", "v1beta1"),
    TELEMETRY: ("v1", "v1alpha1"),
    GATEWAY_API: ("v1", "v1beta1"),
}


@dataclass(frozen=True)
class Kind:
    """One kind. `columns`: (name, type, JSONPath, shown only with -o wide)."""

    group: str
    kind: str
    plural: str
    schema: Callable[[], Schema]
    short: tuple[str, ...] = ()
    columns: tuple[tuple[str, str, str], ...] = ()
    namespaced: bool = True
    status: Callable[[], Schema] | None = None

    @property
    def versions(self) -> tuple[str, ...]:
        """Served ones; the first is stored."""
        return _VERSIONS[self.group]

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.versions[0]}"

    @property
    def spec(self) -> Schema:
        return _spec(self)


def _istio_status() -> Schema:
    return obj(conditions=array(FREE), validationMessages=array(FREE), observedGeneration=integer())


def _class_status() -> Schema:
    return obj(conditions=array(FREE), supportedFeatures=array(FREE))


@cache
def _spec(kind: Kind) -> Schema:
    return kind.schema()


@cache
def kinds() -> Mapping[tuple[str, str], Kind]:
    """By group and kind."""
    age = ("Age", "date", ".metadata.creationTimestamp")
    listed = (
        Kind(NETWORKING, "VirtualService", "virtualservices", networking.virtual_service, ("vs",), (
            ("Gateways", "string", ".spec.gateways"), ("Hosts", "string", ".spec.hosts"), age)),
        Kind(NETWORKING, "DestinationRule", "destinationrules", destinations.destination_rule, ("dr",), (
            ("Host", "string", ".spec.host"), age)),
        Kind(NETWORKING, "ServiceEntry", "serviceentries", networking.service_entry, ("se",), (
            ("Hosts", "string", ".spec.hosts"), ("Location", "string", ".spec.location"),
            ("Resolution", "string", ".spec.resolution"), age)),
        Kind(NETWORKING, "WorkloadEntry", "workloadentries", networking.workload_entry, ("we",), (
            age, ("Address", "string", ".spec.address"))),
        Kind(NETWORKING, "Gateway", "gateways", networking.gateway, ("gw",)),
        Kind(NETWORKING, "Sidecar", "sidecars", networking.sidecar),
        Kind(SECURITY, "PeerAuthentication", "peerauthentications", security.peer_authentication, ("pa",), (
            ("Mode", "string", ".spec.mtls.mode"), age)),
        Kind(SECURITY, "AuthorizationPolicy", "authorizationpolicies", security.authorization_policy, ("ap",), (
            ("Action", "string", ".spec.action"), age)),
        Kind(SECURITY, "RequestAuthentication", "requestauthentications", security.request_authentication, ("ra",)),
        Kind(TELEMETRY, "Telemetry", "telemetries", security.telemetry, ("telemetry",), (age,)),
        Kind(GATEWAY_API, "GatewayClass", "gatewayclasses", gateway_api.gateway_class, ("gc",), (
            ("Controller", "string", ".spec.controllerName"),
            ("Accepted", "string", '.status.conditions[?(@.type=="Accepted")].status'), age),
            namespaced=False, status=_class_status),
        Kind(GATEWAY_API, "Gateway", "gateways", gateway_api.gateway, ("gtw",), (
            ("Class", "string", ".spec.gatewayClassName"), ("Address", "string", ".status.addresses[*].value"),
            ("Programmed", "string", '.status.conditions[?(@.type=="Programmed")].status'), age),
            status=gateway_api.gateway_status),
        Kind(GATEWAY_API, "HTTPRoute", "httproutes", gateway_api.http_route, (), (
            ("Hostnames", "string", ".spec.hostnames"), age), status=gateway_api.route_status),
        Kind(GATEWAY_API, "ReferenceGrant", "referencegrants", gateway_api.reference_grant, ("refgrant",), (age,)),
    )  # fmt: skip
    return {(each.group, each.kind): each for each in listed}


def kind_of(obj: Mapping[str, Any]) -> Kind | None:
    """The kind of an object of today's groups, None of any other. The version is not looked at."""
    group = str(obj.get("apiVersion") or "").partition("/")[0]
    return kinds().get((group, str(obj.get("kind") or "")))


def status_schema(kind: Kind) -> Schema:
    return (kind.status or _istio_status)()

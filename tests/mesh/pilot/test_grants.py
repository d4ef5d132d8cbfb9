"""What lies in another namespace is reached only with a ReferenceGrant of that namespace, and the status says so."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import trustme

from meshlab.mesh.config.today.stored import Stored
from meshlab.mesh.pilot.registry import Registry
from meshlab.mesh.pilot.rulebook import GATEWAYS, TODAY
from meshlab.mesh.pilot.status import gateway_status, route_status

GROUP = "gateway.networking.k8s.io"
FROM_ROUTES = [{"group": GROUP, "kind": "HTTPRoute", "namespace": "default"}]
FROM_GATEWAYS = [{"group": GROUP, "kind": "Gateway", "namespace": "default"}]
SERVICES, SECRETS = [{"group": "", "kind": "Service"}], [{"group": "", "kind": "Secret"}]
WEB = {"name": "web", "port": 80, "protocol": "HTTP"}
Spec = dict[str, Any]


class Shop:
    """A registry with a Gateway in `default`, and the service and secret `far` in namespace `elsewhere`."""

    def __init__(self) -> None:
        self.registry = Registry()
        self._revision = 0
        own = trustme.CA().issue_cert("b.test")
        data = {"tls.crt": own.cert_chain_pems[0].bytes(), "tls.key": own.private_key_pem.bytes()}
        self.put("secrets", "far", "elsewhere", data={k: base64.b64encode(v).decode() for k, v in data.items()})
        for name, namespace in (("far", "elsewhere"), ("near", "default"), ("istio-ingress", "istio-system")):
            ports = [{"name": "http", "port": 80}]
            self.put("services", name, namespace, spec={"clusterIP": "127.105.9.9", "ports": ports})

    def put(self, plural: str, name: str, namespace: str = "default", **fields: Any) -> None:
        self._revision += 1
        meta = {"name": name, "namespace": namespace, "resourceVersion": str(self._revision)}
        self.registry.apply(plural, "ADDED", {"metadata": meta, **fields})

    def store(self, plural: str, spec: Spec, name: str = "it", namespace: str = "default") -> Stored:
        kind = TODAY[plural]
        self.put(plural, name, namespace, apiVersion=kind.api_version, kind=kind.kind, spec=spec)
        (found,) = (e.stored for e in self.registry.rules.entries(plural) if e.stored.namespace == namespace)
        return found

    def grant(self, sources: list[Spec], targets: list[Spec], namespace: str = "elsewhere") -> None:
        self.store("referencegrants", {"from": sources, "to": targets}, namespace=namespace)

    @property
    def problems(self) -> dict[str, str]:
        return {each.key: each.reason for each in self.registry.world().problems}


def route(*backends: Spec, **rule: Any) -> Spec:
    return {"parentRefs": [{"name": "it"}], "rules": [{"backendRefs": list(backends), **rule}]}


FAR, NEAR = {"name": "far", "namespace": "elsewhere", "port": 80}, {"name": "near", "port": 80}


def leads(shop: Shop) -> tuple[list[str], int | None]:
    """Hosts to which the route leads, and the status that it answers itself."""
    (rules,) = shop.registry.world().rules.gateway_rules
    (found,) = rules.routes
    return [d.destination.host for d in found.destinations], found.direct.status if found.direct else None


def resolved(status: Spec) -> str:
    (found,) = (each for each in status["conditions"] if each["type"] == "ResolvedRefs")
    return f"{found['status']} {found['reason']}"


@pytest.mark.parametrize(("sources", "targets", "namespace", "allowed"), [
    (FROM_ROUTES, SERVICES, "elsewhere", True),
    (FROM_ROUTES, [{**SERVICES[0], "name": "far"}], "elsewhere", True),
    (FROM_ROUTES, [{**SERVICES[0], "name": "other"}], "elsewhere", False),
    (FROM_ROUTES, SECRETS, "elsewhere", False),
    (FROM_GATEWAYS, SERVICES, "elsewhere", False),
    ([{**FROM_ROUTES[0], "namespace": "another"}], SERVICES, "elsewhere", False),
    ([{**FROM_ROUTES[0], "group": "example.com"}], SERVICES, "elsewhere", False),
    (FROM_ROUTES, SERVICES, "default", False),
])  # fmt: skip
def test_a_grant_allows_what_it_says_and_where_it_stands(
    sources: list[Spec], targets: list[Spec], namespace: str, allowed: bool
) -> None:
    shop = Shop()
    shop.store(GATEWAYS, {"gatewayClassName": "istio", "listeners": [WEB]})
    it = shop.store("httproutes", route(FAR))
    assert leads(shop) == ([], 500)
    shop.grant(sources, targets, namespace)
    assert leads(shop) == ((["far.elsewhere.svc.cluster.local"], None) if allowed else ([], 500))
    world = shop.registry.world()
    (parent,) = route_status(world, it, {each.name: each for each in world.gateways})["parents"]
    assert resolved(parent) == ("True ResolvedRefs" if allowed else "False RefNotPermitted")
    assert ("HTTPRoute/default/it" in shop.problems) is not allowed


def test_a_grant_that_goes_takes_its_permission_along() -> None:
    shop = Shop()
    shop.store("httproutes", route(FAR))
    shop.grant(FROM_ROUTES, SERVICES)
    assert leads(shop)[1] is None
    shop.registry.apply("referencegrants", "DELETED", {"metadata": {"name": "it", "namespace": "elsewhere"}})
    assert leads(shop)[1] == 500
    assert "a ReferenceGrant in elsewhere" in shop.problems["HTTPRoute/default/it"]
    shop.registry.apply("httproutes", "DELETED", {"metadata": {"name": "it", "namespace": "default"}})
    assert shop.problems == {}


def test_one_of_several_backends_that_is_refused_takes_nothing_from_the_others() -> None:
    shop = Shop()
    shop.store("httproutes", route({**FAR, "weight": 1}, {**NEAR, "weight": 3}))
    assert leads(shop) == (["reference-not-permitted", "near.default.svc.cluster.local"], None)


def test_a_mirror_needs_a_grant_as_well() -> None:
    shop = Shop()
    mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": FAR}}
    shop.store("httproutes", route(NEAR, filters=[mirror]))
    (rules,) = shop.registry.world().rules.gateway_rules
    assert rules.routes[0].mirrors == ()
    shop.grant(FROM_ROUTES, SERVICES)
    (rules,) = shop.registry.world().rules.gateway_rules
    assert [each.destination.host for each in rules.routes[0].mirrors] == ["far.elsewhere.svc.cluster.local"]


def test_a_gateway_shows_no_certificate_of_another_namespace_without_its_grant() -> None:
    shop = Shop()
    tls = {"certificateRefs": [{"name": "far", "namespace": "elsewhere"}]}
    listener = {"name": "tls", "port": 443, "protocol": "HTTPS", "tls": tls}
    it = shop.store(GATEWAYS, {"gatewayClassName": "istio", "listeners": [listener]})
    for expected in ("False RefNotPermitted", "True ResolvedRefs"):
        world = shop.registry.world()
        (status,) = gateway_status(world, it, world.gateways[0], [])["listeners"]
        assert resolved(status) == expected
        shop.grant(FROM_GATEWAYS, SECRETS)

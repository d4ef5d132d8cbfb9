"""A gateway of the mesh on a real Envoy: what opens it, and requests to it. (Helpers of tests.)"""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from pilot_cluster import Cluster

from meshlab.settings import bound_port

__all__ = [
    "KUBERNETES", "SVCB", "TO_B", "WEB", "X", "ask", "bind", "certificate", "edge", "gateway", "http_route",
    "leave_as_found", "listeners", "secure", "server", "with_ingress",
]  # fmt: skip

KUBERNETES = "gateway.networking.k8s.io"
TO_B: dict[str, Any] = {"route": [{"destination": {"host": "svcb"}}]}
SVCB = {"name": "svcb", "port": 80}
WEB = {"name": "web", "port": 8124, "protocol": "HTTP", "hostname": "*.k.test"}
X = "http://x.k.test:8124"


@pytest.fixture(scope="module")
def edge(cluster: Cluster) -> Cluster:
    """The cluster with an ingress proxy."""
    return with_ingress(cluster)


def with_ingress(cluster: Cluster) -> Cluster:
    cluster.pod("ingress-1", "istio-ingress", serve=False, account="ingress", labels={"istio": "ingress"})
    cluster.sidecar("ingress-1", role="ingress")
    return cluster


@pytest.fixture(autouse=True)
def leave_as_found(request: pytest.FixtureRequest) -> Iterator[None]:
    """A module that imports it leaves no rule behind."""
    yield
    if "edge" in request.fixturenames:
        edge = request.getfixturevalue("edge")
        for kind, group in (
            ("VirtualService", ""),
            ("Gateway", "networking.istio.io"),
            ("Gateway", KUBERNETES),
            ("HTTPRoute", ""),
            ("DestinationRule", ""),
        ):
            for name in ("it", "other"):
                edge.store(kind, {}, name, group, "DELETED")
        for plural in ("ingresses", "secrets"):
            edge.in_force(plural, edge.put(plural, {"metadata": {"name": "it"}}, "DELETED"))


def ask(edge: Cluster, url: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], str]:
    """Status, headers and the pod that answered, "" if the proxy did."""
    host, _, path = url.removeprefix("http://").partition("/")
    port = int(host.partition(":")[2] or 80)
    ip, _ = edge.pods["ingress-1"]
    connection = http.client.HTTPConnection(ip, bound_port(port), timeout=30)
    try:
        connection.request("GET", f"/{path}", headers={"Host": host, **(headers or {})})
        response = connection.getresponse()
        body = response.read()
        served = response.getheader("content-length") and body.startswith(b'{"pod"')
        pod = body.split(b'"')[3].decode() if served else ""
        return response.status, {k.lower(): v for k, v in response.getheaders()}, pod
    finally:
        connection.close()


def gateway(edge: Cluster, *servers: dict[str, Any], name: str = "it") -> None:
    found = edge.store(
        "Gateway", {"selector": {"istio": "ingressgateway"}, "servers": list(servers)}, name, "networking.istio.io"
    )
    assert found.in_force, found


def server(port: int, protocol: str = "HTTP", *hosts: str, **more: Any) -> dict[str, Any]:
    return {"port": {"number": port, "name": f"p{port}", "protocol": protocol}, "hosts": list(hosts or ("*",)), **more}


def bind(edge: Cluster, *http_: dict[str, Any], hosts: tuple[str, ...] = ("b.test",), **more: Any) -> None:
    found = edge.store("VirtualService", {"hosts": list(hosts), "gateways": ["it"], "http": list(http_), **more})
    assert found.in_force, found


@pytest.fixture(scope="module")
def certificate() -> dict[str, Any]:
    """An authority, and a secret's data with a certificate for b.test."""
    import trustme

    authority = trustme.CA()
    own = authority.issue_cert("b.test")
    return {
        "authority": authority,
        "data": {
            "tls.crt": base64.b64encode(own.cert_chain_pems[0].bytes()).decode(),
            "tls.key": base64.b64encode(own.private_key_pem.bytes()).decode(),
        },
    }


def secure(edge: Cluster, certificate: dict[str, Any], name: str, port: int) -> int:
    """A request by TLS for that name; the status."""
    context = ssl.create_default_context()
    certificate["authority"].configure_trust(context)
    ip, _ = edge.pods["ingress-1"]
    with (
        socket.create_connection((ip, bound_port(port)), timeout=30) as raw,
        context.wrap_socket(raw, server_hostname=name) as tls,
    ):
        tls.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        response = http.client.HTTPResponse(tls)
        response.begin()
        return response.status


def listeners(edge: Cluster, *listed: dict[str, Any]) -> None:
    found = edge.store("Gateway", {"gatewayClassName": "istio", "listeners": list(listed)}, "it", KUBERNETES)
    assert found.in_force, found


def http_route(edge: Cluster, *rules_: dict[str, Any], **more: Any) -> None:
    found = edge.store("HTTPRoute", {"parentRefs": [{"name": "it"}], "rules": list(rules_), **more})
    assert found.in_force, found

"""A mesh of real sidecars whose pods have service accounts with certificates."""

from __future__ import annotations

import base64
import http.client
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pilot_cluster import Answer, Cluster

from meshlab.mesh.certificates import Pair, issue, root
from meshlab.mesh.pilot.control import InForce

API = "security.istio.io/v1"
PLURALS = {
    "PeerAuthentication": "peerauthentications", "AuthorizationPolicy": "authorizationpolicies",
    "RequestAuthentication": "requestauthentications", "DestinationRule": "destinationrules",
}
Spec = dict[str, Any]


class Secured:
    """A cluster whose pods have service accounts with certificates."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.ca = root()
        self._stored: list[tuple[str, str, str]] = []

    def certify(self, account: str, lifetime: float = 3600) -> Pair:
        pair = issue(self.ca, f"spiffe://cluster.local/ns/default/sa/{account}", lifetime)
        data = {"cert-chain.pem": pair.certificate, "key.pem": pair.key, "root-cert.pem": self.ca.certificate}
        self.cluster.put("secrets", {
            "metadata": {"name": f"istio.{account}"}, "type": "istio.io/key-and-cert",
            "data": {name: base64.b64encode(text.encode()).decode() for name, text in data.items()},
        })
        return pair

    def store(self, kind: str, spec: Spec, name: str = "p", namespace: str = "default") -> InForce:
        api = "networking.istio.io/v1" if kind == "DestinationRule" else API
        self._stored.append((kind, namespace, name))
        revision = self.cluster.put(PLURALS[kind], {
            "apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec,
        })
        return self.cluster.in_force(PLURALS[kind], revision)

    def peers(self, mode: str, selector: str = "", ports: Spec | None = None, namespace: str = "default") -> InForce:
        spec: Spec = {"mtls": {"mode": mode}}
        if selector:
            spec["selector"] = {"matchLabels": {"app": selector}}
        if ports:
            spec["portLevelMtls"] = {number: {"mode": each} for number, each in ports.items()}
        return self.store("PeerAuthentication", spec, f"peers-{selector or 'all'}", namespace)

    def allow(self, *rules: Spec, name: str = "allow", action: str = "ALLOW", app: str = "svcb") -> InForce:
        return self.store("AuthorizationPolicy", {
            "selector": {"matchLabels": {"app": app}}, "action": action, "rules": list(rules),
        }, name)

    def clear(self) -> None:
        for kind, namespace, name in dict.fromkeys(self._stored):
            revision = self.cluster.put(PLURALS[kind], {
                "kind": kind, "metadata": {"name": name, "namespace": namespace}
            }, "DELETED")
        if self._stored:
            self.cluster.in_force(PLURALS[kind], revision)
        self._stored.clear()

    # Requests

    def call(self, path: str = "/", headers: dict[str, str] | None = None, pod: str = "svca-1", **more: Any) -> Answer:
        """From a pod with a sidecar."""
        return self.cluster.get(pod, f"http://svcb{path}", headers, **more)

    def plain(
        self, pod: str = "svcb-1", path: str = "/", headers: dict[str, str] | None = None, port: int = 8080
    ) -> int:
        """From somebody without a sidecar: the status, 0 where the connection was cut."""
        connection = http.client.HTTPConnection(self.cluster.pods[pod][0], port, timeout=30)
        try:
            connection.request("GET", path, headers=headers or {})
            return connection.getresponse().status
        except (ConnectionError, http.client.BadStatusLine):
            return 0
        finally:
            connection.close()

    def counter(self, pod: str, name: str) -> int:
        found = re.search(rf"^{re.escape(name)}: (\d+)$", self.cluster.admin(pod, "/stats").body.decode(), re.M)
        return int(found[1]) if found else 0

    def secured(self, do: Callable[[], object], pod: str = "svcb-1") -> int:
        """How many TLS handshakes a pod's sidecar made while `do` ran."""
        name = "ssl.handshake"

        def total() -> int:
            text = self.cluster.admin(pod, f"/stats?filter={name}$").body.decode()
            return sum(int(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith("listener."))

        before = total()
        do()
        return total() - before


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """svca and other (accounts of the same names), svcb behind a sidecar, db (TCP)."""
    cluster = Cluster(tmp_path_factory.mktemp("s"))
    try:
        found = Secured(cluster)
        for account in ("svca", "svcb", "other", "db"):
            found.certify(account)
        for name in ("svca", "svcb", "other"):
            cluster.service(name)
        cluster.service("db", port_name="tcp", port=5432)
        for name in ("svca", "svcb", "other", "db"):
            cluster.pod(f"{name}-1", name, account=name)
        for pod in list(cluster.pods):
            cluster.sidecar(pod)
        yield found
    finally:
        cluster.close()


@pytest.fixture
def mesh(shop: Secured) -> Iterator[Secured]:
    yield shop
    shop.clear()

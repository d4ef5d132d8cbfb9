"""`python -m meshlab.addons.metrics_adapter`: requests per second for autoscalers (meshlab/metrics-adapter), port 6443.

It serves custom.metrics.k8s.io by asking Prometheus, as prometheus-adapter does on clusters, for one metric:

    namespaces/NS/services/NAME/requests_per_second     of a service, as Mixer or the sidecars count them
    namespaces/NS/pods/NAME/requests_per_second         of a pod, or of all that a selector chooses: NAME `*`

A pod's requests are counted where the sidecars' own metrics are scraped: with today's Prometheus.
"""

from __future__ import annotations

import argparse
import os
import re
import ssl
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from meshlab.addons.prom import Prometheus, PrometheusError
from meshlab.mesh.web import Answer, Request, Server, to_json

__all__ = ["Adapter", "main"]

GROUP, VERSIONS = "custom.metrics.k8s.io", ("v1beta2", "v1beta1")
METRIC = "requests_per_second"
#: Seconds over which requests are counted: six scrapes, so that one that is late does not show.
WINDOW = 30
#: Kind and apiVersion of what is described, by plural.
KINDS = {"pods": ("Pod", "v1"), "services": ("Service", "v1")}
Item = dict[str, Any]
#: What a name may be that stands in a query: a path of the API can hold anything.
NAME = re.compile(r"[a-z0-9.-]+")
#: Names of the pods of a namespace that a selector chooses.
Chosen = Callable[[str, str], Sequence[str]]


class Adapter:
    """The handler: `Adapter(prometheus, chosen).handle`."""

    def __init__(self, prometheus: Prometheus, chosen: Chosen) -> None:
        self._prometheus, self._chosen = prometheus, chosen

    def handle(self, request: Request) -> Answer:
        match request.path.strip("/").split("/"):
            case ["apis", group, version] if group == GROUP and version in VERSIONS:
                return to_json(_discovery(version))
            case ["apis", group, version, "namespaces", namespace, plural, name, metric] if (
                    group == GROUP and version in VERSIONS and plural in KINDS):
                if metric != METRIC:
                    return _status(404, "NotFound", f"the server could not find the metric {metric} for {plural}")
                if not NAME.fullmatch(namespace) or (name != "*" and not NAME.fullmatch(name)):
                    return _status(404, "NotFound", f"nothing is called {namespace}/{name}")
                try:
                    amounts = self._amounts(namespace, plural, name, request.query.get("labelSelector", ""))
                except PrometheusError as error:
                    return _status(503, "ServiceUnavailable", str(error))
                items = [_item(version, namespace, plural, each, amount) for each, amount in amounts.items()]
                return to_json({"kind": "MetricValueList", "apiVersion": f"{GROUP}/{version}", "metadata": {},
                                "items": items})
        return _status(404, "NotFound", "the server could not find the requested resource")

    def _amounts(self, namespace: str, plural: str, name: str, selector: str) -> dict[str, float]:
        if plural == "services":
            return {name: sum(self._rates(_of_service(namespace, name)).values())}
        names = self._chosen(namespace, selector) if name == "*" else [name]
        rates = self._rates(_of_pods(namespace))
        # A pod that nobody calls has no series, and no requests.
        return {each: rates.get(each, 0.0) for each in names}

    def _rates(self, promql: str) -> dict[str, float]:
        return {row["metric"].get("pod", ""): float(row["value"][1]) for row in self._prometheus.query(promql)}


def _of_service(namespace: str, name: str) -> str:
    """Requests to a service: the sidecars' own count where there is one, else Mixer's."""
    today = f'istio_requests_total{{reporter="destination",destination_service=~"{name}[.]{namespace}([.].*)?"}}'
    old = f'istio_request_count{{destination_service="{name}.{namespace}.svc.cluster.local"}}'
    return f"sum(rate({today}[{WINDOW}s])) or sum(rate({old}[{WINDOW}s]))"


def _of_pods(namespace: str) -> str:
    return f'sum(rate(istio_requests_total{{reporter="destination",namespace="{namespace}"}}[{WINDOW}s])) by (pod)'


def _item(version: str, namespace: str, plural: str, name: str, amount: float) -> Item:
    kind, api_version = KINDS[plural]
    metric: Item = {"metricName": METRIC} if version == "v1beta1" else {"metric": {"name": METRIC, "selector": None}}
    return {
        "describedObject": {"kind": kind, "namespace": namespace, "name": name, "apiVersion": api_version},
        **metric, "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "windowSeconds": WINDOW,
        "value": f"{round(amount * 1000)}m",
    }


def _discovery(version: str) -> Mapping[str, Any]:
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/{version}", "resources": [
        {"name": f"{plural}/{METRIC}", "singularName": "", "namespaced": True, "kind": "MetricValueList",
         "verbs": ["get"]} for plural in KINDS]}


def _status(code: int, reason: str, message: str) -> Answer:
    return to_json({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
                    "reason": reason, "code": code}, code)


def certificate() -> ssl.SSLContext:
    """One of this program's own: the API server does not ask who signed it."""
    import trustme

    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("metrics-adapter.istio-system.svc").configure_cert(made)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until it is killed."""
    from meshlab.kube import Kube

    parser = argparse.ArgumentParser(prog="metrics-adapter")
    parser.add_argument("--prometheus-url", default="http://prometheus.istio-system:9090")
    parser.add_argument("--port", type=int, default=6443)
    options = parser.parse_args(argv)
    kube = Kube.from_kubeconfig(None)

    def chosen(namespace: str, selector: str) -> Sequence[str]:
        found = kube.list(("v1", "pods", namespace), label_selector=selector)
        return [pod["metadata"]["name"] for pod in found["items"]]

    adapter = Adapter(Prometheus(options.prometheus_url), chosen)
    try:
        server = Server((os.environ.get("POD_IP", "127.0.0.1"), options.port), adapter.handle, certificate())
    except OSError as error:
        print(f"metrics-adapter: cannot listen on {options.port}: {error}", file=sys.stderr)
        return 1
    server.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())

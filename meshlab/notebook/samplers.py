"""What live pictures of a service show, asked of Prometheus: how well, and how fast.

Asked by the names of 0.4, under which a cluster's Prometheus records today's metrics, too: its rules, and where today's
names are documented, are in manifests/cluster/addons/prometheus.yaml.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from meshlab.notebook.elsewhere import over

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["OVER", "quantiles", "success"]

#: Seconds that "now" is: scrapes are a second apart in the lab, and five of them bridge one that came late.
OVER = 5.0


def _host(service: str) -> str:
    return service if "." in service else f"{service}.default.svc.cluster.local"


def quantiles(lab: Lab, service: str, shares: tuple[float, ...] = (0.5, 0.99)) -> Callable[[], Mapping[str, float]]:
    """A sampler for `LivePlot`: milliseconds below which these shares of the requests to a service stay, now.

    Lines are called p50 and p99. Computed from buckets, as Prometheus does: below 5 ms on a straight line from 0.
    """
    now = over(lab, OVER)
    buckets = f'istio_request_duration_bucket{{destination_service="{_host(service)}"}}'

    def sample() -> Mapping[str, float]:
        found: dict[str, float] = {}
        for share in shares:
            answer = lab.prometheus.vector(f"histogram_quantile({share}, sum(rate({buckets}[{now}])) by (le))")
            found |= {f"p{share * 100:g}": 1000 * value for _, value in answer}
        return found

    return sample


def success(lab: Lab, *services: str) -> Callable[[], Mapping[str, float]]:
    """A sampler for `LivePlot`: which share (0 to 1) of the requests to each service is answered without a 5xx, now.

    A service that gets no requests has no share.
    """
    now, wanted = over(lab, OVER), {_host(service): service for service in services}
    some = f'destination_service=~"{"|".join(wanted)}"'

    def rate(extra: str) -> str:
        return f"sum(irate(istio_request_count{{{some}{extra}}}[{now}])) by (destination_service)"

    def sample() -> Mapping[str, float]:
        failed = f"{rate(',response_code=~' + chr(34) + '5.*' + chr(34))} or 0 * {rate('')}"
        answer = lab.prometheus.vector(f"1 - ({failed}) / {rate('')}")
        return {wanted[labels["destination_service"]]: value for labels, value in answer}

    return sample

"""Kinds that discovery names before their definition is stored.

The tutorial applies one file that holds definitions and, further down, objects of the kinds they define. The kubectl
of its day looked each kind up as it came to it. Today's looks all of them up before it sends the first object, finds
"no matches for kind", and makes its user apply the file twice. So discovery announces the kinds of Istio 0.4 from
the start. Nothing else does: a request for one is answered with 404 until its definition is there.
"""

from __future__ import annotations

from collections.abc import Iterable

from meshlab.cluster.api.registry import Resource

__all__ = ["ANNOUNCED", "announced"]

GROUP, VERSION = "config.istio.io", "v1alpha2"

#: Kind → plural, as the definitions of Istio 0.4.0 have them.
_KINDS = {
    "DestinationPolicy": "destinationpolicies",
    "EgressRule": "egressrules",
    "RouteRule": "routerules",
    "attributemanifest": "attributemanifests",
    "checknothing": "checknothings",
    "denier": "deniers",
    "kubernetes": "kuberneteses",
    "kubernetesenv": "kubernetesenvs",
    "listchecker": "listcheckers",
    "listentry": "listentries",
    "logentry": "logentries",
    "memquota": "memquotas",
    "metric": "metrics",
    "noop": "noops",
    "prometheus": "prometheuses",
    "quota": "quotas",
    "reportnothing": "reportnothings",
    "rule": "rules",
    "servicecontrol": "servicecontrols",
    "stackdriver": "stackdrivers",
    "statsd": "statsds",
    "stdio": "stdios",
}

ANNOUNCED = tuple(
    # Without list and watch, nobody who walks through all kinds asks for these; without a singular, `kubectl get quota`
    # still means resourcequotas.
    Resource(GROUP, VERSION, kind, plural, "", verbs=("create", "get", "patch"), custom=True)
    for kind, plural in _KINDS.items()
)


def announced(served: Iterable[Resource]) -> list[Resource]:
    """What is announced and not yet served."""
    known = {(r.group, r.plural) for r in served}
    return [r for r in ANNOUNCED if (r.group, r.plural) not in known]

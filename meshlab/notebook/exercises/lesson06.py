"""Exercises of lesson 06: what the graph is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshlab.notebook.elsewhere import over
from meshlab.notebook.exercise import Problem, Verdict

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["problems"]


def problems(lab: Lab) -> tuple[Problem, ...]:
    def two_versions(answer: object = None) -> Verdict:
        if lab.access.find("apps/v1", "Deployment", "default", "svcb-v0.2") is None:
            return Verdict.not_attempted("svcb has one version only")
        edges = [(source, target) for source, target, _ in lab.servicegraph(over(lab, 5)).edges]
        nodes = {target for source, target in edges if target.startswith("svcb") and source.startswith("svca")}
        if not nodes:
            return Verdict.not_attempted("no traffic from svca to svcb in the last five seconds")
        if len(nodes) < 2:
            return Verdict.not_yet("svca calls only {versions}", versions=", ".join(nodes))
        return Verdict.right("svca calls {versions}", versions=" and ".join(sorted(nodes)))

    def metric(answer: object) -> Verdict:
        if not answer:
            return Verdict.not_attempted("write the name of a metric")
        # Of the last hour: a sidecar forgets what it counted for a port that has become another protocol's.
        asked = f"count(last_over_time({answer}[1h]))"
        found = lab.prometheus.query(asked) if str(answer).isidentifier() else None
        if found is None or not len(found):
            return Verdict.not_yet("Prometheus knows no series of that name")
        if answer == "istio_tcp_bytes_received":
            return Verdict.right("bytes/sec on an edge is its rate")
        return Verdict.not_yet("that metric exists, and is not what an edge in bytes/sec shows")

    return (
        Problem(
            "two versions in one picture",
            "Make the graph show svca calling both versions of svcb.",
            two_versions,
            (
                "lab.deploy('svcb-v0.2') first",
                "lab.apply('rules/route-rules-svcb-v0.2-50.yaml')",
                "lab.load('http://svca/pay', rps=20, seconds=30), then wait three seconds: a rate needs two scrapes",
            ),
            "lab.deploy('svcb-v0.2'); lab.apply('rules/route-rules-svcb-v0.2-50.yaml'); "
            "lab.load('http://svca/pay', rps=20, seconds=30)",
        ),
        Problem(
            "bytes per second",
            "Which metric stands behind an edge that is labelled bytes/sec?",
            metric,
            ("lab.servicegraph asks for two metrics", "it counts what was received", "its name begins istio_tcp_"),
            "ex2.check('istio_tcp_bytes_received')",
        ),
    )

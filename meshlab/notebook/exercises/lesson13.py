"""Exercises of lesson 13: a converted way out, and a shift in today's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from meshlab.notebook.exercise import Problem, Verdict

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["problems"]


def problems(lab: Lab) -> tuple[Problem, ...]:
    def way_out(answer: object) -> Verdict:
        if not answer:
            return Verdict.not_attempted("hand in the YAML")
        try:
            found = [d for d in yaml.safe_load_all(str(answer)) if isinstance(d, dict)]
        except yaml.YAMLError as error:
            return Verdict.not_yet("that is no YAML: {error}", error=error)
        entries = [d for d in found if d.get("kind") == "ServiceEntry"]
        if not entries:
            return Verdict.not_yet("there is no ServiceEntry in it")
        if lab.network.external not in str(answer):
            return Verdict.not_yet("it does not mention {host}", host=lab.network.external)
        return Verdict.right("today the way out is a service that the mesh is told about")

    def shifted(answer: object = None) -> Verdict:
        if any(rule.get("kind") == "RouteRule" for rule in lab.rules()):
            return Verdict.not_yet("a RouteRule is in force: today's kinds are asked for")
        counts = lab.curl("http://svca/pay", n=60).by_upstream()
        if set(counts) == {"v0.2"}:
            return Verdict.right("60 of 60 by v0.2, and no RouteRule")
        return Verdict.not_attempted("60 requests were served by {counts}", counts=counts)

    return (
        Problem(
            "the way out, today",
            "Hand in today's YAML for the EgressRule of lesson 03.",
            way_out,
            ("istioctl convert -f demo/rules/enable-svcb-engress-rule.yaml", "lab.istioctl(…) returns what it prints"),
            "ex1.check(lab.istioctl('convert -f demo/rules/enable-svcb-engress-rule.yaml'))",
        ),
        Problem(
            "all to v0.2",
            "Send all of svcb's traffic to v0.2, with today's kinds only.",
            shifted,
            (
                "convert the rule of 100 %",
                "lab.apply takes the text that lab.istioctl returns",
            ),
            "lab.apply(str(lab.istioctl('convert -f demo/rules/route-rules-svcb-v0.2-100.yaml'))); ex2.check()",
        ),
    )

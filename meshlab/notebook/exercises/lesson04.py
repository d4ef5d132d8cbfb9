"""Exercises of lesson 04: the culprit, and the number that proves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshlab.notebook.chance import band
from meshlab.notebook.exercise import Problem, Verdict

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["problems"]


def problems(lab: Lab) -> tuple[Problem, ...]:
    def culprit(answer: object) -> Verdict:
        if not answer:
            return Verdict.not_attempted("write the path of the field, for example 'spec.selector'")
        text = str(answer).lower()
        if "name" in text and "port" in text:
            return Verdict.right("the port has no name, so the mesh takes it for TCP")
        if "label" in text or "selector" in text:
            return Verdict.not_yet("labels and selector are right: all four pods are behind the Service")
        if "precedence" in text or "weight" in text:
            return Verdict.not_yet("the rule is read and valid; it is just never asked")
        return Verdict.not_yet("the next hint may help")

    def proof(answer: object) -> Verdict:
        if answer is None:
            return Verdict.not_attempted("write a number of requests")
        limits = band(400, 0.5)
        if answer == limits.high + 1:
            return Verdict.right("chance explains {limits}", limits=limits)
        if isinstance(answer, int) and answer > limits.high:
            return Verdict.not_yet("{answer} proves it, but fewer do, too", answer=answer)
        return Verdict.not_yet("chance may give {answer}", answer=answer)

    return (
        Problem(
            "the culprit",
            "Which field, of which object, is missing?",
            culprit,
            (
                "compare svcb's Service with one that is HTTP for the mesh: "
                "kubectl get svc istio-ingress -n istio-system -o yaml",
                "compare what stands under `ports`",
                "Pilot takes a port's protocol from the beginning of its name: http, http2, grpc, mongo, redis; "
                "everything else is TCP",
            ),
            "culprit.check('spec.ports[0].name')",
        ),
        Problem(
            "enough",
            "Of 400 requests, from how many for v0.2 on would you say that 50/50 is not kept?",
            proof,
            ("band(400, 0.5) prints what chance explains", "the first number above it"),
            "ex2.check(band(400, 0.5).high + 1)",
        ),
    )

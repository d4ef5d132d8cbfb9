"""Exercises of lesson 09: a slow service, a refusal for some, and reading an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshlab.notebook.exercise import Problem, Verdict
from meshlab.notebook.inside import caller

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["problems"]

URL = "http://svcb/notify?msg=exercise"
DEGRADED = """lab.apply(\"\"\"
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: degrade}
spec:
  destination: {name: svcb}
  precedence: 9
  match: {request: {headers: {x-tier: {exact: free}}}}
  httpFault: {abort: {percent: 100, httpStatus: 429}}
\"\"\")"""


def problems(lab: Lab) -> tuple[Problem, ...]:
    def slow(answer: object = None) -> Verdict:
        ms = min(a.ms for a in lab.curl("http://svca/pay", n=3))  # a machine may be busy for a moment
        if ms < 100:
            return Verdict.not_attempted("svca answers after {ms:.0f} ms", ms=ms)
        if not 900 <= ms <= 1400:
            return Verdict.not_yet("svca answers after {ms:.0f} ms", ms=ms)
        return Verdict.right("svca answers after {ms:.0f} ms, and no program was changed", ms=ms)

    def degraded(answer: object = None) -> Verdict:
        with caller(lab) as judge:
            free = judge.send(URL, n=5, headers={"x-tier": "free"}).by_status()
            others = judge.send(URL, n=5).by_status()
        if free == {"200": 5} and others == {"200": 5}:
            return Verdict.not_attempted("everybody is served")
        if others != {"200": 5}:
            return Verdict.not_yet("those who pay get {others}", others=others)
        if free != {"429": 5}:
            return Verdict.not_yet("requests with x-tier: free get {free}", free=free)
        return Verdict.right("who does not pay is told 429, who pays is served")

    def status(answer: object) -> Verdict:
        if answer is None:
            return Verdict.not_attempted("write a status")
        if str(answer) == "504":
            return Verdict.right("gateway timeout: the sidecar stopped waiting")
        return Verdict.not_yet("{answer} means something else; look at the section on timeouts", answer=answer)

    return (
        Problem(
            "slow motion",
            "Make svca answer its client after about one second, without changing any program.",
            slow,
            ("svca waits for svcb", "a delay on requests to svcb", "knobs.set(delay=1.0)"),
            "knobs.set(delay=1.0); ex1.check()",
        ),
        Problem(
            "degradation",
            "svcb is short of breath. Let requests with the header x-tier: free get 429 at once, and serve the others.",
            degraded,
            (
                "a RouteRule with match.request.headers and httpFault.abort",
                "percent must be given: 0.4 does nothing without it",
                "lab.apply takes the YAML; higher precedence is asked first",
            ),
            DEGRADED,
        ),
        Problem(
            "who gave up",
            "A caller gets a status that svcb never sent, because its own sidecar waited no longer. Which status?",
            status,
            ("it is one of 500 to 504", "a gateway that times out"),
            "ex3.check('504')",
        ),
    )

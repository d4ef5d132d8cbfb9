"""Exercises of lesson 03: the two faces of "blocked", and a way out that changes nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from meshlab.capability import Capability
from meshlab.notebook.exercise import Problem, Verdict

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["problems"]

ADDED = {
    "X-Request-Id",
    "X-B3-Traceid",
    "X-B3-Spanid",
    "X-B3-Sampled",
    "X-Ot-Span-Context",
    "X-Forwarded-Proto",
    "X-Envoy-Decorator-Operation",
    "X-Istio-Attributes",
}
#: Requests of which one has to arrive.
TRIES = 3


def problems(lab: Lab) -> tuple[Problem, ...]:
    def received() -> list[str]:
        return [x for x in lab.kubectl("logs deployment/msgd -n external --tail=5").splitlines() if "GET /send" in x]

    def served() -> int:
        return lab.kubectl("logs deployment/msgd -n external").count("Msgd is serving the request")

    def hands_off(answer: object = None) -> Verdict:
        # A connection that svcb has kept from before the change is refused once, and closed, by today's sidecars.
        before = served()
        if not any(lab.curl("http://svca/pay") and served() > before for _ in range(TRIES)):
            return Verdict.not_yet("the request does not reach msgd")
        names = set(re.findall(r"([A-Z][\w-]+):\[", received()[-1]))
        if names >= ADDED:
            return Verdict.not_attempted("msgd still receives all eight headers")
        if seen := names & ADDED:
            return Verdict.not_yet("msgd still receives {names}", names=sorted(seen))
        return Verdict.right("msgd received only what svcb sent: {names}", names=", ".join(sorted(names)))

    def another(answer: object) -> Verdict:
        from meshlab.notebook.inside import caller

        if answer is None:
            return Verdict.not_attempted("write a port number")
        if not isinstance(answer, int) or answer in (80, 9997):
            return Verdict.not_yet("a number, and neither 80 nor 9997")
        with caller(lab) as inside:
            got = inside.curl(f"http://{lab.network.external}:{answer}/")
        refusals = (404,) if lab.engine.can(Capability.LEGACY_CONTROL_PLANE) else (404, 502)  # 502: today's Istio
        if got.status in refusals and got.headers.get("server") == "envoy":
            return Verdict.right(
                "404 from Envoy on port {answer}: some service of the mesh has it, and as HTTP", answer=answer
            )
        return Verdict.not_yet("a request to port {answer} gives: {got}", answer=answer, got=got.error or got.status)

    return (
        Problem(
            "hands off",
            "Allow msgd, but let no sidecar change the request.",
            hands_off,
            (
                "a sidecar adds headers only if it reads HTTP",
                "the rule has a field `protocol`",
                "for TCP, `service` must be an address; it is",
            ),
            "lab.apply(switch.yaml.replace('protocol: http', 'protocol: tcp')); ex1.check()",
        ),
        Problem(
            "another 404",
            "Nothing listens on the external host but msgd. Name another port than 80 on which a pod of the mesh "
            "gets a 404 from that host nevertheless.",
            another,
            (
                "which Services have a port whose name begins with http? kubectl get svc --all-namespaces -o yaml",
                "Pilot's and Mixer's Services have one each",
            ),
            "ex2.check(15003)",
        ),
    )

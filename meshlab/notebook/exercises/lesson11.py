"""Exercises of lesson 11: one path only, and which controller is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshlab.notebook.exercise import Problem, Verdict

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["problems"]

DOOR = "http://istio-ingress.istio-system"


def problems(lab: Lab) -> tuple[Problem, ...]:
    def one_path(answer: object = None) -> Verdict:
        shop = {"Host": "shop.example"}
        pay = lab.curl(f"{DOOR}/pay", headers=shop)[0]
        notify = lab.curl(f"{DOOR}/notify?msg=exercise", headers=shop)[0]
        if pay.status != 200:
            return Verdict.not_yet("/pay is answered {got}", got=pay.status or pay.error)
        if notify.served_by:
            return Verdict.not_attempted("/notify still leads to svcb or svca")
        return Verdict.right("the door leads to /pay and nowhere else")

    def controller(answer: object) -> Verdict:
        if not answer:
            return Verdict.not_attempted("write the annotation's key")
        if answer == "kubernetes.io/ingress.class":
            return Verdict.right("without it, 0.4's controller leaves the Ingress to others")
        return Verdict.not_yet("{answer} is not in the Ingress above", answer=answer)

    return (
        Problem(
            "one way in",
            "Let shop.example reach svca's /pay, and nothing else: /notify must get a 404 at the door.",
            one_path,
            (
                "the VirtualService has two routes; the last one takes everything",
                "a route with match: [{uri: {exact: /pay}}]",
                "take the route to svcb out",
            ),
            "apply the VirtualService with one http route only: match [{uri: {exact: /pay}}], destination svca",
        ),
        Problem(
            "which controller",
            "Which annotation makes an Ingress Istio's?",
            controller,
            ("it is in the Ingress above", "it ends in class"),
            "ex2.check('kubernetes.io/ingress.class')",
        ),
    )

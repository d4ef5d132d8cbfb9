"""Exercises of lesson 08: a needle in the mesh's log, and whose answer a status was."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from meshlab.capability import Capability
from meshlab.notebook.exercise import Problem, Verdict
from meshlab.phrases import tr

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["problems"]


def problems(lab: Lab) -> tuple[Problem, ...]:
    where = tr("the log of the whole mesh is Mixer's")
    if not lab.engine.can(Capability.MIXER):
        where = tr("svca's sidecar has a line for each request to it")
    # The same one whenever somebody looks at the exercises of this lab; of another lab another one.
    lab_id = lab.kubectl("get namespace default -o jsonpath={.metadata.uid}")
    path = f"/lesson-08/{hashlib.sha256(lab_id.encode()).hexdigest()[:6]}"
    lab.curl(f"http://svca{path}")

    def needle(answer: object) -> Verdict:
        if not answer:
            return Verdict.not_attempted("hand in the path")
        if answer == path:
            return Verdict.right("that was the request, and svca had no such page")
        return Verdict.not_yet("the request was another than {answer}", answer=answer)

    def whose(answer: object) -> Verdict:
        if not answer:
            return Verdict.not_attempted("hand in a flag of two letters")
        if str(answer).upper() == "UH":
            return Verdict.right("no healthy upstream: the rule is fine, the pods are missing")
        return Verdict.not_yet("{answer} has another cause; the table tells", answer=answer)

    return (
        Problem(
            "the needle",
            "Somebody has just asked svca for a page that it does not have; its path begins with /lesson-08. "
            "Find the whole path.",
            needle,
            (where, "responseCode is 404", "logged('/lesson-08')[-1]['url']"),
            "ex1.check(logged('/lesson-08')[-1]['url'])",
        ),
        Problem(
            "whose 503 is it",
            "A deployment has been scaled to nought. With which flag do its callers' sidecars log their 503?",
            whose,
            ("no pod is there", "U is for upstream"),
            "ex2.check('UH')",
        ),
    )

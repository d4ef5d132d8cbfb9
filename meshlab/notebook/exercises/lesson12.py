"""Exercises of lesson 12: a share without pods, pods without a rule, and an autoscaler's arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshlab.notebook.chance import band
from meshlab.notebook.exercise import Problem, Verdict
from meshlab.notebook.inside import caller

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["problems"]


def problems(lab: Lab) -> tuple[Problem, ...]:
    def tenth(answer: object = None) -> Verdict:
        with caller(lab) as judge:
            answers = judge.send("http://svcb/notify?msg=exercise", n=300, concurrency=4)
        counts = answers.by_version()
        old = counts.get("v0.1", 0)
        if old == 0:
            return Verdict.not_attempted("300 requests went to {counts}", counts=counts)
        if old not in band(300, 0.1):
            return Verdict.not_yet(
                "{old} of 300 went to v0.1, and chance explains {limits}", old=old, limits=band(300, 0.1)
            )
        if set(counts) != {"v0.1", "v0.2"}:
            return Verdict.not_yet("others take part, too: {counts}", counts=counts)
        return Verdict.right("{old} of 300 went to v0.1", old=old)

    def pods(answer: object) -> Verdict:
        if answer is None:
            return Verdict.not_attempted("write a number of pods")
        if answer == 19:
            return Verdict.right("1 of 20 is 5 %")
        return Verdict.not_yet("with {answer} beside it, the share of the new one is another", answer=answer)

    def wanted(answer: object) -> Verdict:
        if answer is None:
            return Verdict.not_attempted("write a number of pods")
        if answer == 6:
            return Verdict.right("4 × 90 / 60 = 6, and 6 pods use 60m each")
        return Verdict.not_yet("{answer} pods share the 360m that are used in all: is that 60m each?", answer=answer)

    return (
        Problem(
            "a tenth",
            "Give v0.1 ten of a hundred requests again, v0.2 the rest, v0.3 none.",
            tenth,
            (
                "a RouteRule with two routes and weights that add up to 100",
                "the canary's own rule is in force: replace it, or use a higher precedence",
                "canary.yaml(weight) writes one",
            ),
            "lab.apply(Canary(lab, lambda n: inside.send(URL, n=n), versions=('v0.2', 'v0.1')).yaml(10)); ex1.check()",
        ),
        Problem(
            "without a rule",
            "One pod of the new version, no rule: how many pods of the old one make the new one's share 5 %?",
            pods,
            ("pods take turns", "one of twenty is 5 %"),
            "ex2.check(19)",
        ),
        Problem(
            "the autoscaler's arithmetic",
            "Four pods use 90m each. The target is 60m, at most ten pods are allowed. How many does it ask for?",
            wanted,
            ("what do all of them use together?", "pods × measured / target, rounded up"),
            "ex3.check(6)",
        ),
    )

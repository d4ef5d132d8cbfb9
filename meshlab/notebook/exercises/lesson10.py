"""Exercises of lesson 10: refusing one thing, and naming an account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshlab.notebook.exercise import Problem, Verdict
from meshlab.notebook.inside import Inside

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["problems"]


def problems(lab: Lab) -> tuple[Problem, ...]:
    def admin(answer: object = None) -> Verdict:
        with Inside(lab, name="judge") as judge:
            closed = judge.curl("http://svcb/admin/users").status
            usual = judge.curl("http://svcb/notify?msg=exercise").status
        if closed != 403 and usual == 200:
            return Verdict.not_attempted(f"/admin is answered {closed}")
        if usual != 200:
            return Verdict.not_yet(f"/notify is answered {usual}: too much is refused")
        return Verdict.right("/admin is refused, all else is served")

    def name(answer: object) -> Verdict:
        if not answer:
            return Verdict.not_attempted("write the whole name")
        if answer == "spiffe://cluster.local/ns/default/sa/billing":
            return Verdict.right("trust domain, namespace, account")
        return Verdict.not_yet(f"{answer} is not the name that the certificate would hold")

    return (
        Problem(
            "no admin",
            "Refuse everything below /admin at svcb to everybody, and nothing else.",
            admin,
            (
                "a DENY policy names what is refused",
                "an ALLOW policy would refuse everything that it does not name",
                'action: DENY, paths: ["/admin*"]',
            ),
            "lab.apply(policy('default').replace('action: ALLOW', 'action: DENY').replace('/notify*', '/admin*')); "
            "ex1.check()",
        ),
        Problem(
            "a name of its own",
            "svcb is to run as the account `billing`, in the same namespace. Which name will its certificate hold?",
            name,
            ("compare with the certificate of the account `default` above", "it begins with spiffe://"),
            "ex2.check('spiffe://cluster.local/ns/default/sa/billing')",
        ),
    )

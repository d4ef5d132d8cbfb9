"""Exercises of lesson 10: refusing one thing, naming an account, and a token that is let in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshlab.notebook.exercise import Problem, Verdict
from meshlab.notebook.inside import caller
from meshlab.notebook.tokens import claims_of

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["problems"]


def problems(lab: Lab) -> tuple[Problem, ...]:
    def admin(answer: object = None) -> Verdict:
        with caller(lab) as judge:
            closed = judge.curl("http://svcb/admin/users").status
            usual = judge.curl("http://svcb/notify?msg=exercise").status
        if closed != 403 and usual == 200:
            return Verdict.not_attempted("/admin is answered {closed}", closed=closed)
        if usual != 200:
            return Verdict.not_yet("/notify is answered {usual}: too much is refused", usual=usual)
        return Verdict.right("/admin is refused, all else is served")

    def name(answer: object) -> Verdict:
        if not answer:
            return Verdict.not_attempted("write the whole name")
        if answer == "spiffe://cluster.local/ns/default/sa/billing":
            return Verdict.right("trust domain, namespace, account")
        return Verdict.not_yet("{answer} is not the name that the certificate would hold", answer=answer)

    def ticket(answer: object) -> Verdict:
        if not answer:
            return Verdict.not_attempted("hand in a token")
        try:
            said = claims_of(str(answer))
        except ValueError as error:
            return Verdict.not_yet("that is no token: {error}", error=error)
        if said.get("sub") != "carol":
            return Verdict.not_yet("it is made out to {subject}", subject=said.get("sub"))
        with caller(lab) as judge:
            without = judge.curl("http://svcb/notify?msg=exercise").status
            got = judge.curl("http://svcb/notify?msg=exercise", headers={"Authorization": f"Bearer {answer}"})
        if got.status != 200:
            return Verdict.not_yet("svcb's sidecar answers {status}: {body}", status=got.status, body=got.body)
        if without != 403:
            return Verdict.not_yet(
                "whoever has no token is answered {without}: the policy is not in force", without=without
            )
        return Verdict.right("Carol is let in, as {issuer}/carol", issuer=said["iss"])

    return (
        Problem(
            "a ticket for Carol",
            "Make out a token to carol with which she may call svcb, and hand it in.",
            ticket,
            (
                "who may is said by the policy buyers: kubectl get authorizationpolicy buyers -o yaml",
                "login.token(sub=…, …) signs whatever claims you name",
                "the claim is called groups, and is a list",
            ),
            'ex1.check(login.token(sub="carol", groups=["buyers"]))',
        ),
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
            "ex2.check()",
        ),
        Problem(
            "a name of its own",
            "svcb is to run as the account billing, in the same namespace. Which name will its certificate hold?",
            name,
            ("compare with the certificate of the account default above", "it begins with spiffe://"),
            "ex3.check('spiffe://cluster.local/ns/default/sa/billing')",
        ),
    )

"""Exercises of lesson 05: questions to Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshlab.errors import MeshlabError
from meshlab.notebook.exercise import Problem, Verdict
from meshlab.phrases import tr

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["problems"]

SVCB = 'destination_service="svcb.default.svc.cluster.local"'


def problems(lab: Lab) -> tuple[Problem, ...]:
    def compare(answer: object, right: str, what: str) -> Verdict:
        if not answer:
            return Verdict.not_attempted("write a query as text")
        try:
            before, mine, wanted = map(lab.prometheus.value, (right, str(answer), right))
        except (MeshlabError, ValueError, KeyError, IndexError) as error:
            return Verdict.not_yet("Prometheus does not answer it with one number: {error}", error=error)
        # Prometheus may have heard of more requests in between.
        if any(abs(mine - each) <= 0.001 * max(1.0, abs(each)) for each in (before, wanted)):
            return Verdict.right("{what}: {mine:g}", what=what, mine=mine)
        return Verdict.not_yet(
            "it gives {mine:g}, and it should be {wanted:g}: {what}", mine=mine, what=what, wanted=wanted
        )

    def failures(answer: object) -> Verdict:
        return compare(answer, f'sum(istio_request_count{{{SVCB},response_code=~"5.*"}})', tr("svcb's failures so far"))

    def share(answer: object) -> Verdict:
        right = f'sum(istio_request_count{{{SVCB},response_code!~"5.*"}}) / sum(istio_request_count{{{SVCB}}})'
        return compare(answer, right, tr("the share of svcb's requests that went well"))

    return (
        Problem(
            "count the failures",
            "Write the query that counts all requests to svcb so far that were answered 5xx.",
            failures,
            ("istio_request_count has a label response_code", 'a pattern is matched by =~"5.*"', "sum(…) adds series"),
            f"""ex1.check('sum(istio_request_count{{{SVCB},response_code=~"5.*"}})')""",
        ),
        Problem(
            "a success rate",
            "Write the query for the share (0 to 1) of all requests to svcb so far that were not answered 5xx.",
            share,
            ('response_code!~"5.*"', "divide one sum by another"),
            f"""ex2.check('sum(istio_request_count{{{SVCB},response_code!~"5.*"}}) """
            f"""/ sum(istio_request_count{{{SVCB}}})')""",
        ),
    )

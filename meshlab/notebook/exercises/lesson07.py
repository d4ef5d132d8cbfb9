"""Exercises of lesson 07: a trace of one's own, and the headers that keep traces whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshlab.notebook.exercise import Problem, Verdict

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["problems"]

HEADERS = {
    "x-request-id", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags",
    "x-ot-span-context",
}  # fmt: skip


def problems(lab: Lab) -> tuple[Problem, ...]:
    def mine(answer: object) -> Verdict:
        if not answer:
            return Verdict.not_attempted("hand in the id that you sent, 16 hexadecimal digits")
        spans = [s for t in lab.traces(limit=200, minutes=10) for s in t if s["traceId"].endswith(str(answer))]
        if not spans:
            return Verdict.not_yet("Zipkin has no span with that id; spans come in batches, so wait a few seconds")
        return Verdict.right(
            "{count} spans, of {services}",
            count=len(spans),
            services=", ".join({s["localEndpoint"]["serviceName"] for s in spans}),
        )

    def headers(answer: object) -> Verdict:
        if not isinstance(answer, (set, list, tuple)) or not answer:
            return Verdict.not_attempted("write a set of header names")
        given = {str(name).lower() for name in answer}
        if lacking := HEADERS - given:
            return Verdict.not_yet("{count} are missing", count=len(lacking))
        if more := given - HEADERS:
            return Verdict.not_yet("{names} need not be copied", names=", ".join(sorted(more)))
        return Verdict.right("a program that hands on these keeps a trace in one piece")

    return (
        Problem(
            "a trace of your own",
            "Send five requests to svca with a trace id of your own, and hand in the id.",
            mine,
            (
                "lab.curl takes headers={…}",
                "x-b3-traceid, x-b3-spanid: 16 hexadecimal digits each; x-b3-sampled: 1",
                "secrets.token_hex(8) makes such an id",
            ),
            'i = "00000000deadbeef"; '
            'lab.curl("http://svca/pay", n=5, headers={"x-b3-traceid": i, "x-b3-spanid": i, "x-b3-sampled": "1"}); '
            "ex1.check(i)",
        ),
        Problem(
            "hand on",
            "Which headers must a program copy from the request that it gets to those that it sends?",
            headers,
            ("there are seven", "one is Envoy's own id, five are b3, one is OpenTracing's"),
            f"ex2.check({sorted(HEADERS)})",
        ),
    )

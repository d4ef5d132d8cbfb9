"""The explanation in a sentence or two: whose answer it is, and why."""

from __future__ import annotations

from meshlab.phrases import tr
from meshlab.sidecars.explanation import Hop, Outcome, Place
from meshlab.sidecars.hops import COPY, UNREAD
from meshlab.sidecars.order import Answered

__all__ = ["verdict"]

#: Statuses from here on tell a caller that it did not work.
FAILURE = 400


def verdict(root: Hop, answered: Answered, *, complete: bool) -> str:
    """Says where it ended first of all, then what the caller saw of it. `complete`: nothing remained unknown."""
    hops = [hop for _, hop in root.walk()]
    copies = {id(each) for hop in hops if hop.note == tr(COPY) for _, each in hop.walk()}
    ended = [hop for hop in hops if hop.outcome is Outcome.ENDED and id(hop) not in copies]
    # Whose caller went away did not fail: the caller's own hop says why it went.
    failed = [
        hop
        for hop in hops
        if hop.outcome is Outcome.FAILED and hop.place is not Place.CALLER and "DC" not in hop.flags.split(",")
    ]
    said = str(answered.status) if answered.status else answered.error
    if ended:
        return _ended(ended[-1], said, root)
    if failed:
        hop = failed[-1]
        flags = "; ".join(hop.facts_of("flag"))
        return tr(
            "{who} passed it on and got no good answer: {flags}. The caller saw {said}.",
            who=_who(hop),
            flags=flags,
            said=said,
        )
    unread = [hop for hop in hops if hop.place is Place.OUTBOUND and hop.fact("listener").startswith(tr(UNREAD))]
    last = next((hop for hop in reversed(hops) if id(hop) not in copies), root)
    if unread:
        return tr(
            "No sidecar read the request on the way out of {app}: {because}. The caller saw {said}.",
            app=unread[0].app,
            because=unread[0].fact("because"),
            said=said,
        )
    if any(hop.outcome is Outcome.UNKNOWN for hop in hops):
        return tr("The caller saw {said}; not every station is known.", said=said)
    rules = list(dict.fromkeys(hop.rule for hop in hops if hop.rule and id(hop) not in copies))
    by = tr(", led by {rules}", rules=", ".join(rules)) if rules else ""
    end = f"{last.app} {last.version}".strip()
    if not complete:
        return tr(
            "Every proxy that is known passed it on{by}; behind {end} not all can be known. The caller saw {said}.",
            by=by,
            end=end,
            said=said,
        )
    return tr(
        "Every proxy passed it on{by}; it went as far as {end}. The caller saw {said}.", by=by, end=end, said=said
    )


def _ended(hop: Hop, said: str, root: Hop) -> str:
    whys = [*hop.facts_of("flag"), *([host] if (host := hop.fact("host")) and hop.fact("route") == "" else [])]
    why = "; ".join(whys) or hop.fact("because") or hop.fact("route") or hop.fact("listener")
    rule = tr(" by {rule}", rule=hop.rule) if hop.rule and not hop.rule.startswith(("(", "（")) else ""
    text = tr("It ended at {who}{rule}: {why}. Nobody behind it was asked.", who=_who(hop), rule=rule, why=why)
    if 0 < root.code < FAILURE <= (hop.code or FAILURE):
        saw = tr("The caller saw {said} all the same: a program on the way did not pass the failure on.", said=said)
    else:
        saw = tr("The caller saw {said}.", said=said)
    return f"{text} {saw}"


def _who(hop: Hop) -> str:
    if hop.place is Place.OUTBOUND:
        return tr("{app}'s sidecar on the way out", app=hop.app)
    if hop.place is Place.INBOUND:
        return tr("{app}'s sidecar on the way in", app=hop.app)
    return hop.app

"""The house picture: each pod a house with its rooms, the request's way through them, and who stopped it.

    ┌ svca v0.1 ──────────────┐      ┌ svcb v0.2 ───────────┐
    │ way in  program  way out│ ───→ │ way in  program  …   │
    └─────────────────────────┘      └──────────────────────┘

One SVG without script, font or address of the outside; colours are never the only sign. Texts take the colour of their
surroundings, as in the other pictures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from meshlab.addons.svg import escape
from meshlab.columns import columns, wrapped
from meshlab.phrases import tr
from meshlab.sidecars.explanation import Explanation, Hop, Outcome, Place
from meshlab.sidecars.hops import COPY, UNREAD

__all__ = ["house", "in_words"]

ROOM, GAP, HIGH = 92, 64, 62
MARGIN, ROOF, ROW = 10, 22, 12
#: The text below a house: how many lines, how high, and how wide a character is on average.
LINES, LINE, CHARACTER = 4, 13, 5.3
TEXT = LINES * LINE + 8
#: Characters of a label in a room.
SHORT = 14
GOOD, BAD, OPEN = "#009e73", "#c0262d", "#7f7f7f"
_FONT = 'font-family="system-ui,sans-serif" fill="currentColor"'
_SIGNS = {
    Outcome.PASSED: ("✓", GOOD),
    Outcome.ENDED: ("✗", BAD),
    Outcome.FAILED: ("✗", BAD),
    Outcome.UNKNOWN: ("?", OPEN),
}


@dataclass
class _House:
    """A pod on the way: its rooms from left to right, and the houses behind it."""

    where: str
    title: str
    rooms: list[Hop]
    note: str = ""
    behind: list[_House] = field(default_factory=list)
    #: Place on the drawing, in pixels.
    x: float = 0
    y: float = 0

    @property
    def width(self) -> float:
        return ROOM * max(1, len(self.rooms))


def _called(place: Place) -> str:
    """What a room is called."""
    match place:
        case Place.INBOUND:
            return tr("way in")
        case Place.PROGRAM:
            return tr("program")
        case Place.OUTBOUND:
            return tr("way out")
        case Place.CALLER:
            return tr("caller")
        case Place.GATEWAY:
            return tr("gateway")
        case Place.OUTSIDE:
            return tr("no sidecar")


def house(explanation: Explanation) -> str:
    """The picture. Its description tells the same in words."""
    first = _built(explanation.root)
    rows = _placed(first, MARGIN, MARGIN + ROOF, 0)
    houses = list(_all(first))
    width = max(
        each.x + max(each.width, *(CHARACTER * columns(line) for line in _below(each) or [""])) for each in houses
    )
    width += MARGIN
    height = MARGIN + rows * (ROOF + HIGH + TEXT + ROW)
    body = "".join(_drawn(each) for each in houses)
    words = in_words(explanation)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(words)}" width="{width:g}" '
        f'height="{height:g}" viewBox="0 0 {width:g} {height:g}" style="max-width:100%;height:auto">'
        f"<title>{escape(explanation.request)}</title><desc>{escape(words)}</desc>{body}</svg>"
        f'<p style="margin:0.3em 0">{escape(explanation.verdict)}</p>'
    )


def in_words(explanation: Explanation) -> str:
    """What the picture shows, for those who do not see it."""
    way = []
    for hop in explanation.hops:
        sign = {
            Outcome.ENDED: tr(", where it ended"),
            Outcome.FAILED: tr(", with no good answer from behind"),
        }.get(hop.outcome, "")
        rule = tr(" by {rule}", rule=hop.rule) if hop.rule else ""
        way.append(f"{hop.app} {hop.version}".strip() + f" ({_called(hop.place)}{rule}){sign}")
    return f"{explanation.request}: {' → '.join(way)}. {explanation.verdict}"


def _built(hop: Hop) -> _House:
    """A hop and those behind it that are in the same pod are one house."""
    found = _House(hop.where, f"{hop.app} {hop.version}".strip(), [hop], hop.note)
    waiting = [hop]
    while waiting:
        for each in waiting.pop().children:
            if each.where == found.where and each.place is not Place.INBOUND:
                found.rooms.append(each)
                waiting.append(each)
            else:
                found.behind.append(_built(each))
    return found


def _placed(one: _House, x: float, y: float, row: int) -> int:
    """Sets places; the number of rows that a house and those behind it need."""
    one.x, one.y = x, y + row * (ROOF + HIGH + TEXT + ROW)
    used = 0
    for each in one.behind:
        used += _placed(each, x + one.width + GAP, y, row + used)
    return max(1, used)


def _all(one: _House) -> Iterator[_House]:
    yield one
    for each in one.behind:
        yield from _all(each)


def _drawn(one: _House) -> str:
    x, y = one.x, one.y
    failed = any(hop.outcome in (Outcome.ENDED, Outcome.FAILED) for hop in one.rooms)
    edge = BAD if failed else "currentColor"
    title = one.title + (f" ({re.split('[:：]', one.note)[0]})" if one.note else "")
    parts = [
        f"<g><title>{escape(one.where)}</title>",
        f'<path d="M{x} {y} l10 -{ROOF - 8} h{one.width - 20} l10 {ROOF - 8}" fill="none" stroke="{edge}" '
        'stroke-opacity=".7"/>',
        f'<rect x="{x}" y="{y}" width="{one.width}" height="{HIGH}" fill="none" stroke="{edge}" stroke-opacity=".7"/>',
        _text(x + one.width / 2, y - 2, title, 11, "middle", bold=True),
    ]
    for number, hop in enumerate(one.rooms):
        parts.append(_room(hop, x + number * ROOM, y, last=number == len(one.rooms) - 1))
    for number, line in enumerate(_below(one)):
        parts.append(_text(x, y + HIGH + 14 + LINE * number, line, 10))
    parts.append("</g>")
    for each in one.behind:
        parts.append(_arrow(x + one.width, y + HIGH / 2, each))
    return "".join(parts)


def _room(hop: Hop, x: float, y: float, *, last: bool) -> str:
    sign, colour = _SIGNS[hop.outcome]
    wall = "" if last else f'<path d="M{x + ROOM} {y}v{HIGH}" stroke="currentColor" stroke-opacity=".3"/>'
    code = str(hop.code) if hop.code else ""
    if hop.flags:
        code = f"{code} {hop.flags}".strip()
    time = (
        f"{hop.ms:.1f} ms"
        if hop.ms is not None and hop.place is Place.CALLER
        else (f"{hop.ms:.0f} ms" if hop.ms is not None else "")
    )
    details = "\n".join(f"{tr(fact.label)}: {fact.text}" for fact in hop.facts)
    return (
        f"<g><title>{escape(details)}</title>"
        f'<rect x="{x + 3}" y="{y + 3}" width="{ROOM - 6}" height="{HIGH - 6}" rx="3" fill="{colour}" '
        'fill-opacity=".12"/>'
        + _text(x + ROOM / 2, y + 17, f"{sign} {_called(hop.place)}", 11, "middle")
        + _text(x + ROOM / 2, y + 34, _cut(code, SHORT), 11, "middle", bold=True)
        + _text(x + ROOM / 2, y + 50, time, 10, "middle")
        + "</g>"
        + wall
    )


def _below(one: _House) -> list[str]:
    """The rules that took it in this house, and what stopped it, in lines that fit below it."""
    found = []
    for hop in one.rooms:
        if hop.rule:
            found.append(f"{_called(hop.place)}: {hop.rule}")
        elif hop.place is Place.OUTBOUND:
            unread = hop.fact("listener").startswith(tr(UNREAD))
            route = tr("TCP, no rule is asked") if unread else hop.fact("route") or tr("no route")
            found.append(f"{_called(hop.place)}: {route}")
        if hop.outcome in (Outcome.ENDED, Outcome.FAILED):
            found += hop.facts_of("flag") or hop.facts_of("because")[:1]
    room = one.width + (0 if len(one.behind) > 1 else GAP)  # arrows that branch off cross what is there
    lines = [line for text in found for line in wrapped(text, int(room / CHARACTER) - 2)]
    return lines if len(lines) <= LINES else [*lines[: LINES - 1], _cut(lines[LINES - 1] + " …", len(lines[LINES - 1]))]


def _arrow(x: float, y: float, to: _House) -> str:
    end_y, end_x = to.y + HIGH / 2, to.x - 4
    middle = (x + end_x) / 2
    dashed = ' stroke-dasharray="4 3"' if to.note == tr(COPY) else ""
    tls = re.split("[,，]", to.rooms[0].fact("TLS"))[0].replace(tr("mutual TLS between sidecars"), "mTLS")
    label = _text(middle, (y + end_y) / 2 - 5, tls, 10, "middle") if tls else ""
    return label + (
        f'<path d="M{x} {y} C{middle} {y} {middle} {end_y} {end_x - 4} {end_y}" fill="none" '
        f'stroke="currentColor"{dashed}/>'
        f'<path d="M{end_x} {end_y} l-8 -4 v8 z" fill="currentColor"/>'
    )


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _text(x: float, y: float, text: str, size: int, anchor: str = "start", *, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}"{weight} {_FONT}>{escape(text)}</text>'

"""No document of today's API, however odd, makes a verdict, a translation or an analysis fail."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from today_cases import obj

from meshlab.mesh.config.admission import review
from meshlab.mesh.config.analyze.run import analyze
from meshlab.mesh.config.analyze.subject import read_file
from meshlab.mesh.config.convert.stream import convert
from meshlab.mesh.config.today.kinds import GATEWAY_API, kinds
from meshlab.mesh.config.today.schema import Schema
from meshlab.mesh.config.today.stored import Stored
from meshlab.mesh.config.today.translate import translate
from meshlab.mesh.config.today.validate import problems

TEXTS = st.sampled_from(
    ("", "a", "svcb", "svcb.default.svc.cluster.local", "*", "*.a.com", "10.0.0.1", "10.0.0.0/8", "1s", "5xx,503", "/a",
     "https://a/b", "mesh", "g", "80", "-1", "ü", "a" * 300, "{", "HTTP", "unix:///a", "ns/name", "x.invalid", "(")
)  # fmt: skip
NUMBERS = st.sampled_from((-1, 0, 1, 80, 100, 503, 65536, 0.5, 2**40))
ODD = st.one_of(
    st.none(), TEXTS, NUMBERS, st.booleans(), st.just([]), st.just({}), st.just([None]), st.just({"a": None})
)


def values(schema: Schema, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values that mostly fit a schema."""
    if not schema.type or depth > 8:
        return ODD
    if schema.enum:
        fitting: st.SearchStrategy[Any] = st.sampled_from(schema.enum)
    elif schema.type == "string":
        fitting = TEXTS
    elif schema.type in ("integer", "number"):
        fitting = NUMBERS
    elif schema.type == "boolean":
        fitting = st.booleans()
    elif schema.type == "array":
        fitting = st.lists(values(schema.items or Schema(""), depth + 1), max_size=2)
    elif schema.items is not None:
        fitting = st.dictionaries(TEXTS, values(schema.items, depth + 1), max_size=2)
    else:
        required = {name: values(schema.properties[name], depth + 1) for name in schema.required}
        others = {n: st.deferred(lambda c=c: values(c, depth + 1)) for n, c in schema.properties.items()  # type: ignore[misc]
                  if n not in required}  # fmt: skip
        chosen = st.lists(st.sampled_from(sorted(others)), max_size=4, unique=True) if others else st.just([])
        fitting = st.tuples(st.fixed_dictionaries(required), chosen).flatmap(
            lambda found: st.fixed_dictionaries({n: others[n] for n in found[1]}).map(lambda more: found[0] | more)
        )
    return st.integers(0, 19).flatmap(lambda dice: ODD if dice == 0 else fitting)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(list(kinds().values())))
    return obj(kind.kind, draw(values(kind.spec)), kind.api_version)


@settings(max_examples=250)
@given(st.lists(documents(), min_size=1, max_size=3))
def test_odd_documents_are_judged_translated_and_analyzed_or_refused(listed: list[dict[str, Any]]) -> None:
    for each in listed:
        if not problems(each) and each["kind"] != "GatewayClass":
            translate(Stored.of(each))
        assert review({"request": {"uid": "u", "object": each}})["response"]["allowed"] == (not problems(each))
    text = yaml.safe_dump_all(listed, allow_unicode=True)
    for finding in analyze(read_file(text, "f")):
        assert finding.place.startswith("f:")
    convert(text)


def test_every_kind_is_among_the_odd_documents() -> None:
    assert len(kinds()) == 14 and sum(group == GATEWAY_API for group, _ in kinds()) == 4

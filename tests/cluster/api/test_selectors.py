"""Selectors: what they select, and what is said of one that does not parse."""

from __future__ import annotations

import pytest

from meshlab.cluster.api.selectors import SelectorError, field_selector, label_selector, selector_object

OBJECTS = {
    "one": {"tier": "web", "n": "1"},
    "two": {"tier": "db", "n": "2"},
    "three": {"other": ""},
}


def selected(text: str) -> list[str]:
    match = label_selector(text)
    return [name for name, labels in OBJECTS.items() if match is None or match({"metadata": {"labels": labels}})]


@pytest.mark.parametrize(("text", "names"), [
    ("", ["one", "two", "three"]),
    ("tier", ["one", "two"]),
    ("!tier", ["three"]),
    ("tier=web", ["one"]),
    ("tier==web", ["one"]),
    ("tier!=web", ["two", "three"]),
    ("tier in (web, db)", ["one", "two"]),
    ("tier notin (web)", ["two", "three"]),
    ("tier,tier notin (web)", ["two"]),
    ("n>1", ["two"]),
    ("n<2", ["one"]),
    ("other=", ["three"]),
    ("other in ()", []),
    ("other in (,)", ["three"]),
    ("in in (in)", []),
    (" tier = web , n = 1 ", ["one"]),
])
def test_labels_select(text: str, names: list[str]) -> None:
    assert selected(text) == names


@pytest.mark.parametrize(("text", "message"), [
    ("a===b", "found '=', expected: identifier"),
    ("a,", "found '', expected: identifier after ','"),
    (",a", "found ',', expected: !, identifier, or 'end of string'"),
    ("a b", "found 'b', expected: in, notin, =, ==, !=, gt, lt"),
    ("a in b", "found 'b' expected: '('"),
    ("a in (b", "found '', expected: ',', ')' or identifier"),
    ("-a=b", "<nil>: Invalid value: \"-a\": name part must consist"),
    ("a=b b", "found 'b', expected: ',' or 'end of string'"),
    ("a=" + "x" * 64, "must be no more than 63 bytes"),
    ("a>b", "for 'Gt', 'Lt' operators, the value must be an integer"),
])
def test_errors_are_worded_as_the_real_ones(text: str, message: str) -> None:
    with pytest.raises(SelectorError) as caught:
        label_selector(text)
    assert str(caught.value).startswith("unable to parse requirement: ")
    assert message in str(caught.value)


POD = {"metadata": {"name": "a", "namespace": "n"}, "spec": {"nodeName": "x"}, "status": {"phase": "Running"}}
FIELDS = ("spec.nodeName", "status.phase", "spec.hostNetwork")


@pytest.mark.parametrize(("text", "yes"), [
    ("metadata.name=a", True),
    ("metadata.name!=a", False),
    ("metadata.name=a,status.phase=Running", True),
    ("status.phase!=Running", False),
    ("spec.hostNetwork=false", True),
    ("spec.nodeName=", False),
])
def test_fields_select(text: str, yes: bool) -> None:
    match = field_selector(text, FIELDS)
    assert match is not None and match(POD) is yes


def test_unknown_fields_have_two_messages() -> None:
    with pytest.raises(SelectorError, match="is not a known field selector"):
        field_selector("x.y=1", ())
    with pytest.raises(SelectorError, match="field label not supported: "):
        field_selector("x.y=1", (), strict_names=True)


def test_a_missing_selector_selects_nothing_and_an_empty_one_everything() -> None:
    obj = {"metadata": {"labels": {"a": "b"}}}
    assert not selector_object(None)(obj)
    assert selector_object({})(obj)
    assert selector_object({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]})(obj)

"""Rules in CEL: what they see, when they apply, what they say."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from meshlab.cluster.api.cel import Rules, definition_causes, has_rules
from meshlab.cluster.api.cel.values import escaped

Object = dict[str, Any]


def schema(rule: str, place: Object | None = None, **rest: Any) -> Object:
    """A kind with `spec.value`, of the type of `place`, and a rule on it."""
    value = {**(place or {"type": "integer"}), "x-kubernetes-validations": [{"rule": rule, **rest}]}
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": {"value": value}}}}


def said(of: Object, value: Any, old: Any = None) -> list[tuple[str, str]]:
    def obj(value: Any) -> Object:
        return {"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "n"}, "spec": {"value": value}}

    return [(c.field, c.message) for c in Rules(of).check(obj(value), None if old is None else obj(old))]


TEXT, LIST = {"type": "string"}, {"type": "array", "items": {"type": "integer"}}
PAIR = {"type": "object", "properties": {"a": {"type": "integer"}, "namespace": {"type": "string"}}}


@pytest.mark.parametrize(
    ("rule", "place", "value", "holds"),
    [
        ("self > 1", None, 2, True),
        ("self > 1", None, 1, False),
        ("duration(self) >= duration('1ms')", TEXT, "5s", True),
        ("duration(self) >= duration('1ms')", TEXT, "0s", False),
        ("self > duration('1s')", {**TEXT, "format": "duration"}, "1m", True),
        ("self > timestamp('2020-01-01T00:00:00Z')", {**TEXT, "format": "date-time"}, "2021-01-01T00:00:00Z", True),
        ("isURL(self) && url(self).getScheme() in ['http', 'https']", TEXT, "http://a.b:80/c", True),
        ("isURL(self) && url(self).getScheme() in ['http', 'https']", TEXT, "ftp://a.b", False),
        ("url(self).getHostname() == 'a.b'", TEXT, "http://a.b:80/c", True),
        ("self.isSorted() && self.sum() == 6", LIST, [1, 2, 3], True),
        ("self.all(x, x > 0)", LIST, [1, -1], False),
        ("(has(self.a) ? 1 : 0) + (has(self.__namespace__) ? 1 : 0) <= 1", PAIR, {"a": 1, "namespace": "n"}, False),
        ("has(self.a)", PAIR, {"a": None}, False),
        ("self.?a.orValue(7) == 7", PAIR, {}, True),
        ("isQuantity(self) && quantity(self).isLessThan(quantity('2Gi'))", TEXT, "1Gi", True),
        ("isIP(self) || isCIDR(self)", TEXT, "10.0.0.0/8", True),
        ("self.lowerAscii() == 'abc'", TEXT, "ABC", True),
        ("self.find('[0-9]+') == '42'", TEXT, "a42b", True),
        ("type(self) == int || self == '50%'", {"x-kubernetes-int-or-string": True}, "50%", True),
    ],
)  # fmt: skip
def test_what_holds(rule: str, place: Object | None, value: Any, holds: bool) -> None:
    assert (said(schema(rule, place), value) == []) is holds


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ({}, ("spec.value", 'Invalid value: "integer": failed rule: self > 1')),
        ({"message": "too small"}, ("spec.value", 'Invalid value: "integer": too small')),
        ({"messageExpression": "string(self) + ' is few'"}, ("spec.value", 'Invalid value: "integer": 1 is few')),
        ({"message": "m", "messageExpression": "string(1/0)"}, ("spec.value", 'Invalid value: "integer": m')),
        ({"message": "no", "reason": "FieldValueForbidden"}, ("spec.value", "Forbidden: no")),
        ({"message": "no", "fieldPath": ".x"}, ("spec.value.x", 'Invalid value: "integer": no')),
    ],
)  # fmt: skip
def test_what_a_broken_rule_says(rest: Object, words: tuple[str, str]) -> None:
    assert said(schema("self > 1", **rest), 1) == [words]


def test_a_rule_without_a_value_says_why() -> None:
    numbers = {"type": "object", "additionalProperties": {"type": "integer"}}
    assert said(schema("self.q > 1", numbers, message="m"), {}) == [
        ("spec.value", 'Invalid value: "object": no such key: q evaluating rule: m')
    ]


@pytest.mark.parametrize(
    ("value", "old", "holds"), [(1, None, True), (2, 1, True), (1, 2, False), (1, 1, True)]
)
def test_rules_of_change_need_something_that_was(value: int, old: int | None, holds: bool) -> None:
    assert (said(schema("self >= oldSelf"), value, old) == []) is holds


@pytest.mark.parametrize(("value", "old", "holds"), [(5, None, False), (1, None, True), (5, 4, True)])
def test_what_was_may_be_optional(value: int, old: int | None, holds: bool) -> None:
    rule = "oldSelf.hasValue() || self == 1"
    assert (said(schema(rule, optionalOldSelf=True), value, old) == []) is holds


def test_elements_with_keys_are_known_again() -> None:
    items = {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer"}},
             "x-kubernetes-validations": [{"rule": "self.v >= oldSelf.v"}]}  # fmt: skip
    keyed = {"type": "array", "items": items, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    of = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"value": keyed}}}}
    old = [{"k": "a", "v": 1}, {"k": "b", "v": 5}]
    assert said(of, [{"k": "b", "v": 4}, {"k": "a", "v": 2}, {"k": "new", "v": 0}], old) == [
        ("spec.value[0]", 'Invalid value: "object": failed rule: self.v >= oldSelf.v')
    ]


def test_the_root_sees_the_name() -> None:
    of = {"type": "object", "x-kubernetes-validations": [{"rule": "self.metadata.name == 'n' && self.kind == 'X'"}]}
    assert said(of, 1) == []


def test_what_has_not_changed_is_let_be() -> None:
    assert said(schema("self > 1"), 1, 1) == []


def test_names_are_escaped() -> None:
    assert [escaped(n) for n in ("in", "a-b", "a.b", "a__b", "plain")] == [
        "__in__", "a__dash__b", "a__dot__b", "a__underscores__b", "plain"]


def test_definitions_with_bad_rules_are_refused() -> None:
    causes = definition_causes("s", schema("self.foo("))
    assert causes[0].field == "s.properties[spec].properties[value].x-kubernetes-validations[0].rule"
    assert "compilation failed: " in causes[0].message
    assert definition_causes("s", schema("nobody > 1"))[0].message.count("undeclared reference to 'nobody'") == 1
    assert definition_causes("s", schema("self > 1")) == []
    assert has_rules(schema("self > 1")) and not has_rules({"type": "object"})


@pytest.mark.parametrize("rule", ["self.all(k, v, v > 0)", "!format.dns1123Label().validate(self).hasValue()"])
def test_what_only_a_real_server_understands_is_kept_and_not_checked(rule: str) -> None:
    assert definition_causes("s", schema(rule)) == []
    assert said(schema(rule), 1) == []


def test_the_language_is_loaded_for_rules_only() -> None:
    code = (
        "import sys; from meshlab.cluster.api.cel import has_rules; import meshlab.cluster.api.crd; "
        "assert not has_rules({'type': 'object'}); assert not any('cel_expr' in m for m in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=180)

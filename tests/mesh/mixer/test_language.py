"""Attribute expressions and the values in them."""

from __future__ import annotations

from typing import Any

import pytest

from meshlab.mesh.mixer.expressions import Absent, ExpressionError, compile_expression
from meshlab.mesh.mixer.values import Duration, Timestamp, parse_duration, to_json_text


class Attributes(dict[str, Any]):
    def __missing__(self, name: str) -> Any:
        raise Absent(name)


BAG = Attributes({
    "source.service": "svca.default.svc.cluster.local", "source.labels": {"version": "v0.1"},
    "request.size": 7, "response.code": 503, "request.path": "/pay/now", "context.protocol": "http",
    "source.ip": "127.40.0.5", "response.duration": Duration(0.25), "empty": "",
})


@pytest.mark.parametrize(("text", "value"), [
    ("1", 1),
    ("2.5", 2.5),
    ('"Default"', "Default"),
    ("`raw\\n`", "raw\\n"),
    ("true", True),
    ("request.size", 7),
    ("request.size | 0", 7),
    ("request.missing | 0", 0),
    ('empty | "unknown"', "unknown"),
    ('request.missing | empty | "third"', "third"),
    ('source.labels["version"] | "unknown"', "v0.1"),
    ('source.labels["app"] | "unknown"', "unknown"),
    ('destination.labels["version"] | "unknown"', "unknown"),
    ('ip("0.0.0.0")', "0.0.0.0"),  # noqa: S104 - the value of 0.4's own default
    ('request.missing | "0ms"', Duration(0)),
    ('response.duration > 0 | 1', None),
    ('context.protocol == "http"', True),
    ('context.protocol != "http"', False),
    ('source.service == "svca.*"', True),
    ('request.path == "*/now"', True),
    ('match(request.path, "/pay*") && response.code == 503', True),
    # `|` binds before `==`, which binds before `&&`, which binds before `||`.
    ('request.missing | 503 == response.code', True),
    ('false && true || true', True),
    ('true || false && false', True),
    ('(true || false) && false', False),
    ('response.code == 200 && request.missing == "x"', False),
    ('timestamp("2017-08-21T10:04:00Z")', Timestamp(1503309840)),
])
def test_an_expression_has_this_value(text: str, value: Any) -> None:
    if value is None:
        with pytest.raises(ExpressionError):
            compile_expression(text)
    else:
        assert compile_expression(text).evaluate(BAG) == value


@pytest.mark.parametrize("text", [
    "", "  ", "1 +", '"open', "a.b[", 'a.b["x"', "unknown(1)", "ip()", 'ip("x")', "match(a.b)", "!a.b", "a b",
    ')', '1 2', 'a..b', '"x" |', 'a[1]]',
])
def test_nonsense_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ExpressionError, match="unable to parse expression"):
        compile_expression(text)


@pytest.mark.parametrize("text", ['request.size["x"]', 'match(request.size, "x*")', "ip(request.path)"])
def test_a_value_of_the_wrong_type_counts_as_absent(text: str) -> None:
    with pytest.raises(Absent):
        compile_expression(text).evaluate(BAG)


def test_an_absent_attribute_without_a_default_is_absent() -> None:
    with pytest.raises(Absent):
        compile_expression("request.missing").evaluate(BAG)


def test_an_expression_names_the_attributes_it_can_ask_for() -> None:
    expression = compile_expression('source.labels["v"] | request.path == "x" && true')
    assert expression.attributes == {"source.labels", "request.path"}


@pytest.mark.parametrize(("text", "seconds"), [
    ("0ms", 0), ("12.3ms", 0.0123), ("1h2m3s", 3723), ("-1.5s", -1.5), ("0", 0), ("1µs", 1e-6),
    ("", None), ("10", None), ("1x", None), ("ms", None), ("1s2", None),
])
def test_durations_read_as_in_go(text: str, seconds: float | None) -> None:
    found = parse_duration(text)
    assert found is None if seconds is None else found == pytest.approx(seconds)


@pytest.mark.parametrize(("value", "text"), [
    (Duration(0.0123), '"12.3ms"'), (Duration(1), '"1s"'), (Timestamp(1503309840.25), '"2017-08-21T10:04:00.250Z"'),
    ({"b": 1, "a": "x"}, '{"a":"x","b":1}'), (b"b", '"Yg=="'), ("支付", '"支付"'), ('"', '"\\""'), (True, "true"),
])
def test_the_log_writes_values_so(value: Any, text: str) -> None:
    assert to_json_text(value) == text

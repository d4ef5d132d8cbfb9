"""What Envoy would refuse, found before it is sent: in expressions and in whole rules."""

from __future__ import annotations

from typing import Any

import pytest
from translating import SVCB, V2, registry, rule, snapshot

from meshlab.mesh.config.v1alpha2 import config_from_object
from meshlab.mesh.pilot.check import route_problem
from meshlab.mesh.pilot.match import regex_problem


@pytest.mark.parametrize(
    "pattern",
    [
        "(?=a)",
        "(?<!a)b",
        r"(a)\1",
        "(",
        "a{2000}",
        "(?P<x>a)(?P=x)",
        "a++",
        "(?>a)",
        "(?x)a",
        "((a{100}){100})",
        r"[\b]",
        "[[:foo:]]",
        "(?#c)a",
    ],
)
def test_expressions_that_envoy_would_refuse_are_found_first(pattern: str) -> None:
    assert regex_problem(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "^(.*?;)?(user=jason)(;.*)?$",
        ".*",
        r"\d+\.\w*",
        "(?i)abc",
        "(?:a|b){2,5}",
        r"\\1",
        "[+]+",
        "a+?",
        "[0-9.*+-]+",
        "[[:alpha:]]",
        "(a{10}){10}",
        "a{100}b{100}c{900}",
        "(a*)*",
    ],
)
def test_ordinary_expressions_pass(pattern: str) -> None:
    assert regex_problem(pattern) == ""


@pytest.mark.parametrize(
    "spec",
    [
        {"appendHeaders": {"host": "x"}},
        {"appendHeaders": {":path": "x"}},
        {"appendHeaders": {"x-a": "1\n2"}},
        {"rewrite": {"uri": "/\r\n"}},
        {"match": {"request": {"headers": {"a\nb": {"exact": "1"}}}}},
    ],
)
def test_rules_that_envoy_would_refuse_are_left_out_with_a_reason(spec: dict[str, Any]) -> None:
    obj = {"kind": "RouteRule", "metadata": {"name": "r"}, "spec": {**SVCB, **spec}}
    assert route_problem(config_from_object(obj))


def test_an_invalid_rule_that_was_stored_is_a_problem_and_changes_nothing() -> None:
    target, plain = registry(), registry()
    rule(target, {**SVCB, "route": [{**V2, "weight": 50}]})
    assert snapshot(target).version == snapshot(plain).version
    (problem,) = target.world().problems
    assert problem.key == "route-rule/default/r"
    assert "50" in problem.reason

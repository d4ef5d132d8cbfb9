"""Expressions over requests: which of them are refused on write, since Envoy could not work with them."""

from __future__ import annotations

import pytest

from meshlab.mesh.config.today.expressions import expression_problem
from meshlab.mesh.config.today.validate import problems


@pytest.mark.parametrize(
    "text",
    [
        "response.code >= 400",
        "request.headers['x-user'] == 'a' ? 'x' : 'y'",
        "has(request.headers.a) && size(request.path) > 3",
        "request.path.matches('^/a+')",
        "connection.mtls || xds.cluster_name == 'a'",
    ],
)
def test_what_envoy_can_work_with_passes(text: str) -> None:
    assert expression_problem(text) == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("response.code >=", "Syntax error"),
        ("nothing.code == 1", "undeclared reference to 'nothing.code'"),
        ("nothing(1)", "undeclared reference to 'nothing'"),
        ("[1].all(x, x > 0)", "have no all()"),
        ("request.path.matches('(')", "'(' is no regular expression"),
        ("(" * 5000, "…"),
        ("", "Syntax error"),
    ],
)
def test_what_envoy_would_refuse_is_refused_with_a_reason(text: str, reason: str) -> None:
    assert reason in expression_problem(text)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"accessLogging": [{"filter": {"expression": "a +"}}]}, "accessLogging[0].filter: 'a +'"),
        (
            {"metrics": [{"overrides": [{"tagOverrides": {"t": {"value": "nothing(1)"}}}]}]},
            "metrics[0].overrides[0].tagOverrides[t]: 'nothing(1)'",
        ),
        ({"metrics": [{"overrides": [{"tagOverrides": {"t": {"value": "1 % 2"}}}]}]}, "% cannot be used"),
    ],
)
def test_a_telemetry_object_says_where(spec: dict[str, object], reason: str) -> None:
    obj = {"apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry", "metadata": {"name": "t"}, "spec": spec}
    (found,) = problems(obj)
    assert reason in found

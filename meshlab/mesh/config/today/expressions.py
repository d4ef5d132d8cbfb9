"""Expressions (CEL) over a request, in Telemetry: which of them Envoy can work with.

istiod looks at their grammar alone. Envoy refuses a listener in which one calls a function that it does not have, and a
sidecar that starts then has none of its listeners; so functions are looked at here, too, and with the same library that
the API server judges custom resources by. It takes 20 MB and is loaded for the first expression.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

__all__ = ["expression_problem", "is_text"]

#: What Envoy tells expressions of.
ATTRIBUTES = (
    "request", "response", "connection", "upstream", "source", "destination", "metadata", "filter_state",
    "upstream_filter_state", "xds",
)  # fmt: skip
#: What the language has and Envoy has switched off: loops over lists and maps, and making text of other values.
MISSING = re.compile(r"\b(all|exists|exists_one|map|filter|string)\s*\(")
PATTERN = re.compile(r"""\bmatches\s*\([^'"]*?(r?'[^'\\]*'|r?"[^"\\]*")\s*\)""")
#: Characters of an expression that an error repeats.
SHOWN = 60


def is_text(expression: str) -> bool:
    """Whether it is a constant: one text in quotes.

    >>> is_text("'a'"), is_text("request.path"), is_text("'a' == 'b'")
    (True, False, False)
    """
    return re.fullmatch(r"'[^'\\]*'|\"[^\"\\]*\"", expression) is not None


def expression_problem(text: str) -> str:
    """Why an expression is of no use, "" if it is."""
    shown = repr(text if len(text) <= SHOWN else text[:SHOWN] + "…")
    if found := MISSING.search(text):
        return f"{shown}: Envoy's expressions have no {found[1]}()"
    try:
        _environment().compile(text)
    except RuntimeError as error:
        return f"{shown}: {str(error).removeprefix('INVALID_ARGUMENT: ').splitlines()[0]}"
    # A pattern is looked at before the first request comes, too.
    for pattern in PATTERN.findall(text):
        found = _environment().compile(f"''.matches({pattern})").eval(data={})
        if found.plain_value() not in (True, False):
            return f"{shown}: {pattern} is no regular expression"
    return ""


@cache
def _environment() -> Any:
    from cel_expr_python import cel

    return cel.NewEnv(variables=dict.fromkeys(ATTRIBUTES, cel.Type.DYN))

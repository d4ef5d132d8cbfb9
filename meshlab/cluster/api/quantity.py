"""Quantities (`250m`, `64Mi`, `1e3`): parsed exactly and written the one way the API writes them."""

from __future__ import annotations

import re
from fractions import Fraction

__all__ = ["QuantityError", "canonical", "parse", "written"]

SHAPE = re.compile(r"^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$")
DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
SUFFIX = {power: suffix for suffix, power in DECIMAL.items()}
#: Finer than a nano is rounded up; more than 2^63-1 is cut off there.
FINEST, LARGEST = Fraction(1, 10**9), 2**63 - 1


class QuantityError(ValueError):
    """A string that is no quantity; the message is the API's own."""


def parse(text: str | int | float) -> tuple[Fraction, str]:
    """The exact value, and its form: "decimal", "binary" or "exponent"."""
    match = SHAPE.match(str(text))
    if match is None or match[1].count(".") > 1 or not any(c.isdigit() for c in match[1]):
        raise QuantityError(
            "quantities must match the regular expression "
            "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    number, suffix = Fraction(match[1]), match[2]
    if suffix in DECIMAL:
        value, form = number * Fraction(10) ** DECIMAL[suffix], "decimal"
    elif suffix in BINARY:
        value, form = number * 2 ** BINARY[suffix], "binary"
    elif suffix[:1] in ("e", "E") and re.fullmatch(r"[-+]?[0-9]+", suffix[1:]):
        if abs(int(suffix[1:])) > 100:
            raise QuantityError("unable to parse quantity's suffix")
        value, form = number * Fraction(10) ** int(suffix[1:]), "exponent"
    else:
        raise QuantityError("unable to parse quantity's suffix")
    sign = -1 if value < 0 else 1
    value = abs(value)
    steps = -(-value // FINEST)
    return sign * min(steps * FINEST, Fraction(LARGEST)), form


def canonical(text: str | int | float) -> str:
    """No fraction, the largest suffix that needs none.

    >>> [canonical(q) for q in ("1000m", 0.5, "1024Mi", "1.5Gi", "1e3", "0.1Ki", "2000")]
    ['1', '500m', '1Gi', '1536Mi', '1e3', '102400m', '2k']
    """
    return written(*parse(text))


def written(value: Fraction, form: str) -> str:
    """A value in the one way that its form is written. What is below a nano must have been rounded."""
    if value == 0:
        return "0"
    sign, value = ("-", -value) if value < 0 else ("", value)
    if form == "binary" and value >= 1024 and value.denominator == 1:
        whole, suffix = value.numerator, ""
        for name, power in BINARY.items():
            if value.numerator % 2**power:
                break
            whole, suffix = value.numerator >> power, name
        return f"{sign}{whole}{suffix}"
    power = -9
    whole = (value * 10**9).numerator
    while whole % 1000 == 0 and power < 18:
        whole, power = whole // 1000, power + 3
    if form == "exponent":
        return f"{sign}{whole}" + (f"e{power}" if power else "")
    return f"{sign}{whole}{SUFFIX[power]}"

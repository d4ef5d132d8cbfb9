"""Numbers and quoted strings as Go writes them, where its text decides what a rule means or says.

go-yaml wrote floats with 32 bits, and 0.4.0 passed every number of a rule through it: `16777217` arrives as
16777216.
"""

from __future__ import annotations

import math
import struct

__all__ = ["go_quote", "json_number", "number_text", "round32"]


def number_text(value: float) -> str:
    """A float as go-yaml writes it: the shortest digits that give the same *32-bit* float.

    >>> number_text(80.5), number_text(50.0), number_text(-2147483648.0)
    ('80.5', '50', '-2.1474836e+09')
    """
    try:
        (single,) = struct.unpack("<f", struct.pack("<f", value))
    except OverflowError:
        single = math.copysign(math.inf, value)
    if math.isnan(single):
        return ".nan"
    if math.isinf(single):
        return ".inf" if single > 0 else "-.inf"
    for digits in range(1, 10):
        text = f"{single:.{digits - 1}e}"
        if struct.unpack("<f", struct.pack("<f", float(text)))[0] == single:
            break
    mantissa, exponent = text.split("e")
    power = int(exponent)
    if -4 <= power < 6:
        return f"{float(text):.{max(0, digits - 1 - power)}f}"
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"


def round32(value: float) -> float:
    """The number that reaches a rule: `number_text` read back. Infinite for what no 32-bit float can hold."""
    try:
        text = number_text(float(value))
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    special = {".inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}
    return special[text] if text in special else float(text)


def json_number(value: float) -> str:
    """A number as Go's JSON writes it: no exponent between 1e-6 and 1e21."""
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    text = repr(float(value))
    return text if abs(value) < 1e-6 or abs(value) >= 1e21 else f"{value:.17g}" if "e" in text else text


def go_quote(text: str) -> str:
    """Go's %q."""
    named = {'"': '\\"', "\\": "\\\\", "\a": "\\a", "\b": "\\b", "\f": "\\f"}
    named |= {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
    parts = []
    for char in text:
        code = ord(char)
        if char in named:
            parts.append(named[char])
        elif char.isprintable():
            parts.append(char)
        elif code < 0x80:
            parts.append(f"\\x{code:02x}")
        else:
            parts.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return '"' + "".join(parts) + '"'

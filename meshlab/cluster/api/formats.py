"""Shapes of names, labels, ports and the like. Each function gives the reasons why a value has not its shape.

The sentences are the API's own, character for character: tools and people search for them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

__all__ = [
    "annotation_key", "c_identifier", "config_key", "dns1035_label", "dns_label", "dns_subdomain", "env_name",
    "generated", "http_header", "in_range", "ip", "label_key", "label_value", "matches", "network", "path_segment",
    "percent", "port", "port_name", "search_domain", "wildcard_subdomain",
]  # fmt: skip

LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN = rf"{LABEL}(\.{LABEL})*"
DNS1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
KEY = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
WILDCARD = rf"\*\.{SUBDOMAIN}"


def _shape(sentence: str, regex: str, *examples: str) -> str:
    if not examples:
        return f"{sentence} (regex used for validation is '{regex}')"
    shown = " or ".join(f"'{e}', " for e in examples)
    return f"{sentence} (e.g. {shown}regex used for validation is '{regex}')"


def matches(regex: str, value: str) -> bool:
    return re.fullmatch(regex, value, re.ASCII) is not None


def _bytes(limit: int) -> str:
    """Labels are measured in "bytes", everything else in "characters"; both count bytes."""
    return f"must be no more than {limit} bytes"


def _characters(limit: int) -> str:
    return f"must be no more than {limit} characters"


def _formed(value: str, limit: int, sentence: str, regex: str, *examples: str) -> list[str]:
    errors = [_characters(limit)] if len(value.encode()) > limit else []
    return errors if matches(regex, value) else [*errors, _shape(sentence, regex, *examples)]


def dns_label(value: str) -> list[str]:
    errors = [_characters(63)] if len(value.encode()) > 63 else []
    if not matches(LABEL, value):
        if matches(SUBDOMAIN, value):
            errors.append("must not contain dots")
        else:
            errors.append(_shape(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must "
                "start and end with an alphanumeric character", LABEL, "my-name", "123-abc",
            ))  # fmt: skip
    return errors


def dns_subdomain(value: str) -> list[str]:
    return _formed(value, 253,
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
        "must start and end with an alphanumeric character", SUBDOMAIN, "example.com",
    )  # fmt: skip


def search_domain(value: str) -> list[str]:
    """A domain of a resolver's search list: its labels may begin with an underscore and have some inside."""
    label = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
    regex = rf"{label}(\.{label})*"
    return _formed(value, 253,
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and "
        "must start and end with an alphanumeric character", regex, "example.com",
    )  # fmt: skip


def wildcard_subdomain(value: str) -> list[str]:
    return _formed(value, 253,
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must "
        "consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
        WILDCARD, "*.example.com",
    )  # fmt: skip


def dns1035_label(value: str) -> list[str]:
    return _formed(value, 63,
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
        "alphabetic character, and end with an alphanumeric character", DNS1035, "my-name", "abc-123",
    )  # fmt: skip


def label_key(value: str) -> list[str]:
    sentence = (
        "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
        "character"
    )
    shape = _shape(sentence, KEY, "MyName", "my.name", "123-abc")
    prefix, slash, name = value.rpartition("/")
    if "/" in prefix:
        return [f"a valid label key {shape} with an optional DNS subdomain prefix and '/' "
                "(e.g. 'example.com/MyName')"]  # fmt: skip
    errors = []
    if slash:
        if not prefix:
            errors.append("prefix part must be non-empty")
        else:
            errors += [f"prefix part {why}" for why in dns_subdomain(prefix)]
    if not name:
        errors.append("name part must be non-empty")
    elif len(name.encode()) > 63:
        errors.append("name part " + _bytes(63))
    if not matches(KEY, name):
        errors.append(f"name part {shape}")
    return errors


def annotation_key(value: str) -> list[str]:
    """As a label's key, but case does not matter."""
    return label_key(value.lower())


def label_value(value: str) -> list[str]:
    errors = [_bytes(63)] if len(value.encode()) > 63 else []
    if not matches(f"({KEY})?", value):
        errors.append(_shape(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and "
            "must start and end with an alphanumeric character", f"({KEY})?", "MyValue", "my_value", "12345",
        ))  # fmt: skip
    return errors


def in_range(value: int, low: int, high: int) -> list[str]:
    return [] if low <= value <= high else [f"must be between {low} and {high}, inclusive"]


def port(value: int) -> list[str]:
    return in_range(value, 1, 65535)


def port_name(value: str) -> list[str]:
    errors = [_characters(15)] if len(value) > 15 else []
    if not matches("[-a-z0-9]+", value):
        errors.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        errors.append("must contain at least one letter (a-z)")
    if "--" in value:
        errors.append("must not contain consecutive hyphens")
    if value[:1] == "-" or value[-1:] == "-":
        errors.append("must not begin or end with a hyphen")
    return errors


def percent(value: str) -> list[str]:
    if matches("[0-9]+%", value):
        return []
    sentence = "a valid percent string must be a numeric string followed by an ending '%'"
    return [_shape(sentence, "[0-9]+%", "1%", "93%")]


def http_header(value: str) -> list[str]:
    if matches("[-A-Za-z0-9]+", value):
        return []
    sentence = "a valid HTTP header must consist of alphanumeric characters or '-'"
    return [_shape(sentence, "[-A-Za-z0-9]+", "X-Header-Name")]


def env_name(value: str) -> list[str]:
    """Names of variables: since 1.34 any printable ASCII but `=`."""
    errors = [] if value else ["environment variable name must be non-empty"]
    if any(not " " <= c <= "~" or c == "=" for c in value):
        errors.append(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
        )
    return errors


def config_key(value: str) -> list[str]:
    errors = [_characters(253)] if len(value.encode()) > 253 else []
    if not matches("[-._a-zA-Z0-9]+", value):
        sentence = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        errors.append(_shape(sentence, "[-._a-zA-Z0-9]+", "key.name", "KEY_NAME", "key-name"))
    if value in (".", ".."):
        errors.append(f"must not be '{value}'")
    elif value.startswith(".."):
        errors.append("must not start with '..'")
    return errors


def c_identifier(value: str) -> list[str]:
    regex = "[A-Za-z_][A-Za-z0-9_]*"
    if matches(regex, value):
        return []
    sentence = (
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric "
        "characters or '_'"
    )
    return [_shape(sentence, regex, "my_name", "MY_NAME", "MyName")]


def path_segment(value: str) -> list[str]:
    """Names of RBAC objects: anything that can stand in a URL's path."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{c}'" for c in "/%" if c in value]


def ip(value: str) -> list[str]:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    return []


def network(value: str) -> list[str]:
    """`10.9.8.0/24`"""
    try:
        if "/" not in value:
            raise ValueError(value)
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        return ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"]
    return []


def generated(shape: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """The same shape for a generateName, which a few characters are still to follow."""

    def check(value: str) -> list[str]:
        return shape(value[:-1] + "a" if value.endswith("-") and len(value) > 1 else value)

    return check

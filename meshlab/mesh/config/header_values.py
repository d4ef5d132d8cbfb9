"""Values of headers that are added: text in which `%NAME%` stands for something that Envoy knows, and `%%` for a %."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["literal", "value_problem", "variables"]

_PART = re.compile(r"%%|%(?P<name>[^%]*)%|(?P<stray>%)")
#: With what kind of argument a variable comes: the name of a header, perhaps of a second one in its place; a word.
_HEADER = r"\(:?[\w!#$&'*+.^`|~-]+(\?:?[\w!#$&'*+.^`|~-]+)?\)(:[0-9]+)?"
_WORD = r"\([\w.-]+\)(:[0-9]+)?"
#: Those of Envoy 1.40 that say something of a request; each was tried.
_KNOWN = re.compile(
    rf"(?:(?:REQ|RESP|TRAILER){_HEADER}|(?:ENVIRONMENT|QUERY_PARAM){_WORD}|"
    r"DOWNSTREAM_(?:(?:DIRECT_)?REMOTE_ADDRESS(?:_WITHOUT_PORT)?|REMOTE_PORT|LOCAL_ADDRESS(?:_WITHOUT_PORT)?|LOCAL_PORT|"
    r"(?:LOCAL|PEER)_(?:URI_SAN|SUBJECT)|PEER_(?:ISSUER|FINGERPRINT_256|SERIAL|CERT)|TLS_(?:SESSION_ID|CIPHER|VERSION))|"
    r"UPSTREAM_(?:REMOTE_ADDRESS|REMOTE_PORT|HOST|CLUSTER|LOCAL_ADDRESS|REQUEST_ATTEMPT_COUNT)|"
    r"PROTOCOL|HOSTNAME|START_TIME|RESPONSE_(?:FLAGS|CODE|CODE_DETAILS|DURATION)|ROUTE_NAME|VIRTUAL_CLUSTER_NAME|"
    r"REQUESTED_SERVER_NAME|BYTES_(?:RECEIVED|SENT)|(?:REQUEST_)?DURATION|CONNECTION_(?:ID|TERMINATION_DETAILS)|"
    r"STREAM_ID|TRACE_ID|UNIQUE_ID|FILTER_CHAIN_NAME)\Z"
)


def literal(text: str) -> str:
    """The value that says just this text.

    >>> literal("50%")
    '50%%'
    """
    return text.replace("%", "%%")


def variables(value: str) -> Iterator[str]:
    """What stands between two %, in order. Raises ValueError for a % without its other one."""
    for found in _PART.finditer(value):
        if found["stray"]:
            raise ValueError("Un-escaped %")
        if found["name"]:
            yield found["name"]


def value_problem(value: str) -> str:
    """Why Envoy would refuse this value, "" if it would not."""
    try:
        strange = [name for name in variables(value) if not _KNOWN.match(name)]
    except ValueError as error:
        return f"{error}: a percent sign is written %%"
    return f"Envoy knows no %{strange[0]}%; a percent sign is written %%" if strange else ""

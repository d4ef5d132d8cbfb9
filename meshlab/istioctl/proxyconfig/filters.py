"""What is asked for on the command line; an empty field asks for nothing."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Filters"]


@dataclass(frozen=True)
class Filters:
    fqdn: str = ""
    port: int = 0
    subset: str = ""
    direction: str = ""
    address: str = ""
    type: str = ""
    name: str = ""
    cluster: str = ""
    status: str = ""
    verbose: bool = True
    #: Names come first, with what they name (`cluster/…`), as `proxy-config all` prints them.
    named: bool = False

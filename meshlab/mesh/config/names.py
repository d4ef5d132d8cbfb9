"""Names, domains, addresses and headers: what 0.4.0 takes for one, and how a short service name is completed."""

from __future__ import annotations

import re

from meshlab.mesh.config.gotext import go_quote
from meshlab.mesh.config.model import IstioService, Meta

__all__ = [
    "check_cidr",
    "check_fqdn",
    "check_header_name",
    "check_ipv4",
    "check_port",
    "check_proxy_address",
    "check_subnet",
    "check_wildcard_domain",
    "is_label",
    "resolve_hostname",
]

_LABEL = "[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_LABEL_RE = re.compile(_LABEL)
#: As 0.4.0 wrote it: the alternatives bind more loosely than the anchors, so that anything that starts with `*`,
#: and anything that *ends* with a label, passes.
_WILDCARD_RE = re.compile(rf"^\*|(?:\*|\*-)?{_LABEL}\Z")
_OCTET = "(?:0|[1-9][0-9]{0,2})"
_IPV4_RE = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")


def is_label(text: str) -> bool:
    """A DNS-1123 label: lower-case letters, digits and inner dashes, at most 63."""
    return len(text) <= 63 and bool(_LABEL_RE.fullmatch(text))


def check_fqdn(name: str) -> list[str]:
    """Problems of a fully qualified domain name."""
    return _domain_size(name) + _labels(name)


def check_wildcard_domain(name: str) -> list[str]:
    """Problems of a domain whose first label may hold a `*`."""
    if problems := _domain_size(name):
        return problems
    first, dot, rest = name.partition(".")
    if len(first) > 63 or not _WILDCARD_RE.search(first):
        return [f"domain name {go_quote(name)} invalid (label {go_quote(first)} invalid)"]
    return _labels(rest) if dot else []


def _domain_size(name: str) -> list[str]:
    if len(name.encode()) > 255:
        return [f"domain name {go_quote(name)} too long (max 255)"]
    return [] if name else ["empty domain name not allowed"]


def _labels(name: str) -> list[str]:
    for label in name.split("."):
        if not is_label(label):
            return [f"domain name {go_quote(name)} invalid (label {go_quote(label)} invalid)"]
    return []


def check_header_name(name: str) -> list[str]:
    """HTTP headers are matched in lower case."""
    if not name:
        return ["header name cannot be empty"]
    return [] if name.lower() == name else ["must be in lower case"]


def check_port(number: int) -> list[str]:
    return [] if 1 <= number <= 65535 else [f"port number {number} must be in the range 1..65535"]


def check_subnet(text: str) -> list[str]:
    """An IPv4 address, or a CIDR when there is exactly one `/`."""
    return check_cidr(text) if text.count("/") == 1 else check_ipv4(text)


def check_ipv4(text: str) -> list[str]:
    version = _ip_version(text)
    if version == 4:
        return []
    return [f"{text} is not a valid {'IPv4 address' if version else 'IP'}"]


def check_cidr(text: str) -> list[str]:
    address, _, bits = text.partition("/")
    version = _ip_version(address)
    width = 128 if ":" in address else 32
    if version == 0 or not re.fullmatch("[0-9]{1,3}", bits) or int(bits) > width:
        return [f"{text} is not a valid CIDR block"]
    return [] if version == 4 else [f"{text} is not a valid IPv4 address"]


def _ip_version(text: str) -> int:
    """4, 6, or 0 for what is no address. An IPv4 address written as IPv6 (`::ffff:10.0.0.1`) is one of version 4."""
    if ":" not in text:
        return 4 if _IPV4_RE.fullmatch(text) and all(int(part) < 256 for part in text.split(".")) else 0
    from ipaddress import AddressValueError, IPv6Address

    if "%" in text:
        return 0
    try:
        return 4 if IPv6Address(text).ipv4_mapped else 6
    except AddressValueError:
        return 0


def check_proxy_address(text: str) -> list[str]:
    """`host:port`, the host a name or an IPv4 address."""
    host, colon, port = text.partition(":")
    if not colon:
        form = "host address must be of the form <DNS name>:<port> or <IP>:<port>"
        return [f"':' separator not found in {go_quote(text)}, {form}"]
    if not re.fullmatch("[-+]?[0-9]+", port):
        return [f"strconv.Atoi: parsing {go_quote(port)}: invalid syntax"]
    if problems := check_port(int(port)):
        return problems
    if check_fqdn(host) and check_ipv4(host):
        return [f"{go_quote(host)} is not a valid hostname or an IPv4 address"]
    return []


def resolve_hostname(meta: Meta, service: IstioService) -> str:
    """The host name that a reference means in a rule with this metadata.

    >>> resolve_hostname(Meta("route-rule", "r", "default", "cluster.local"), IstioService(name="svcb"))
    'svcb.default.svc.cluster.local'
    """
    if service.service:
        return service.service
    parts = [service.name, service.namespace or meta.namespace]
    if service.domain:
        parts.append(service.domain)
    elif meta.domain:
        parts.append(f"svc.{meta.domain}")
    return ".".join(part for number, part in enumerate(parts) if part or number == 0)

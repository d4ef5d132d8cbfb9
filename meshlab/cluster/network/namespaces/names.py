"""The cluster's DNS: from a question to an answer, without sockets.

    svcb.default.svc.cluster.local          A: its cluster address; without one (headless), those of its pods
    web-0.web.default.svc…                  A: that pod behind the service
    _http._tcp.svcb.default.svc…            SRV: the port of that name
    10-40-0-7.default.pod.cluster.local     A: 10.40.0.7
    meshlab                                 A: the node
    194.119.105.10.in-addr.arpa             PTR: the service with that address

Short names are made long by the `search` of a pod's resolv.conf. What is no name of the cluster cannot be answered: the
lab's network ends at its own border. Programs hear SERVFAIL, which they report as a temporary failure.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from meshlab.cluster.network.services import Entry

__all__ = ["Zone", "answer"]

A, CNAME, PTR, AAAA, SRV, ANY = 1, 5, 12, 28, 33, 255
FORMAT_ERROR, SERVER_FAILURE, NO_SUCH_NAME, NOT_OFFERED = 1, 2, 3, 4
#: Seconds for which an answer may be kept; CoreDNS' number for clusters is 30, but a lab changes while one watches.
TTL = 5
#: Bytes of an answer by UDP without EDNS.
LARGEST = 512

#: One record of an answer: its type and data.
Record = tuple[int, bytes]


@dataclass
class Zone:
    """The names there are, kept up to date by whoever watches services."""

    domain: str
    hosts: Mapping[str, str] = field(default_factory=dict)
    #: `<namespace>/<name>`
    services: dict[str, Entry] = field(default_factory=dict)

    def find(self, name: str, kind: int) -> list[Record] | None:
        """Records of a name, lower case without a final dot. None: no such name; LookupError: not ours to say."""
        if name in self.hosts:
            return self._addresses([self.hosts[name]], kind)
        if name.endswith(".in-addr.arpa"):
            return self._reverse(name, kind)
        if name == self.domain:
            return []
        if not name.endswith("." + self.domain):
            if "." not in name:
                return None  # a single word is nobody's name outside
            raise LookupError(name)
        parts = name.removesuffix("." + self.domain).split(".")
        match parts:
            case [pod, _, "pod"]:
                try:
                    return self._addresses([str(ipaddress.IPv4Address(pod.replace("-", ".")))], kind)
                except ValueError:
                    return None
            case [service, namespace, "svc"]:
                return self._service(f"{namespace}/{service}", kind)
            case [port, protocol, service, namespace, "svc"] if port[:1] == protocol[:1] == "_":
                return self._port(f"{namespace}/{service}", port[1:], protocol[1:].upper(), kind)
            case [pod, service, namespace, "svc"]:
                hosts = self.services.get(f"{namespace}/{service}", {}).get("hosts", {})
                return self._addresses([hosts[pod]], kind) if pod in hosts else None
            case ["svc"]:
                return []
            case [namespace, "svc"] if any(key.startswith(namespace + "/") for key in self.services):
                return []
        return None

    def _service(self, key: str, kind: int) -> list[Record] | None:
        entry = self.services.get(key)
        if entry is None:
            return None
        if outside := entry.get("externalName"):
            return [(CNAME, _name(outside)), *(self.find(outside, kind) or [] if self._own(outside) else [])]
        if entry["ip"] != "None":
            return self._addresses([entry["ip"]], kind)
        return self._addresses(sorted({ip for ends in entry["endpoints"].values() for ip, _ in ends}), kind)

    def _own(self, name: str) -> bool:
        return name.endswith("." + self.domain)

    def _port(self, key: str, port: str, protocol: str, kind: int) -> list[Record] | None:
        found = [
            each["port"]
            for each in self.services.get(key, {}).get("ports", ())
            if each["name"] == port and each["protocol"] == protocol
        ]
        if not found:
            return None
        namespace, _, name = key.partition("/")
        target = _name(f"{name}.{namespace}.svc.{self.domain}")
        return [(SRV, struct.pack("!HHH", 0, 100, found[0]) + target)] if kind in (SRV, ANY) else []

    def _reverse(self, name: str, kind: int) -> list[Record] | None:
        address = ".".join(reversed(name.removesuffix(".in-addr.arpa").split(".")))
        for key, entry in self.services.items():
            if entry["ip"] == address:
                namespace, _, service = key.partition("/")
                return [(PTR, _name(f"{service}.{namespace}.svc.{self.domain}"))] if kind in (PTR, ANY) else []
        return None

    @staticmethod
    def _addresses(found: list[str], kind: int) -> list[Record]:
        return [(A, ipaddress.IPv4Address(ip).packed) for ip in found] if kind in (A, ANY) else []


def answer(question: bytes, zone: Zone, *, largest: int = LARGEST) -> bytes | None:
    """The answer to a message; None for what is not a question at all. Answers beyond `largest` bytes are cut."""
    if len(question) < 12:
        return None
    number, flags, count = struct.unpack_from("!HHH", question)
    if flags & 0x8000:
        return None
    if flags & 0x7800 or count != 1:
        return _message(number, flags, b"", (), NOT_OFFERED)
    try:
        name, end = _read(question, 12)
        kind, _ = struct.unpack_from("!HH", question, end)
    except (ValueError, struct.error):
        return _message(number, flags, b"", (), FORMAT_ERROR)
    asked = question[12 : end + 4]
    try:
        found = zone.find(name, kind)
    except LookupError:
        return _message(number, flags, asked, (), SERVER_FAILURE)
    if found is None:
        return _message(number, flags, asked, (), NO_SUCH_NAME)
    whole = _message(number, flags, asked, found, 0)
    if len(whole) <= largest:
        return whole
    return _message(number, flags | 0x0200, asked, (), 0)  # truncated: ask again by TCP


def _message(number: int, flags: int, asked: bytes, found: list[Record] | tuple[()], code: int) -> bytes:
    # Answer, authoritative, recursion as wanted and available.
    head = struct.pack("!HHHHHH", number, 0x8480 | (flags & 0x0300) | code, 1 if asked else 0, len(found), 0, 0)
    records = b""
    owner = b"\xc0\x0c"  # the name that was asked for
    for kind, data in found:
        records += owner + struct.pack("!HHIH", kind, 1, TTL, len(data)) + data
        if kind == CNAME:
            owner = data
    return head + asked + records


def _name(name: str) -> bytes:
    labels = name.rstrip(".").split(".")
    return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"


def _read(message: bytes, place: int) -> tuple[str, int]:
    """The name at `place` in lower case, and where it ends. ValueError for one that no program sends."""
    labels: list[str] = []
    while True:
        length = message[place] if place < len(message) else 64
        if length > 63 or place + 1 + length > len(message):
            raise ValueError("a name without end, or compressed")
        if length == 0:
            return ".".join(labels).lower(), place + 1
        labels.append(message[place + 1 : place + 1 + length].decode("latin-1"))
        place += 1 + length

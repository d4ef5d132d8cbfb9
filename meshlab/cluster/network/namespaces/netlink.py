"""Interfaces, addresses and routes by rtnetlink: what `ip` does, without the program, in 0.1 ms.

A socket speaks for the network namespace in which it was made, whatever its process does afterwards: so one thread can
hold a `Netlink` of the lab's namespace and one of a pod's.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from types import TracebackType

__all__ = ["Netlink"]

# From <linux/netlink.h> and <linux/rtnetlink.h>.
REQUEST, ACK, CREATE, EXCL, REPLACE = 0x1, 0x4, 0x400, 0x200, 0x100
ERROR = 2
NEW_LINK, DELETE_LINK, GET_LINK, NEW_ADDRESS, NEW_ROUTE = 16, 17, 18, 20, 24
LINK_ADDRESS, LINK_NAME, LINK_MTU, LINK_INFO, LINK_NS_FD = 1, 3, 4, 18, 28
INFO_KIND, INFO_DATA, VETH_PEER = 1, 2, 1
ADDRESS_ADDRESS, ADDRESS_LOCAL = 1, 2
ROUTE_DESTINATION, ROUTE_DEVICE, ROUTE_GATEWAY, ROUTE_SOURCE = 1, 4, 5, 7
UP = 1
TABLE_MAIN, TABLE_LOCAL, PROTOCOL_BOOT = 254, 255, 3
SCOPE_UNIVERSE, SCOPE_LINK, SCOPE_HOST = 0, 253, 254
UNICAST, LOCAL = 1, 2


def _attribute(kind: int, data: bytes) -> bytes:
    length = 4 + len(data)
    return struct.pack("=HH", length, kind) + data + b"\0" * (-length % 4)


def _name(name: str) -> bytes:
    return _attribute(LINK_NAME, name.encode() + b"\0")


def _link(index: int = 0, *, up: bool = False) -> bytes:
    flags = UP if up else 0
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, flags)


class Netlink:
    """A conversation with the kernel about the network namespace of the calling thread. Errors are OSError."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._number = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def pair(self, name: str, peer: str, namespace: int) -> None:
        """A cable: one end here, the other in the network namespace with this descriptor."""
        there = _link() + _name(peer) + _attribute(LINK_NS_FD, struct.pack("=i", namespace))
        info = _attribute(INFO_KIND, b"veth") + _attribute(INFO_DATA, _attribute(VETH_PEER, there))
        self._ask(NEW_LINK, CREATE | EXCL, _link() + _name(name) + _attribute(LINK_INFO, info))

    def index(self, name: str) -> int:
        """The number of an interface, by which all else is asked."""
        found = self._ask(GET_LINK, 0, _link() + _name(name))
        return int(struct.unpack_from("=i", found, 20)[0])

    def up(self, index: int) -> None:
        self._ask(NEW_LINK, 0, _link(index, up=True))

    def remove(self, name: str) -> None:
        """An interface; nothing if there is none of this name."""
        try:
            self._ask(DELETE_LINK, 0, _link() + _name(name))
        except OSError as error:
            if error.errno != 19:  # ENODEV
                raise

    def address(self, index: int, ip: str) -> None:
        packed = ipaddress.IPv4Address(ip).packed
        message = struct.pack("=BBBBi", socket.AF_INET, 32, 0, SCOPE_UNIVERSE, index)
        message += _attribute(ADDRESS_LOCAL, packed) + _attribute(ADDRESS_ADDRESS, packed)
        self._ask(NEW_ADDRESS, CREATE | REPLACE, message)

    def route(self, network: str, index: int, *, source: str = "", gateway: str = "", local: bool = False) -> None:
        """To `network` through the interface `index`; `local`: all its addresses are this namespace's own."""
        found = ipaddress.IPv4Network(network)
        scope = SCOPE_HOST if local else SCOPE_UNIVERSE if gateway else SCOPE_LINK
        message = struct.pack(
            "=BBBBBBBBI",
            socket.AF_INET,
            found.prefixlen,
            0,
            0,
            TABLE_LOCAL if local else TABLE_MAIN,
            PROTOCOL_BOOT,
            scope,
            LOCAL if local else UNICAST,
            0,
        )
        if found.prefixlen:
            message += _attribute(ROUTE_DESTINATION, found.network_address.packed)
        message += _attribute(ROUTE_DEVICE, struct.pack("=i", index))
        if source:
            message += _attribute(ROUTE_SOURCE, ipaddress.IPv4Address(source).packed)
        if gateway:
            message += _attribute(ROUTE_GATEWAY, ipaddress.IPv4Address(gateway).packed)
        self._ask(NEW_ROUTE, CREATE | REPLACE, message)

    def _ask(self, kind: int, flags: int, body: bytes) -> bytes:
        """The answer to a request: what was asked for, if anything."""
        self._number += 1
        head = struct.pack("=IHHII", 16 + len(body), kind, flags | REQUEST | ACK, self._number, 0)
        self._socket.send(head + body)
        found = b""
        while True:
            block = self._socket.recv(65_536)
            while block:
                length, what, _, number, _ = struct.unpack_from("=IHHII", block)
                answer, block = block[:length], block[-(-length // 4) * 4 :]
                if number != self._number:
                    continue
                if what != ERROR:
                    found = answer
                    continue
                (code,) = struct.unpack_from("=i", answer, 16)
                if code:
                    raise OSError(-code, f"netlink request {kind}: {os.strerror(-code)}")
                return found

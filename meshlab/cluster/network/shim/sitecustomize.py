"""What iptables and DNS do for a pod of a cluster, done inside the pod's Python interpreter.

A lab has no root, so a pod has no network namespace: its processes share the machine's loopback. This file, found
through PYTHONPATH and run by the interpreter before its program, makes `socket` behave as in a pod:

- names of services resolve to their cluster address, looked for in the pod's own namespace first;
- 127.0.0.1 is the pod's own (LOCAL_IP), and binding every address binds the pod's (POD_IP);
- a service address leads to one of its ready endpoints, chosen per connection, as kube-proxy does;
- in a pod with a sidecar every outbound TCP connection goes to it, with the address that was wanted in a
  PROXY protocol header in front: what `REDIRECT --to-ports 15001` and SO_ORIGINAL_DST are with iptables. Servers
  bind LOCAL_IP there, because the sidecar answers on POD_IP;
- ports that this user may not bind are moved up, by everybody in the same way.

As with iptables, UDP is not captured. Not covered is what does not go through `socket.socket`: programs that are not
Python, and libraries with sockets of their own in C (gRPC, uvloop). IPv6 does not exist in a lab's pods.

It runs in every process of a pod, so it imports nothing that its program would not import anyway. Its input are
the variables POD_IP, LOCAL_IP, HOSTNAME, MESHLAB_POD_DIR and MESHLAB_NETWORK; without POD_IP it does nothing.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: How long a connection to the pod's own sidecar or to itself may take, for sockets that do not block. It is made over
#: loopback and takes microseconds, unless the other side is stopped.
HANDSHAKE_SECONDS = 5.0
PROXY_V2 = b"\r\n\r\n\x00\r\nQUIT\n" + b"\x21\x11\x00\x0c"  # version 2, PROXY, TCP over IPv4, 12 bytes follow
LOW_PORT_OFFSET = 20_000  # as in meshlab.settings, which is not imported for its cost
IP_BIND_ADDRESS_NO_PORT = 24  # Linux: bind an address now, and take its port when the connection is made
ANY, LOOPBACK = ("", "0.0.0.0"), "127.0.0.1"  # noqa: S104 - compared with, not bound

real_connect, real_bind = socket.socket.connect, socket.socket.bind
real_accept, real_getpeername = socket.socket.accept, socket.socket.getpeername
real_sendto: Any = socket.socket.sendto
real_getaddrinfo, real_gethostbyname = socket.getaddrinfo, socket.gethostbyname
real_gethostbyname_ex, real_gethostbyaddr = socket.gethostbyname_ex, socket.gethostbyaddr


class Pod:
    """What this process has to know of its pod and of the lab's network."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.ip = environ["POD_IP"]
        self.local = environ.get("LOCAL_IP") or self.ip
        self.name = environ.get("HOSTNAME") or ""
        self.folder = environ.get("MESHLAB_POD_DIR") or ""
        #: pods/<namespace>_<name>_<uid>; no name of Kubernetes holds an underscore.
        self.namespace = os.path.basename(self.folder).partition("_")[0] or "default"  # noqa: PTH119 - no pathlib
        self.file = environ.get("MESHLAB_NETWORK") or ""
        self._stamp: tuple[int, int, int] | None = None
        self._network: dict[str, Any] = {"services": {}}
        self._by_ip: dict[str, dict[str, Any]] = {}
        self._capture: tuple[int, list[tuple[int, int]]] | None = None
        self._capture_known = False

    @property
    def network(self) -> dict[str, Any]:
        """The network file's content, read again when it was replaced; the last one that could be read."""
        try:
            seen = os.stat(self.file)  # noqa: PTH116 - no pathlib
        except OSError:
            return self._network  # not written yet: no service is known
        stamp = (seen.st_mtime_ns, seen.st_ino, seen.st_size)
        if stamp != self._stamp:
            network = read_json(self.file)
            self._by_ip = {service["ip"]: service for service in network["services"].values()}
            self._network, self._stamp = network, stamp  # last: another thread may be here as well
        return self._network

    @property
    def capture(self) -> tuple[int, list[tuple[int, int]]] | None:
        """The sidecar's port and the networks (address, mask) that it takes, or None in a pod without one.

        Read once: what the init container left is complete before the pod's programs start.
        """
        if not self._capture_known:
            try:
                found = read_json(os.path.join(self.folder, "capture.json"))  # noqa: PTH118 - no pathlib
            except FileNotFoundError:
                found = None
            if found is not None:
                ranges = str(found.get("ranges") or "*").split(",")
                self._capture = int(found["port"]), [parse_range(each.strip()) for each in ranges]
            self._capture_known = True
        return self._capture

    def captured(self, ip: str) -> bool:
        if self.capture is None:
            return False
        address = number(ip)
        return any(address & mask == network for network, mask in self.capture[1])

    def bound(self, port: int) -> int:
        """The port that `port` of a pod or service really listens on."""
        if not 0 < port < 1024:
            return port
        start = self.network.get("low_port_start")
        if start is None:
            start = 0 if os.geteuid() == 0 else 1024
        return port if port >= start else port + LOW_PORT_OFFSET

    def lookup(self, name: str) -> list[str] | None:
        """Addresses of a name as the cluster's DNS has it; [] if there is none, None if others have to be asked."""
        domain = str(self.network.get("domain") or "cluster.local")
        plain = name.lower().removesuffix(".")
        if plain == "localhost":
            return [LOOPBACK]
        if plain == self.name.lower():
            return [self.ip]
        hosts = self.network.get("hosts") or {}
        if plain in hosts:
            return [hosts[plain]]
        absolute = name.endswith(".") or plain.endswith("." + domain)
        parts = plain.removesuffix("." + domain).split(".")
        if len(parts) == 3 and parts[2] == "pod" and absolute:
            return [parts[0].replace("-", ".")]
        if len(parts) == 3 and parts[2] == "svc":
            return self._service(parts[1], parts[0])
        if len(parts) == 4 and parts[3] == "svc":
            return self._single(parts[2], parts[1], parts[0])
        if absolute:
            return [] if plain.endswith("." + domain) else None
        if len(parts) == 1:
            return self._service(self.namespace, parts[0])
        if len(parts) == 3 and (single := self._single(parts[2], parts[1], parts[0])):
            return single
        if len(parts) == 2:
            found = self._service(parts[1], parts[0]) or self._single(self.namespace, parts[1], parts[0])
            known = any(key.startswith(parts[1] + "/") for key in self.network["services"])
            return found if found or known else None
        return None

    def _service(self, namespace: str, name: str) -> list[str]:
        service = self.network["services"].get(f"{namespace}/{name}")
        if service is None:
            return []
        if external := service.get("externalName"):
            found = self.lookup(external)
            return real_gethostbyname_ex(external)[2] if found is None else found
        if service["ip"] != "None":
            return [service["ip"]]
        return sorted({ip for ends in service["endpoints"].values() for ip, _ in ends})  # headless: its pods

    def _single(self, namespace: str, service: str, pod: str) -> list[str]:
        """A pod behind a service that has a name of its own there."""
        known = self.network["services"].get(f"{namespace}/{service}") or {}
        ip = (known.get("hosts") or {}).get(pod)
        return [ip] if ip else []

    def endpoint(self, ip: str, port: int, udp: bool, key: int | None = None) -> tuple[str, int]:
        """Where a connection to an address goes: one of a service's endpoints, or the address itself.

        `key` chooses the same endpoint again, for sockets without connections.
        """
        network = self.network
        service = self._by_ip.get(ip) if network else None
        if service is None:
            return ip, port
        name = f"{port}/UDP" if udp else str(port)
        if name not in service["endpoints"]:
            return ip, port
        ends = service["endpoints"][name]
        if not ends:
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        if service.get("affinity"):
            key = number(self.ip)
        chosen = ends[(int.from_bytes(os.urandom(4), "big") if key is None else key) % len(ends)]
        return chosen[0], chosen[1]


def read_json(path: str) -> Any:
    import json  # most programs have it already, and those that never ask for a service do not need it

    with open(path, "rb") as file:  # noqa: PTH123 - no pathlib
        return json.load(file)


def number(ip: str) -> int:
    return int.from_bytes(socket.inet_aton(ip), "big")


def parse_range(text: str) -> tuple[int, int]:
    """`10.0.0.0/8` as network and mask; `*` is everything."""
    if text == "*":
        return 0, 0
    ip, _, length = text.partition("/")
    mask = ~((1 << (32 - int(length or 32))) - 1) & 0xFFFFFFFF
    return number(ip) & mask, mask


def ipv4(pod: Pod, sock: socket.socket, address: Any) -> tuple[str, int, str] | None:
    """IP, port and prefix ("::ffff:" on an IPv6 socket) of an address, or None where it is none of ours."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or not isinstance(address, tuple) or len(address) < 2:
        return None
    host, port = address[0], address[1]
    if isinstance(host, bytes | bytearray):
        host = host.decode()
    if not isinstance(host, str) or not isinstance(port, int):
        return None  # the real function has the right words for it
    prefix = "::ffff:" if sock.family == socket.AF_INET6 else ""
    if prefix and ":" in host:
        if host in ("::", "::1"):
            return ("" if host == "::" else LOOPBACK), port, prefix
        if not host.lower().startswith(prefix):
            return None
        host = host[len(prefix):]
    if host in ANY or is_ipv4(host):
        return host, port, prefix
    if host == "<broadcast>":
        return None
    found = pod.lookup(host)
    if found is None:
        return real_gethostbyname(host), port, prefix
    if not found:
        raise unknown(host)
    return found[0], port, prefix


def is_ipv4(host: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET, host)
    except OSError:
        return False
    return True


def unknown(name: str) -> socket.gaierror:
    del name  # glibc does not name it either
    return socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def install(pod: Pod) -> None:
    """Put the pod's own functions in the place of those of `socket`."""

    def through(sock: socket.socket, there: list[tuple[str, int]], header: bytes = b"") -> None:
        """Connect, even a socket that does not block, to the first of these loopback addresses that answers."""
        timeout = sock.gettimeout()
        if timeout == 0:
            sock.settimeout(HANDSHAKE_SECONDS)
        try:
            for address in there[:-1]:
                try:
                    real_connect(sock, address)
                    break
                except ConnectionRefusedError:
                    # Linux answers the next attempt of a socket with a time limit by ECONNABORTED, to say that the
                    # failed one is over. That answer is taken here.
                    if socket.SocketType.connect_ex(sock, address) == 0:
                        break
            else:
                real_connect(sock, there[-1])
            if header:
                source = sock.getsockname()[1].to_bytes(2, "big")
                socket.SocketType.sendall(sock, header[:-2] + source + header[-2:])
        finally:
            if timeout == 0:
                sock.settimeout(0)

    def from_pod(sock: socket.socket, ip: str, prefix: str) -> None:
        """Let a socket that was bound to nothing speak from the pod's address to others in the lab."""
        if ip.startswith("127.") and sock.getsockname()[0] in ("0.0.0.0", "::"):  # noqa: S104
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            real_bind(sock, (prefix + pod.ip, 0))

    def bound(ip: str, port: int) -> int:
        return pod.bound(port) if ip.startswith("127.") else port

    def connect(self: socket.socket, address: Any, /) -> None:
        wanted = ipv4(pod, self, address)
        if wanted is None:
            return real_connect(self, address)
        ip, port, prefix = wanted
        if ip in ANY or ip in (LOOPBACK, pod.local):
            # A server that bound every address of the pod is on POD_IP, unless the sidecar is.
            hosts = [pod.local] if pod.capture or pod.local == pod.ip else [pod.local, pod.ip]
            return through(self, [(prefix + host, pod.bound(port)) for host in hosts])
        udp = self.type != socket.SOCK_STREAM
        if not udp and pod.captured(ip) and pod.capture:
            header = PROXY_V2 + socket.inet_aton(pod.ip) + socket.inet_aton(ip) + port.to_bytes(2, "big")
            return through(self, [(prefix + pod.ip, pod.capture[0])], header)
        ip, port = pod.endpoint(ip, port, udp)
        from_pod(self, ip, prefix)
        return real_connect(self, (prefix + ip, bound(ip, port)))

    def connect_ex(self: socket.socket, address: Any, /) -> int:
        try:
            connect(self, address)
        except socket.gaierror:
            raise
        except TimeoutError as error:
            return error.errno or errno.EAGAIN
        except OSError as error:
            if error.errno is None:
                raise
            return error.errno
        return 0

    def bind(self: socket.socket, address: Any, /) -> None:
        wanted = ipv4(pod, self, address)
        if wanted is None:
            return real_bind(self, address)
        ip, port, prefix = wanted
        if prefix and self.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        if ip in ANY or ip == pod.ip:
            behind_sidecar = self.type == socket.SOCK_STREAM and pod.capture
            ip = pod.local if behind_sidecar else pod.ip
        elif ip == LOOPBACK:
            ip = pod.local
        return real_bind(self, (prefix + ip, bound(ip, port)))

    def sendto(self: socket.socket, data: Any, *args: Any) -> int:
        wanted = ipv4(pod, self, args[-1]) if args else None
        if wanted is None:
            return int(real_sendto(self, data, *args))
        ip, port, prefix = wanted
        if ip in ANY or ip == LOOPBACK:
            ip = pod.local
        else:
            # Whoever sends datagrams one by one stays with one endpoint, as conntrack sees to in a cluster.
            ip, port = pod.endpoint(ip, port, self.type != socket.SOCK_STREAM, key=os.getpid() + self.fileno())
            from_pod(self, ip, prefix)
        return int(real_sendto(self, data, *args[:-1], (prefix + ip, bound(ip, port))))

    def shown(address: Any) -> Any:
        """A peer inside the pod, its sidecar above all, is 127.0.0.1 to the pod's programs."""
        inside = isinstance(address, tuple) and address[0] == pod.local and pod.local != pod.ip
        return (LOOPBACK, *address[1:]) if inside else address

    def accept(self: socket.socket) -> tuple[socket.socket, Any]:
        conn, address = real_accept(self)
        return conn, shown(address)

    def getpeername(self: socket.socket) -> Any:
        return shown(real_getpeername(self))

    def getaddrinfo(
        host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        name = host.decode() if isinstance(host, bytes | bytearray) else host
        found = pod.lookup(name) if isinstance(name, str) and name and not is_ipv4(name) and ":" not in name else None
        if found is None:
            every = real_getaddrinfo(host, port, family, type, proto, flags)
            # As in a cluster of 2018 a pod has no IPv6; ::1 would be shared by all of them.
            return [each for each in every if each[0] == socket.AF_INET] or every
        if not found or family == socket.AF_INET6:
            raise unknown(str(name))
        # These are addresses already: whether this machine has others than loopback does not matter for them.
        flags &= ~socket.AI_ADDRCONFIG
        return [each for ip in found for each in real_getaddrinfo(ip, port, socket.AF_INET, type, proto, flags)]

    def gethostbyname(name: str, /) -> str:
        found = pod.lookup(name) if name and not is_ipv4(name) else None
        if found is None:
            return real_gethostbyname(name)
        if not found:
            raise unknown(name)
        return found[0]

    def gethostbyname_ex(name: str, /) -> tuple[str, list[str], list[str]]:
        found = pod.lookup(name) if name and not is_ipv4(name) else None
        if found is None:
            return real_gethostbyname_ex(name)
        if not found:
            raise unknown(name)
        return name, [], found

    def gethostbyaddr(host: str, /) -> tuple[str, list[str], list[str]]:
        """Own names only: asking the machine's DNS for loopback addresses takes seconds where there is none."""
        ips = pod.lookup(host) if not is_ipv4(host) else [host]
        if ips is None or (ips and not ips[0].startswith("127.")):
            return real_gethostbyaddr(host)
        if not ips or ips[0] not in (pod.ip, pod.local, LOOPBACK):
            raise socket.herror(1, "Unknown host")
        return pod.name or host, [], ips

    socket.has_ipv6 = False
    kind: Any = socket.socket
    kind.connect, kind.connect_ex, kind.bind, kind.sendto = connect, connect_ex, bind, sendto
    kind.accept, kind.getpeername = accept, getpeername
    socket.getaddrinfo, socket.gethostbyname = getaddrinfo, gethostbyname
    socket.gethostbyname_ex, socket.gethostbyaddr = gethostbyname_ex, gethostbyaddr
    if pod.name:
        socket.gethostname = lambda: pod.name


if os.environ.get("POD_IP"):
    install(Pod(os.environ))

"""The shim without a sidecar: names, addresses and balancing as in a pod of a cluster."""

from __future__ import annotations

import json
import socket
from collections import Counter

import pytest
from network_pods import NETWORK, MakeServer, Pod, pod_ip, service, service_ip, wait_until, write_network


def resolve(pod: Pod, name: str) -> str:
    return pod.run(f"""
import socket
try:
    print(" ".join(sorted({{entry[4][0] for entry in socket.getaddrinfo({name!r}, 80)}})))
except socket.gaierror as error:
    print(error.strerror)
""")


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("svcb", "127.105.0.2"),
        ("SVCB", "127.105.0.2"),
        ("svcb.default", "127.105.0.2"),
        ("svcb.default.svc", "127.105.0.2"),
        ("svcb.default.svc.cluster.local", "127.105.0.2"),
        ("svcb.default.svc.cluster.local.", "127.105.0.2"),
        ("istio-pilot.istio-system", "127.105.0.3"),
        ("istio-pilot", "Name or service not known"),
        ("nothing.istio-system", "Name or service not known"),
        ("nothing.nowhere.svc.cluster.local", "Name or service not known"),
        ("peers", "127.40.0.7 127.40.0.8"),
        ("alias", "127.105.0.3"),
        ("web-1", "the pod"),
        ("localhost", "127.0.0.1"),
        ("meshlab", "the node"),
        ("127-40-0-9.default.pod.cluster.local", "127.40.0.9"),
        ("127.0.0.9", "127.0.0.9"),
    ],
)
def test_names_resolve_as_in_a_cluster(pod: Pod, name: str, address: str) -> None:
    write_network(pod.network_file, {
        "default/svcb": service("127.105.0.2", 80),
        "istio-system/istio-pilot": service("127.105.0.3", 15003),
        "default/peers": service("None", 80, ("127.40.0.7", 80), ("127.40.0.8", 80)),
        "default/alias": service("", 80, externalName="istio-pilot.istio-system.svc.cluster.local"),
    })
    address = {"the pod": pod.ip, "the node": NETWORK.node}.get(address, address)
    assert resolve(pod, name) == address


def test_the_pods_own_namespace_decides_what_a_short_name_means(pod: Pod) -> None:
    pod.folder = pod.folder.rename(pod.folder.with_name("shop_web-1_uid"))
    write_network(pod.network_file, {"default/svcb": service("127.105.0.2", 80),
                                     "shop/svcb": service("127.105.0.9", 80)})
    assert resolve(pod, "svcb") == "127.105.0.9"


def test_the_other_ways_to_ask_for_a_name_give_the_same(pod: Pod) -> None:
    write_network(pod.network_file, {"default/svcb": service("127.105.0.2", 80)})
    answers = pod.run("""
import socket
print(socket.gethostbyname("svcb"), socket.gethostbyname_ex("svcb")[2], socket.gethostname(), socket.getfqdn(),
      socket.getfqdn("127.105.0.2"))
""")
    assert answers == "127.105.0.2 ['127.105.0.2'] web-1 web-1 127.105.0.2"


@pytest.mark.parametrize(
    ("code", "bound"),
    [
        ("s.bind(('', 8080))", "{ip} 8080"),
        ("s.bind(('0.0.0.0', 8080))", "{ip} 8080"),
        ("s.bind(('127.0.0.1', 8080))", "{local} 8080"),
        ("s.bind(('localhost', 8080))", "{local} 8080"),
        ("s.bind((os.environ['POD_IP'], 8080))", "{ip} 8080"),
        ("s.bind(('', 80))", "{ip} 20080"),
        ("s = socket.socket(socket.AF_INET6); s.setsockopt(41, 26, 0); s.bind(('::', 8080))", "::ffff:{ip} 8080"),
        ("s = socket.create_server(('', 8080))", "{ip} 8080"),
    ],
)
@pytest.mark.parametrize("captured", [False, True])
def test_a_server_is_on_its_pods_address_and_behind_a_sidecar_on_the_private_one(
    pod: Pod, code: str, bound: str, captured: bool
) -> None:
    if captured:
        pod.capture()
    seen = pod.run(f"""
import os, socket
s = socket.socket()
{code}
print(*s.getsockname()[:2])
""")
    assert seen == bound.format(ip=pod.local if captured else pod.ip, local=pod.local)


def test_datagrams_are_not_captured_so_their_servers_are_on_the_pods_address(pod: Pod) -> None:
    pod.capture()
    assert pod.run("import socket; s = socket.socket(type=2); s.bind(('', 9125)); print(s.getsockname()[0])") == pod.ip


def test_two_pods_may_use_the_same_port(pod: Pod, server: MakeServer) -> None:
    server(pod_ip(), 8080)
    assert pod.run("import socket; s = socket.create_server(('', 8080)); print('ok')") == "ok"


def test_an_address_of_ipv6_alone_does_not_exist_in_a_pod(pod: Pod) -> None:
    assert pod.run("""
import asyncio, socket
async def main():
    server = await asyncio.start_server(lambda r, w: None, None, 8080)
    print([s.getsockname()[0] for s in server.sockets])
    try:
        s = socket.socket(socket.AF_INET6); s.setsockopt(41, 26, 1); s.bind(("::", 8081))
    except OSError as error:
        print(error.strerror)
asyncio.run(main())
""") == f"['{pod.ip}']\nCannot assign requested address"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0.0.0.0", "web-1"])  # noqa: S104
def test_a_program_reaches_its_own_pod(pod: Pod, host: str) -> None:
    assert pod.run(f"""
import socket, threading
s = socket.create_server(('', 8080))
threading.Thread(target=lambda: s.accept()[0].sendall(b'here'), daemon=True).start()
print(socket.create_connection(({host!r}, 8080), 60).recv(10).decode())
""") == "here"


@pytest.mark.parametrize("peer", ["local", "ip"])
def test_a_peer_inside_the_pod_is_127_0_0_1_to_its_programs(pod: Pod, peer: str) -> None:
    """A sidecar binds the pod's private address when it passes on what came in; svcb's log shows 127.0.0.1."""
    pod.capture()
    source = {"local": pod.local, "ip": pod.ip}[peer]
    process = pod.start("""
import socket
server = socket.create_server(('', 8080)); print("up", flush=True)
conn, address = server.accept(); print(address[0], conn.getpeername()[0], flush=True)
""")
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    socket.create_connection((pod.local, 8080), 5, source_address=(source, 0)).close()
    expected = "127.0.0.1" if peer == "local" else pod.ip
    assert process.stdout.readline() == f"{expected} {expected}\n"


def test_nobody_else_is_reached_by_127_0_0_1(pod: Pod, server: MakeServer) -> None:
    other = server("127.0.0.1", 0)
    port = other.socket.getsockname()[1]
    assert pod.run(f"""
import socket
print(socket.socket().connect_ex(("127.0.0.1", {port})))
""") == "111"


def test_a_service_gives_each_connection_to_one_of_its_endpoints(pod: Pod, server: MakeServer) -> None:
    ip, first, second = service_ip(), pod_ip(), pod_ip()
    one, two = server(first, 8080, "one"), server(second, 8080, "two")
    write_network(pod.network_file, {"default/svcb": service(ip, 80, (first, 8080), (second, 8080))})
    seen = Counter(pod.run("""
import urllib.request
for _ in range(60):
    print(urllib.request.urlopen("http://svcb/").read().split()[0].decode())
""").split())
    # 60 fair draws leave one of two endpoints below 10 once in 10 million runs.
    assert set(seen) == {"one", "two"}
    assert min(seen.values()) >= 10
    assert set(one.peers + two.peers) == {pod.ip}


def test_with_client_affinity_all_connections_of_a_pod_go_to_one_endpoint(pod: Pod, server: MakeServer) -> None:
    ip, first, second = service_ip(), pod_ip(), pod_ip()
    server(first, 8080, "one"), server(second, 8080, "two")
    write_network(pod.network_file, {"default/s": service(ip, 80, (first, 8080), (second, 8080), affinity=True)})
    seen = pod.run("""
import urllib.request
for _ in range(20):
    print(urllib.request.urlopen("http://s/").read().split()[0].decode())
""").split()
    assert len(set(seen)) == 1


def test_low_ports_are_moved_up_on_both_sides(pod: Pod, server: MakeServer) -> None:
    end = pod_ip()
    server(end, 20080, "low")
    write_network(pod.network_file, {"default/web": service(service_ip(), 443, (end, 80))})
    assert pod.run(f"""
import socket
for address in (("web", 443), ({end!r}, 80)):
    s = socket.create_connection(address, 60); s.sendall(b"x"); print(s.recv(100).split()[-2].decode())
""") == "low\nlow"


@pytest.mark.parametrize("code", [
    "socket.create_connection(('web', 80), 60)",
    "socket.socket().connect(('web', 80))",
    "urllib.request.urlopen('http://web/')",
    "asyncio.run(asyncio.open_connection('web', 80))",
])
def test_a_service_without_endpoints_refuses(pod: Pod, code: str) -> None:
    write_network(pod.network_file, {"default/web": service(service_ip(), 80)})
    assert pod.run(f"""
import asyncio, socket, urllib.request
try:
    {code}
except OSError as error:
    print(getattr(error, "reason", error))
""") == "[Errno 111] Connection refused"


def test_endpoints_that_come_later_are_seen_by_a_running_program(pod: Pod, server: MakeServer) -> None:
    ip, end = service_ip(), pod_ip()
    server(end, 8080, "late")
    write_network(pod.network_file, {"default/web": service(ip, 80)})
    process = pod.start("""
import socket, sys
print(socket.socket().connect_ex(("web", 80)), flush=True)
while True:
    s = socket.socket()
    if s.connect_ex(("web", 80)) == 0:
        s.sendall(b"x"); print(s.recv(100).split()[-2].decode(), flush=True); break
""")
    assert process.stdout is not None
    assert process.stdout.readline() == "111\n"
    write_network(pod.network_file, {"default/web": service(ip, 80, (end, 8080))})
    assert process.stdout.readline() == "late\n"


@pytest.mark.parametrize("send", ["s.connect(('stats', 9125)); s.send(b'x')", "s.sendto(b'x', ('stats', 9125))",
                                  "s.sendto(b'x', 0, ('stats', 9125))"])
def test_datagrams_to_a_service_reach_an_endpoint(pod: Pod, server: MakeServer, send: str) -> None:
    pod.capture()  # UDP is not captured
    end = pod_ip()
    statsd = server(end, 9125, "statsd", socket.SOCK_DGRAM)
    write_network(pod.network_file, {"default/stats": service(service_ip(), 9125, (end, 9125), udp=True)})
    assert pod.run(f"import socket; s = socket.socket(type=2); s.settimeout(60); {send}; print(s.recv(100).decode())"
                   ) == "statsd x"
    assert statsd.peers == [pod.ip]


def test_unix_sockets_and_odd_arguments_are_left_to_the_real_functions(pod: Pod) -> None:
    assert json.loads(pod.run("""
import json, socket, tempfile, os
seen = []
path = os.path.join(tempfile.mkdtemp(), "s")
a = socket.socket(socket.AF_UNIX); a.bind(path); a.listen()
b = socket.socket(socket.AF_UNIX); b.connect(path); seen.append("unix")
for odd in (("127.0.0.1",), "127.0.0.1", (1, 2), ("127.0.0.1", "80"), ("127.0.0.1", 70000), None):
    for call in ("connect", "bind"):
        try:
            getattr(socket.socket(), call)(odd)
        except (TypeError, OverflowError) as error:
            seen.append(type(error).__name__)
print(json.dumps(seen))
""")) == ["unix"] + ["TypeError"] * 8 + ["OverflowError"] * 2 + ["TypeError"] * 2


def test_without_a_pod_nothing_is_changed(pod: Pod) -> None:
    pod.ip = ""
    assert pod.run("import socket; print(socket.socket.connect.__qualname__)") == "socket.connect"


def test_a_network_file_that_is_not_there_yet_means_no_services(pod: Pod) -> None:
    pod.network_file.unlink()
    assert resolve(pod, "svcb") == "Name or service not known"


def test_a_program_is_seen_by_its_peers_under_its_pods_address(pod: Pod, server: MakeServer) -> None:
    end = pod_ip()
    peer = server(end, 8080)
    pod.run(f"import socket; socket.create_connection(({end!r}, 8080), 60)")
    wait_until(lambda: bool(peer.peers))
    assert peer.peers == [pod.ip]

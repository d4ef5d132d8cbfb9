"""The cluster network with a real API and a real Envoy: service addresses, names, and who survives whom."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from network_pods import NETWORK, MakeServer, pod_ip

from meshlab.cluster.api.api import Api
from meshlab.cluster.api.store import Store
from meshlab.cluster.network import ClusterNetwork, stop_leftover
from meshlab.cluster.node.process import Record
from meshlab.errors import WaitTimeout
from meshlab.settings import Settings, bound_port

Json = dict[str, Any]


class Lab:
    """An API with a network; `service` and `endpoints` create or replace."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home, NETWORK)
        self.api = Api(Store(self.settings.database), NETWORK)
        self.network = ClusterNetwork(self.api, self.settings)

    def namespace(self, name: str) -> None:
        self.put("v1", "Namespace", None, name, {})

    def put(self, version: str, kind: str, namespace: str | None, name: str, rest: Json) -> Json:
        metadata: Json = {"name": name} | ({"namespace": namespace} if namespace else {})
        resource, obj = self.api.kinds(kind), {"apiVersion": version, "kind": kind, "metadata": metadata} | rest
        if self.api.find(resource, namespace, name) is None:
            return self.api.create(resource, namespace, obj)
        return self.api.update(resource, namespace, name, obj)

    def service(self, name: str, *ports: Json, namespace: str = "default", **spec: Any) -> str:
        """Creates a service and returns its address."""
        made = self.put("v1", "Service", namespace, name, {"spec": {"ports": list(ports)} | spec})
        return str(made["spec"]["clusterIP"])

    def endpoints(self, name: str, *ips: str, port: int = 8080, namespace: str = "default", **more: Any) -> None:
        subsets = [{"addresses": [{"ip": ip} for ip in ips], "ports": [{"port": port} | more]}] if ips else []
        self.put("v1", "Endpoints", namespace, name, {"subsets": subsets})

    def file(self) -> Json:
        found: Json = json.loads(self.settings.network_file.read_text())
        return found


@asynccontextmanager
async def lab(home: Path) -> AsyncIterator[Lab]:
    made = Lab(home)
    if made.api.find(made.api.kinds("Namespace"), None, "default") is None:
        made.namespace("default")
    await made.network.start()
    try:
        await made.network.ready()
        yield made
    finally:
        await made.network.stop()
        made.api.store.close()


async def until(true: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait until a condition holds; it is looked at every 2 ms."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.002)


async def ask(host: str, port: int, text: str = "x") -> str:
    """What a server says; "" where the connection is closed or refused."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(text.encode())
        answer = await reader.read(65_536)
        writer.close()
    except ConnectionError:
        return ""
    return answer.decode()


async def served(host: str, port: int, text: str = "x") -> str:
    """The answer, once there is one."""
    async with asyncio.timeout(60):
        while not (answer := await ask(host, port, text)):
            await asyncio.sleep(0.002)
    return answer


def test_a_service_without_a_selector_leads_where_its_slices_say(tmp_path: Path, server: MakeServer) -> None:
    async def story() -> None:
        async with lab(tmp_path) as made:
            one = pod_ip()
            server(one, 8080, "one")
            ip = made.service("web", {"port": 80, "targetPort": 8080})
            there = {"addressType": "IPv4", "ports": [{"name": "", "port": 8080}], "endpoints": [{"addresses": [one]}]}
            resource, meta = made.api.kinds("EndpointSlice"), {"name": "by-hand", "namespace": "default"}
            made.api.create(resource, "default", {
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {**meta, "labels": {"kubernetes.io/service-name": "web"}}, **there})
            assert "one" in await served(ip, bound_port(80))
            made.api.delete(resource, "default", "by-hand")
            await until(lambda: made.file()["services"]["default/web"]["endpoints"] == {"80": []})

    asyncio.run(story())


def test_a_service_address_leads_this_machines_programs_to_the_endpoints(tmp_path: Path, server: MakeServer) -> None:
    async def story() -> None:
        async with lab(tmp_path) as made:
            one, two = pod_ip(), pod_ip()
            server(one, 8080, "one"), server(two, 8080, "two")
            ip = made.service("web", {"port": 80, "targetPort": 8080})
            made.endpoints("web", one, two)
            await served(ip, bound_port(80))
            answers = Counter([(await ask(ip, bound_port(80))).split()[-2] for _ in range(60)])
            assert set(answers) == {"one", "two"}
            assert min(answers.values()) >= 10  # missed by fair draws once in 10 million runs
            made.endpoints("web", two)
            await until(lambda: made.file()["services"]["default/web"]["endpoints"] == {"80": [[two, 8080]]})

    asyncio.run(story())


def test_datagrams_and_node_ports_are_served_too(tmp_path: Path, server: MakeServer) -> None:
    async def story() -> None:
        async with lab(tmp_path) as made:
            end = pod_ip()
            server(end, 9125, "statsd", socket.SOCK_DGRAM), server(end, 8080, "web")
            ip = made.service("stats", {"port": 9125, "protocol": "UDP"})
            made.endpoints("stats", end, port=9125, protocol="UDP")
            made.service("web", {"port": 80, "targetPort": 8080, "nodePort": 31234}, type="NodePort")
            made.endpoints("web", end)
            assert "web" in await served(NETWORK.node, 31234)
            loop = asyncio.get_running_loop()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.connect((ip, 9125))
                sock.send(b"x")
                assert await asyncio.wait_for(loop.sock_recv(sock, 100), 60) == b"statsd x"

    asyncio.run(story())


def test_the_forward_proxy_takes_names_and_addresses(tmp_path: Path, server: MakeServer) -> None:
    async def story() -> None:
        async with lab(tmp_path) as made:
            end = pod_ip()
            server(end, 8080, "web")
            made.namespace("shop")
            ip = made.service("web", {"port": 9093, "targetPort": 8080}, namespace="shop")
            made.endpoints("web", end, namespace="shop")
            await served(ip, 9093)

            def request(host: str) -> str:
                return f"GET http://{host}/metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"

            for host in ("web.shop:9093", "web.shop.svc.cluster.local:9093", f"{ip}:9093", f"{end}:8080"):
                answer = await ask(NETWORK.node, 3128, request(host))
                assert answer.startswith("HTTP/1.1 200 OK")
                assert "web\nGET /metrics HTTP/1.1" in answer
            assert (await ask(NETWORK.node, 3128, request("web.shop:80"))).startswith("HTTP/1.1 502")
            assert "no service of the lab" in await ask(NETWORK.node, 3128, request("example.com"))

    asyncio.run(story())


def test_the_network_file_follows_the_api_and_its_version_never_goes_back(tmp_path: Path) -> None:
    async def story() -> None:
        async with lab(tmp_path) as made:
            before = made.file()
            assert before["services"] == {}
            assert before["hosts"] == {"meshlab": NETWORK.node}
            ip = made.service("web", {"port": 80})
            await until(lambda: "default/web" in made.file()["services"])
            assert made.file()["services"]["default/web"]["ip"] == ip
            seen = made.file()["version"]
            assert seen > before["version"]
            made.api.delete(made.api.kinds("Service"), "default", "web")
            await until(lambda: not made.file()["services"])
            assert made.file()["version"] >= seen
            assert made.settings.network_file.stat().st_mode & 0o777 == 0o600

    asyncio.run(story())


def test_the_api_server_is_reached_before_anybody_has_written_its_endpoints(tmp_path: Path) -> None:
    async def story() -> None:
        async with lab(tmp_path) as made:
            made.service("kubernetes", {"name": "https", "port": 443, "targetPort": 6443})
            await until(lambda: "default/kubernetes" in made.file()["services"])
            entry = made.file()["services"]["default/kubernetes"]
            assert entry["ip"] == f"{NETWORK.services}.0.1"
            assert entry["endpoints"] == {"443": [[NETWORK.node, 6443]]}

    asyncio.run(story())


def test_an_open_connection_outlives_a_change_of_its_services_endpoints(tmp_path: Path, server: MakeServer) -> None:
    async def story() -> None:
        async with lab(tmp_path) as made:
            end = pod_ip()
            server(end, 8080, "web")
            ip = made.service("web", {"port": 8080})
            made.endpoints("web", end)
            await served(ip, 8080)
            reader, writer = await asyncio.open_connection(ip, 8080)
            writer.write(b"a")
            await reader.readuntil(b"web\na")
            other = pod_ip()
            server(other, 8080, "other")
            made.endpoints("web", other)
            async with asyncio.timeout(60):
                while "other" not in await ask(ip, 8080):
                    await asyncio.sleep(0.002)
            writer.write(b"b")
            await asyncio.wait_for(reader.readuntil(b"web\nb"), 60)
            writer.close()

    asyncio.run(story())


def test_who_waits_for_the_network_meets_what_is_stored_at_the_first_connection(
    tmp_path: Path, server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with lab(tmp_path) as made:
            ends = {"one": pod_ip(), "two": pod_ip()}
            for name, end in ends.items():
                server(end, 8080, name)
            ip = made.service("web", {"port": 8080})
            made.endpoints("web", ends["two"])
            await served(ip, 8080)
            for name in ("one", "two") * 20:
                made.endpoints("web", ends[name])
                await made.network.caught_up()
                assert name in await ask(ip, 8080)
            record = Record.read(made.network.proxy.record)
            assert record is not None
            monkeypatch.setattr("meshlab.cluster.network.cluster_network.PATIENCE", 0.05)
            os.kill(record.pid, signal.SIGSTOP)
            try:  # it does not follow any more, and nobody is kept waiting
                made.endpoints("web", ends["one"])
                await made.network.caught_up()
            finally:
                os.kill(record.pid, signal.SIGCONT)

    asyncio.run(story())


def test_kube_proxy_is_started_again_when_it_is_killed(tmp_path: Path, server: MakeServer) -> None:
    async def story() -> None:
        async with lab(tmp_path) as made:
            end = pod_ip()
            server(end, 8080, "web")
            ip = made.service("web", {"port": 8080})
            made.endpoints("web", end)
            await served(ip, 8080)
            record = Record.read(made.network.proxy.record)
            assert record is not None
            os.kill(record.pid, signal.SIGKILL)
            await until(lambda: Record.read(made.network.proxy.record) != record)
            assert "web" in await served(ip, 8080)

    asyncio.run(story())


def test_the_next_daemon_adopts_the_kube_proxy_of_one_that_was_killed(tmp_path: Path, server: MakeServer) -> None:
    end = pod_ip()
    server(end, 8080, "web")

    async def first() -> tuple[str, Record | None]:
        made = Lab(tmp_path)
        made.namespace("default")
        await made.network.start()
        ip = made.service("web", {"port": 8080})
        made.endpoints("web", end)
        await made.network.ready()
        await served(ip, 8080)
        await made.network.leave()
        made.api.store.close()
        return ip, Record.read(made.network.proxy.record)

    async def second(ip: str, record: Record | None) -> None:
        assert "web" in await ask(ip, 8080)  # nobody is there but kube-proxy
        async with lab(tmp_path) as made:
            assert Record.read(made.network.proxy.record) == record
            assert "web" in await ask(ip, 8080)
            other = made.service("later", {"port": 8081, "targetPort": 8080})
            made.endpoints("later", end)
            assert "web" in await served(other, 8081)
        assert record is not None
        assert not record.alive()

    ip, record = asyncio.run(first())
    asyncio.run(second(ip, record))


def test_what_a_killed_daemon_left_can_be_ended_without_a_daemon(tmp_path: Path) -> None:
    async def start() -> Record | None:
        made = Lab(tmp_path)
        await made.network.start()
        await made.network.ready()
        await made.network.leave()
        made.api.store.close()
        return Record.read(made.network.proxy.record)

    record = asyncio.run(start())
    assert record is not None
    assert record.alive()
    settings = Settings(tmp_path, NETWORK)
    assert stop_leftover(settings)
    assert not record.alive()
    assert not stop_leftover(settings)


def test_an_address_that_is_taken_is_named_and_the_others_work(tmp_path: Path, server: MakeServer) -> None:
    async def story() -> None:
        async with lab(tmp_path) as made:
            end = pod_ip()
            server(end, 8080, "web")
            taken = server(f"{NETWORK.services}.250.9", 8080, "squatter")
            made.service("blocked", {"port": 8080}, clusterIP=taken.socket.getsockname()[0])
            ip = made.service("web", {"port": 8080})
            made.endpoints("web", end)
            assert "web" in await served(ip, 8080)
            await until(lambda: any("250.9:8080" in line for line in made.network.proxy.problems()))

    asyncio.run(story())


def test_not_being_ready_in_time_is_an_error_with_the_next_command(tmp_path: Path) -> None:
    async def story() -> None:
        made = Lab(tmp_path)
        with pytest.raises(WaitTimeout, match="kube-proxy was not ready within") as caught:
            await made.network.ready(0.05)
        assert "tail " in str(caught.value)
        made.api.store.close()

    asyncio.run(story())

"""The API server: creates, gets, lists, watch latency with ten watchers, memory before load."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import yaml
from figure import Figure, own_home, quantile

from meshlab.cluster.daemon import start
from meshlab.settings import Settings

CREATES = 2000
PATH = "/api/v1/namespaces/default/configmaps"


def rss(pid: int) -> float:
    """Resident memory, MB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS:")) / 1024


def session(settings: Settings) -> aiohttp.ClientSession:
    config = yaml.safe_load(settings.kubeconfig.read_text())
    import base64

    authority = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    return aiohttp.ClientSession(
        config["clusters"][0]["cluster"]["server"],
        headers={"Authorization": f"Bearer {config['users'][0]['user']['token']}"},
        connector=aiohttp.TCPConnector(ssl=context),
    )


def configmap(name: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"at": str(time.perf_counter())},
    }


async def watch(client: aiohttp.ClientSession, ready: asyncio.Event, seen: list[float], want: int) -> None:
    async with client.get(PATH, params={"watch": "true", "labelSelector": "!bench"}) as answer:
        ready.set()
        async for line in answer.content:
            event = json.loads(line)
            if event["object"]["metadata"]["name"].startswith("w-"):
                seen.append((time.perf_counter() - float(event["object"]["data"]["at"])) * 1000)
                if len(seen) == want:
                    return


async def measure(settings: Settings) -> tuple[list[float], list[float], list[float], list[float]]:
    """creates/s, gets/s, milliseconds of a list of 2,000, milliseconds from a create to each watcher."""
    async with session(settings) as client:
        began = time.perf_counter()
        for n in range(CREATES):
            async with client.post(PATH, json=configmap(f"b-{n}")) as answer:
                assert answer.status == 201, await answer.text()
        creates = CREATES / (time.perf_counter() - began)
        began = time.perf_counter()
        for n in range(CREATES):
            async with client.get(f"{PATH}/b-{n}") as answer:
                await answer.read()
        gets = CREATES / (time.perf_counter() - began)
        began = time.perf_counter()
        async with client.get(PATH) as answer:
            await answer.read()
        listed = (time.perf_counter() - began) * 1000
        rounds, latencies = 100, [[] for _ in range(10)]  # type: tuple[int, list[list[float]]]
        opened = [asyncio.Event() for _ in latencies]
        watchers = [asyncio.create_task(watch(client, e, s, rounds)) for e, s in zip(opened, latencies, strict=True)]
        await asyncio.gather(*(event.wait() for event in opened))
        for n in range(rounds):
            async with client.post(PATH, json=configmap(f"w-{n}")) as answer:
                await answer.read()
            while min(map(len, latencies)) <= n:
                await asyncio.sleep(0)
        await asyncio.gather(*watchers)
        return [creates], [gets], [listed], [ms for seen in latencies for ms in seen]


def run() -> Iterator[Figure]:
    with own_home():
        running = start(Settings.load())
        settings = Settings.load()
        pid = int(json.loads(settings.daemon_file.read_text())["pid"])
        yield Figure("API server's memory before load (RSS)", [rss(pid)], "MB", "60 MB")
        creates, gets, listed, latency = asyncio.run(measure(settings))
        yield Figure("creates, one client, one after the other", creates, "/s", "1,000 /s")
        yield Figure("gets, one client, one after the other", gets, "/s", "3,000 /s")
        yield Figure("list of 2,000", listed, "ms", "-")
        yield Figure("create → seen by each of 10 watchers, p50", [quantile(latency, 0.5)], "ms", "2 ms")
        yield Figure("create → seen by each of 10 watchers, p99", [quantile(latency, 0.99)], "ms", "-")
        yield Figure(f"its memory with {CREATES} objects (RSS)", [rss(pid)], "MB", "-")
        del running

"""The API server: creates, gets, lists, watch latency and memory, and how they grow with objects and watchers."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

import aiohttp
import yaml
from figure import Figure, own_home, quantile

from meshlab.cluster.daemon import start
from meshlab.settings import Settings

#: Objects in one namespace at which the figures are taken, and how many creates and gets are timed.
OBJECTS, CREATES = (1_000, 3_000, 10_000), 1_000
#: Watchers with the most objects, and creates that each of them is told of.
WATCHERS, ROUNDS = (1, 10, 50, 100), 50
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
        connector=aiohttp.TCPConnector(ssl=context, limit=0),
    )


def configmap(name: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"at": str(time.perf_counter())},
    }


async def watch(
    client: aiohttp.ClientSession, since: str, ready: asyncio.Event, seen: list[float], want: int
) -> None:
    """Notes how long each of `want` objects took from before its creation to here, in milliseconds."""
    async with client.get(PATH, params={"watch": "true", "resourceVersion": since}) as answer:
        ready.set()
        async for line in answer.content:
            event = json.loads(line)
            seen.append((time.perf_counter() - float(event["object"]["data"]["at"])) * 1000)
            if len(seen) == want:
                return


async def create(client: aiohttp.ClientSession, names: Iterable[str]) -> None:
    for name in names:
        async with client.post(PATH, json=configmap(name)) as answer:
            assert answer.status == 201, await answer.text()


async def revision(client: aiohttp.ClientSession) -> str:
    async with client.get(PATH, params={"limit": "1"}) as answer:
        return str((await answer.json())["metadata"]["resourceVersion"])


async def latency(client: aiohttp.ClientSession, watchers: int, tag: str) -> list[float]:
    """Milliseconds from a create to each watcher, one create after the other."""
    since, seen = await revision(client), [[] for _ in range(watchers)]  # type: tuple[str, list[list[float]]]
    opened = [asyncio.Event() for _ in seen]
    tasks = [
        asyncio.create_task(watch(client, since, event, times, ROUNDS))
        for event, times in zip(opened, seen, strict=True)
    ]
    await asyncio.gather(*(event.wait() for event in opened))
    for n in range(ROUNDS):
        await create(client, [f"{tag}-{n}"])
        while min(map(len, seen)) <= n:
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    for n in range(ROUNDS):
        async with client.delete(f"{PATH}/{tag}-{n}") as answer:
            await answer.read()
    return [ms for times in seen for ms in times]


async def measure(settings: Settings, pid: int) -> AsyncIterator[Figure]:
    async with session(settings) as client:
        there = 0
        for objects in OBJECTS:
            await create(client, (f"b-{n}" for n in range(there, objects - CREATES)))
            began = time.perf_counter()
            await create(client, (f"b-{n}" for n in range(objects - CREATES, objects)))
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
            there = objects
            told = await latency(client, 10, f"o{objects}")
            yield Figure(f"{objects:,} objects: creates, one after the other", [creates], "/s", "1,000 /s")
            yield Figure(f"{objects:,} objects: gets, one after the other", [gets], "/s", "3,000 /s")
            yield Figure(f"{objects:,} objects: list of all", [listed], "ms", "-")
            yield Figure(f"{objects:,} objects: create → each of 10 watchers, p50", [quantile(told, 0.5)], "ms", "2 ms")
            yield Figure(f"{objects:,} objects: memory (RSS)", [rss(pid)], "MB", "-")
        for watchers in WATCHERS:
            told = await latency(client, watchers, f"w{watchers}")
            yield Figure(f"{watchers} watchers: create → each of them, p50", [quantile(told, 0.5)], "ms",
                         "2 ms" if watchers <= 10 else "-")
            yield Figure(f"{watchers} watchers: create → each of them, p99", [quantile(told, 0.99)], "ms", "-")


def run() -> Iterator[Figure]:
    with own_home():
        began = time.perf_counter()
        running = start(Settings.load())
        yield Figure("the daemon started → the API answers", [time.perf_counter() - began], "s", "1.0 s")
        settings = Settings.load()
        yield Figure("API server's memory before load (RSS)", [rss(running.pid)], "MB", "60 MB")
        figures = measure(settings, running.pid)
        with asyncio.Runner() as runner:
            while (figure := runner.run(anext(figures, None))) is not None:  # type: ignore[arg-type]
                yield figure

"""Watches: what is sent, in which order, and when a client must list again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meshlab.cluster import Cluster
from meshlab.cluster.api.api import Api
from meshlab.cluster.api.status import Expired
from meshlab.cluster.api.store import Store
from meshlab.errors import Rejected
from meshlab.kube import Informer, Kube


@pytest.fixture
def api() -> Iterator[Api]:
    store = Store(None)
    made = Api(store)
    made.create(made.kinds("Namespace"), None, {"metadata": {"name": "n"}})
    yield made
    store.close()


def config_map(name: str, **labels: str) -> dict[str, Any]:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, "labels": labels}}


def told(watch: Any) -> list[tuple[str, str]]:
    return [(e.type, e.object["metadata"].get("name", "")) for e in watch.ready()]


def test_a_watch_resumes_after_a_revision(api: Api) -> None:
    maps = api.kinds("ConfigMap")
    api.create(maps, "n", config_map("a"))
    _, revision = api.list(maps)
    api.create(maps, "n", config_map("b"))
    api.patch(maps, "n", "a", {"data": {"x": "y"}}, "merge")
    watch = api.watch(maps, since=revision)
    api.delete(maps, "n", "a")
    assert told(watch) == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "a")]


def test_without_a_revision_everything_there_is_comes_first(api: Api) -> None:
    maps = api.kinds("ConfigMap")
    api.create(maps, "n", config_map("a"))
    watch = api.watch(maps, initial_end=True)
    events = watch.ready()
    assert [(e.type, e.object["metadata"].get("name")) for e in events] == [("ADDED", "a"), ("BOOKMARK", None)]
    assert events[1].object["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


@pytest.mark.parametrize("live", [True, False], ids=["while watching", "from history"])
def test_entering_and_leaving_a_selection_is_adding_and_deleting(api: Api, live: bool) -> None:
    maps = api.kinds("ConfigMap")
    _, revision = api.list(maps)
    watch = api.watch(maps, since=revision, label_selector="on=yes") if live else None
    api.create(maps, "n", config_map("a", on="no"))
    for on in ("yes", "yes2", "yes"):
        api.patch(maps, "n", "a", {"metadata": {"labels": {"on": on}}}, "merge")
    api.patch(maps, "n", "a", {"data": {"x": "y"}}, "merge")
    api.delete(maps, "n", "a")
    if watch is None:
        watch = api.watch(maps, since=revision, label_selector="on=yes")
    assert [t for t, _ in told(watch)] == ["ADDED", "DELETED", "ADDED", "MODIFIED", "DELETED"]


def test_namespaces_are_kept_apart(api: Api) -> None:
    api.create(api.kinds("Namespace"), None, {"metadata": {"name": "n-2"}})
    maps = api.kinds("ConfigMap")
    watch = api.watch(maps, "n")
    api.create(maps, "n-2", config_map("other"))
    api.create(maps, "n", config_map("own"))
    assert told(watch) == [("ADDED", "own")]


def test_a_compacted_revision_is_gone(api: Api) -> None:
    maps = api.kinds("ConfigMap")
    _, revision = api.list(maps)
    api.create(maps, "n", config_map("a"))
    api.delete(maps, "n", "a")
    api.create(maps, "n", config_map("b"))
    api.store.compact(now=0.0)
    api.create(maps, "n", config_map("c"))
    api.store.compact(now=1000.0)
    with pytest.raises(Expired):
        api.watch(maps, since=revision)


def test_a_reader_that_is_too_slow_is_told_to_list_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshlab.cluster.api.watch.BACKLOG", 3)
    maps = api.kinds("ConfigMap")
    watch = api.watch(maps)
    for n in range(5):
        api.create(maps, "n", config_map(f"m{n}"))
    with pytest.raises(Expired):
        watch.ready()


def test_an_iterator_ends_when_its_watch_is_closed(api: Api) -> None:
    async def run() -> list[str]:
        maps = api.kinds("ConfigMap")
        seen = []
        async with api.watch(maps) as watch:
            api.create(maps, "n", config_map("a"))
            async for event in watch:
                seen.append(event.object["metadata"]["name"])
                asyncio.get_running_loop().call_soon(watch.close)
        assert len(api.hub) == 0
        return seen

    assert asyncio.run(run()) == ["a"]


# Over HTTP


def test_the_stream_begins_with_what_there_is_and_its_bookmark(kube: Kube, namespace: str) -> None:
    target = ("v1", "configmaps", namespace)
    kube.create(target, config_map("a"))
    query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
    types = []
    with contextlib.closing(kube.watch(target, timeout=60, **query)) as events:
        for type_, obj in events:
            types.append(type_)
            if type_ == "BOOKMARK":
                assert obj["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"
                break
    assert types == ["ADDED", "BOOKMARK"]


def test_a_revision_that_is_gone_is_an_error_event_in_a_stream_of_200(tmp_path: Any) -> None:
    with Cluster(tmp_path / "home") as cluster:
        kube = cluster.kube

        def age(api: Api) -> int:
            maps = api.kinds("ConfigMap")
            revision = api.list(maps)[1]
            for n in range(3):
                api.create(maps, "default", config_map(f"m{n}"))
            api.store.compact(now=0.0)
            api.create(maps, "default", config_map("last"))
            api.store.compact(now=1000.0)
            return revision

        revision = cluster.call(age)
        path = f"/api/v1/configmaps?watch=true&resourceVersion={revision}"
        raw = kube.raw("GET", path)
        event = json.loads(raw.data)
        assert (raw.status, event["type"], event["object"]["code"]) == (200, "ERROR", 410)
        with pytest.raises(Rejected) as caught:
            list(kube.watch(("v1", "configmaps"), revision))
        assert caught.value.code == 410


def test_a_watch_ends_when_its_time_is_up(kube: Kube, namespace: str) -> None:
    assert list(kube.watch(("v1", "configmaps", namespace), timeout=1)) == []


def test_tables_are_streamed_with_columns_once(kube: Kube, namespace: str) -> None:
    target = ("v1", "configmaps", namespace)
    kube.create(target, config_map("a"))
    kube.create(target, config_map("b"))
    raw = kube.raw(
        "GET", kube.path(target) + "?watch=true&timeoutSeconds=1",
        headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"},
    )
    first, second = (json.loads(line)["object"] for line in raw.data.splitlines())
    assert first["columnDefinitions"][0]["name"] == "Name" and not second["columnDefinitions"]
    assert [r["cells"][0] for r in (*first["rows"], *second["rows"])] == ["a", "b"]


class Recorder:
    """What an informer told, and a way to wait for it."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self._changed = threading.Condition()

    def __call__(self, type_: str, obj: dict[str, Any]) -> None:
        with self._changed:
            self.events.append((type_, obj["metadata"]["name"]))
            self._changed.notify_all()

    def wait(self, condition: Callable[[list[tuple[str, str]]], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self.events), 60.0), self.events


def test_an_informer_follows(kube: Kube, namespace: str) -> None:
    target = ("v1", "configmaps", namespace)
    kube.create(target, config_map("a"))
    seen = Recorder()
    with Informer(kube, target).start(seen) as informer:
        assert informer.synced.wait(60)
        kube.create(target, config_map("b"))
        kube.delete((*target, "a"))
        seen.wait(lambda events: len(events) == 3)
        assert seen.events == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")]
        assert informer.objects.keys() == {(namespace, "b")}
        assert informer.revision > 0 and informer.error is None


def test_an_informer_outlives_the_server_and_tells_differences_only(tmp_path: Any) -> None:
    target = ("v1", "configmaps", "default")
    seen = Recorder()
    with Cluster(tmp_path / "home") as first:
        port = int(first.server.rpartition(":")[2])
        kube = Kube.from_kubeconfig(first.kubeconfig)
        for name in ("stays", "goes"):
            kube.create(target, config_map(name))
        informer = Informer(kube, target).start(seen)
        seen.wait(lambda events: len(events) == 2)
    with Cluster(tmp_path / "home", port=port) as second:
        second.kube.delete((*target, "goes"))
        second.kube.create(target, config_map("comes"))
        seen.wait(lambda events: len(events) == 4)
        informer.stop()
    assert sorted(seen.events[2:]) == [("ADDED", "comes"), ("DELETED", "goes")]
    kube.close()

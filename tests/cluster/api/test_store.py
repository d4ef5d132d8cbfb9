"""The store: revisions, durability, history."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from meshlab.cluster.api.store import Compacted, Store
from meshlab.errors import LabError


def put(store: Store, name: str, value: int = 0) -> int:
    return store.put("/things", f"ns/{name}", {"metadata": {"name": name}, "value": value}).revision


def names(entries: list) -> list[str]:  # type: ignore[type-arg]
    return [e.obj["metadata"]["name"] for e in entries]


def test_revisions_count_every_write_and_are_written_into_the_object() -> None:
    store = Store(None)
    first, second = put(store, "a"), put(store, "b")
    assert second == first + 1
    entry = store.get("/things", "ns/b")
    assert entry is not None and entry.obj["metadata"]["resourceVersion"] == str(second)
    store.close()


def test_what_was_written_is_there_after_reopening(tmp_path: Path) -> None:
    store = Store(tmp_path / "db")
    put(store, "a", 1)
    put(store, "a", 2)
    put(store, "b")
    store.remove("/things", "ns/b")
    last = store.revision
    store.close()
    again = Store(tmp_path / "db")
    assert [(e.key, e.obj["value"]) for e in again.entries("/things")] == [("ns/a", 2)]
    assert again.revision == last
    again.close()


def test_an_acknowledged_write_survives_a_kill(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from meshlab.cluster.api.store import Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "for n in range(10**6):\n"
        "    store.put('/things', f'ns/{n}', {'metadata': {}}); print(n, flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "db")], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    acknowledged = [int(child.stdout.readline()) for _ in range(200)]
    child.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in child.stdout if line.endswith("\n")]
    child.wait()
    child.stdout.close()
    store = Store(tmp_path / "db")
    assert all(store.get("/things", f"ns/{n}") for n in acknowledged)
    store.close()


def test_a_list_can_be_read_as_it_was() -> None:
    store = Store(None)
    put(store, "a", 1)
    then = put(store, "b", 1)
    put(store, "a", 2)
    store.remove("/things", "ns/b")
    put(store, "c", 1)
    assert names(store.list_at("/things", "", then)) == ["a", "b"]
    assert [e.obj["value"] for e in store.list_at("/things", "", then)] == [1, 1]
    assert names(store.entries("/things")) == ["a", "c"]
    store.close()


def test_history_says_what_each_object_was_before() -> None:
    store = Store(None)
    since = put(store, "a", 1)
    put(store, "a", 2)
    put(store, "b", 1)
    store.remove("/things", "ns/a")
    changes = store.history("/things", since)
    told = [(c.entry.key, c.previous and c.previous.obj["value"], c.deleted) for c in changes]
    assert told == [("ns/a", 1, False), ("ns/b", None, False), ("ns/a", 2, True)]
    store.close()


def test_compaction_forgets_history_but_nothing_that_is_there(tmp_path: Path) -> None:
    store = Store(tmp_path / "db")
    old = put(store, "a", 1)
    put(store, "b", 1)
    store.remove("/things", "ns/b")
    put(store, "a", 2)
    store.compact(now=0.0)
    put(store, "a", 3)
    removed = store.compact(now=400.0)
    assert removed == 3  # the first a, and b with its deletion
    with pytest.raises(Compacted):
        store.history("/things", old)
    assert [e.obj["value"] for e in store.entries("/things")] == [3]
    store.close()
    again = Store(tmp_path / "db")
    assert [e.obj["value"] for e in again.entries("/things")] == [3]
    again.close()


def test_keys_are_listed_in_order_and_by_prefix() -> None:
    store = Store(None)
    for key in ("b/x", "a/z", "a-b/y", "a/a"):
        store.put("/things", key, {"metadata": {"name": key}})
    assert names(store.entries("/things")) == ["a-b/y", "a/a", "a/z", "b/x"]
    assert names(store.entries("/things", "a/")) == ["a/a", "a/z"]
    store.close()


def test_a_damaged_database_is_said_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "db"
    store = Store(path)
    for n in range(200):
        put(store, f"n{n}")
    store.close()
    data = bytearray(path.read_bytes())
    data[4096:8192] = b"\xff" * 4096
    path.write_bytes(data)
    kept = path.read_bytes()
    with pytest.raises(LabError, match="cannot be read"):
        Store(path)
    assert path.read_bytes() == kept


def test_a_foreign_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    with pytest.raises(LabError, match="another program"):
        Store(path)


def test_a_full_disk_loses_nothing_and_changes_nothing(tmp_path: Path) -> None:
    from meshlab.cluster.api.store import StoreFull

    store = Store(tmp_path / "db")
    put(store, "a", 1)
    store._db.execute("PRAGMA max_page_count = 10")  # SQLite says "full" as it does for a disk
    revision = store.revision
    with pytest.raises(StoreFull):
        for n in range(1000):
            revision = store.put("/things", f"ns/big-{n}", {"metadata": {}, "x": "y" * 2000}).revision
    assert store.revision == revision
    kept = [e.key for e in store.entries("/things")]
    store.close()
    shutil.copy(tmp_path / "db", tmp_path / "copy")
    again = Store(tmp_path / "db")
    assert [e.key for e in again.entries("/things")] == kept
    again.close()

"""Where objects live: a log of revisions in SQLite, and the current state in memory.

The design is etcd's: one counter for everything, every write one row `(revision, collection, key, deleted, data)`.
The newest row of a key is its current state, older ones are history. So one insert makes a write durable, a watch
can resume from any revision that is not compacted yet (across restarts too), and a list can be continued at the
revision of its first page.

SQLite runs in WAL mode with synchronous=NORMAL: a committed write survives the death of the process at any moment.
Each write is committed before `put` returns; memory changes only after that.

Objects are shared between the store, its readers and watchers: **nobody may change what he was handed.**
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshlab.errors import LabError

__all__ = ["Change", "Compacted", "Entry", "Store", "StoreFull", "encode"]

Object = dict[str, Any]

SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
    revision INTEGER PRIMARY KEY, collection TEXT NOT NULL, key TEXT NOT NULL, deleted INTEGER NOT NULL,
    data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS log_key ON log (collection, key, revision);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
#: PRAGMA application_id of our databases ("mesh"), so that a foreign file is refused.
APPLICATION = 0x6D657368
FORMAT = 1
#: Seconds of history that stay readable; a real server compacts every 5 minutes as well.
HISTORY = 300.0
#: Rows of history beyond which the oldest go earlier, to bound the file.
HISTORY_ROWS = 50_000

_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode(obj: Any) -> bytes:
    """Compact JSON in UTF-8."""
    return _encoder(obj).encode("utf-8", "surrogatepass")


class Compacted(Exception):
    """The revision asked for is no longer (or not yet) in the history."""


class StoreFull(Exception):
    """The disk took no more; nothing was written."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One object at one revision; `data` is its JSON, so that it is encoded once for all readers."""

    key: str
    obj: Object
    data: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Change:
    """A write. `entry` is the object after it (before it, with the new revision, if deleted)."""

    collection: str
    entry: Entry
    previous: Entry | None
    deleted: bool

    @property
    def revision(self) -> int:
        return self.entry.revision


class _Collection:
    """The current objects of one kind, in the order of their keys."""

    __slots__ = ("entries", "keys", "modified")

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.entries: dict[str, Entry] = {}
        self.modified = 0

    def set(self, entry: Entry) -> None:
        if entry.key not in self.entries:
            insort(self.keys, entry.key)
        self.entries[entry.key] = entry
        self.modified = entry.revision

    def remove(self, key: str, revision: int) -> None:
        if self.entries.pop(key, None) is not None:
            del self.keys[bisect_left(self.keys, key)]
        self.modified = revision

    def range(self, prefix: str) -> Iterator[Entry]:
        keys, entries = self.keys, self.entries
        if not prefix:
            return (entries[k] for k in keys)
        first = bisect_left(keys, prefix)
        last = bisect_left(keys, prefix[:-1] + chr(ord(prefix[-1]) + 1), first)
        return (entries[k] for k in keys[first:last])


class Store:
    """Opens (or makes) the database at `path`; None keeps everything in memory, for tests.

    Raises LabError where the file is damaged or is none of ours; it is left as it is.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._collections: dict[str, _Collection] = {}
        self._listeners: list[Callable[[Change], None]] = []
        self._marks: deque[tuple[float, int]] = deque()
        try:
            self._db = self._open()
            self.compacted = int(self.meta("compacted") or 0)
            self.revision = max(1, self._scalar("SELECT max(revision) FROM log"), self.compacted)
            self._load()
        except sqlite3.DatabaseError as error:
            raise LabError(
                f"the lab's database {path} cannot be read",
                why=str(error),
                then=f"keep it aside and start anew: mv {path} {path}.damaged && meshlab up",
            ) from error

    def _open(self) -> sqlite3.Connection:
        if self.path is not None:
            # It holds Secrets. SQLite gives its other files the mode of this one.
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.fchmod(descriptor, 0o600)
            os.close(descriptor)
        # One thread only; transactions are our own, one per write.
        db = sqlite3.connect(self.path or ":memory:", isolation_level=None, cached_statements=32)
        application = db.execute("PRAGMA application_id").fetchone()[0]
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application != APPLICATION and tables:
            raise sqlite3.DatabaseError("it is the database of another program")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > FORMAT:
            raise sqlite3.DatabaseError(f"its format {version} is newer than this meshlab, which knows {FORMAT}")
        if (fault := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(fault)
        db.executescript(
            f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA application_id={APPLICATION};"
            f"PRAGMA user_version={FORMAT}; PRAGMA cache_size=-1024;" + SCHEMA
        )
        return db

    def _load(self) -> None:
        rows = self._db.execute(
            "SELECT collection, key, data, revision FROM log JOIN "
            "(SELECT max(revision) AS newest FROM log GROUP BY collection, key) ON revision = newest "
            "WHERE deleted = 0 ORDER BY revision"
        )
        for collection, key, data, revision in rows:
            self._of(collection).set(Entry(key, json.loads(data), data, revision))

    def close(self) -> None:
        self._db.close()

    # Reading

    def fault(self) -> str:
        """Why the database cannot be asked; "" if it can."""
        try:
            self._db.execute("SELECT 1").fetchone()
        except sqlite3.Error as error:
            return str(error)
        return ""

    def get(self, collection: str, key: str) -> Entry | None:
        return self._of(collection).entries.get(key)

    def entries(self, collection: str, prefix: str = "") -> list[Entry]:
        """In the order of keys, which is that of a real server; `prefix` "namespace/" or all."""
        return list(self._of(collection).range(prefix))

    def count(self, collection: str) -> int:
        return len(self._of(collection).keys)

    def list_at(self, collection: str, prefix: str, revision: int) -> list[Entry]:
        """The collection as it was at `revision`. Compacted if that is too far back, or still to come."""
        if revision > self.revision or revision < self.compacted:
            raise Compacted(revision)
        if self._of(collection).modified <= revision:
            return self.entries(collection, prefix)
        rows = self._db.execute(
            "SELECT key, data, revision FROM log JOIN (SELECT max(revision) AS newest FROM log "
            "WHERE collection = ? AND revision <= ? GROUP BY key) ON revision = newest "
            "WHERE deleted = 0 ORDER BY key",
            (collection, revision),
        )
        return [Entry(k, json.loads(d), d, r) for k, d, r in rows if k.startswith(prefix)]

    def history(self, collection: str, since: int) -> list[Change]:
        """Every change after `since`, oldest first. Compacted if some of them are gone."""
        if since < self.compacted:
            raise Compacted(since)
        if self._of(collection).modified <= since:
            return []
        rows = self._db.execute(
            "SELECT key, deleted, data, revision FROM log WHERE collection = ? AND revision > ? ORDER BY revision",
            (collection, since),
        ).fetchall()
        latest: dict[str, Entry | None] = {}
        changes = []
        for key, deleted, data, revision in rows:
            previous = latest[key] if key in latest else self._before(collection, key, revision)
            entry = Entry(key, json.loads(data), data, revision)
            latest[key] = None if deleted else entry
            changes.append(Change(collection, entry, previous, bool(deleted)))
        return changes

    def meta(self, name: str) -> str | None:
        """A fact about this database, such as the cluster's uid."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    # Writing

    def put(self, collection: str, key: str, obj: Object) -> Entry:
        """Stores `obj` (which is ours from now on) with the next resourceVersion. StoreFull if the disk is."""
        previous = self._of(collection).entries.get(key)
        entry = self._append(collection, key, obj, deleted=False)
        self._of(collection).set(entry)
        self._publish(Change(collection, entry, previous, deleted=False))
        return entry

    def remove(self, collection: str, key: str) -> Entry:
        """Deletes; the answer is the last state with the revision of the deletion. KeyError if there is none."""
        previous = self._of(collection).entries[key]
        obj = {**previous.obj, "metadata": dict(previous.obj["metadata"])}
        entry = self._append(collection, key, obj, deleted=True)
        self._of(collection).remove(key, entry.revision)
        self._publish(Change(collection, entry, previous, deleted=True))
        return entry

    def set_meta(self, name: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def listen(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """`listener` is called after each write, in order, before `put` or `remove` returns; until the answer is."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def compact(self, now: float | None = None, *, history: float = HISTORY) -> int:
        """Forgets what is older than `history` seconds, or beyond HISTORY_ROWS; the number of rows removed.

        Called every minute or so: ages are known only from one call to the next.
        """
        now = time.monotonic() if now is None else now
        self._marks.append((now, self.revision))
        target = self.compacted
        while self._marks and self._marks[0][0] <= now - history:
            target = self._marks.popleft()[1]
        live = sum(len(c.keys) for c in self._collections.values())
        if self._scalar("SELECT count(*) FROM log") - live > HISTORY_ROWS:
            target = max(target, self.revision - HISTORY_ROWS)
        # The newest row stays whatever it is: it holds the counter.
        target = min(target, self.revision - 1)
        if target <= self.compacted:
            return 0
        with self._transaction():
            self.set_meta("compacted", str(target))
            cursor = self._db.execute(
                "DELETE FROM log WHERE revision <= :at AND (deleted OR EXISTS (SELECT 1 FROM log AS newer "
                "WHERE newer.collection = log.collection AND newer.key = log.key "
                "AND newer.revision > log.revision AND newer.revision <= :at))",
                {"at": target},
            )
        self.compacted = target
        return cursor.rowcount

    def _append(self, collection: str, key: str, obj: Object, *, deleted: bool) -> Entry:
        revision = self.revision + 1
        obj["metadata"]["resourceVersion"] = str(revision)
        data = encode(obj)
        try:
            self._db.execute(
                "INSERT INTO log VALUES (?, ?, ?, ?, ?)", (revision, collection, key, deleted, data)
            )
        except sqlite3.OperationalError as error:
            raise StoreFull(f"the lab's database {self.path} took no write: {error}") from error
        self.revision = revision
        return Entry(key, obj, data, revision)

    def _publish(self, change: Change) -> None:
        for listener in self._listeners:
            listener(change)

    def _before(self, collection: str, key: str, revision: int) -> Entry | None:
        row = self._db.execute(
            "SELECT deleted, data, revision FROM log WHERE collection = ? AND key = ? AND revision < ? "
            "ORDER BY revision DESC LIMIT 1",
            (collection, key, revision),
        ).fetchone()
        return None if row is None or row[0] else Entry(key, json.loads(row[1]), row[1], row[2])

    def _of(self, collection: str) -> _Collection:
        found = self._collections.get(collection)
        if found is None:
            found = self._collections[collection] = _Collection()
        return found

    def _scalar(self, query: str) -> int:
        return int(self._db.execute(query).fetchone()[0] or 0)

    def _transaction(self) -> _Transaction:
        return _Transaction(self._db)


class _Transaction:
    """BEGIN … COMMIT, or ROLLBACK on an exception."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    def __enter__(self) -> None:
        self.db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        self.db.execute("COMMIT" if kind is None else "ROLLBACK")

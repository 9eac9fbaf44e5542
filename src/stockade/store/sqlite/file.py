"""The database file: opened by one process only, at the schema this release knows, with what a transaction does."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from uuid import uuid4

from stockade.model.change import Revision
from stockade.store.contract import AtRevision, Batch, Empty, Event, Exists, Guard, GuardFailed, Op, Put, Record

SCHEMA = 1
# Read now: by the time a file is opened, the process may have given up the right to read the package.
_TABLES = files(__package__).joinpath("schema.sql").read_text(encoding="ascii")


class StoreBusy(Exception):
    """Another process has this state open."""


class StoreTooNew(Exception):
    """A later release wrote this state."""


class Database:
    """Blocking, for one thread at a time. `begin`, then any number of `write`, then `commit`."""

    def __init__(self, path: Path) -> None:
        self._lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._db = _opened(path)
        except BlockingIOError as err:
            os.close(self._lock)
            raise StoreBusy(str(path)) from err
        except BaseException:
            os.close(self._lock)
            raise
        meta = dict(self._db.execute("SELECT name, value FROM meta"))
        self.epoch: str = meta["epoch"]
        self.tip = Revision(meta["tip"])
        self.compacted = Revision(meta["compacted"])

    def begin(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def write(self, guards: Sequence[Guard], ops: Sequence[Op]) -> Batch | None:
        """One transaction's part of the commit; None when it has no ops. Raises GuardFailed, having written nothing."""
        for guard in guards:
            if not self._holds(guard):
                raise GuardFailed(guard)
        if not ops:
            return None
        revision = Revision(self.tip + 1)
        for op in ops:
            if isinstance(op, Put):
                self._db.execute("INSERT OR REPLACE INTO kv VALUES (?, ?, ?)", (op.key, op.value, revision))
            else:
                self._db.execute("DELETE FROM kv WHERE key = ?", (op.key,))
        events = tuple(Event(op.key, op.value if isinstance(op, Put) else None) for op in ops)
        self._db.executemany(
            "INSERT INTO log VALUES (?, ?, ?, ?)",
            [(revision, seq, event.key, event.value) for seq, event in enumerate(events)],
        )
        self.tip = revision
        return Batch(revision, events)

    def _holds(self, guard: Guard) -> bool:
        match guard:
            case AtRevision(key, revision):
                row = self._db.execute("SELECT revision FROM kv WHERE key = ?", (key,)).fetchone()
                return bool((row[0] if row else 0) == revision)
            case Exists(key):
                return self._db.execute("SELECT 1 FROM kv WHERE key = ?", (key,)).fetchone() is not None
            case Empty(prefix):
                row = self._db.execute("SELECT key FROM kv WHERE key >= ? ORDER BY key LIMIT 1", (prefix,)).fetchone()
                return row is None or not row[0].startswith(prefix)

    def commit(self) -> None:
        """Durable when it returns."""
        self._db.execute("UPDATE meta SET value = ? WHERE name = 'tip'", (self.tip,))
        self._db.execute("COMMIT")

    def roll_back(self, tip: Revision) -> None:
        """Undo everything since `begin`; `tip` is what it was then."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self.tip = tip

    def records(self) -> list[Record]:
        rows = self._db.execute("SELECT key, value, revision FROM kv ORDER BY key")
        return [Record(key, value, Revision(revision)) for key, value, revision in rows]

    def history(self, after: Revision) -> Iterator[Batch]:
        """The batches later than `after`."""
        events: list[Event] = []
        current = Revision(0)
        rows = self._db.execute(
            "SELECT revision, key, value FROM log WHERE revision > ? ORDER BY revision, seq", (after,)
        )
        for revision, key, value in rows:
            if revision != current and events:
                yield Batch(current, tuple(events))
                events = []
            current = Revision(revision)
            events.append(Event(key, value))
        if events:
            yield Batch(current, tuple(events))

    def compact(self, before: Revision) -> None:
        """Forget the history up to `before`."""
        kept = Revision(max(self.compacted, min(before, self.tip)))
        with self._db:
            self._db.execute("DELETE FROM log WHERE revision <= ?", (kept,))
            self._db.execute("UPDATE meta SET value = ? WHERE name = 'compacted'", (kept,))
        self.compacted = kept

    def close(self) -> None:
        self._db.close()
        os.close(self._lock)


def _opened(path: Path) -> sqlite3.Connection:
    # Autocommit: we say BEGIN ourselves. The connection is made on one thread and used on another, never on two.
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")  # NORMAL can lose the last commits on power loss
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA:
        db.close()
        raise StoreTooNew(f"{path} has schema {version}, this release knows {SCHEMA}")
    if version == 0:
        db.executescript(
            f"BEGIN; {_TABLES}"
            f"INSERT INTO meta VALUES ('epoch', '{uuid4().hex}'), ('tip', 0), ('compacted', 0);"
            f"PRAGMA user_version = {SCHEMA}; COMMIT;"
        )
        os.chmod(path, 0o600)  # access keys are in it
    return db

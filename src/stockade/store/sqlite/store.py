"""Store on one SQLite file.

    txn() ─┐                              ┌─ futures resolved
    txn() ─┼─► queue ─► writer thread ─► COMMIT ─► one call into the loop
    txn() ─┘        (up to 256 at once)   └─ batches to every watcher, first

Each transaction is atomic and has its own revision; what is shared is only the wait for the disk. Catching up a
watcher is a job of the same queue, so there is neither a gap nor a repetition between history and what follows.
"""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stockade.model.change import Revision
from stockade.store.contract import Batch, Compacted, Guard, GuardFailed, Op, Record
from stockade.store.sqlite.file import Database
from stockade.store.subscription import StoreClosed, Subscription

MOST_PER_COMMIT = 256


@dataclass(slots=True)
class _Txn:
    guards: Sequence[Guard]
    ops: Sequence[Op]
    answer: "asyncio.Future[Revision]"
    outcome: Revision | BaseException | None = None


@dataclass(slots=True)
class _Job:
    """Something else to do between commits, with the database; `then` gets its result on the loop."""

    do: Callable[[Database], Any]
    then: Callable[[Any], None]
    answer: "asyncio.Future[Any]"


class SqliteStore:
    """Made by `open`; belongs to the event loop it was opened on."""

    def __init__(self, database: Database, loop: asyncio.AbstractEventLoop) -> None:
        self._database = database
        self._loop = loop
        self._epoch = database.epoch
        self._tip = database.tip
        self._queue: queue.SimpleQueue[_Txn | _Job | None] = queue.SimpleQueue()
        self._watchers: list[Subscription] = []
        self._closed = False
        self._writer = threading.Thread(target=self._write, name="store-writer", daemon=True)
        self._writer.start()

    @classmethod
    async def open(cls, path: Path) -> "SqliteStore":
        """Create or open the state. Raises StoreBusy, StoreTooNew."""
        return cls(Database(path), asyncio.get_running_loop())

    @property
    def epoch(self) -> str:
        return self._epoch

    async def load(self) -> tuple[Revision, Sequence[Record]]:
        found: tuple[Revision, Sequence[Record]] = await self._job(lambda db: (db.tip, db.records()))
        return found

    async def txn(self, guards: Sequence[Guard], ops: Sequence[Op]) -> Revision:
        if self._closed:
            raise StoreClosed
        answer: asyncio.Future[Revision] = self._loop.create_future()
        self._queue.put(_Txn(guards, ops, answer))
        return await answer

    async def tip(self) -> Revision:
        return self._tip

    async def watch(self, after: Revision) -> AsyncIterator[Batch]:
        subscription = Subscription()

        def history(db: Database) -> list[Batch]:
            if after < db.compacted:
                raise Compacted
            return list(db.history(after))

        def begin(batches: list[Batch]) -> None:
            subscription.push(batches)
            self._watchers.append(subscription)

        if self._closed:
            return
        await self._job(history, begin)
        try:
            async for batch in subscription.read():
                yield batch
        finally:
            self._watchers.remove(subscription)

    async def compact(self, before: Revision) -> None:
        await self._job(lambda db: db.compact(before))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._writer.join)
        self._database.close()
        for watcher in self._watchers:
            watcher.close()

    async def _job(self, do: Callable[[Database], Any], then: Callable[[Any], None] = lambda _: None) -> Any:
        if self._closed:
            raise StoreClosed
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._queue.put(_Job(do, then, answer))
        return await answer

    # --- on the writer thread -----------------------------------------------------------------------------

    def _write(self) -> None:
        while True:
            item = self._queue.get()
            pending: list[_Txn] = []
            while isinstance(item, _Txn):
                pending.append(item)
                if len(pending) == MOST_PER_COMMIT or self._queue.empty():
                    break
                item = self._queue.get()
            if pending:
                self._loop.call_soon_threadsafe(self._committed, pending, self._commit(pending))
            if isinstance(item, _Job):
                self._run(item)
            elif item is None:
                return

    def _commit(self, pending: list[_Txn]) -> list[Batch]:
        before = self._database.tip
        batches: list[Batch] = []
        try:
            self._database.begin()
            for txn in pending:
                try:
                    batch = self._database.write(txn.guards, txn.ops)
                except GuardFailed as err:
                    txn.outcome = err
                    continue
                txn.outcome = self._database.tip
                if batch is not None:
                    batches.append(batch)
            self._database.commit()
        except Exception as err:
            # Disk full, I/O error: nothing of this commit happened, and every caller is told so.
            self._database.roll_back(before)
            for txn in pending:
                txn.outcome = err
            return []
        return batches

    def _run(self, job: _Job) -> None:
        try:
            outcome = job.do(self._database)
        except Exception as err:
            self._loop.call_soon_threadsafe(_answer, job.answer, err)
        else:
            self._loop.call_soon_threadsafe(self._done, job, outcome)

    # --- back on the loop ---------------------------------------------------------------------------------

    def _committed(self, pending: list[_Txn], batches: list[Batch]) -> None:
        if batches:
            self._tip = batches[-1].revision
            for watcher in self._watchers:
                watcher.push(batches)
        for txn in pending:
            _answer(txn.answer, txn.outcome)

    def _done(self, job: _Job, outcome: Any) -> None:
        job.then(outcome)
        _answer(job.answer, outcome)


def _answer(answer: "asyncio.Future[Any]", outcome: Any) -> None:
    if answer.done():  # whoever asked is gone; what was accepted is still done
        return
    if isinstance(outcome, BaseException):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)

"""The store in a dict: for tests and for trying things out."""

from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from uuid import uuid4

from stockade.model.change import Revision
from stockade.store.contract import (
    AtRevision,
    Batch,
    Compacted,
    Empty,
    Event,
    Exists,
    Guard,
    GuardFailed,
    Op,
    Put,
    Record,
)
from stockade.store.subscription import StoreClosed, Subscription


class MemoryStore:
    """Keeps nothing when the process ends."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._log: list[Batch] = []
        self._compacted = Revision(0)
        self._tip = Revision(0)
        self._epoch = uuid4().hex
        self._watchers: list[Subscription] = []
        self._closed = False

    @property
    def epoch(self) -> str:
        return self._epoch

    async def load(self) -> tuple[Revision, Sequence[Record]]:
        return self._tip, [self._records[key] for key in sorted(self._records)]

    async def txn(self, guards: Sequence[Guard], ops: Sequence[Op]) -> Revision:
        if self._closed:
            raise StoreClosed
        for guard in guards:
            if not self._holds(guard):
                raise GuardFailed(guard)
        if not ops:
            return self._tip
        self._tip = Revision(self._tip + 1)
        for op in ops:
            if isinstance(op, Put):
                self._records[op.key] = Record(op.key, op.value, self._tip)
            else:
                self._records.pop(op.key, None)
        batch = Batch(self._tip, tuple(Event(op.key, op.value if isinstance(op, Put) else None) for op in ops))
        self._log.append(batch)
        for watcher in self._watchers:
            watcher.push([batch])
        return self._tip

    def _holds(self, guard: Guard) -> bool:
        match guard:
            case AtRevision(key, revision):
                record = self._records.get(key)
                return (record.revision if record else 0) == revision
            case Exists(key):
                return key in self._records
            case Empty(prefix):
                return not any(key.startswith(prefix) for key in self._records)

    async def tip(self) -> Revision:
        return self._tip

    async def watch(self, after: Revision) -> AsyncIterator[Batch]:
        if after < self._compacted:
            raise Compacted
        subscription = Subscription()
        subscription.push(self._log[bisect_right(self._log, after, key=lambda batch: batch.revision) :])
        self._watchers.append(subscription)
        if self._closed:
            subscription.close()
        try:
            async for batch in subscription.read():
                yield batch
        finally:
            self._watchers.remove(subscription)

    async def compact(self, before: Revision) -> None:
        self._compacted = Revision(max(self._compacted, min(before, self._tip)))
        self._log = [batch for batch in self._log if batch.revision > self._compacted]

    async def close(self) -> None:
        self._closed = True
        for watcher in self._watchers:
            watcher.close()

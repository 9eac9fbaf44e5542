"""A server's current Resources, kept by one load and one watch; the Ledger that services and the feed hold.

Validation reads the cache and guards protect the write, so a stale cache costs a retry and never a wrong commit.
What this process writes is not decoded again: the value waits in `_written` for its event to come by.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from stockade.model.change import Revision
from stockade.model.resources import Change, Edit, Resources, Value
from stockade.store import codec
from stockade.store.contract import Batch, Compacted, Delete, Follower, Guard, Put, Store
from stockade.store.subscription import StoreClosed

HISTORY = 2_000
"""Revisions kept for watchers that come back; the history is cut whenever it is twice as long."""


class Cache:
    """Made by `open`, which loads everything."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._resources = Resources()
        self._written: dict[tuple[str, bytes], Value] = {}
        self._followers: list[Follower] = []
        self._waiting: list[tuple[Revision, asyncio.Future[None]]] = []
        self._watch: asyncio.Task[None] | None = None
        self._cut = Revision(0)
        self._compacting: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, store: Store) -> "Cache":
        """A cache that shows all of the store and follows it."""
        cache = cls(store)
        await cache._load()
        cache._watch = asyncio.create_task(cache._follow_store(), name="store-watch")
        cache._watch.add_done_callback(cache._ended)
        return cache

    @property
    def resources(self) -> Resources:
        return self._resources

    async def commit(self, guards: Sequence[Guard], changes: Sequence[Change]) -> Revision:
        ops: list[Put | Delete] = []
        written = []
        for change in changes:
            if change.value is None:
                ops.append(Delete(change.key))
                continue
            data = codec.encode(change.key, change.value)
            ops.append(Put(change.key, data))
            self._written[change.key, data] = change.value
            written.append((change.key, data))
        try:
            revision = await self._store.txn(guards, ops)
            await self._reached(revision)
        finally:
            for key in written:
                self._written.pop(key, None)
        return revision

    async def refresh(self) -> None:
        await self._reached(await self._store.tip())

    def follow(self, follower: Follower) -> Callable[[], None]:
        self._followers.append(follower)

        def unfollow() -> None:
            with contextlib.suppress(ValueError):  # said twice
                self._followers.remove(follower)

        return unfollow

    async def close(self) -> None:
        """Stop following. The store stays open: it is not ours."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch

    # --- following ----------------------------------------------------------------------------------------

    async def _follow_store(self) -> None:
        while True:
            try:
                async for batch in self._store.watch(self._resources.revision):
                    self._apply(batch)
                return  # closed
            except Compacted:
                await self._load()

    def _ended(self, watch: "asyncio.Task[None]") -> None:
        """Nobody may wait for what will never come."""
        why = StoreClosed() if watch.cancelled() else watch.exception() or StoreClosed()
        for _, reached in self._waiting:
            if not reached.done():
                reached.set_exception(why)
        self._waiting = []

    def _apply(self, batch: Batch) -> None:
        self._tell(batch.revision, [Change(event.key, self._value(event.key, event.value)) for event in batch.events])
        if batch.revision - self._cut > 2 * HISTORY:
            self._cut = Revision(batch.revision - HISTORY)
            self._compacting = asyncio.create_task(self._store.compact(self._cut))
            # What fails (the disk is full) is tried again when the history has grown as much once more.
            self._compacting.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _value(self, key: str, data: bytes | None) -> Value | None:
        if data is None:
            return None
        known = self._written.get((key, data))
        return codec.decode(key, data) if known is None else known

    async def _load(self) -> None:
        """Everything anew; followers see only what is different from what they saw."""
        revision, records = await self._store.load()
        found = {record.key: record for record in records}
        edits = [self._resources.set(key, None, revision) for key in self._resources.all_keys() if key not in found]
        for record in records:
            if self._resources.revision_of(record.key) != record.revision:
                edits.append(self._resources.set(record.key, codec.decode(record.key, record.value), record.revision))
        self._resources.revision = revision
        self._done(revision, edits)

    def _tell(self, revision: Revision, changes: list[Change]) -> None:
        self._done(revision, self._resources.apply(revision, changes))

    def _done(self, revision: Revision, edits: Sequence[Edit]) -> None:
        for follower in list(self._followers):
            follower(revision, edits)
        waiting, self._waiting = self._waiting, []
        for wanted, reached in waiting:
            if wanted > revision:
                self._waiting.append((wanted, reached))
            elif not reached.done():
                reached.set_result(None)

    async def _reached(self, revision: Revision) -> None:
        if self._resources.revision >= revision:
            return
        if self._watch is not None and self._watch.done():
            self._watch.result()  # raises what ended it
            raise StoreClosed
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((revision, reached))
        await reached

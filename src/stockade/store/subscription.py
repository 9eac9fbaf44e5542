"""One watcher's place in the order of changes: batches in, the same batches out, without a gap."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable

from stockade.store.contract import Batch


class StoreClosed(Exception):
    """The store was closed; nothing was or will be written."""


class Subscription:
    """A queue of batches of one event loop."""

    def __init__(self) -> None:
        self._batches: deque[Batch] = deque()
        self._changed = asyncio.Event()
        self._closed = False

    def push(self, batches: Iterable[Batch]) -> None:
        """Hand over batches, in order. On the event loop's thread only."""
        self._batches.extend(batches)
        self._changed.set()

    def close(self) -> None:
        """End the watch once what was pushed is read."""
        self._closed = True
        self._changed.set()

    async def read(self) -> AsyncIterator[Batch]:
        """Every batch pushed, until closed."""
        while True:
            while self._batches:
                yield self._batches.popleft()
            if self._closed:
                return
            self._changed.clear()
            await self._changed.wait()

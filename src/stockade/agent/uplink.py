"""The agent's end of the stream to whichever control process is there now.

The control process may die and come back; the loops do not care. What they say while it is away is either
kept and said again (states of instances), replaced by what follows (revisions), or counted as lost (flows).
"""

import contextlib
from datetime import datetime

from stockade.feed.contract import ViewStream
from stockade.model.change import Revision
from stockade.model.flow import FlowEvent, RuleCount
from stockade.model.ids import InstanceId
from stockade.model.instance import InstanceStatus


class Uplink:
    """Says things to the feed when there is one. Never raises because there is none."""

    def __init__(self) -> None:
        self._stream: ViewStream | None = None
        self._statuses: dict[InstanceId, InstanceStatus] = {}
        self._lost = 0
        self.streams = 0
        """How many streams there were: who tells only what changed must start anew with each."""

    @property
    def connected(self) -> bool:
        return self._stream is not None

    async def connect(self, stream: ViewStream) -> None:
        """A new control process: it is told the state of every instance again."""
        self._stream = stream
        self.streams += 1
        for status in tuple(self._statuses.values()):
            await self._say_status(status)

    def disconnect(self) -> None:
        self._stream = None

    async def enforced(self, revision: Revision) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError):
                await self._stream.enforced(revision)

    async def failed(self, revision: Revision, why: str) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError):
                await self._stream.failed(revision, why)

    async def report(self, status: InstanceStatus) -> None:
        """Remembered until `forget`, and said when it is news."""
        if self._statuses.get(status.instance) != status:
            self._statuses[status.instance] = status
            await self._say_status(status)

    def forget(self, instance: InstanceId) -> None:
        """The instance is no longer of this host: nothing more is said about it."""
        self._statuses.pop(instance, None)

    async def flows(self, events: tuple[FlowEvent, ...], lost: int) -> None:
        """Events nobody can take are counted, and the count goes with the next that somebody takes."""
        lost += self._lost
        if self._stream is None:
            self._lost = lost + len(events)
            return
        try:
            await self._stream.flows(events, lost)
            self._lost = 0
        except OSError:
            self._lost = lost + len(events)

    async def hits(self, at: datetime, counts: tuple[RuleCount, ...]) -> bool:
        """Whether somebody took them."""
        if self._stream is None:
            return False
        try:
            await self._stream.hits(at, counts)
        except OSError:
            return False
        return True

    async def _say_status(self, status: InstanceStatus) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError):
                await self._stream.report(status)

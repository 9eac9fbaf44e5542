"""Frame -> view -> compile -> apply -> acknowledge the revision that the kernel now enforces.

    feed ──frame──▶ queue ──all that wait──▶ view ──compile──▶ policy ──apply──▶ datapath
                                               │                                   │
                                               ├──▶ instance loop                  └──▶ keep, then ack

A frame says when, not what to do: frames that queued up while a policy was applied become one view, one
compilation and one apply. A policy that cannot be applied leaves the former one whole; it is reported and
tried again, since what was wrong with it may be the host (memory, a map being emptied) and not the policy.

What waits is bounded. Beyond that the stream is not read, and the feed waits, which keeps one change of each
item however many there were. A view larger than a host's can be is refused: the stream is cut, and the next
one begins with a whole view.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from stockade.agent.frame_check import FrameRefused, checked
from stockade.agent.serial import SerialCalls
from stockade.agent.uplink import Uplink
from stockade.agent.view_file import ViewFile, whole_frame
from stockade.datapath.contract import Applied, ApplyFailed, Datapath
from stockade.model.change import Revision
from stockade.model.host_view import Frame, HostView, apply_frame
from stockade.policy.entries import HostPolicy

_RETRY_S = 1.0
_MOST_FRAMES, _MOST_ITEMS = 256, 100_000  # that wait; a frame that is larger waits alone
_MOST_UNKEPT = 256
_LARGEST_VIEW = 400_000  # items: what fits into one whole frame, as a new stream begins with

Compile = Callable[[HostView], HostPolicy]


@dataclass(slots=True)
class PolicyHealth:
    """What can be said about this host's policy. `failure` None: what was asked last is enforced."""

    enforced: Revision = Revision(0)  # noqa: RUF009 - a NewType call is the number itself
    applies: int = 0
    last_apply_ms: float = 0.0
    failure: str | None = None


class PolicyLoop:
    """Keeps the datapath equal to the view."""

    def __init__(
        self,
        view: HostView,
        *,
        datapath: Datapath,
        calls: SerialCalls,
        compile_view: Compile,
        uplink: Uplink,
        kept: ViewFile,
        on_view: Callable[[HostView], None],
        on_applied: Callable[[HostView], Awaitable[None]],
    ) -> None:
        """`view` is what was restored (revision 0: nothing); `on_view` hears each view before it is applied.

        `on_applied` is awaited when it is applied, and before it is acknowledged.
        """
        self._view = view
        self._datapath = datapath
        self._calls = calls
        self._compile = compile_view
        self._uplink = uplink
        self._kept = kept
        self._on_view = on_view
        self._on_applied = on_applied
        self._queue: list[Frame] = []
        self._unkept: list[Frame] = []
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._applied = asyncio.Condition()
        self._ended = False
        self._waiting: set[asyncio.Task[Any]] = set()
        self.health = PolicyHealth()

    @property
    def view(self) -> HostView:
        return self._view

    async def read(self, frames: AsyncIterator[Frame]) -> None:
        """Take frames from a stream until it ends. One stream at a time. Raises FrameRefused."""
        async for frame in frames:
            while self._queue and self._is_full(len(frame.put)):
                self._taken.clear()
                await self._taken.wait()
            self._check_size(frame)
            self._queue.append(checked(frame))
            self._arrived.set()

    def _is_full(self, more: int) -> bool:
        waiting = sum(len(frame.put) + len(frame.removed) for frame in self._queue)
        return len(self._queue) >= _MOST_FRAMES or waiting + more > _MOST_ITEMS

    def _check_size(self, frame: Frame) -> None:
        """As if nothing in it replaced anything: what waits is small beside what a view may be."""
        had = 0 if frame.whole else size_of(self._view) + sum(len(one.put) for one in self._queue)
        if had + len(frame.put) > _LARGEST_VIEW:
            raise FrameRefused(f"a view of more than {_LARGEST_VIEW} items")

    async def run(self) -> None:
        """Apply what arrives, for ever. When it ends, so does everybody's waiting for it."""
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                self._take_queued()
                while not await self._apply_view():
                    await self._retry_pause()
        finally:
            self._ended = True
            for waiter in self._waiting:
                waiter.cancel()

    async def restore(self) -> Applied | None:
        """Apply the view restored from disk, before any stream is there. None when there was none."""
        if self._view.revision == 0:
            return None
        self._on_view(self._view)
        applied = await self._calls(self._compile_and_apply, self._view)
        await self._on_applied(self._view)
        return applied

    async def enforced(self, revision: Revision) -> None:
        """Return when this host enforces at least this revision. Cancelled with the loop, which alone could say so."""
        if self._ended:
            raise asyncio.CancelledError
        waiter = asyncio.current_task()
        assert waiter is not None
        self._waiting.add(waiter)
        try:
            async with self._applied:
                await self._applied.wait_for(lambda: self.health.enforced >= revision)
        finally:
            self._waiting.discard(waiter)

    def _take_queued(self) -> None:
        queued, self._queue = self._queue, []
        self._taken.set()
        view = self._view
        for frame in queued:
            if frame.whole:
                # A new stream may belong to a store that was emptied: its revisions start anew.
                self.health.enforced = min(self.health.enforced, Revision(max(frame.revision - 1, 0)))
            view = apply_frame(view, frame)
        self._view = view
        self._unkept.extend(queued)
        if len(self._unkept) > _MOST_UNKEPT:
            # Nothing could be applied for long; the view says the same as all the frames that made it.
            self._unkept = [whole_frame(view)]
        self._on_view(view)

    async def _apply_view(self) -> bool:
        view, frames = self._view, tuple(self._unkept)
        try:
            applied = await self._calls(self._compile_apply_and_keep, view, frames)
        except ApplyFailed as err:
            self.health.failure = str(err)
            await self._uplink.failed(view.revision, str(err))
            return False
        del self._unkept[: len(frames)]
        self.health.failure = None
        self.health.applies += 1
        self.health.last_apply_ms = applied.took_ms
        await self._on_applied(view)
        async with self._applied:
            self.health.enforced = view.revision
            self._applied.notify_all()
        await self._uplink.enforced(view.revision)
        return True

    async def _retry_pause(self) -> None:
        """Until something new arrives, at most a second; what arrived is then part of the next try."""
        try:
            async with asyncio.timeout(_RETRY_S):
                await self._arrived.wait()
        except TimeoutError:
            return
        self._arrived.clear()
        self._take_queued()

    def _compile_and_apply(self, view: HostView) -> Applied:
        return self._datapath.apply(self._compile(view))

    def _compile_apply_and_keep(self, view: HostView, frames: tuple[Frame, ...]) -> Applied:
        applied = self._compile_and_apply(view)
        # After the apply and before the acknowledgement: never restore what was not enforced, and never
        # promise what would not be restored.
        self._kept.keep(frames, view)
        return applied


def size_of(view: HostView) -> int:
    """How many items it has."""
    others = len(view.groups) + len(view.prefix_lists) + len(view.instances)
    return others + len(view.members) + len(view.interfaces)

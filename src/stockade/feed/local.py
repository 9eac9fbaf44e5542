"""The feed and its streams inside one process.

    store ─► ledger ─► Feed ─┬─► host state: items, what is pending, what is not yet enforced ─► stream ─► agent
                             └─► ... one for each host                            acks, states, flows ◄─┘

What a host has not taken yet is one pending change however many transactions it came from, so a slow agent
costs no memory. A host lags behind a revision when something that concerns it, up to there, is not yet
acknowledged as enforced; a host that nothing concerned never lags.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from stockade.feed.flow_log import FlowLog
from stockade.feed.hit_log import HitLog
from stockade.feed.views import HostItems
from stockade.model import keys
from stockade.model.change import Revision
from stockade.model.flow import FlowEvent, RuleCount
from stockade.model.host_view import Frame, ViewItem, ViewKey
from stockade.model.ids import HostId
from stockade.model.instance import Instance, InstanceStatus
from stockade.model.network_interface import NetworkInterface
from stockade.model.probe import ProbeAnswer, ProbePacket, ProbeRequest, ProbeResult, untried
from stockade.model.resources import Edit, put
from stockade.store.contract import Exists, GuardFailed, Ledger

_PROBED_WITHIN_S = 5.0


@dataclass(slots=True, eq=False)
class _Host:
    """What the feed knows of one host."""

    id: HostId
    view: HostItems
    enforced: Revision = Revision(0)  # noqa: RUF009 - a NewType call is the number itself
    awaited: deque[Revision] = field(default_factory=deque)  # concern the host, not yet enforced, ascending
    pending: dict[ViewKey, ViewItem | None] = field(default_factory=dict)  # not yet taken by the stream
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    stream: "LocalStream | None" = None
    failure: tuple[Revision, str] | None = None


@dataclass(frozen=True, slots=True)
class HostState:
    """A host as operators see it. `awaited`: the oldest revision it should enforce and does not."""

    host: HostId
    connected: bool
    enforced: Revision
    awaited: Revision | None
    failure: str | None


class Feed:
    """Every host's view, and what every host enforces: service.enforcement.Enforcement.

    `delay_s` holds every change of a view back that long, for tests of what depends on waiting.
    """

    def __init__(self, ledger: Ledger, flow_log: FlowLog | None = None, delay_s: float = 0.0) -> None:
        self.flow_log = flow_log or FlowLog()
        self.hit_log = HitLog()
        self.delay_s = delay_s
        self._ledger = ledger
        self._hosts: dict[HostId, _Host] = {}
        self._progress: asyncio.Future[None] | None = None
        for host in ledger.resources.hosts():
            state = self._host(host)
            if state.view.items:
                state.awaited.append(ledger.resources.revision)
        self._unfollow: Callable[[], None] = ledger.follow(self._told)

    def connect(self, host: HostId) -> "LocalStream":
        """The agent's end for this host. A newer stream takes the place of an older one, which then ends."""
        state = self._host(host)
        stream = LocalStream(self, state)
        if state.stream is not None:
            state.stream.close()
        state.stream = stream
        return stream

    async def wait(self, revision: Revision, timeout_s: float) -> tuple[HostId, ...]:
        """Return when every host enforces `revision`, or after the time-out with those that do not."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while lagging := self._lagging(revision):
            left = deadline - loop.time()
            if left <= 0:
                return lagging
            if self._progress is None:
                self._progress = loop.create_future()
            await asyncio.wait([self._progress], timeout=left)
        return ()

    async def probe(self, host: HostId, packets: tuple[ProbePacket, ...]) -> tuple[ProbeResult, ...]:
        """Have the host send these packets now, and hear what became of each."""
        state = self._hosts.get(host)
        if state is None or state.stream is None:
            return untried(ProbeRequest(0, packets), f"no agent of {host} is there").results
        return await state.stream.probe(packets)

    def hosts(self) -> list[HostState]:
        """Every host that ever had something here, or an agent."""
        return [
            HostState(
                state.id,
                state.stream is not None,
                state.enforced,
                state.awaited[0] if state.awaited else None,
                state.failure[1] if state.failure else None,
            )
            for state in self._hosts.values()
        ]

    def close(self) -> None:
        """End every stream."""
        self._unfollow()
        for state in self._hosts.values():
            if state.stream is not None:
                state.stream.close()

    # --- from the store -----------------------------------------------------------------------------------

    def _host(self, host: HostId) -> _Host:
        state = self._hosts.get(host)
        if state is None:
            state = self._hosts[host] = _Host(host, HostItems(self._ledger.resources, host))
        return state

    def _told(self, revision: Revision, edits: Sequence[Edit]) -> None:
        for edit in edits:
            if isinstance(edit.new, NetworkInterface | Instance) and edit.new.host not in self._hosts:
                state = self._host(edit.new.host)
                state.awaited.append(revision)
        for state in self._hosts.values():
            changes = state.view.update(edits)
            if changes:
                state.pending.update(changes)
                if not state.awaited or state.awaited[-1] != revision:
                    state.awaited.append(revision)
                state.changed.set()

    # --- from the hosts -----------------------------------------------------------------------------------

    def _lagging(self, revision: Revision) -> tuple[HostId, ...]:
        return tuple(s.id for s in self._hosts.values() if s.awaited and s.awaited[0] <= revision)

    def _enforced(self, state: _Host, revision: Revision) -> None:
        state.enforced = max(state.enforced, revision)
        while state.awaited and state.awaited[0] <= revision:
            state.awaited.popleft()
        if state.failure is not None and state.failure[0] <= revision:
            state.failure = None
        progress, self._progress = self._progress, None
        if progress is not None and not progress.done():
            progress.set_result(None)

    async def _reported(self, state: _Host, status: InstanceStatus) -> None:
        """Write what a host saw of an instance of its own; anything else it says is passed over."""
        resources = self._ledger.resources
        instance = resources.instances.get(status.instance)
        mine = instance is not None and instance.host == state.id and instance.terminated_at is None
        if not mine or resources.statuses.get(status.instance) == status:
            return
        try:
            await self._ledger.commit([Exists(keys.document("inst", status.instance))], [put(status)])
        except GuardFailed:
            return  # forgotten meanwhile: there is nothing to say about it

    def _take(self, state: _Host) -> Frame:
        """All that is pending, as one frame at the newest revision."""
        pending, state.pending = state.pending, {}
        state.changed.clear()
        return Frame(
            self._ledger.resources.revision,
            put=tuple(item for item in pending.values() if item is not None),
            removed=tuple(key for key, item in pending.items() if item is None),
        )

    def _whole(self, state: _Host) -> Frame:
        state.pending.clear()
        state.changed.clear()
        return Frame(self._ledger.resources.revision, put=tuple(state.view.items.values()), whole=True)


class LocalStream:
    """feed.contract.ViewStream in the process of the feed."""

    def __init__(self, feed: Feed, state: _Host) -> None:
        self._feed = feed
        self._state = state
        self._closed = False
        self._told_hits = False
        self._asked: asyncio.Queue[ProbeRequest | None] = asyncio.Queue()
        self._awaited: dict[int, asyncio.Future[ProbeAnswer]] = {}
        self._requests = 0

    async def frames(self) -> AsyncGenerator[Frame, None]:
        if self._closed:
            return
        yield self._feed._whole(self._state)
        while True:
            await self._state.changed.wait()
            if self._closed:
                return
            frame = self._feed._take(self._state)
            if self._feed.delay_s:
                await asyncio.sleep(self._feed.delay_s)
            yield frame

    async def enforced(self, revision: Revision) -> None:
        if not self._closed:
            self._feed._enforced(self._state, revision)

    async def failed(self, revision: Revision, why: str) -> None:
        if not self._closed:
            self._state.failure = (revision, why)

    async def report(self, status: InstanceStatus) -> None:
        if not self._closed:
            await self._feed._reported(self._state, status)

    async def flows(self, events: tuple[FlowEvent, ...], lost: int) -> None:
        if not self._closed:
            self._feed.flow_log.add(self._state.id, events, lost)

    async def hits(self, at: datetime, counts: tuple[RuleCount, ...]) -> None:
        if not self._closed:
            self._feed.hit_log.add(self._state.id, at, counts, first=not self._told_hits)
            self._told_hits = True

    async def probe(self, packets: tuple[ProbePacket, ...]) -> tuple[ProbeResult, ...]:
        """The feed's end of `probes`: ask, and wait for the answer."""
        self._requests += 1
        request = ProbeRequest(self._requests, packets)
        self._awaited[request.number] = asyncio.get_running_loop().create_future()
        self._asked.put_nowait(request)
        try:
            async with asyncio.timeout(_PROBED_WITHIN_S):
                answer = await self._awaited[request.number]
        except TimeoutError:
            answer = untried(request, "the agent did not answer in time")
        finally:
            del self._awaited[request.number]
        fits = len(answer.results) == len(packets)
        return answer.results if fits else untried(request, "the agent answered about other packets").results

    async def probes(self) -> AsyncIterator[ProbeRequest]:
        while not self._closed and (request := await self._asked.get()) is not None:
            yield request

    async def probed(self, answer: ProbeAnswer) -> None:
        awaited = self._awaited.get(answer.number)
        if awaited is not None and not awaited.done():
            awaited.set_result(answer)

    def close(self) -> None:
        """The agent is gone, or another stream takes over: `frames` ends, and what is said here is not heard."""
        self._closed = True
        self._asked.put_nowait(None)
        if self._state.stream is self:
            self._state.stream = None
        self._state.changed.set()

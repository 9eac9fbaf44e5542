"""The feed in one process and over a socket pair: frames, acknowledgements, who lags."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network

import pytest

from stockade.feed.contract import ViewStream
from stockade.feed.frames import SocketViewStream, serve
from stockade.feed.local import Feed
from stockade.model.addresses import mac_of
from stockade.model.change import Revision
from stockade.model.flow import DropReason, FlowEvent, Gate, Packet
from stockade.model.host_view import HostView, apply_frame
from stockade.model.ids import (
    AccountId,
    HostId,
    ImageId,
    InstanceId,
    NetworkInterfaceId,
    ReservationId,
    RuleId,
    SecurityGroupId,
    VpcId,
)
from stockade.model.instance import Instance, InstanceStatus, Observed
from stockade.model.network_interface import NetworkInterface
from stockade.model.resources import put
from stockade.model.rule import Direction, GroupPeer, Rule
from stockade.model.security_group import SecurityGroup
from stockade.model.vpc import Vpc
from stockade.store.cache import Cache
from stockade.store.memory import MemoryStore

HOST = HostId("here")
ACCOUNT = AccountId("111111111111")
NETWORK = Vpc(VpcId("vpc-1"), 1, None, "us-east-1", IPv4Network("10.0.0.0/8"))
GROUP = SecurityGroup(SecurityGroupId("sg-1"), ACCOUNT, NETWORK.id, "web", "d")
UNUSED = SecurityGroup(SecurityGroupId("sg-2"), ACCOUNT, NETWORK.id, "app", "d")
INTERFACE = NetworkInterface(
    NetworkInterfaceId("eni-1"),
    1,
    ACCOUNT,
    NETWORK.id,
    None,
    HOST,
    mac_of(1),
    (IPv4Address("10.0.0.4"),),
    (GROUP.id,),
    instance=InstanceId("i-1"),
)
INSTANCE = Instance(
    InstanceId("i-1"),
    ACCOUNT,
    ReservationId("r-1"),
    "us-east-1",
    "us-east-1a",
    HOST,
    ImageId("ami-1"),
    "micro",
    "m1.small",
    *(None, None, b"\x00data"),
    0,
    datetime(2007, 8, 29, tzinfo=UTC),
    INTERFACE.id,
)
WORLD = [put(NETWORK), put(GROUP), put(UNUSED), put(INTERFACE), put(INSTANCE)]

Connect = Callable[[Feed], AbstractAsyncContextManager[ViewStream]]


@asynccontextmanager
async def locally(feed: Feed) -> AsyncIterator[ViewStream]:
    stream = feed.connect(HOST)
    yield stream
    stream.close()


@asynccontextmanager
async def by_socket(feed: Feed) -> AsyncIterator[ViewStream]:
    ours, theirs = socket.socketpair()
    serving = asyncio.create_task(serve(feed, HOST, ours))
    stream = await SocketViewStream.over(theirs)
    yield stream
    await stream.close()
    await asyncio.wait_for(serving, 5)


@pytest.fixture(params=[locally, by_socket])
def connect(request: pytest.FixtureRequest) -> Connect:
    chosen: Connect = request.param
    return chosen


@pytest.fixture
async def cache() -> AsyncIterator[Cache]:
    store = MemoryStore()
    made = await Cache.open(store)
    await made.commit([], WORLD)
    yield made
    await made.close()
    await store.close()


@pytest.fixture
async def feed(cache: Cache) -> AsyncIterator[Feed]:
    made = Feed(cache)
    yield made
    made.close()


async def edit(cache: Cache, number: int) -> Revision:
    """A rule more in the group that the host's instance is in."""
    rules = (Rule(RuleId(f"sgr-{number}"), number, Direction.INGRESS, 6, 1, number, GroupPeer(GROUP.id, ACCOUNT)),)
    return await cache.commit([], [put(SecurityGroup(GROUP.id, ACCOUNT, NETWORK.id, "web", "d", rules))])


async def test_the_first_frame_is_whole_and_the_rest_keep_it_right(cache: Cache, feed: Feed, connect: Connect) -> None:
    async with connect(feed) as stream:
        frames = stream.frames()
        first = await asyncio.wait_for(anext(frames), 5)
        assert first.whole and first.revision == 1
        view = apply_frame(HostView(HOST), first)
        assert view.instances[INSTANCE.id].user_data == b"\x00data"
        revision = await edit(cache, 7)
        second = await asyncio.wait_for(anext(frames), 5)
        assert not second.whole and second.revision == revision
        view = apply_frame(view, second)
        assert [rule.number for rule in view.groups[GROUP.id].rules] == [7]


async def test_a_host_without_agent_lags_by_name_after_the_time_out(cache: Cache, feed: Feed) -> None:
    revision = await edit(cache, 7)
    assert await feed.wait(revision, 0.01) == (HOST,)


async def test_waiting_ends_with_the_acknowledgement_and_not_before(cache: Cache, feed: Feed, connect: Connect) -> None:
    async with connect(feed) as stream:
        frames = stream.frames()
        await stream.enforced((await asyncio.wait_for(anext(frames), 5)).revision)
        assert await feed.wait(Revision(1), 5) == ()
        revision = await edit(cache, 7)
        waiting = asyncio.create_task(feed.wait(revision, 5))
        frame = await asyncio.wait_for(anext(frames), 5)
        assert await feed.wait(revision, 0.01) == (HOST,)
        assert not waiting.done()
        await stream.enforced(frame.revision)
        assert await asyncio.wait_for(waiting, 5) == ()


async def test_what_does_not_concern_a_host_is_not_waited_for(cache: Cache, feed: Feed, connect: Connect) -> None:
    async with connect(feed) as stream:
        await stream.enforced((await asyncio.wait_for(anext(stream.frames()), 5)).revision)
        assert await feed.wait(Revision(1), 5) == ()
        other = SecurityGroup(UNUSED.id, ACCOUNT, NETWORK.id, "app", "d", ())
        revision = await cache.commit([], [put(other)])
        assert await feed.wait(revision, 0) == ()


async def test_a_slow_agent_gets_many_changes_as_one_frame(cache: Cache, feed: Feed) -> None:
    async with locally(feed) as stream:
        frames = stream.frames()
        await anext(frames)
        for number in range(2, 50):
            revision = await edit(cache, number)
        frame = await asyncio.wait_for(anext(frames), 5)
        assert frame.revision == revision
        assert len(frame.put) == 1
        await stream.enforced(frame.revision)
        assert await feed.wait(revision, 0) == ()


async def test_an_agent_that_comes_back_gets_a_whole_view_and_the_old_stream_ends(cache: Cache, feed: Feed) -> None:
    old = feed.connect(HOST)
    old_frames = old.frames()
    await anext(old_frames)
    revision = await edit(cache, 7)
    new = feed.connect(HOST)
    assert await asyncio.wait_for(anext(old_frames, None), 5) is None
    await old.enforced(revision)
    assert await feed.wait(revision, 0) == (HOST,)
    assert (await anext(new.frames())).whole


async def test_reports_are_written_once_and_only_about_ones_own_instances(
    cache: Cache, feed: Feed, connect: Connect
) -> None:
    async with connect(feed) as stream:
        frames = stream.frames()
        await asyncio.wait_for(anext(frames), 5)
        for status in (
            InstanceStatus(INSTANCE.id, Observed.RUNNING),
            InstanceStatus(INSTANCE.id, Observed.RUNNING),
            InstanceStatus(InstanceId("i-2"), Observed.GONE, "not mine"),
        ):
            await stream.report(status)
        await stream.enforced(Revision(1))
        assert await feed.wait(Revision(1), 5) == ()  # so all before it was heard
    assert cache.resources.statuses == {INSTANCE.id: InstanceStatus(INSTANCE.id, Observed.RUNNING)}
    assert cache.resources.revision == 2


async def test_flows_are_logged_and_counted(feed: Feed, connect: Connect) -> None:
    packet = Packet(IPv4Address("10.0.0.4"), IPv4Address("10.0.0.5"), 6, 80, 1234)
    at = datetime(2007, 8, 29, tzinfo=UTC)
    passed = FlowEvent(at, 1, packet, True, Gate.INGRESS, DropReason.NONE, (0, 7))
    dropped = FlowEvent(at, 1, packet, False, Gate.EGRESS, DropReason.NO_EGRESS_RULE, (0, 0))
    async with connect(feed) as stream:
        await asyncio.wait_for(anext(stream.frames()), 5)
        await stream.flows((passed, dropped), 3)
        await stream.enforced(Revision(1))
        assert await feed.wait(Revision(1), 5) == ()
    counts = feed.flow_log.counts
    assert (counts.accepted, counts.rejected, counts.lost) == (1, 1, 3)
    assert counts.by_reason == {DropReason.NO_EGRESS_RULE: 1}
    assert [(logged.number, logged.event) for logged in feed.flow_log.since(1)] == [(2, dropped)]


async def test_a_failure_is_shown_until_a_later_revision_is_enforced(feed: Feed) -> None:
    async with locally(feed) as stream:
        await stream.failed(Revision(1), "map full")
        assert [state.failure for state in feed.hosts()] == ["map full"]
        await stream.enforced(Revision(1))
        (state,) = feed.hosts()
        assert (state.failure, state.awaited, state.connected) == (None, None, True)


async def test_an_injected_delay_holds_changes_back_but_not_the_first_view(cache: Cache) -> None:
    feed = Feed(cache, delay_s=0.05)
    async with locally(feed) as stream:
        frames = stream.frames()
        await asyncio.wait_for(anext(frames), 0.04)
        await edit(cache, 7)
        started = asyncio.get_running_loop().time()
        await anext(frames)
        assert asyncio.get_running_loop().time() - started >= 0.04
    feed.close()


async def test_a_hung_up_feed_ends_the_agents_frames(feed: Feed) -> None:
    ours, theirs = socket.socketpair()
    serving = asyncio.create_task(serve(feed, HOST, ours))
    stream = await SocketViewStream.over(theirs)
    frames = stream.frames()
    await asyncio.wait_for(anext(frames), 5)
    feed.close()
    await asyncio.wait_for(serving, 5)
    assert await asyncio.wait_for(anext(frames, None), 5) is None
    with contextlib.suppress(ConnectionError):
        await stream.enforced(Revision(1))
    await stream.close()


async def test_garbage_ends_the_connection_and_nothing_else(feed: Feed) -> None:
    ours, theirs = socket.socketpair()
    serving = asyncio.create_task(serve(feed, HOST, ours))
    theirs.sendall(b"\x00\x00\x00\x04junk")
    await asyncio.wait_for(serving, 5)
    theirs.close()
    assert [state.connected for state in feed.hosts()] == [False]

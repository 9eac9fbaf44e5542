"""Requests for probes down a stream, and their answers up, beside frames."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address

import pytest

from stockade.feed import local
from stockade.feed.contract import ViewStream
from stockade.feed.frames import SocketViewStream, serve
from stockade.feed.local import Feed
from stockade.model.flow import Packet
from stockade.model.ids import HostId, NetworkInterfaceId
from stockade.model.probe import ProbeAnswer, ProbeOutcome, ProbePacket, ProbeResult
from stockade.store.cache import Cache
from stockade.store.memory import MemoryStore

HOST = HostId("h-1")
PACKET = ProbePacket(
    Packet(ip_address("2001:db8::1"), ip_address("2001:db8::2"), 6, 80), None, NetworkInterfaceId("eni-00000001")
)
ARRIVED, LOST = ProbeResult(ProbeOutcome.ARRIVED), ProbeResult(ProbeOutcome.LOST)


@asynccontextmanager
async def connected(feed: Feed, over_socket: bool) -> AsyncIterator[ViewStream]:
    if not over_socket:
        stream = feed.connect(HOST)
        yield stream
        stream.close()
        return
    ours, theirs = socket.socketpair()
    serving = asyncio.create_task(serve(feed, HOST, ours))
    agent = await SocketViewStream.over(theirs)
    yield agent
    await agent.close()
    await asyncio.wait_for(serving, 5)


@pytest.fixture
async def feed() -> AsyncIterator[Feed]:
    store = MemoryStore()
    cache = await Cache.open(store)
    made = Feed(cache)
    yield made
    made.close()
    await cache.close()
    await store.close()


@pytest.mark.parametrize("over_socket", [False, True])
async def test_each_request_gets_its_own_answer(feed: Feed, over_socket: bool) -> None:
    async with connected(feed, over_socket) as stream:
        frames = stream.frames()
        assert (await asyncio.wait_for(anext(frames), 5)).whole
        reading = asyncio.ensure_future(anext(frames, None))
        first = asyncio.create_task(feed.probe(HOST, (PACKET,)))
        second = asyncio.create_task(feed.probe(HOST, (PACKET, PACKET)))
        requests = stream.probes()
        asked = [await asyncio.wait_for(anext(requests), 5) for _ in range(2)]
        assert [one.packets for one in asked] == [(PACKET,), (PACKET, PACKET)]
        await stream.probed(ProbeAnswer(asked[1].number, (ARRIVED, LOST)))
        await stream.probed(ProbeAnswer(99, (LOST,)))
        await stream.probed(ProbeAnswer(asked[0].number, (LOST,)))
        assert await asyncio.wait_for(second, 5) == (ARRIVED, LOST)
        assert await asyncio.wait_for(first, 5) == (LOST,)
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading


async def test_nobody_there_an_agent_that_is_silent_or_answers_otherwise(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    [alone] = await feed.probe(HOST, (PACKET,))
    assert (alone.outcome, alone.why) == (ProbeOutcome.UNTRIED, "no agent of h-1 is there")
    monkeypatch.setattr(local, "_PROBED_WITHIN_S", 0.05)
    async with connected(feed, over_socket=False) as stream:
        [late] = await feed.probe(HOST, (PACKET,))
        assert late.why == "the agent did not answer in time"
        requests = stream.probes()
        await anext(requests)
        asking = asyncio.create_task(feed.probe(HOST, (PACKET, PACKET)))
        request = await asyncio.wait_for(anext(requests), 5)
        await stream.probed(ProbeAnswer(request.number, (ARRIVED,)))
        assert {one.outcome for one in await asking} == {ProbeOutcome.UNTRIED}


async def test_requests_end_with_the_stream(feed: Feed) -> None:
    async with connected(feed, over_socket=True) as stream:
        frames = stream.frames()
        await asyncio.wait_for(anext(frames), 5)
        feed.close()
        assert await asyncio.wait_for(anext(frames, None), 5) is None
        assert [one async for one in stream.probes()] == []

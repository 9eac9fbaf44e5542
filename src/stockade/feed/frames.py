"""The same stream over a socket: frames and requests for probes down, messages up, each a length and a JSON document.

    4 bytes, big-endian: length     that many bytes: JSON in the form of model/plain.py

Both ends are of one release (one starts the other), so there is no version in it. A malformed or overlong message
ends the connection: the agent then connects anew and gets a whole view.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import msgspec

from stockade.feed.local import Feed, LocalStream
from stockade.model.change import Revision
from stockade.model.flow import FlowEvent, RuleCount
from stockade.model.host_view import Frame
from stockade.model.ids import HostId
from stockade.model.instance import InstanceStatus
from stockade.model.plain import PlainMalformed, from_plain, to_plain
from stockade.model.probe import ProbeAnswer, ProbeRequest

LONGEST = 64 * 1024 * 1024
"""A whole view of 100,000 members has 20 MiB. The agent bounds its memory by this: it must not trust its feed."""
_LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True)
class Enforced:
    revision: Revision


@dataclass(frozen=True, slots=True)
class Failed:
    revision: Revision
    why: str


@dataclass(frozen=True, slots=True)
class Report:
    status: InstanceStatus


@dataclass(frozen=True, slots=True)
class Flows:
    events: tuple[FlowEvent, ...]
    lost: int


@dataclass(frozen=True, slots=True)
class Hits:
    at: datetime
    counts: tuple[RuleCount, ...]


Message: TypeAlias = Enforced | Failed | Report | Flows | Hits | ProbeAnswer
Down: TypeAlias = Frame | ProbeRequest


class StreamBroken(ConnectionError):
    """The other end sent something that is no message."""


class SocketViewStream:
    """The agent's end: feed.contract.ViewStream. Sending raises ConnectionError when the feed is gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._sending = asyncio.Lock()
        self._probes: asyncio.Queue[ProbeRequest | None] = asyncio.Queue()

    @classmethod
    async def over(cls, connected: socket.socket) -> "SocketViewStream":
        """The stream on a connected socket, which it then owns."""
        return cls(*await asyncio.open_connection(sock=connected))

    async def frames(self) -> AsyncIterator[Frame]:
        try:
            while (told := await _receive(self._reader, Down)) is not None:
                if isinstance(told, ProbeRequest):
                    self._probes.put_nowait(told)
                else:
                    yield told
        finally:
            self._probes.put_nowait(None)

    async def probes(self) -> AsyncIterator[ProbeRequest]:
        while (request := await self._probes.get()) is not None:
            yield request

    async def probed(self, answer: ProbeAnswer) -> None:
        await self._send(answer)

    async def enforced(self, revision: Revision) -> None:
        await self._send(Enforced(revision))

    async def failed(self, revision: Revision, why: str) -> None:
        await self._send(Failed(revision, why))

    async def report(self, status: InstanceStatus) -> None:
        await self._send(Report(status))

    async def flows(self, events: tuple[FlowEvent, ...], lost: int) -> None:
        await self._send(Flows(events, lost))

    async def hits(self, at: datetime, counts: tuple[RuleCount, ...]) -> None:
        await self._send(Hits(at, counts))

    async def close(self) -> None:
        """Hang up."""
        await _hang_up(self._writer)

    async def _send(self, message: Message) -> None:
        async with self._sending:
            await _send(self._writer, message, Message)


async def serve(feed: Feed, host: HostId, connected: socket.socket) -> None:
    """The feed's end of one agent's connection. Returns when the agent has hung up or was replaced."""
    reader, writer = await asyncio.open_connection(sock=connected)
    stream = feed.connect(host)
    sending = asyncio.Lock()
    ways = [
        asyncio.create_task(_down(stream, writer, sending)),
        asyncio.create_task(_ask(stream, writer, sending)),
        asyncio.create_task(_up(stream, reader)),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stream.close()
        for way in ways:
            way.cancel()
        outcomes = await asyncio.gather(*ways, return_exceptions=True)
        await _hang_up(writer)
    for outcome in outcomes:
        if isinstance(outcome, Exception) and not isinstance(outcome, ConnectionError):
            raise outcome


async def _down(stream: LocalStream, writer: asyncio.StreamWriter, sending: asyncio.Lock) -> None:
    async with contextlib.aclosing(stream.frames()) as frames:
        async for frame in frames:
            async with sending:
                await _send(writer, frame, Down)


async def _ask(stream: LocalStream, writer: asyncio.StreamWriter, sending: asyncio.Lock) -> None:
    async for request in stream.probes():
        async with sending:
            await _send(writer, request, Down)


async def _up(stream: LocalStream, reader: asyncio.StreamReader) -> None:
    while (message := await _receive(reader, Message)) is not None:
        match message:
            case Enforced(revision):
                await stream.enforced(revision)
            case Failed(revision, why):
                await stream.failed(revision, why)
            case Report(status):
                await stream.report(status)
            case Flows(events, lost):
                await stream.flows(events, lost)
            case Hits(at, counts):
                await stream.hits(at, counts)
            case ProbeAnswer():
                await stream.probed(message)


async def _send(writer: asyncio.StreamWriter, value: object, kind: Any) -> None:
    data = msgspec.json.encode(to_plain(value, kind))
    writer.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)
    await writer.drain()


async def _receive(reader: asyncio.StreamReader, kind: Any) -> Any:
    """The next message; None when the other end has hung up. Raises StreamBroken."""
    try:
        length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
        if length > LONGEST:
            raise StreamBroken(f"a message of {length} bytes")
        return from_plain(msgspec.json.decode(await reader.readexactly(length)), kind)
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return None
    except (msgspec.DecodeError, PlainMalformed) as err:
        raise StreamBroken(str(err)) from err


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()

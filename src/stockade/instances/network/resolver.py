"""DNS answers: the names of instances, seen from inside and from outside. Pure but for `Resolver`'s transports.

Inside, a public name leads to the private address where asker and target share a network, so that the
connection carries a private source and group rules can match; outside it leads to the public address. What
is not ours is refused inside (there is no uplink) and forwarded outside.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from stockade.instances.network.names import Names

_TTL_S = 60
_IDLE_S = 10.0
_MOST_CONNECTIONS = 256
_MOST_FORWARDED = 256
_REVERSE = dns.name.from_text("in-addr.arpa.")
_log = logging.getLogger(__name__)

PrivateOf = Callable[[IPv4Address, IPv4Address], IPv4Address | None]
"""Given who asks (its service source) and a public address: the private one behind it, None if not in its network."""
Forward = Callable[[bytes], Awaitable[bytes | None]]


@dataclass(frozen=True, slots=True)
class View:
    """One side's answers. `private_of` None: the outside. `pool`: public addresses, named when asked in reverse."""

    names: Names
    pool: IPv4Network
    private_of: PrivateOf | None = None

    @property
    def inside(self) -> bool:
        return self.private_of is not None


def answer(query: dns.message.Message, view: View, asker: IPv4Address) -> dns.message.Message | None:
    """The answer, None when the question is about names of somebody else."""
    reply = dns.message.make_response(query, recursion_available=True)
    refusal = _refusal(query)
    if refusal is not None:
        reply.set_rcode(refusal)
        return reply
    question = query.question[0]
    if question.name.is_subdomain(_REVERSE):
        return _answer_reverse(reply, question, view)
    name = question.name.to_text()
    if not view.names.owns(name):
        return None
    reply.flags |= dns.flags.AA
    address = _forward(name, view, asker)
    if address is None:
        reply.set_rcode(dns.rcode.NXDOMAIN)
    elif question.rdtype in (dns.rdatatype.A, dns.rdatatype.ANY):
        reply.answer.append(dns.rrset.from_text(question.name, _TTL_S, "IN", "A", str(address)))
    return reply  # a name that exists without records of the type asked: no error, no answer


def _refusal(query: dns.message.Message) -> dns.rcode.Rcode | None:
    if query.opcode() != dns.opcode.QUERY:
        return dns.rcode.NOTIMP
    if len(query.question) != 1:
        return dns.rcode.FORMERR
    return None if query.question[0].rdclass == dns.rdataclass.IN else dns.rcode.REFUSED


def _answer_reverse(reply: dns.message.Message, question: dns.rrset.RRset, view: View) -> dns.message.Message | None:
    found = _reverse(question.name, view)
    if found is None:
        return None
    reply.flags |= dns.flags.AA
    if question.rdtype in (dns.rdatatype.PTR, dns.rdatatype.ANY):
        reply.answer.append(dns.rrset.from_text(question.name, _TTL_S, "IN", "PTR", found + "."))
    return reply


def _forward(name: str, view: View, asker: IPv4Address) -> IPv4Address | None:
    public = view.names.parse_public(name)
    if public is not None:
        behind = None if view.private_of is None else view.private_of(asker, public)
        return behind or public
    return view.names.parse_private(name) if view.inside else None


def _reverse(name: dns.name.Name, view: View) -> str | None:
    octets = [label.decode("ascii", "replace") for label in reversed(name.relativize(_REVERSE).labels)]
    try:
        address = IPv4Address(".".join(octets))
    except ValueError:
        return None
    if address in view.pool:
        return view.names.public(address)
    return view.names.private(address) if view.inside and address.is_private else None


def respond(
    data: bytes, view: View, asker: IPv4Address, *, largest: int
) -> tuple[bytes | None, dns.message.Message | None]:
    """The answer's bytes; or the question when it is somebody else's to answer; or neither for what is not DNS."""
    try:
        query = dns.message.from_wire(data, ignore_trailing=True)
    except dns.exception.DNSException:
        return None, None
    if query.flags & dns.flags.QR:
        return None, None  # an answer: replying to it would let two servers talk for ever
    reply = answer(query, view, asker)
    return (None, query) if reply is None else (_packed(reply, largest), None)


def _packed(reply: dns.message.Message, largest: int) -> bytes:
    try:
        return bytes(reply.to_wire(max_size=largest))
    except dns.exception.TooBig:
        reply.answer.clear()
        reply.flags |= dns.flags.TC
        return bytes(reply.to_wire(max_size=largest))


def failure(query: dns.message.Message, rcode: dns.rcode.Rcode) -> bytes:
    """An answer that says only why there is none."""
    reply = dns.message.make_response(query, recursion_available=True)
    reply.set_rcode(rcode)
    return bytes(reply.to_wire())


class Resolver:
    """Serves one view on sockets that others opened; names of others go to `forward` when there is one."""

    def __init__(self, view: View, forward: Forward | None = None) -> None:
        self._view = view
        self._forward = forward
        self._transports: list[asyncio.DatagramTransport] = []
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, udp: socket.socket, tcp: socket.socket) -> None:
        """Answer on these bound sockets (tcp: not yet listening) until `close`. They are ours from here on."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=udp)
        self._transports.append(transport)
        self._servers.append(await asyncio.start_server(self._stream, sock=tcp, limit=1 << 16))

    async def close(self) -> None:
        for transport in self._transports:
            transport.close()
        for server in self._servers:
            server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def datagram(self, transport: asyncio.DatagramTransport, data: bytes, source: tuple[str, int]) -> None:
        """One question by UDP. Ours are answered at once; a forwarded one costs a task, and those are bounded."""
        reply, others = respond(data, self._view, IPv4Address(source[0]), largest=1232)
        if others is not None and (self._forward is None or len(self._tasks) >= _MOST_FORWARDED):
            reply = failure(others, dns.rcode.REFUSED if self._forward is None else dns.rcode.SERVFAIL)
        elif others is not None:
            self._spawn(self._forwarded_to(transport, others, source))
        if reply is not None:
            transport.sendto(reply, source)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forwarded_to(
        self, transport: asyncio.DatagramTransport, query: dns.message.Message, source: tuple[str, int]
    ) -> None:
        transport.sendto(await self._forwarded(query), source)

    async def _forwarded(self, query: dns.message.Message) -> bytes:
        if self._forward is None:
            return failure(query, dns.rcode.REFUSED)
        reply = await self._forward(query.to_wire())
        return failure(query, dns.rcode.SERVFAIL) if reply is None else reply

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._tasks) >= _MOST_CONNECTIONS:
            writer.close()
            return
        self._tasks.add(task)
        try:
            asker = IPv4Address(writer.get_extra_info("peername")[0])
            while True:
                async with asyncio.timeout(_IDLE_S):
                    length = int.from_bytes(await reader.readexactly(2), "big")
                    data = await reader.readexactly(length)
                reply, others = respond(data, self._view, asker, largest=65535)
                if others is not None:
                    reply = await self._forwarded(others)
                if reply is None:
                    break
                writer.write(len(reply).to_bytes(2, "big") + reply)
                await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass  # idle or gone: nobody to tell
        finally:
            self._tasks.discard(task)
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asserted: before Python 3.12 asyncio's own datagram transports are no DatagramTransport.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        self._resolver.datagram(self._transport, data, addr)

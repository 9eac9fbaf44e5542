"""DNS answers: the names of instances, seen from inside and from outside. Pure but for `Resolver`'s transports.

Inside, a public name leads to the private address where asker and target share a network, so that the
connection carries a private source and group rules can match; outside it leads to the public address. What
is not ours is refused inside (there is no uplink) and forwarded outside.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Protocol

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import dns.rrset

from stockade.instances.network.askers import PacketAllowance, Places, asker_of
from stockade.instances.network.datagrams import DatagramServer, Reply, Source
from stockade.instances.network.names import Names
from stockade.instances.network.streams import StreamServer
from stockade.model.addresses import Address
from stockade.model.ids import InstanceId

_TTL_S = 60
_IDLE_S = 10.0
_MOST_CONNECTIONS, _MOST_OF_ONE = 256, 16
_MOST_FORWARDED = 256
_REVERSE = dns.name.from_text("in-addr.arpa.")
_REVERSE6 = dns.name.from_text("ip6.arpa.")

Forward = Callable[[bytes], Awaitable[bytes | None]]


class AskersNetwork(Protocol):
    """What the network of whoever asks (by its service address) looks like. Other networks are not seen."""

    def private_of(self, asker: IPv4Address, public: IPv4Address) -> IPv4Address | None:
        """The private address behind a public one."""

    def addresses_of(self, asker: IPv4Address, whose: IPv4Address | InstanceId) -> tuple[Address, ...]:
        """All addresses of the interface that has this private one, or of an instance; none when there is none."""

    def owner_of(self, asker: IPv4Address, address: IPv6Address) -> IPv4Address | None:
        """The private IPv4 address of the interface that has this IPv6 one."""


@dataclass(frozen=True, slots=True)
class View:
    """One side's answers. `network` None: the outside. `pool`: public addresses, named when asked in reverse."""

    names: Names
    pool: IPv4Network
    network: AskersNetwork | None = None


def answer(query: dns.message.Message, view: View, asker: IPv4Address) -> dns.message.Message | None:
    """The answer, None when the question is about names of somebody else."""
    reply = dns.message.make_response(query, recursion_available=True)
    refusal = _refusal(query)
    if refusal is not None:
        reply.set_rcode(refusal)
        return reply
    question = query.question[0]
    if question.name.is_subdomain(_REVERSE) or question.name.is_subdomain(_REVERSE6):
        return _answer_reverse(reply, question, view, asker)
    name = question.name.to_text()
    if not view.names.owns(name):
        return None
    reply.flags |= dns.flags.AA
    addresses = _forward(name, view, asker)
    if not addresses:
        reply.set_rcode(dns.rcode.NXDOMAIN)
    for kind, version in ((dns.rdatatype.A, 4), (dns.rdatatype.AAAA, 6)):
        found = [str(address) for address in addresses if address.version == version]
        if found and question.rdtype in (kind, dns.rdatatype.ANY):
            reply.answer.append(dns.rrset.from_text(question.name, _TTL_S, "IN", dns.rdatatype.to_text(kind), *found))
    return reply  # a name that exists without records of the type asked: no error, no answer


def _refusal(query: dns.message.Message) -> dns.rcode.Rcode | None:
    if query.opcode() != dns.opcode.QUERY:
        return dns.rcode.NOTIMP
    if len(query.question) != 1:
        return dns.rcode.FORMERR
    return None if query.question[0].rdclass == dns.rdataclass.IN else dns.rcode.REFUSED


def _answer_reverse(
    reply: dns.message.Message, question: dns.rrset.RRset, view: View, asker: IPv4Address
) -> dns.message.Message | None:
    found = _reverse(question.name, view, asker)
    if found is None:
        return None
    reply.flags |= dns.flags.AA
    if question.rdtype in (dns.rdatatype.PTR, dns.rdatatype.ANY):
        reply.answer.append(dns.rrset.from_text(question.name, _TTL_S, "IN", "PTR", found + "."))
    return reply


def _forward(name: str, view: View, asker: IPv4Address) -> tuple[Address, ...]:
    """The addresses of an existing name. A public name has IPv4 ones only, as in EC2."""
    public = view.names.parse_public(name)
    if public is not None:
        behind = None if view.network is None else view.network.private_of(asker, public)
        return (behind or public,)
    if view.network is None:
        return ()
    private = view.names.parse_private(name)
    if private is not None:
        own = view.network.addresses_of(asker, private)
        return (private, *(address for address in own if isinstance(address, IPv6Address)))
    instance = view.names.parse_instance(name)
    return () if instance is None else view.network.addresses_of(asker, instance)


def _reverse(name: dns.name.Name, view: View, asker: IPv4Address) -> str | None:
    try:
        text = dns.reversename.to_address(name)
        address = IPv4Address(text) if name.is_subdomain(_REVERSE) else IPv6Address(text)
    except (dns.exception.DNSException, ValueError):
        return None
    if isinstance(address, IPv6Address):
        owner = None if view.network is None else view.network.owner_of(asker, address)
        return None if owner is None else view.names.private(owner)
    if address in view.pool:
        return view.names.public(address)
    return view.names.private(address) if view.network is not None and address.is_private else None


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

    def __init__(self, view: View, forward: Forward | None = None, allowance: PacketAllowance | None = None) -> None:
        """`allowance`: what each asker may send; None is no limit."""
        self._view = view
        self._forward = forward
        self._allowance = allowance
        self._datagrams = DatagramServer(self._datagram, allowance)
        self._streams = StreamServer(self._stream, Places(_MOST_CONNECTIONS, _MOST_OF_ONE), 1 << 16)
        self._forwarding: set[asyncio.Task[None]] = set()

    async def serve(self, udp: socket.socket, tcp: socket.socket) -> None:
        """Answer on these bound sockets (tcp: not yet listening) until `close`. They are ours from here on."""
        self.serve_datagrams(udp)
        await self.serve_connections(tcp)

    def serve_datagrams(self, udp: socket.socket) -> None:
        """As `serve`."""
        self._datagrams.serve(udp)

    async def serve_connections(self, tcp: socket.socket) -> None:
        """As `serve`."""
        await self._streams.serve(tcp)

    async def close(self) -> None:
        self._datagrams.close()
        await self._streams.close()
        tasks = tuple(self._forwarding)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _datagram(self, data: bytes, source: Source, reply: Reply) -> None:
        """One question by UDP. Ours are answered at once; a forwarded one costs a task, and those are bounded."""
        said, others = respond(data, self._view, asker_of(source[0]), largest=1232)
        if others is not None and (self._forward is None or len(self._forwarding) >= _MOST_FORWARDED):
            said = failure(others, dns.rcode.REFUSED if self._forward is None else dns.rcode.SERVFAIL)
        elif others is not None:
            task = asyncio.ensure_future(self._forwarded_to(others, reply))
            self._forwarding.add(task)
            task.add_done_callback(self._forwarding.discard)
        if said is not None:
            reply(said)

    async def _forwarded_to(self, query: dns.message.Message, reply: Reply) -> None:
        reply(await self._forwarded(query))

    async def _forwarded(self, query: dns.message.Message) -> bytes:
        if self._forward is None:
            return failure(query, dns.rcode.REFUSED)
        reply = await self._forward(query.to_wire())
        return failure(query, dns.rcode.SERVFAIL) if reply is None else reply

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asker: IPv4Address) -> None:
        while True:
            async with asyncio.timeout(_IDLE_S):
                length = int.from_bytes(await reader.readexactly(2), "big")
                data = await reader.readexactly(length)
            if self._allowance is not None and not self._allowance.take(asker):
                return
            reply, others = respond(data, self._view, asker, largest=65535)
            if others is not None:
                reply = await self._forwarded(others)
            if reply is None:
                return
            writer.write(len(reply).to_bytes(2, "big") + reply)
            async with asyncio.timeout(_IDLE_S):
                await writer.drain()

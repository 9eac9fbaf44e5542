import asyncio
import contextlib
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.reversename
import pytest

from stockade.instances.network.askers import PacketAllowance
from stockade.instances.network.names import Names
from stockade.instances.network.resolver import Resolver, View, answer, respond
from stockade.model.addresses import Address
from stockade.model.ids import InstanceId

POOL = IPv4Network("198.18.0.0/16")
ASKER, STRANGER = IPv4Address("100.64.0.1"), IPv4Address("100.64.0.2")
PUBLIC, PRIVATE = IPv4Address("198.18.0.4"), IPv4Address("10.0.0.4")
SIXES = (IPv6Address("fd00:1::4"), IPv6Address("fd00:1::5"))
INSTANCE = InstanceId("i-01000004")
NAME = "ec2-198-18-0-4.compute-1.stockade.internal."


class OneNeighbour:
    """The asker's network has one instance; nobody else sees anything."""

    def private_of(self, asker: IPv4Address, public: IPv4Address) -> IPv4Address | None:
        return PRIVATE if (asker, public) == (ASKER, PUBLIC) else None

    def addresses_of(self, asker: IPv4Address, whose: IPv4Address | InstanceId) -> tuple[Address, ...]:
        return (PRIVATE, *SIXES) if asker == ASKER and whose in (PRIVATE, INSTANCE) else ()

    def owner_of(self, asker: IPv4Address, address: IPv6Address) -> IPv4Address | None:
        return PRIVATE if asker == ASKER and address in SIXES else None


INSIDE = View(Names(), POOL, OneNeighbour())
OUTSIDE = View(Names(), POOL)


def ask(view: View, name: str, kind: str = "A", asker: IPv4Address = ASKER) -> dns.message.Message:
    reply = answer(dns.message.make_query(name, kind), view, asker)
    assert reply is not None
    return reply


def records(reply: dns.message.Message) -> list[str]:
    return [record.to_text() for group in reply.answer for record in group]


def test_a_public_name_is_private_inside() -> None:
    assert records(ask(INSIDE, NAME)) == ["10.0.0.4"]


def test_a_public_name_is_public_outside() -> None:
    assert records(ask(OUTSIDE, NAME)) == ["198.18.0.4"]


def test_a_public_name_is_public_to_an_asker_in_another_network() -> None:
    assert records(ask(INSIDE, NAME, asker=STRANGER)) == ["198.18.0.4"]


def test_a_private_name_resolves_inside_only() -> None:
    assert records(ask(INSIDE, "ip-10-0-0-4.stockade.internal.")) == ["10.0.0.4"]
    assert ask(OUTSIDE, "ip-10-0-0-4.stockade.internal.").rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize("name", ["ip-10-0-0-4.stockade.internal.", "i-01000004.stockade.internal."])
def test_a_private_name_has_the_ipv6_addresses_too(name: str) -> None:
    assert records(ask(INSIDE, name)) == ["10.0.0.4"]
    assert records(ask(INSIDE, name, "AAAA")) == ["fd00:1::4", "fd00:1::5"]
    assert records(ask(INSIDE, name, "ANY")) == ["10.0.0.4", "fd00:1::4", "fd00:1::5"]


def test_what_has_no_ipv6_address_has_a_name_all_the_same() -> None:
    for name in (NAME, "ip-10-0-0-9.stockade.internal."):
        reply = ask(INSIDE, name, "AAAA")
        assert (reply.rcode(), reply.answer) == (dns.rcode.NOERROR, [])


def test_an_instance_of_another_network_or_of_none_is_not_named() -> None:
    for view, name, asker in (
        (INSIDE, "i-01000004", STRANGER),
        (INSIDE, "i-01000005", ASKER),
        (INSIDE, "i-1", ASKER),
        (OUTSIDE, "i-01000004", ASKER),
    ):
        assert ask(view, f"{name}.stockade.internal.", asker=asker).rcode() == dns.rcode.NXDOMAIN


def test_ipv6_addresses_are_named_in_reverse_in_their_own_network_only() -> None:
    name = dns.reversename.from_address("fd00:1::5")
    assert records(ask(INSIDE, name.to_text(), "PTR")) == ["ip-10-0-0-4.stockade.internal."]
    query = dns.message.make_query(name, "PTR")
    assert answer(query, INSIDE, STRANGER) is None
    assert answer(query, OUTSIDE, ASKER) is None
    assert answer(dns.message.make_query("5.ip6.arpa.", "PTR"), INSIDE, ASKER) is None


def test_a_name_of_ours_that_spells_no_address_does_not_exist() -> None:
    assert ask(INSIDE, "www.stockade.internal.").rcode() == dns.rcode.NXDOMAIN


def test_a_name_of_somebody_else_is_not_answered_here() -> None:
    assert answer(dns.message.make_query("example.org.", "A"), INSIDE, ASKER) is None


def test_public_addresses_are_named_in_reverse_on_both_sides() -> None:
    for view in (INSIDE, OUTSIDE):
        assert records(ask(view, "4.0.18.198.in-addr.arpa.", "PTR")) == [NAME]


def test_private_addresses_are_named_in_reverse_inside_only() -> None:
    query = dns.message.make_query("4.0.0.10.in-addr.arpa.", "PTR")
    assert records(ask(INSIDE, "4.0.0.10.in-addr.arpa.", "PTR")) == ["ip-10-0-0-4.stockade.internal."]
    assert answer(query, OUTSIDE, ASKER) is None


def test_an_odd_reverse_name_is_somebody_elses() -> None:
    assert answer(dns.message.make_query("x.0.0.10.in-addr.arpa.", "PTR"), INSIDE, ASKER) is None


def test_answers_are_authoritative_and_offer_recursion() -> None:
    reply = ask(INSIDE, NAME)
    assert reply.flags & dns.flags.AA
    assert reply.flags & dns.flags.RA


@pytest.mark.parametrize("data", [b"", b"\0" * 5, b"\xff" * 40])
def test_what_is_not_dns_gets_no_answer(data: bytes) -> None:
    assert respond(data, INSIDE, ASKER, largest=512) == (None, None)


def test_an_answer_is_never_answered() -> None:
    reply = ask(INSIDE, NAME)
    assert respond(reply.to_wire(), INSIDE, ASKER, largest=512) == (None, None)


def test_other_operations_than_questions_are_not_built() -> None:
    query = dns.message.make_query(NAME, "A")
    query.set_opcode(4)
    reply = answer(query, INSIDE, ASKER)
    assert reply is not None
    assert reply.rcode() == dns.rcode.NOTIMP


def bound() -> tuple[socket.socket, socket.socket]:
    tcp = socket.socket()
    tcp.bind(("127.0.0.1", 0))
    udp = socket.socket(type=socket.SOCK_DGRAM)
    udp.bind(tcp.getsockname())
    return udp, tcp


async def served(resolver: Resolver, question: str, tcp: bool) -> dns.message.Message:
    sockets = bound()
    _, port = sockets[0].getsockname()
    await resolver.serve(*sockets)
    ask_it = dns.query.tcp if tcp else dns.query.udp
    query = dns.message.make_query(question, "A")
    try:
        return await asyncio.to_thread(ask_it, query, "127.0.0.1", 5, port)
    finally:
        await resolver.close()


@pytest.mark.parametrize("tcp", [False, True])
async def test_it_is_served_by_udp_and_tcp(tcp: bool) -> None:
    assert records(await served(Resolver(OUTSIDE), NAME, tcp)) == ["198.18.0.4"]


@pytest.mark.parametrize("tcp", [False, True])
async def test_names_of_others_are_refused_without_an_uplink(tcp: bool) -> None:
    assert (await served(Resolver(INSIDE), "example.org.", tcp)).rcode() == dns.rcode.REFUSED


@pytest.mark.parametrize("tcp", [False, True])
async def test_names_of_others_are_forwarded_where_there_is_a_way(tcp: bool) -> None:
    async def forward(query: bytes) -> bytes:
        reply = dns.message.make_response(dns.message.from_wire(query))
        reply.set_rcode(dns.rcode.NXRRSET)
        return reply.to_wire()

    assert (await served(Resolver(OUTSIDE, forward), "example.org.", tcp)).rcode() == dns.rcode.NXRRSET


async def test_when_no_upstream_answers_the_asker_is_told() -> None:
    async def nobody(query: bytes) -> None:
        return None

    assert (await served(Resolver(OUTSIDE, nobody), "example.org.", False)).rcode() == dns.rcode.SERVFAIL


async def test_one_asker_cannot_take_all_connections() -> None:
    udp, tcp = bound()
    where = tcp.getsockname()
    resolver = Resolver(OUTSIDE)
    await resolver.serve(udp, tcp)
    held = [await asyncio.open_connection(*where) for _ in range(20)]
    assert [await asyncio.wait_for(reader.read(), 5) for reader, _ in held[16:]] == [b""] * 4
    query = dns.message.make_query(NAME, "A").to_wire()
    reader, writer = await asyncio.open_connection(*where, local_addr=("127.0.0.2", 0))
    writer.write(len(query).to_bytes(2, "big") + query)
    length = int.from_bytes(await asyncio.wait_for(reader.readexactly(2), 5), "big")
    assert records(dns.message.from_wire(await reader.readexactly(length))) == ["198.18.0.4"]
    for _, one in [*held, (reader, writer)]:
        one.close()
        with contextlib.suppress(ConnectionError):
            await one.wait_closed()
    await resolver.close()


async def test_questions_by_tcp_count_against_the_same_allowance() -> None:
    udp, tcp = bound()
    allowance = PacketAllowance(2, lambda: 100.0)
    resolver = Resolver(OUTSIDE, allowance=allowance)
    where = tcp.getsockname()
    await resolver.serve(udp, tcp)
    query = dns.message.make_query(NAME, "A").to_wire()
    reader, writer = await asyncio.open_connection(*where)
    writer.write((len(query).to_bytes(2, "big") + query) * 3)
    assert (await asyncio.wait_for(reader.read(), 5)).count(query[:2] + b"\x85") == 2
    assert allowance.exceeded == {IPv4Address("127.0.0.1"): 1}
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    await resolver.close()

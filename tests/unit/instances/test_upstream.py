import asyncio
from typing import cast

import dns.message
import dns.rcode

from stockade.instances.network.upstream import Upstream, resolvers_of


def test_resolvers_are_read_without_our_own_and_without_nonsense() -> None:
    text = "# comment\nnameserver 192.0.2.1\nnameserver 127.0.0.153\nnameserver fe80::1%eth0\nnameserver x\nsearch a\n"
    assert resolvers_of(text, not_these=["127.0.0.153"]) == ["192.0.2.1", "fe80::1%eth0"]


class Echo(asyncio.DatagramProtocol):
    """Answers every question with no error and remembers the numbers of the questions."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        self.numbers.append(query.id)
        self.transport.sendto(dns.message.make_response(query).to_wire(), addr)


async def test_the_answer_has_the_askers_number_and_the_question_ours() -> None:
    loop = asyncio.get_running_loop()
    transport, echo = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    query = dns.message.make_query("example.org.", "A")
    upstream = Upstream(["127.0.0.1"], port)
    replies = [await upstream(query.to_wire()) for _ in range(3)]
    transport.close()
    assert [dns.message.from_wire(reply or b"").id for reply in replies] == [query.id] * 3
    assert len(set(echo.numbers)) > 1


async def test_without_upstreams_there_is_no_answer() -> None:
    assert await Upstream([])(dns.message.make_query("example.org.", "A").to_wire()) is None


async def test_an_upstream_that_is_not_there_is_no_answer() -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    transport.close()
    await asyncio.sleep(0)
    assert await Upstream(["127.0.0.1"], port)(dns.message.make_query("example.org.", "A").to_wire()) is None

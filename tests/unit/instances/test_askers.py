import asyncio
import socket
from ipaddress import IPv4Address

import pytest

from stockade.instances.network.askers import PacketAllowance, Places, asker_of
from stockade.instances.network.datagrams import DatagramServer, Reply, Source

ONE, TWO = IPv4Address("100.65.0.1"), IPv4Address("100.65.0.2")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("source", "asker"),
    [
        ("100.65.0.1", "100.65.0.1"),
        ("100.65.128.1", "100.65.0.1"),  # by the network's own name for the resolver
        ("fd00:ec2:0:1::1:1", "100.65.0.1"),
        ("fd00:ec2:0:1::1:8001", "100.65.0.1"),
        ("fd00:ec2:0:1::3f:3fff", "100.127.63.255"),
        ("fd00:ec2:0:1::40:1", "0.0.0.0"),  # no endpoint's number
        ("fd00:ec2:0:1:1::1:1", "0.0.0.0"),
        ("fd00:ec2:0:2::1:1", "0.0.0.0"),
        ("::1", "0.0.0.0"),
        ("fe80::1%eth0", "0.0.0.0"),
        ("192.168.128.1", "192.168.128.1"),
    ],
)
def test_an_asker_is_the_same_whichever_way_it_comes(source: str, asker: str) -> None:
    assert asker_of(source) == IPv4Address(asker)


def test_places_are_bounded_for_all_and_for_one() -> None:
    places = Places(most=3, of_one=2)
    assert [places.take(ONE), places.take(ONE), places.take(ONE)] == [True, True, False]
    assert [places.take(TWO), places.take(TWO)] == [True, False]
    places.leave(ONE)
    assert [places.take(TWO), places.take(ONE)] == [True, False]


def test_beyond_the_allowance_packets_are_dropped_and_counted_for_each_alone() -> None:
    allowance = PacketAllowance(10, Clock())
    assert [allowance.take(ONE) for _ in range(12)] == [True] * 10 + [False] * 2
    assert allowance.take(TWO)
    assert allowance.exceeded == {ONE: 2}


def test_the_allowance_comes_back_with_time_and_never_beyond_itself() -> None:
    clock = Clock()
    allowance = PacketAllowance(10, clock)
    for _ in range(10):
        allowance.take(ONE)
    clock.now += 0.31
    assert [allowance.take(ONE) for _ in range(5)] == [True] * 3 + [False] * 2
    clock.now += 1000
    assert [allowance.take(ONE) for _ in range(12)].count(True) == 10


async def test_datagrams_beyond_the_allowance_are_not_looked_at() -> None:
    seen: list[bytes] = []

    def receive(data: bytes, _: Source, reply: Reply) -> None:
        seen.append(data)
        reply(data)

    listening = socket.socket(type=socket.SOCK_DGRAM)
    listening.bind(("127.0.0.1", 0))
    where = listening.getsockname()
    allowance = PacketAllowance(5, Clock())
    server = DatagramServer(receive, allowance)
    server.serve(listening)
    with socket.socket(type=socket.SOCK_DGRAM) as guest:
        guest.setblocking(False)
        for number in range(8):
            guest.sendto(bytes([number]), where)
        loop = asyncio.get_running_loop()
        answers = [await asyncio.wait_for(loop.sock_recv(guest, 10), 5) for _ in range(5)]
        while allowance.exceeded.get(IPv4Address("127.0.0.1"), 0) < 3:
            await asyncio.sleep(0)
    server.close()
    assert answers == seen == [bytes([number]) for number in range(5)]

"""Open vSwitch, CVE-2023-1668: a packet of IP protocol 0 installed a cached flow that matched every protocol.

What is remembered of one packet is found again by packets of the same protocol alone. Protocols 0 and 255 and their
neighbours are judged by their numbers, in any order, and open nothing for any other; over both families.
"""

from itertools import permutations

import pytest

from kernel.judging import KernelJudge
from netns import frames
from netns.frames import tcp, udp
from scenarios.worlds import group, instance, world
from security.wire import PASSED, Wire, packet

CLOSED = "NO_INGRESS_RULE"
SENDER = group("sender", egress=["all to 0.0.0.0/0", "all to ::/0"])
NARROW = group("narrow", ingress=["0 from 0.0.0.0/0", "255 from 0.0.0.0/0", "255 from ::/0", "59 from ::/0"])
WORLD = world(SENDER, NARROW, instance("a", "sender"), instance("b", "narrow"))
NUMBERS = (0, 1, 2, 6, 17, 47, 58, 59, 132, 254, 255)


def frame(wire: Wire, version: int, protocol: int) -> bytes:
    me, to = wire.face("a"), wire.face("b")
    body = bytes(24)
    if protocol == frames.TCP:
        body = tcp(me[version], to[version], 1024, 22)
    elif protocol == frames.UDP:
        body = udp(me[version], to[version], 1024, 53)
    elif protocol in (frames.ICMP, frames.ICMP6):
        body = bytes([8 if version == 4 else 128, 0]) + bytes(14)
    return packet(me[version], to[version], protocol, body, me.mac)


def expected(version: int, protocol: int) -> str:
    if version == 6 and protocol == 0:
        return "OPTIONS"
    return PASSED if (version, protocol) in {(4, 0), (4, 255), (6, 255), (6, 59)} else CLOSED


@pytest.mark.parametrize("version", [4, 6])
def test_each_protocol_is_judged_by_its_number_after_any_other(version: int) -> None:
    for first in NUMBERS:
        wire = Wire(WORLD)
        for number in (first, *NUMBERS, *reversed(NUMBERS)):
            assert wire.send(frame(wire, version, number), "a") == expected(version, number)


def test_no_order_of_odd_protocols_opens_another() -> None:
    for order in permutations((0, 255, 6, 47), 4):
        wire = Wire(WORLD)
        for number in (*order, *order):
            assert wire.send(frame(wire, 4, number), "a") == expected(4, number)


@pytest.mark.parametrize("version", [4, 6])
def test_the_way_back_is_open_for_the_same_protocol_alone(version: int) -> None:
    wire = Wire(
        world(SENDER, group("narrow", ingress=["255 from 0.0.0.0/0", "255 from ::/0"], egress=[]), *WORLD.guests)
    )
    assert wire.send(frame(wire, version, 255), "a") == PASSED
    me, to = wire.face("b"), wire.face("a")
    for number in NUMBERS:
        if (version, number) == (6, 0):
            continue
        body = (
            tcp(me[version], to[version], 22, 1024) if number == frames.TCP else udp(me[version], to[version], 53, 1024)
        )
        told = wire.send(packet(me[version], to[version], number, body, me.mac), "b")
        assert (told == PASSED) == (number == 255), number


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
@pytest.mark.parametrize("version", [4, 6])
def test_the_same_in_the_kernel(judge: KernelJudge, version: int) -> None:
    for first in NUMBERS:
        wire = Wire(WORLD, judge)
        for number in (first, *NUMBERS):
            assert wire.send(frame(wire, version, number), "a") == expected(version, number)

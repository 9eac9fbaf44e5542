"""Open vSwitch 2.5, CVE-2016-10377: a malformed packet under-ran a length, and access lists judged what was not there.

Every truncation of every kind of packet and every value of every byte in its headers: the slow reading of the frame,
the simulation and the kernel say the same, and what is too short for its own header is never judged by a port.
"""

from collections.abc import Iterator

import pytest

from kernel.judging import KernelJudge
from netns import frames
from netns.frames import ethernet, fragment6, icmp, ip, tcp, udp
from scenarios.worlds import group, instance, world
from security.wire import PASSED, Wire

OPEN = group("open", ingress=["all from 0.0.0.0/0", "all from ::/0"], egress=["all to 0.0.0.0/0", "all to ::/0"])
WORLD = world(OPEN, instance("a", "open"), instance("b", "open"))
ETHERNET, SHORTEST = 14, {4: 20, 6: 40}
HEADERS = {frames.TCP: 20, frames.UDP: 8, frames.ICMP: 8, frames.ICMP6: 8}


def whole_packets(wire: Wire, version: int) -> Iterator[tuple[int, bytes]]:
    """Protocol and frame; well formed and let through."""
    me, to = wire.face("a"), wire.face("b")
    mine, other, kind = me[version], to[version], frames.kind_of(version)
    icmp_number, echo = (frames.ICMP, 8) if version == 4 else (frames.ICMP6, 128)
    for protocol, body in (
        (frames.TCP, tcp(mine, other, 1024, 80)),
        (frames.UDP, udp(mine, other, 1024, 80)),
        (icmp_number, icmp(mine, other, echo, 0, bytes(8))),
        (47, bytes(16)),
    ):
        yield protocol, ethernet(me.mac, frames.ROUTER, kind, ip(mine, other, protocol, body))
    if version == 6:
        body = fragment6(mine, other, frames.UDP, udp(mine, other, 1024, 80), 0, False)
        yield frames.UDP, ethernet(me.mac, frames.ROUTER, kind, body)


def truncations(wire: Wire, version: int) -> None:
    for protocol, frame in whole_packets(wire, version):
        assert wire.send(frame, "a") == PASSED
        for length in range(len(frame)):
            assert wire.send(frame[:length], "a") != PASSED, (protocol, length)


def shortened(wire: Wire, version: int) -> None:
    """Cut, with an IP length that is true again: what is left of the header behind it decides."""
    for protocol, frame in whole_packets(wire, version):
        start = ETHERNET + SHORTEST[version]
        for left in range(len(frame) - start):
            cut = bytearray(frame[: start + left])
            at, length = (16, 20 + left) if version == 4 else (18, left)
            cut[at : at + 2] = length.to_bytes(2, "big")
            told = wire.send(bytes(cut), "a")
            in_fragment = version == 6 and frame[20] == 44
            needed = HEADERS.get(protocol, 0) + 8 * in_fragment
            if protocol == frames.UDP:
                assert told != PASSED  # its own length says more than there is
            else:
                assert (told == PASSED) == (left >= needed), (protocol, left, told)


def every_byte(wire: Wire, version: int, values: Iterator[int]) -> int:
    """Each header byte with other values; all engines must agree, which `send` asserts."""
    sent = 0
    listed = list(values)
    for _, frame in whole_packets(wire, version):
        for place in range(ETHERNET - 2, min(len(frame), ETHERNET + SHORTEST[version] + 24)):
            for value in listed:
                changed = bytearray(frame)
                changed[place] = value
                wire.send(bytes(changed), "a")
                sent += 1
    return sent


@pytest.mark.parametrize("version", [4, 6])
def test_no_truncated_packet_passes(version: int) -> None:
    truncations(Wire(WORLD), version)


@pytest.mark.parametrize("version", [4, 6])
def test_a_header_that_is_not_there_is_not_judged(version: int) -> None:
    shortened(Wire(WORLD), version)


@pytest.mark.parametrize("version", [4, 6])
def test_rules_and_simulation_agree_on_every_byte(version: int) -> None:
    assert every_byte(Wire(WORLD), version, iter((0, 1, 4, 5, 6, 0x0F, 0x40, 0x46, 0x80, 0xFF))) > 1000


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
@pytest.mark.parametrize("version", [4, 6])
def test_the_kernel_agrees_on_every_length_and_every_byte(judge: KernelJudge, version: int) -> None:
    wire = Wire(WORLD, judge)
    truncations(wire, version)
    shortened(wire, version)
    assert every_byte(Wire(WORLD, judge), version, iter((0, 1, 5, 6, 0x0F, 0x40, 0x80, 0xFF))) > 1000

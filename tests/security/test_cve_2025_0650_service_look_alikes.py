"""OVN, CVE-2025-0650: crafted UDP skipped the egress rules of switches that had DNS records, because the shortcut for
names took whatever looked like a question.

A shortcut is one exact address, protocol and port. Whatever only looks like it, by any one of the three, by its source
port, in pieces or with options, is dropped or judged by the rules; here those let nothing out.
"""

from collections.abc import Iterator

import pytest

from kernel.judging import KernelJudge
from netns import frames
from netns.frames import ethernet, fragment6, icmp, ip, tcp, udp
from scenarios.worlds import group, instance, world
from security.wire import PASSED, Wire, packet

SILENT = group("silent", egress=[])
WORLD = world(SILENT, instance("guest", "silent"), instance("peer", "silent"))
EXACT = [
    *(("169.254.169.254", frames.TCP, 80), ("fd00:ec2::254", frames.TCP, 80)),
    *(("169.254.169.253", frames.UDP, 53), ("169.254.169.253", frames.TCP, 53)),
    *(("fd00:ec2::253", frames.UDP, 53), ("fd00:ec2::253", frames.TCP, 53)),
    *(("169.254.169.123", frames.UDP, 123), ("fd00:ec2::123", frames.UDP, 123)),
]
NEAR4 = ("169.254.169.252", "169.254.169.255", "169.254.0.1", "169.253.169.254", "10.0.0.2", "8.8.8.8", "203.0.113.53")
NEAR6 = ("fd00:ec2::252", "fd00:ec2::1:253", "fd00:ec1::254", "fd00:1::2", "2001:db8::53", "fe80::1")
QUESTION = b"\x12\x34\1\0\0\1\0\0\0\0\0\0\3www\7example\0\0\1\0\1"


def to(wire: Wire, destination: str, protocol: int, port: int, source_port: int = 4000) -> bytes:
    me = wire.face("guest")
    source = me[6 if ":" in destination else 4]
    if protocol == frames.TCP:
        body = tcp(source, destination, source_port, port)
    else:
        body = udp(source, destination, source_port, port, QUESTION)
    return packet(source, destination, protocol, body, me.mac)


def look_alikes(wire: Wire) -> Iterator[bytes]:
    me = wire.face("guest")
    for address, protocol, port in EXACT:
        other = frames.TCP if protocol == frames.UDP else frames.UDP
        yield from (to(wire, address, protocol, near) for near in (port - 1, port + 1, 0, 65535, port ^ 0x8000))
        if (address, other, port) not in EXACT:
            yield to(wire, address, other, port)
        near = NEAR6 if ":" in address else NEAR4
        yield from (to(wire, one, protocol, port) for one in near if (one, protocol, port) not in EXACT)
        yield from (to(wire, one, protocol, 1024, source_port=port) for one in near)  # as if it were the answer
        source = me[6 if ":" in address else 4]
        kind = 128 if ":" in address else 8
        echo = icmp(source, address, kind, 0, bytes(8))
        yield packet(source, address, frames.ICMP6 if ":" in address else frames.ICMP, echo, me.mac)
        yield packet(source, address, 0xFF, QUESTION, me.mac)
    for piece in (0x2000, 0x2001, 0x0003):
        body = ip(me.four, "10.0.0.17", frames.UDP, udp(me.four, "10.0.0.17", 53, 53, QUESTION)[:24], fragment=piece)
        yield ethernet(me.mac, frames.ROUTER, frames.IPV4, body)
    asked = udp(me.four, "169.254.169.253", 4000, 53, QUESTION)
    for options in (b"\1\1\1\1", b"\x94\4\0\0", b"\x83\7\4\x0a\0\0\x11\0"):
        yield ethernet(me.mac, frames.ROUTER, frames.IPV4, ip(me.four, "169.254.169.253", 17, asked, options=options))
    asked = udp(me.six, "fd00:ec2::253", 4000, 53, QUESTION)
    for header in (0, 43, 60):
        body = ip(me.six, "fd00:ec2::253", header, b"\x11\0\1\4\0\0\0\0" + asked)
        yield ethernet(me.mac, frames.ROUTER, frames.IPV6, body)
    yield ethernet(me.mac, frames.ROUTER, frames.IPV6, fragment6(me.six, "fd00:ec2::253", 17, asked[8:], 1, False))
    yield ethernet(me.mac, frames.ROUTER, frames.IPV4, ip(me.four, "169.254.169.253", 17, asked[8:16], fragment=1))


def holds(wire: Wire) -> None:
    assert [wire.send(to(wire, *each), "guest") for each in EXACT] == [PASSED] * len(EXACT)
    told = [(frame, wire.send(frame, "guest")) for frame in look_alikes(wire)]
    assert [frame.hex() for frame, what in told if what == PASSED] == []
    assert {what for _, what in told} <= {"NO_EGRESS_RULE", "NO_ROUTE", "OPTIONS", "FRAGMENT", "MALFORMED"}
    assert sum(what == "NO_EGRESS_RULE" for _, what in told) > 20


def test_only_the_exact_service_skips_the_rules() -> None:
    holds(Wire(WORLD))


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
def test_the_same_in_the_kernel(judge: KernelJudge) -> None:
    holds(Wire(WORLD, judge))

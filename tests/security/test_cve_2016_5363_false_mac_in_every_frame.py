"""Neutron's iptables driver, CVE-2016-5363 (and -5362, CVE-2015-8914): the MAC check was skipped by a crafted DHCP
discovery, by frames that were not IP and by ICMPv6, so an instance could take another's place on the wire.

Every kind of frame that an instance can write, with every false MAC: nothing of it gets anywhere, whatever it carries
and whether or not the address in it is the sender's own.
"""

import socket
import struct
from collections.abc import Iterator

import pytest

from kernel.judging import KernelJudge
from netns import frames
from netns.frames import ROUTER, arp, ethernet, fragment6, icmp, ip, tcp, udp
from scenarios.worlds import group, instance, world
from security.wire import IGNORED, PASSED, Wire

OPEN = group("open", ingress=["all from 0.0.0.0/0", "all from ::/0"], egress=["all to 0.0.0.0/0", "all to ::/0"])
WORLD = world(
    OPEN, instance("attacker", "open"), instance("victim", "open"), instance("router", "open", source_dest_check=False)
)
BROADCAST, FOREIGN, NOBODY, MANY = frames.BROADCAST, "02:00:00:00:00:99", "00:00:00:00:00:00", "33:33:00:00:00:01"
DISCOVER = bytes([1, 1, 6, 0]) + bytes(232) + b"\x63\x82\x53\x63\x35\x01\x01\xff"


def bodies(wire: Wire, name: str) -> Iterator[tuple[int, bytes]]:
    """Ethertype and content: what an honest instance may send, and what none should."""
    me, to = wire.face(name), wire.face("victim")
    for version in (4, 6):
        kind = frames.kind_of(version)
        mine, other = me[version], to[version]
        for protocol, body in (
            (frames.TCP, tcp(mine, other, 1024, 80)),
            (frames.UDP, udp(mine, other, 1024, 53)),
            (47, bytes(24)),
            (frames.ICMP if version == 4 else frames.ICMP6, icmp(mine, other, 8 if version == 4 else 128, 0, bytes(8))),
        ):
            yield kind, ip(mine, other, protocol, body)
    yield frames.IPV4, ip("0.0.0.0", "255.255.255.255", frames.UDP, udp("0.0.0.0", "255.255.255.255", 68, 67, DISCOVER))
    yield frames.IPV4, ip(me.four, "255.255.255.255", frames.UDP, udp(me.four, "255.255.255.255", 68, 67, DISCOVER))
    yield frames.IPV4, ip(me.four, "169.254.169.253", frames.UDP, udp(me.four, "169.254.169.253", 1024, 53))
    yield frames.IPV6, ip(me.six, "fd00:ec2::253", frames.UDP, udp(me.six, "fd00:ec2::253", 1024, 53))
    yield frames.IPV6, fragment6(me.six, to.six, frames.UDP, udp(me.six, to.six, 1, 2), 0, False)
    for source, kind, target in (
        ("fe80::2", 133, None),
        (me.six, 135, to.six),
        ("::", 135, me.six),
        (me.six, 136, me.six),
    ):
        rest = bytes(4) + (b"" if target is None else socket.inet_pton(socket.AF_INET6, str(target)))
        yield frames.IPV6, ip(source, "ff02::1", 58, icmp(source, "ff02::1", kind, 0, rest), hops=255)
    yield frames.IPV6, ip(me.six, "ff02::16", 0, b"\x3a\0\5\2\0\0\1\0" + icmp(me.six, "ff02::16", 143, 0, bytes(4)))
    for operation in (1, 2):
        yield frames.ARP, arp(me.mac, me.four, to.four, operation)
    yield (
        frames.VLAN,
        struct.pack("!HH", 5, frames.IPV4) + ip(me.four, to.four, frames.UDP, udp(me.four, to.four, 1, 2)),
    )
    for kind in (0x0001, 0x0842, 0x8035, 0x8863, 0x888E, 0x88CC, 0x88E5, 0x9000, 0xFFFF):
        yield kind, bytes(46)


def false_macs(wire: Wire) -> list[str]:
    return [wire.face("victim").mac, FOREIGN, ROUTER, NOBODY, BROADCAST, MANY]


def attempts(wire: Wire, name: str) -> Iterator[tuple[str, bytes]]:
    for kind, body in bodies(wire, name):
        for mac in false_macs(wire):
            for to in (ROUTER, wire.face("victim").mac, BROADCAST):
                yield f"{kind:#06x} from {mac} to {to}: {body[:48].hex()}", ethernet(mac, to, kind, body)


def none_passes(wire: Wire, name: str) -> None:
    told = {text: wire.send(frame, name) for text, frame in attempts(wire, name)}
    assert {text: what for text, what in told.items() if what == PASSED} == {}
    assert len(told) > 500
    assert {what for what in told.values() if what != IGNORED} <= {
        *("SPOOFED_MAC", "SPOOFED_ARP", "UNSUPPORTED", "OPTIONS", "FOREIGN_REPLY"),
    }


@pytest.mark.parametrize("name", ["attacker", "router"])
def test_nothing_with_a_false_mac_passes(name: str) -> None:
    none_passes(Wire(WORLD), name)


def test_the_same_frames_with_the_own_mac_are_judged_by_what_they_carry() -> None:
    wire = Wire(WORLD)
    own = wire.face("attacker").mac
    told = [wire.send(ethernet(own, ROUTER, kind, body), "attacker") for kind, body in bodies(wire, "attacker")]
    assert told[:8] == [PASSED] * 8
    assert "SPOOFED_MAC" not in told


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
@pytest.mark.parametrize("name", ["attacker", "router"])
def test_nor_past_the_kernel(judge: KernelJudge, name: str) -> None:
    none_passes(Wire(WORLD, judge), name)

"""Incus, CVE-2025-52889: the allowances for DHCP and DNS stood above the spoof filter, so one instance could take
every address of the pool, one forged client after another.

Forged clients of the local services are refused before the service is looked at: a thousand sources and MACs, for the
resolver, the metadata service, the clock and DHCP, in broadcast and in unicast.
"""

import struct
from collections.abc import Iterator
from random import Random

import pytest

from kernel.judging import KernelJudge
from netns import frames
from netns.frames import BROADCAST, ROUTER, ethernet, ip, tcp, udp
from scenarios.worlds import group, instance, world
from security.wire import PASSED, Wire, packet

OPEN = group("open", ingress=["all from 0.0.0.0/0", "all from ::/0"], egress=["all to 0.0.0.0/0", "all to ::/0"])
WORLD = world(OPEN, instance("attacker", "open"), instance("victim", "open"))


def discover(chance: Random, mac: bytes) -> bytes:
    return struct.pack("!BBBBI", 1, 1, 6, 0, chance.getrandbits(32)) + bytes(20) + mac + bytes(202) + (
        b"\x63\x82\x53\x63\x35\x01\x01\xff"
    )  # fmt: skip


def forged_clients(wire: Wire, chance: Random, count: int) -> Iterator[bytes]:
    own = wire.face("attacker").mac
    for _ in range(count):
        source = f"10.0.{chance.randrange(1, 256)}.{chance.randrange(1, 255)}"
        six = f"fd00:1::{chance.randrange(0x100, 0xFFFF):x}"
        forged_mac = ":".join(f"{octet:02x}" for octet in (2, *chance.randbytes(5)))
        body = discover(chance, chance.randbytes(6))
        for asking, service, port in (
            (source, "169.254.169.253", 53),
            (six, "fd00:ec2::253", 53),
            (source, "169.254.169.123", 123),
            (six, "fd00:ec2::123", 123),
        ):
            yield packet(asking, service, frames.UDP, udp(asking, service, 9, port), own)
        for asking, service in ((source, "169.254.169.254"), (six, "fd00:ec2::254")):
            yield packet(asking, service, frames.TCP, tcp(asking, service, 9, 80), own)
        for mac in (own, forged_mac):
            for asking, to in (("0.0.0.0", "255.255.255.255"), (source, "10.0.0.1"), (source, "255.255.255.255")):
                told = ip(asking, to, 17, udp(asking, to, 68, 67, body))
                yield ethernet(mac, BROADCAST if to.endswith("255") else ROUTER, frames.IPV4, told)


def servers(wire: Wire) -> Iterator[bytes]:
    """An instance that plays the server of the two protocols."""
    me, to = wire.face("attacker"), wire.face("victim")
    for port in (68, 67, 9999):
        yield ethernet(me.mac, ROUTER, frames.IPV4, ip(me.four, to.four, 17, udp(me.four, to.four, 67, port)))
    for port in (546, 547, 9999):
        yield ethernet(me.mac, ROUTER, frames.IPV6, ip(me.six, to.six, 17, udp(me.six, to.six, 547, port)))
    for source in ("169.254.169.253", "169.254.169.254", "169.254.169.123", "fd00:ec2::253", "fd00:ec2::254"):
        version = 6 if ":" in source else 4
        body = ip(source, to[version], 17, udp(source, to[version], 53, 1024))
        yield ethernet(me.mac, ROUTER, frames.kind_of(version), body)


def holds(wire: Wire, count: int) -> None:
    told = {wire.send(frame, "attacker") for frame in forged_clients(wire, Random("incus/52889"), count)}
    assert told == {"SPOOFED_ADDRESS", "SPOOFED_MAC"}
    assert {wire.send(frame, "attacker") for frame in servers(wire)} == {"FOREIGN_REPLY"}
    me = wire.face("attacker")
    honest = ip(me.four, "169.254.169.253", 17, udp(me.four, "169.254.169.253", 9, 53))
    assert wire.send(ethernet(me.mac, ROUTER, frames.IPV4, honest), "attacker") == PASSED


def test_forged_clients_and_servers_get_nowhere() -> None:
    holds(Wire(WORLD), 200)


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
def test_nor_do_they_in_the_kernel(judge: KernelJudge) -> None:
    holds(Wire(WORLD, judge), 100)

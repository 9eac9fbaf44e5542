"""Incus 6.12 and 6.13, CVE-2025-52890: with an access list attached, the rules for ARP, neighbour discovery and
established flows stood above the spoof filter, so any address could be forged. CVE-2025-52889 is the same for DHCP and
DNS: see test_cve_2025_52889_local_services.py.

Spoof checks come before everything else, whatever else is on: groups, live flows, services, fragments, the source
check off, classic or VPC. Each feature is first shown to work for the honest sender.
"""

from collections.abc import Callable

import pytest

from kernel.judging import KernelJudge
from netns import frames
from netns.frames import ethernet, icmp, ip, tcp, udp
from scenarios.worlds import group, instance, world
from security.wire import PASSED, Face, Wire, packet

OPEN = group("open", ingress=["all from 0.0.0.0/0", "all from ::/0"], egress=["all to 0.0.0.0/0", "all to ::/0"])
WORLD = world(
    OPEN,
    *(instance(name, "open") for name in ("attacker", "victim", "peer")),
    *(instance(f"v-{name}", "open", network="vpc") for name in ("attacker", "victim", "peer")),
    instance("router", "open", source_dest_check=False),
)
Feature = Callable[[Face, Face, int], bytes]
ACK = 0x10


def new_flow(me: Face, to: Face, version: int) -> bytes:
    return ip(me[version], to[version], frames.TCP, tcp(me[version], to[version], 1024, 80))


def live_flow(me: Face, to: Face, version: int) -> bytes:
    return ip(me[version], to[version], frames.TCP, tcp(me[version], to[version], 1024, 80, ACK))


def answer(me: Face, to: Face, version: int) -> bytes:
    return ip(me[version], to[version], frames.TCP, tcp(me[version], to[version], 80, 1024, ACK))


def echo(me: Face, to: Face, version: int) -> bytes:
    number, kind = (frames.ICMP, 8) if version == 4 else (frames.ICMP6, 128)
    return ip(me[version], to[version], number, icmp(me[version], to[version], kind, 0, bytes(8)))


def name_question(me: Face, to: Face, version: int) -> bytes:
    resolver = "169.254.169.253" if version == 4 else "fd00:ec2::253"
    return ip(me[version], resolver, frames.UDP, udp(me[version], resolver, 1024, 53))


def metadata_question(me: Face, to: Face, version: int) -> bytes:
    metadata = "169.254.169.254" if version == 4 else "fd00:ec2::254"
    return ip(me[version], metadata, frames.TCP, tcp(me[version], metadata, 1024, 80))


def error(me: Face, to: Face, version: int) -> bytes:
    number, kind = (frames.ICMP, 3) if version == 4 else (frames.ICMP6, 1)
    quoted = new_flow(to, me, version)[:48]
    return ip(me[version], to[version], number, icmp(me[version], to[version], kind, 1, bytes(4) + quoted))


FEATURES: tuple[Feature, ...] = (new_flow, live_flow, answer, echo, name_question, metadata_question, error)


def holds(wire: Wire, prefix: str, version: int) -> None:
    me, victim, peer = (wire.face(prefix + name) for name in ("attacker", "victim", "peer"))
    kind = frames.kind_of(version)
    for own, to, name in ((me, peer, "attacker"), (victim, peer, "victim"), (peer, victim, "peer")):
        for feature in FEATURES:  # the honest way, and the flows that the forgeries below claim to be of
            frame = ethernet(own.mac, frames.ROUTER, kind, feature(own, to, version))
            assert wire.send(frame, prefix + name) == PASSED, (name, feature.__name__)
    for feature in FEATURES:
        body = feature(victim, peer, version)
        assert wire.send(ethernet(me.mac, frames.ROUTER, kind, body), prefix + "attacker") == "SPOOFED_ADDRESS", feature
        assert wire.send(ethernet(victim.mac, frames.ROUTER, kind, body), prefix + "attacker") == "SPOOFED_MAC", feature


CASES = pytest.mark.parametrize(("prefix", "version"), [("", 4), ("", 6), ("v-", 4), ("v-", 6)])


@CASES
def test_no_feature_comes_before_the_spoof_checks(prefix: str, version: int) -> None:
    holds(Wire(WORLD), prefix, version)


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
@CASES
def test_nor_in_the_kernel(judge: KernelJudge, prefix: str, version: int) -> None:
    holds(Wire(WORLD, judge), prefix, version)


def off_switch(wire: Wire) -> None:
    """With the check off a router forwards for others, under its own MAC and for nobody's address."""
    me, victim, peer = (wire.face(name) for name in ("router", "victim", "peer"))
    for version in (4, 6):
        body = new_flow(victim, peer, version)
        assert wire.send(ethernet(me.mac, frames.ROUTER, frames.kind_of(version), body), "router") == PASSED
        assert wire.send(ethernet(victim.mac, frames.ROUTER, frames.kind_of(version), body), "router") == "SPOOFED_MAC"
    for source, reason in (
        *(("127.0.0.1", "SPOOFED_ADDRESS"), ("0.0.0.0", "SPOOFED_ADDRESS"), ("224.0.0.1", "SPOOFED_ADDRESS")),
        *(("::1", "SPOOFED_ADDRESS"), ("::", "SPOOFED_ADDRESS"), ("::ffff:10.0.0.1", "SPOOFED_ADDRESS")),
        *(("169.254.169.254", "FOREIGN_REPLY"), ("fd00:ec2::254", "FOREIGN_REPLY"), ("fe80::1", "FOREIGN_REPLY")),
    ):
        to = peer[6 if ":" in source else 4]
        assert wire.send(packet(source, to, frames.UDP, udp(source, to, 53, 53), me.mac), "router") == reason, source


def test_the_off_switch_frees_addresses_and_nothing_else() -> None:
    off_switch(Wire(WORLD))


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
def test_so_it_does_in_the_kernel(judge: KernelJudge) -> None:
    off_switch(Wire(WORLD, judge))

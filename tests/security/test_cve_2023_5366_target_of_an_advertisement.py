"""Open vSwitch, CVE-2023-5366: the target inside a neighbour advertisement was not matched, so one whose source was
honest could still claim any address.

The target is judged for itself: with an honest source, MAC and claim, only the sender's own addresses may be targets;
too short to have one, or in pieces, an advertisement says nothing.
"""

import socket

import pytest

from kernel.judging import KernelJudge
from netns.frames import IPV6, ROUTER, ethernet, fragment6, icmp, ip
from security.neighbour_matrix import ADVERTISE, LINK_LOCAL, WORLD, Message
from security.wire import IGNORED, PASSED, Wire

TARGETS = ("fd00:1::9999", "fd00:ec2::254", "2001:db8::1", "ff02::1", "::", "::1")


def honest_but_for_its_target(wire: Wire) -> None:
    me = wire.face("attacker")
    others = (str(wire.face("victim").six), *TARGETS)
    for target in others:
        for source in (str(me.six), LINK_LOCAL):
            for claim in (None, me.mac):
                said = Message(ADVERTISE, source, target, claim)
                assert wire.send(said.frame(me.mac), "attacker") == "SPOOFED_ARP", said
    for target in (str(me.six), LINK_LOCAL):
        assert wire.send(Message(ADVERTISE, str(me.six), target, me.mac).frame(me.mac), "attacker") == IGNORED


def torn_before_its_target(wire: Wire) -> None:
    me, victim = wire.face("attacker"), wire.face("victim")
    rest = bytes(4) + socket.inet_pton(socket.AF_INET6, str(victim.six))
    whole = icmp(me.six, "ff02::1", ADVERTISE, 0, rest)
    for length in range(8, len(whole)):
        frame = ethernet(me.mac, ROUTER, IPV6, ip(me.six, "ff02::1", 58, whole[:length], hops=255))
        assert wire.send(frame, "attacker") == "SPOOFED_ARP", length
    for body, units, more in ((whole, 0, False), (whole[:16], 0, True), (whole[16:], 2, False)):
        frame = ethernet(me.mac, ROUTER, IPV6, fragment6(me.six, victim.six, 58, body, units, more))
        assert wire.send(frame, "attacker") != PASSED


def test_the_target_is_judged_for_itself() -> None:
    honest_but_for_its_target(Wire(WORLD))


def test_without_a_whole_target_nothing_is_said() -> None:
    torn_before_its_target(Wire(WORLD))


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
def test_the_same_in_the_kernel(judge: KernelJudge) -> None:
    honest_but_for_its_target(Wire(WORLD, judge))
    torn_before_its_target(Wire(WORLD, judge))

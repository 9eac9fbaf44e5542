"""Tracked or not: the same as the slow memory of flows says, and with the two rules named."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.random_worlds import random_packet, random_view
from scenarios.worlds import PASS, World, case, group, instance, scenario, view, world
from stockade.model.flow import Gate, Packet
from stockade.model.rule import Direction
from stockade.policy.evaluate import evaluate
from stockade.policy.memory import Memory, advance, is_tracked
from stockade.policy.questions.tracking import Tracking, tracking_at


def seen(of: World, source: str, destination: str, traffic: str) -> Tracking:
    """At the receiver's gate."""
    asked = case(scenario("asked", of, []), (source, destination, traffic, PASS))
    there = view(of)
    hop = evaluate(there, asked.packet, asked.sender).hops[-1]
    assert hop.interface is not None
    return tracking_at(there, there.interfaces[hop.interface], Direction.INGRESS, asked.packet)


def test_untracked_needs_a_rule_for_everybody_and_everything_open_back() -> None:
    open_back = world(group("web", ingress=["tcp/80 from 0.0.0.0/0", "tcp/22 from 192.0.2.0/24"]), instance("web"))
    opened = seen(open_back, "198.51.100.7", "web", "tcp/80")
    assert not opened.tracked
    assert opened.opener is not None and opened.way_back is not None
    assert opened.opener.rule.direction is Direction.INGRESS and opened.way_back.rule.direction is Direction.EGRESS
    narrow = seen(open_back, "192.0.2.7", "web", "tcp/22")
    assert narrow.tracked and narrow.opener is None and narrow.way_back is not None
    part = world(group("web", ingress=["tcp/80 from 0.0.0.0/0"], egress=["tcp/1-65535 to 0.0.0.0/0"]), instance("web"))
    kept = seen(part, "198.51.100.7", "web", "tcp/80")
    assert kept.tracked and kept.opener is not None and kept.way_back is None


def test_families_are_apart_and_icmp_is_always_tracked() -> None:
    six = world(group("web", ingress=["tcp/80 from ::/0", "icmp/8 from 0.0.0.0/0"]), instance("web"))
    over_four = tracking_at(
        view(six),
        next(iter(view(six).interfaces.values())),
        Direction.INGRESS,
        Packet(*(2 * [next(iter(view(six).interfaces.values())).addresses[0]]), 6, 80),
    )
    assert over_four.tracked and over_four.opener is None
    assert seen(six, "198.51.100.7", "web", "icmp/8:0").always


@given(st.integers(0, 1 << 32))
@settings(max_examples=300, deadline=None)
def test_it_is_what_the_memory_of_flows_says(seed: int) -> None:
    random = Random(seed)
    there = random_view(random)
    standings = advance(Memory(), there).standings
    for _ in range(10):
        packet, sender = random_packet(random, there)
        for hop in evaluate(there, packet, sender).hops:
            if hop.interface is None or not hop.rule:
                continue
            direction = Direction.EGRESS if hop.gate is Gate.EGRESS else Direction.INGRESS
            said = tracking_at(there, there.interfaces[hop.interface], direction, packet)
            assert said.tracked == is_tracked(standings[hop.interface][-1], direction, packet)

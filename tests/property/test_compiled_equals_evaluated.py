"""The compiled entries, read as a kernel reads them, give the verdict that the rules give."""

from datetime import UTC, datetime
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.random_worlds import random_history, random_packet, random_view
from stockade.datapath.contract import DeviceName
from stockade.datapath.simulated.datapath import SimulatedDatapath
from stockade.model.host_view import HostView
from stockade.policy.compile import compile_host
from stockade.policy.evaluate import evaluate

CHANCE = st.randoms(use_true_random=False)


def simulated(view: HostView) -> SimulatedDatapath:
    datapath = SimulatedDatapath(datetime(2026, 1, 1, tzinfo=UTC))
    datapath.apply(compile_host(view))
    for interface in view.interfaces:
        datapath.attach(interface, DeviceName(f"veth-{interface}"))
    return datapath


@settings(max_examples=120, deadline=None)
@given(CHANCE)
def test_compiled_entries_agree_with_the_rules(chance: Random) -> None:
    view = random_view(chance)
    datapath = simulated(view)
    for _ in range(20):
        packet, sender = random_packet(chance, view)
        assert datapath.judge(packet, sender) == evaluate(view, packet, sender)


@settings(max_examples=60, deadline=None)
@given(CHANCE)
def test_a_packet_that_opens_a_flow_is_judged_like_any_first_packet(chance: Random) -> None:
    view = random_view(chance)
    for _ in range(5):
        packet, sender = random_packet(chance, view)
        assert simulated(view).send(packet, sender) == evaluate(view, packet, sender)


@settings(max_examples=40, deadline=None)
@given(CHANCE)
def test_they_agree_also_while_the_feed_contradicts_itself(chance: Random) -> None:
    """A member's entry and the interface it is of may differ between two frames, and addresses be claimed twice."""
    for view in random_history(chance, length=4):
        datapath = simulated(view)
        for _ in range(5):
            packet, sender = random_packet(chance, view)
            assert datapath.judge(packet, sender) == evaluate(view, packet, sender)

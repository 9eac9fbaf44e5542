"""A verdict with its reasons: the rules that open a gate, or those that came nearest."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.random_worlds import random_packet, random_view
from scenarios.worlds import PASS, World, case, group, instance, scenario, view, world
from stockade.model.flow import DropReason, Gate
from stockade.policy.evaluate import evaluate
from stockade.policy.questions.explain import Explanation, Lacks, explain

OFFICE = world(
    group("web", ingress=["tcp/80 from 0.0.0.0/0", "tcp/22 from 192.168.1.130/32", "udp/53 from app"]),
    group("both", ingress=["tcp/79-81 from app"]),
    group("app"),
    instance("web", "web", "both"),
    instance("app"),
)


def asked(source: str, destination: str, traffic: str, of: World = OFFICE) -> Explanation:
    packet = case(scenario("asked", of, []), (source, destination, traffic, PASS))
    return explain(view(of), packet.packet, packet.sender)


def test_an_open_gate_names_all_rules_that_open_it_and_the_deciding_one_first() -> None:
    answer = asked("app", "web", "tcp/80").gates[-1]
    assert [(each.group.name, each.rule.number) for each in answer.rules] == [("both", 5), ("web", 1)]
    assert answer.rules[0].rule.number == answer.hop.rule


def test_both_gates_are_explained() -> None:
    assert [answer.hop.gate for answer in asked("app", "web", "tcp/80").gates] == [Gate.EGRESS, Gate.INGRESS]


def test_a_closed_gate_names_what_came_nearest_first() -> None:
    answer = asked("192.168.1.131", "web", "tcp/22").gates[-1]
    assert answer.hop.reason is DropReason.NO_INGRESS_RULE
    assert [(each.rule.number, each.lacks) for each in answer.rules[:2]] == [(1, Lacks.PORT), (2, Lacks.PEER)]
    assert answer.rules[-1].lacks == Lacks.PEER | Lacks.PROTOCOL


def test_a_packet_that_meets_no_gate_has_no_rules_to_show() -> None:
    explanation = asked("app as 10.0.0.16", "web", "tcp/80")
    assert explanation.verdict.reason is DropReason.SPOOFED_ADDRESS
    assert explanation.gates == ()


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False))
def test_an_explanation_never_contradicts_the_verdict(chance: Random) -> None:
    seen = random_view(chance)
    for _ in range(10):
        packet, sender = random_packet(chance, seen)
        explanation = explain(seen, packet, sender)
        assert explanation.verdict == evaluate(seen, packet, sender)
        for answer in explanation.gates:
            opening = [each for each in answer.rules if each.lacks is Lacks.NOTHING]
            assert bool(opening) == (answer.hop.rule is not None)
            assert answer.hop.rule is None or opening[0].rule.number == answer.hop.rule

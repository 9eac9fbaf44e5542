"""fakecloud, pull request 2525: an allow in the sender's rules ended the evaluation before the receiver's rules were
asked, and which came first hung on random ids, so the bypass looked like a flaky test.

The two gates are asked each for itself: one that opens never opens the other, whichever group was made first, with
ids shuffled a thousand times.
"""

from dataclasses import replace
from random import Random

import pytest

from kernel.judging import KernelJudge, ruling
from scenarios.worlds import (
    PASS,
    Scenario,
    group,
    instance,
    interface_id,
    parse_packet,
    private_address,
    scenario,
    view,
    world,
)
from security.engines import agreed, expected, told_by_all, told_by_kernel
from stockade.model.flow import DropReason, Gate
from stockade.model.host_view import HostView, ViewGroup
from stockade.model.ids import RuleId, SecurityGroupId
from stockade.model.rule import GroupPeer, Rule
from stockade.policy.compile import compile_host
from stockade.policy.evaluate import evaluate

SENDER = group("sender", egress=["all to 0.0.0.0/0"])
RECEIVER = group("receiver", ingress=["tcp/80 from sender"], egress=[])
GUESTS = (instance("s", "sender"), instance("r", "receiver"), instance("both", "sender", "receiver"))
NO_IN, NO_OUT = DropReason.NO_INGRESS_RULE, DropReason.NO_EGRESS_RULE
ROWS = [
    ("s", "r", "tcp/80", PASS),
    ("s", "r", "tcp/81", NO_IN),
    ("s", "r", "icmp/8:0", NO_IN),
    ("r", "s", "tcp/80", NO_OUT),
    ("both", "r", "tcp/80", PASS),
    ("both", "r", "tcp/22", NO_IN),
    ("both", "s", "tcp/80", NO_IN),
    ("both", "both", "tcp/80", PASS),
]
FIRST_SENDER = scenario("the sender's group was made first", world(SENDER, RECEIVER, *GUESTS), ROWS)
FIRST_RECEIVER = scenario("the receiver's group was made first", world(RECEIVER, SENDER, *GUESTS), ROWS)
BOTH_ORDERS = pytest.mark.parametrize("made", [FIRST_SENDER, FIRST_RECEIVER], ids=lambda made: made.name)


@BOTH_ORDERS
def test_each_gate_is_asked(made: Scenario) -> None:
    assert told_by_all(made) == expected(made)


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
@BOTH_ORDERS
def test_the_kernel_asks_each_gate(judge: KernelJudge, made: Scenario) -> None:
    assert told_by_kernel(judge, made) == expected(made)


def shuffled(seen: HostView, chance: Random) -> HostView:
    """The same world with other ids of groups and other numbers of rules, in another order."""
    ids = {old: SecurityGroupId(f"sg-{chance.getrandbits(68):017x}") for old in seen.groups}
    numbers = chance.sample(range(1, 1 << 30), sum(len(one.rules) for one in seen.groups.values()))

    def renamed(rule: Rule) -> Rule:
        number = numbers.pop()
        peer = GroupPeer(ids[rule.peer.group], rule.peer.account) if isinstance(rule.peer, GroupPeer) else rule.peer
        return replace(rule, id=RuleId(f"sgr-{number:017x}"), number=number, peer=peer)

    groups = [ViewGroup(ids[one.id], one.name, tuple(map(renamed, one.rules))) for one in seen.groups.values()]
    chance.shuffle(groups)

    def moved(names: tuple[SecurityGroupId, ...]) -> tuple[SecurityGroupId, ...]:
        return tuple(chance.sample([ids[name] for name in names], len(names)))

    return replace(
        seen,
        groups={one.id: one for one in groups},
        members={name: replace(one, groups=moved(one.groups)) for name, one in seen.members.items()},
        interfaces={name: replace(one, groups=moved(one.groups)) for name, one in seen.interfaces.items()},
    )


def test_a_thousand_shuffles_of_ids_change_no_verdict() -> None:
    chance = Random("fakecloud/2525")
    made, seen = FIRST_SENDER.world, view(FIRST_SENDER.world)
    asked = {
        traffic: parse_packet(traffic, private_address(made, "s"), private_address(made, "r"))
        for traffic in ("tcp/80", "tcp/81")
    }
    for _ in range(500):
        other = shuffled(seen, chance)
        assert agreed(other, asked["tcp/80"], interface_id(made, "s")).passed
        refused = agreed(other, asked["tcp/81"], interface_id(made, "s"))
        assert [(hop.gate, hop.reason) for hop in refused.hops] == [(Gate.EGRESS, None), (Gate.INGRESS, NO_IN)]


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
def test_nor_do_they_in_the_kernel(judge: KernelJudge) -> None:
    chance = Random("fakecloud/2525/kernel")
    made, seen = FIRST_SENDER.world, view(FIRST_SENDER.world)
    packets = [
        (parse_packet(traffic, private_address(made, "s"), private_address(made, "r")), interface_id(made, "s"))
        for traffic in ("tcp/80", "tcp/81", "udp/80")
    ]
    for _ in range(40):
        other = shuffled(seen, chance)
        judge.enforce(compile_host(other))
        told = [ruling(evaluate(other, packet, sender)) for packet, sender in packets]
        assert judge.judge_all(packets) == told
        assert [one.reason for one in told] == [DropReason.NONE, NO_IN, NO_IN]

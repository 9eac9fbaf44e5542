"""Which packets are sent for a question, by whom, and what is made of their results."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from ipaddress import ip_address

import pytest

from stockade.feed.flow_log import FlowLog
from stockade.model.addresses import parse_cidr
from stockade.model.flow import DropReason, FlowEvent, Gate
from stockade.model.ids import HostId
from stockade.model.probe import ProbeOutcome, ProbePacket, ProbeResult
from stockade.model.rule import Direction
from stockade.model.traffic import parse_traffic
from stockade.service.accounts import Accounts
from stockade.service.answers import Answers
from stockade.service.caller import Caller
from stockade.service.cell import Cell
from stockade.service.devices import Devices
from stockade.service.instances import Instances, LaunchRequest
from stockade.service.probing import MOST_OF_ONE, ProbedAnswer, Probing
from stockade.service.rules import RuleRequest, Rules
from stockade.service.security_groups import GroupRef, SecurityGroups

IN = Direction.INGRESS


@dataclass
class Kernel:
    """Lets through what it is told to, and writes down what it was asked."""

    lets: Callable[[ProbePacket], bool]
    asked: list[tuple[HostId, tuple[ProbePacket, ...]]] = field(default_factory=list)
    log: FlowLog = field(default_factory=FlowLog)

    async def send(self, host: HostId, packets: tuple[ProbePacket, ...]) -> tuple[ProbeResult, ...]:
        self.asked.append((host, packets))
        return tuple(ProbeResult(ProbeOutcome.ARRIVED if self.lets(one) else ProbeOutcome.LOST) for one in packets)


@pytest.fixture
async def office(cell: Cell, vera: Caller) -> None:
    """web lets the world in on port 80 and app on 22; a member in each; empty has none."""
    for name in ("web", "app", "empty"):
        await SecurityGroups(cell).create(vera, name, "a group")
    rules = [RuleRequest(6, 80, 80, parse_cidr("0.0.0.0/0")), RuleRequest(6, 22, 22, GroupRef(name="app"))]
    await Rules(cell).authorize(vera, GroupRef(name="web"), IN, rules)
    for name in ("web", "app"):
        await Instances(cell).run(vera, LaunchRequest("ami-eca54085", groups=(GroupRef(name=name),)))


async def probe(cell: Cell, kernel: Kernel, caller: Caller, source: str, to: str, traffic: str) -> ProbedAnswer:
    answers = Answers(cell)
    answer = await answers.explain(caller, source, to, parse_traffic(traffic))
    probing = Probing(cell, kernel.send, kernel.log, told_within_s=0)
    [probed] = await probing.probe(caller, [answer], lambda again: answers.ask(caller, again))
    return probed


async def test_a_kernel_that_does_as_the_rules_say_agrees(cell: Cell, vera: Caller, office: None) -> None:
    kernel = Kernel(lambda one: one.packet.port in (22, 80))
    probed = await probe(cell, kernel, vera, "app", "web", "tcp")
    assert probed.agrees and probed.sent == len(probed.packets) == 5  # below, 22, between, 80, above
    [(host, packets)] = kernel.asked
    sender, receiver = packets[0].sender, packets[0].receiver
    assert sender is not None and host == cell.resources.interfaces[sender].host
    assert packets[0].packet.destination in cell.resources.interfaces[receiver].addresses
    blocked = await probe(cell, kernel, vera, "app", "web", "tcp/443")
    assert blocked.agrees and [one.result.outcome for one in blocked.packets] == [ProbeOutcome.LOST]


async def test_one_that_differs_is_asked_once_more_before_it_is_told_of(cell: Cell, vera: Caller, office: None) -> None:
    kernel = Kernel(lambda _one: True)
    probed = await probe(cell, kernel, vera, "app", "web", "tcp/443")
    assert probed.agrees is False and len(kernel.asked) == 2
    late = Kernel(lambda _one: len(late.asked) < 2)
    assert (await probe(cell, late, vera, "app", "web", "tcp/443")).agrees and len(late.asked) == 2


async def test_who_is_imagined_or_nobody_is_not_sent_to(cell: Cell, vera: Caller, office: None) -> None:
    kernel = Kernel(lambda _one: True)
    for source, to, said in (
        ("empty", "web", "the sender is imagined"),
        ("web", "empty", "the receiver is imagined"),
        ("web", "198.51.100.9", "no interface's address"),
    ):
        probed = await probe(cell, kernel, vera, source, to, "tcp/80")
        assert (probed.agrees, probed.sent) == (None, 0)
        assert said in str(probed.undecided)
    assert kernel.asked == []


async def test_a_full_table_is_no_disagreement(cell: Cell, vera: Caller, office: None) -> None:
    kernel = Kernel(lambda _one: False)
    assert (await probe(cell, kernel, vera, "app", "web", "tcp/80")).agrees is False
    packet = kernel.asked[0][1][0].packet
    dropped = FlowEvent(cell.now(), 1, packet, False, Gate.EGRESS, DropReason.CONNTRACK_FULL, (0, 0))
    kernel.log.add(cell.host, [replace(dropped, at=cell.now() - timedelta(minutes=1))], 0)
    assert (await probe(cell, kernel, vera, "app", "web", "tcp/80")).agrees is False
    kernel.log.add(cell.host, [dropped], 0)
    full = await probe(cell, kernel, vera, "app", "web", "tcp/80")
    assert full.agrees is None and "allowance of flows" in str(full.undecided)
    kernel.log.add(cell.host, [replace(dropped, reason=DropReason.NO_INGRESS_RULE)], 0)
    assert (await probe(cell, kernel, vera, "app", "web", "tcp/22")).agrees is False


async def test_what_others_may_have_done_is_no_disagreement(cell: Cell, vera: Caller, office: None) -> None:
    """A flow of a protocol without ports lives on when its rule goes; and attached devices have others between them."""
    through = Kernel(lambda _one: True)
    gre = await probe(cell, through, vera, "app", "web", "47")
    assert (gre.agrees, gre.sent) == (None, 1) and "a tracked flow of protocol 47" in str(gre.undecided)
    admin = replace(vera, account=(await Accounts(cell).ensure_admin()).account)
    groups = {group.name: group.id for group in await SecurityGroups(cell).describe(vera)}
    for number, name in enumerate(("web", "app"), 1):
        addresses = [ip_address(f"172.30.0.{number}")]
        await Devices(cell).attach_device(
            admin, cell.host, f"veth-{name}", f"02:aa:00:00:00:0{number}", addresses, [groups[name]]
        )
    lost = await probe(cell, Kernel(lambda _one: False), vera, "veth-app", "veth-web", "tcp/80")
    assert (lost.agrees, lost.sent) == (None, 1) and "whoever forwards" in str(lost.undecided)
    arrived = await probe(cell, through, vera, "veth-app", "veth-web", "tcp/443")
    assert arrived.agrees is False


async def test_packets_from_outside_are_an_administrators_alone(cell: Cell, vera: Caller, office: None) -> None:
    admin = replace(vera, account=(await Accounts(cell).ensure_admin()).account)
    kernel = Kernel(lambda one: one.sender is None and one.packet.port == 80)
    refused = await probe(cell, kernel, vera, "198.51.100.9", "web", "tcp/80")
    assert refused.agrees is None and "interfaces of your own" in str(refused.undecided)
    assert kernel.asked == []
    [group] = [one.id for one in cell.resources.groups.values() if one.name == "web"]
    probed = await probe(cell, kernel, admin, "198.51.100.9", group, "tcp/80")
    assert probed.agrees and kernel.asked[0][1][0].sender is None


async def test_many_packets_are_fewer_and_of_both_verdicts(cell: Cell, vera: Caller, office: None) -> None:
    odd = [RuleRequest(6, port, port, parse_cidr("0.0.0.0/0")) for port in range(101, 160, 2)]
    await Rules(cell).authorize(vera, GroupRef(name="web"), IN, odd)
    kernel = Kernel(
        lambda one: one.packet.port in (22, 80) or (100 < one.packet.port < 160 and one.packet.port % 2 == 1)
    )
    probed = await probe(cell, kernel, vera, "app", "web", "tcp")
    assert probed.agrees and probed.sent == MOST_OF_ONE
    assert probed.left_out == len(probed.answer.reach.tried) - MOST_OF_ONE > 0
    assert {one.tried.passed for one in probed.packets} == {True, False}

"""Conversations by chance, packet by packet: the kernel's conntrack and the simulated one must agree on each."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from random import Random

import pytest

from kernel.judging import KernelJudge, ruling
from scenarios.random_worlds import random_history, random_packet, random_view
from scenarios.worlds import group, instance, interface_id, parse_packet, private_address, view, world
from stockade.datapath.contract import DeviceName
from stockade.datapath.simulated.conntrack import ICMP_REPLIES, Tcp
from stockade.datapath.simulated.datapath import SimulatedDatapath
from stockade.datapath.simulated.judge import Judge
from stockade.model.flow import DropReason, Packet
from stockade.model.host_view import HostView
from stockade.model.ids import NetworkInterfaceId
from stockade.model.ports import ICMP, PORTED
from stockade.policy.compile import Compiler, compile_host
from stockade.policy.entries import HostPolicy

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("kernel-judge")]

ANSWERS = {query: reply for reply, query in ICMP_REPLIES.items()}
FLAGS = (Tcp.SYN, Tcp.SYN | Tcp.ACK, Tcp.ACK, Tcp.ACK, Tcp.FIN | Tcp.ACK, Tcp.RST)
Sent = tuple[Packet, NetworkInterfaceId | None]


def answer(judge: Judge, packet: Packet, sender: NetworkInterfaceId | None) -> Sent | None:
    """What the receiver would send back if it got the packet; None when it cannot get there."""
    arrival = judge.arrival(packet, sender)
    if isinstance(arrival, DropReason):
        return None
    seen = arrival.packet
    if seen.protocol in PORTED:
        back = Packet(seen.destination, seen.source, seen.protocol, seen.source_port, seen.port)
    else:
        back = replace(seen, source=seen.destination, destination=seen.source)
        if seen.protocol == ICMP:
            back = replace(back, port=ANSWERS.get(seen.port >> 8, seen.port >> 8) << 8 | seen.port & 0xFF)
    return back, arrival.receiver.id


def conversations(chance: Random, seen: HostView, judge: Judge) -> list[Sent]:
    """A few packets and their answers."""
    packets = [random_packet(chance, seen) for _ in range(40)]
    answers = [answer(judge, packet, sender) for packet, sender in packets if judge.unasked(packet, sender) is None]
    return [*packets, *(each for each in answers if each is not None)]


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelJudge]:
    with KernelJudge() as made:
        yield made


@pytest.mark.parametrize("seed", range(30))
def test_kernel_and_simulation_follow_the_same_flows(kernel: KernelJudge, seed: int) -> None:
    chance = Random(f"flows/{seed}")
    seen = random_view(chance, guests=4)
    policy = compile_host(seen)
    simulated = SimulatedDatapath(datetime(2026, 1, 1, tzinfo=UTC))
    for endpoint in policy.endpoints:
        simulated.attach(endpoint, DeviceName(f"veth-{endpoint}"))
    simulated.apply(policy)
    kernel.enforce(policy)
    kernel.forget_flows()
    sent = conversations(chance, seen, Judge(policy, policy.endpoints))
    for _ in range(250):
        packet, sender = chance.choice(sent)
        flags = chance.choice(FLAGS)
        told = ruling(simulated.send(packet, sender, flags=flags))
        given = kernel.send(packet, sender, flags)
        assert (packet, sender, flags, given.reason) == (packet, sender, flags, told.reason)


def with_cuts(chance: Random, policy: HostPolicy, cuts: dict[NetworkInterfaceId, int]) -> HostPolicy:
    """Now and then somebody asks that an endpoint's flows be judged anew."""
    for name in policy.endpoints:
        cuts[name] = cuts.get(name, 0) + (chance.random() < 0.15)
    endpoints = {name: replace(each, cuts=cuts[name]) for name, each in policy.endpoints.items()}
    return HostPolicy(endpoints, policy.members, policy.rule_sets)


@pytest.mark.parametrize("seed", range(40))
def test_flows_meet_the_same_end_when_rules_addresses_and_timers_change(kernel: KernelJudge, seed: int) -> None:
    chance = Random(f"changes/{seed}")
    simulated = SimulatedDatapath(datetime(2026, 1, 1, tzinfo=UTC))
    compiler = Compiler()
    kernel.enforce(HostPolicy())
    kernel.forget_flows()
    cuts: dict[NetworkInterfaceId, int] = {}
    sent: list[Sent] = []
    attached: set[NetworkInterfaceId] = set()
    history = random_history(chance, length=5)
    for seen in history:
        policy = with_cuts(chance, compiler(seen), cuts)
        for gone in attached - policy.endpoints.keys():
            simulated.detach(gone)
        for new in sorted(policy.endpoints.keys() - attached):
            simulated.attach(new, DeviceName(f"veth-{new}"))
        attached = set(policy.endpoints)
        simulated.apply(policy)
        kernel.enforce(policy)
        sent = [each for each in sent if each[1] is None or each[1] in attached][-200:]
        sent += conversations(chance, seen, Judge(policy, policy.endpoints))
        for _ in range(150):
            packet, sender = chance.choice(sent)
            flags = chance.choice(FLAGS)
            told = ruling(simulated.send(packet, sender, flags=flags))
            given = kernel.send(packet, sender, flags)
            assert (packet, sender, flags, given.reason) == (packet, sender, flags, told.reason)


def test_an_echo_reply_nobody_asked_for_opens_no_way_back(kernel: KernelJudge) -> None:
    pinged = world(group("a"), group("b", ingress=["icmp/0 from a"]), instance("a"), instance("b"))
    kernel.enforce(compile_host(view(pinged)))
    a, b = (interface_id(pinged, name) for name in "ab")
    request = parse_packet("icmp/8:0", private_address(pinged, "b"), private_address(pinged, "a"))
    reply = parse_packet("icmp/0:0", private_address(pinged, "a"), private_address(pinged, "b"))
    assert kernel.send(request, b).reason is DropReason.NO_INGRESS_RULE
    assert kernel.send(reply, a).reason is DropReason.NONE
    assert kernel.send(request, b).reason is DropReason.NO_INGRESS_RULE

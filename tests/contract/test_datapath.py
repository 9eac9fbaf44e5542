"""What every Datapath promises, asked of each: in memory without root, in the kernel with it."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import IPv4Network
from random import Random
from typing import Protocol

import pytest

from kernel.judging import KernelJudge, Ruling, ruling
from scenarios.random_worlds import random_history
from scenarios.walkthroughs import MARY
from scenarios.worlds import case, interface_id, view
from stockade.datapath.contract import ApplyFailed, Datapath, DeviceName, RuleHits
from stockade.datapath.simulated.conntrack import Tcp
from stockade.datapath.simulated.datapath import SimulatedDatapath
from stockade.model.flow import DropReason, FlowEvent, Packet
from stockade.model.ids import NetworkInterfaceId
from stockade.policy.compile import compile_host
from stockade.policy.entries import HostPolicy, RuleSetId

ADMIN = "192.168.1.130"
WEB, APP = (interface_id(MARY.world, name) for name in ("web0", "app0"))
VISIT = case(MARY, (ADMIN, "web0", "tcp/80", DropReason.NONE))
CALL = case(MARY, ("web0", "app0", "tcp/8080", DropReason.NONE))
SCAN = case(MARY, (ADMIN, "app0", "tcp/22", DropReason.NO_INGRESS_RULE))
ANSWER = Tcp.SYN | Tcp.ACK
STRANGER = NetworkInterfaceId("eni-01ffff01")


class Bench(Protocol):
    """A datapath with devices to attach, and packets to try it with."""

    @property
    def datapath(self) -> Datapath: ...

    @property
    def told(self) -> list[FlowEvent]:
        """The events so far."""

    def device(self, endpoint: NetworkInterfaceId, copy: int = 0) -> DeviceName:
        """A device that could be this endpoint's."""

    def send(self, packet: Packet, sender: NetworkInterfaceId | None, flags: Tcp = Tcp.SYN) -> Ruling:
        """What becomes of the packet: flows, counters and events are left as on the wire."""


@dataclass
class SimulatedBench:
    datapath: SimulatedDatapath
    told: list[FlowEvent] = field(default_factory=list)

    def device(self, endpoint: NetworkInterfaceId, copy: int = 0) -> DeviceName:
        return DeviceName(f"t{copy}{endpoint[-8:]}")

    def send(self, packet: Packet, sender: NetworkInterfaceId | None, flags: Tcp = Tcp.SYN) -> Ruling:
        given = ruling(self.datapath.send(packet, sender, flags=flags))
        self.told += self.datapath.flows()
        return given


@pytest.fixture(
    params=[
        "simulated",
        pytest.param("ebpf", marks=[pytest.mark.root, pytest.mark.xdist_group("kernel-judge")]),
    ]
)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    if request.param == "simulated":
        yield SimulatedBench(SimulatedDatapath(datetime(2026, 1, 1, tzinfo=UTC)))
        return
    with KernelJudge() as judge:
        judge.macs = {endpoint.id: endpoint.mac for endpoint in mary().endpoints.values()}
        yield judge


def mary(*without_rules: str) -> HostPolicy:
    return compile_host(view(MARY.world, without_rules))


def attach_all(bench: Bench, policy: HostPolicy) -> None:
    for endpoint in policy.endpoints:
        bench.datapath.attach(endpoint, bench.device(endpoint))


def test_a_fresh_datapath_enforces_nothing_and_has_seen_nothing(bench: Bench) -> None:
    assert bench.datapath.observe() == HostPolicy()
    counters = bench.datapath.counters()
    assert (counters.rules, counters.drops, counters.endpoint_drops) == ({}, {}, {})
    assert list(bench.datapath.flows()) == []


def test_what_is_observed_is_what_was_applied(bench: Bench) -> None:
    bench.datapath.apply(mary())
    assert bench.datapath.observe() == mary()


def test_applying_the_same_policy_again_does_nothing(bench: Bench) -> None:
    assert bench.datapath.apply(mary()).steps > 0
    assert bench.datapath.apply(mary()).steps == 0


def test_every_policy_of_a_history_is_observed_as_applied(bench: Bench) -> None:
    for seen in random_history(Random("contract"), length=12):
        policy = compile_host(seen)
        bench.datapath.apply(policy)
        assert bench.datapath.observe() == policy


def test_an_empty_policy_leaves_nothing(bench: Bench) -> None:
    attach_all(bench, mary())
    bench.datapath.apply(mary())
    bench.datapath.apply(HostPolicy())
    assert bench.datapath.observe() == HostPolicy()
    assert bench.send(VISIT.packet, None).reason is not DropReason.NONE


def test_a_device_drops_all_until_its_endpoint_is_in_the_policy(bench: Bench) -> None:
    bench.datapath.attach(STRANGER, bench.device(STRANGER))
    bench.datapath.apply(mary())
    assert bench.send(CALL.packet, STRANGER).reason is not DropReason.NONE


def test_policy_may_come_before_the_device_and_waits_for_it(bench: Bench) -> None:
    bench.datapath.apply(mary())
    assert bench.send(VISIT.packet, None).reason is not DropReason.NONE
    attach_all(bench, mary())
    assert bench.send(VISIT.packet, None).reason is DropReason.NONE
    assert bench.send(CALL.packet, WEB).reason is DropReason.NONE


def test_the_device_may_come_before_the_policy(bench: Bench) -> None:
    attach_all(bench, mary())
    bench.datapath.apply(mary())
    assert bench.send(CALL.packet, WEB).reason is DropReason.NONE
    assert bench.send(SCAN.packet, None).reason is DropReason.NO_INGRESS_RULE


def test_attaching_again_changes_nothing(bench: Bench) -> None:
    attach_all(bench, mary())
    bench.datapath.apply(mary())
    address = bench.datapath.service_address(WEB)
    bench.send(VISIT.packet, None)
    attach_all(bench, mary())
    assert bench.datapath.service_address(WEB) == address
    assert bench.send(answer(VISIT.packet), WEB, ANSWER).reason is DropReason.NONE
    assert bench.datapath.observe() == mary()


def test_attaching_another_device_moves_the_endpoint(bench: Bench) -> None:
    attach_all(bench, mary())
    bench.datapath.apply(mary())
    bench.datapath.attach(WEB, bench.device(WEB, copy=1))
    assert bench.send(CALL.packet, WEB).reason is DropReason.NONE
    assert bench.datapath.observe() == mary()


def test_a_detached_endpoint_neither_sends_nor_gets(bench: Bench) -> None:
    attach_all(bench, mary())
    bench.datapath.apply(mary())
    bench.datapath.detach(APP)
    assert bench.send(CALL.packet, APP).reason is not DropReason.NONE
    assert bench.send(CALL.packet, WEB).reason is not DropReason.NONE
    bench.datapath.detach(APP)


def test_flows_of_a_detached_endpoint_do_not_pass_on_to_its_successor(bench: Bench) -> None:
    attach_all(bench, mary())
    bench.datapath.apply(mary())
    assert bench.send(VISIT.packet, None).reason is DropReason.NONE
    assert bench.send(answer(VISIT.packet), WEB, ANSWER).reason is DropReason.NONE
    bench.datapath.detach(WEB)
    bench.datapath.attach(WEB, bench.device(WEB))
    assert bench.send(answer(VISIT.packet), WEB, ANSWER).reason is not DropReason.NONE


def test_endpoints_have_service_addresses_of_their_own(bench: Bench) -> None:
    attach_all(bench, mary())
    given = {bench.datapath.service_address(endpoint) for endpoint in mary().endpoints}
    assert len(given) == len(mary().endpoints)
    assert all(address in IPv4Network("100.64.0.0/10") for address in given)


def test_an_endpoint_that_is_not_attached_has_no_service_address(bench: Bench) -> None:
    with pytest.raises(KeyError):
        bench.datapath.service_address(STRANGER)


def test_a_revoke_refuses_new_flows_and_leaves_tracked_ones(bench: Bench) -> None:
    attach_all(bench, mary())
    bench.datapath.apply(mary())
    assert bench.send(CALL.packet, WEB).reason is DropReason.NONE
    bench.datapath.apply(mary("appserver"))
    assert bench.send(back(CALL.packet), APP, ANSWER).reason is DropReason.NONE
    other = replace(CALL.packet, source_port=40_001)
    assert bench.send(other, WEB).reason is DropReason.NO_INGRESS_RULE


def test_a_revoke_cuts_what_everybody_might(bench: Bench) -> None:
    attach_all(bench, mary())
    bench.datapath.apply(mary())
    assert bench.send(VISIT.packet, None).reason is DropReason.NONE
    assert bench.send(answer(VISIT.packet), WEB, ANSWER).reason is DropReason.NONE
    bench.datapath.apply(mary("apache"))
    assert bench.send(answer(VISIT.packet), WEB, ANSWER).reason is DropReason.NO_INGRESS_RULE
    assert bench.send(VISIT.packet, None).reason is DropReason.NO_INGRESS_RULE


def test_a_policy_with_a_dangling_rule_set_is_refused_and_the_old_one_stands(bench: Bench) -> None:
    attach_all(bench, mary())
    bench.datapath.apply(mary())
    broken = replace(mary().endpoints[WEB], rule_set=RuleSetId(12345))
    with pytest.raises(ApplyFailed):
        bench.datapath.apply(replace(mary(), endpoints={**mary().endpoints, WEB: broken}))
    assert bench.datapath.observe() == mary()
    assert bench.send(VISIT.packet, None).reason is DropReason.NONE


def test_rules_are_credited_and_drops_are_counted(bench: Bench) -> None:
    attach_all(bench, mary())
    bench.datapath.apply(mary())
    opened = bench.send(VISIT.packet, None)
    bench.send(answer(VISIT.packet), WEB, ANSWER)
    for _ in range(3):
        bench.send(SCAN.packet, None)
    counters = bench.datapath.counters()
    hits = counters.rules[opened.rules[1]]
    assert (type(hits), hits.packets) == (RuleHits, 2)
    assert hits.bytes > 0
    assert counters.drops == {DropReason.NO_INGRESS_RULE: 3}
    assert counters.endpoint_drops == {APP: {DropReason.NO_INGRESS_RULE: 3}}


def test_counts_of_rules_outlive_a_change_of_policy(bench: Bench) -> None:
    attach_all(bench, mary())
    bench.datapath.apply(mary())
    opened = bench.send(VISIT.packet, None)
    bench.datapath.apply(mary("database"))
    assert bench.datapath.counters().rules[opened.rules[1]].packets == 1


def test_events_tell_a_new_flow_once_and_each_drop(bench: Bench) -> None:
    attach_all(bench, mary())
    bench.datapath.apply(mary())
    for packet in (VISIT.packet, VISIT.packet, SCAN.packet, SCAN.packet):
        bench.send(packet, None)
    bench.send(answer(VISIT.packet), WEB, ANSWER)
    opened, *dropped = bench.told
    assert (opened.passed, opened.vpc, opened.rules[0]) == (True, 1, 0)
    assert opened.packet == replace(VISIT.packet, destination=answer(VISIT.packet).source)
    assert [(each.passed, each.reason) for each in dropped] == [(False, DropReason.NO_INGRESS_RULE)] * 2
    assert dropped[0].packet.port == 22


def back(asked: Packet) -> Packet:
    """What comes back from where it went."""
    return Packet(asked.destination, asked.source, asked.protocol, asked.source_port, asked.port)


def answer(asked: Packet) -> Packet:
    """What Mary's first web server answers to a visit from outside."""
    private = view(MARY.world).interfaces[WEB].addresses[0]
    return Packet(private, asked.source, asked.protocol, asked.source_port, asked.port)

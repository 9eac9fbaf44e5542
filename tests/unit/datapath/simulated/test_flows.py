"""Flows in the simulated datapath: what state lets pass, for how long, and what it never lets pass."""

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest

from scenarios.worlds import (
    World,
    group,
    instance,
    interface_id,
    parse_packet,
    private_address,
    public_address,
    view,
    world,
)
from stockade.datapath.contract import DeviceName, RuleHits
from stockade.datapath.simulated.conntrack import Tcp
from stockade.datapath.simulated.datapath import SimulatedDatapath
from stockade.model.addresses import Address
from stockade.model.flow import DropReason, Packet
from stockade.model.ids import NetworkInterfaceId
from stockade.policy.compile import compile_host

STATEFUL = world(
    group("web", ingress=["tcp/80 from 0.0.0.0/0", "udp/53 from app", "icmp/8 from app"], egress=["tcp/8080 to app"]),
    group("app", ingress=["tcp/8080 from web"]),
    instance("web"),
    instance("app"),
    instance("other", "app"),
    instance("tenant", "app", network="theirs"),
)
OUTSIDE = "198.51.100.7"
NO_IN, NO_OUT = DropReason.NO_INGRESS_RULE, DropReason.NO_EGRESS_RULE
WEB, APP, OTHER = (interface_id(STATEFUL, name) for name in ("web", "app", "other"))
SYN, ACK, FIN, RST = Tcp.SYN, Tcp.ACK, Tcp.FIN, Tcp.RST


def applied(datapath: SimulatedDatapath, *without_rules: str) -> None:
    datapath.apply(compile_host(view(STATEFUL, without_rules)))


@pytest.fixture
def host() -> SimulatedDatapath:
    datapath = SimulatedDatapath(datetime(2026, 1, 1, tzinfo=UTC))
    applied(datapath)
    for guest in STATEFUL.guests:
        datapath.attach(interface_id(STATEFUL, guest.name), DeviceName(f"veth-{guest.name}"))
    return datapath


def address(text: str, of: World = STATEFUL) -> Address:
    """An instance's private address by its name, its public one by "public NAME", or an address."""
    if text.startswith("public "):
        return public_address(of, text.removeprefix("public "))
    return private_address(of, text) if text in {guest.name for guest in of.guests} else ip_address(text)


def packet(source: str, destination: str, traffic: str, source_port: int = 40_000) -> Packet:
    return replace(parse_packet(traffic, address(source), address(destination)), source_port=source_port)


def answer(asked: Packet) -> Packet:
    return Packet(asked.destination, asked.source, asked.protocol, asked.source_port, asked.port)


CALL = packet("web", "app", "tcp/8080")
VISIT = packet(OUTSIDE, "public web", "tcp/80")
VISIT_ANSWER = Packet(address("web"), address(OUTSIDE), 6, 40_000, 80)


def test_an_answer_passes_without_a_rule(host: SimulatedDatapath) -> None:
    assert host.send(answer(CALL), APP, flags=SYN | ACK).reason is NO_IN
    assert host.send(CALL, WEB).passed
    assert host.send(answer(CALL), APP, flags=SYN | ACK).passed


def test_an_answer_to_outside_passes_although_there_is_no_way_out_otherwise(host: SimulatedDatapath) -> None:
    assert host.send(VISIT_ANSWER, WEB, flags=SYN | ACK).reason is NO_OUT
    assert host.send(VISIT, None).passed
    assert host.send(VISIT_ANSWER, WEB, flags=SYN | ACK).passed


def test_a_syn_against_the_direction_of_a_flow_is_judged(host: SimulatedDatapath) -> None:
    host.send(CALL, WEB)
    assert host.send(answer(CALL), APP, flags=SYN).reason is NO_IN


def test_a_flow_lives_on_when_its_rule_is_revoked_and_a_new_one_is_refused(host: SimulatedDatapath) -> None:
    host.send(CALL, WEB)
    host.send(answer(CALL), APP, flags=SYN | ACK)
    applied(host, "app", "web")
    assert host.send(CALL, WEB, flags=ACK).passed
    assert host.send(answer(CALL), APP, flags=ACK).passed
    assert host.send(replace(CALL, source_port=40_001), WEB).reason is NO_OUT
    assert host.send(CALL, WEB, flags=SYN).reason is NO_OUT


def test_another_endpoint_cannot_speak_in_somebody_elses_flow(host: SimulatedDatapath) -> None:
    host.send(CALL, WEB)
    assert host.send(answer(CALL), OTHER, flags=ACK).reason is DropReason.SPOOFED_ADDRESS
    assert host.send(replace(VISIT, source=address("web")), None, flags=ACK).reason is DropReason.SPOOFED_ADDRESS


def test_a_flow_of_the_other_network_with_equal_addresses_is_another_flow(host: SimulatedDatapath) -> None:
    host.send(CALL, WEB)
    tenant = interface_id(STATEFUL, "tenant")
    assert host.send(packet("tenant", "web", "tcp/8080"), tenant, flags=ACK).reason is DropReason.NO_ROUTE


@pytest.mark.parametrize(("idle", "passes"), [(29, True), (31, False)])
def test_an_unanswered_datagram_is_remembered_for_thirty_seconds(
    host: SimulatedDatapath, idle: float, passes: bool
) -> None:
    ask = packet("app", "web", "udp/53")
    assert host.send(ask, APP).passed
    host.advance(idle)
    assert host.send(answer(ask), WEB).passed is passes


@pytest.mark.parametrize(("idle", "passes"), [(179, True), (181, False)])
def test_an_answered_datagram_flow_is_remembered_for_three_minutes(
    host: SimulatedDatapath, idle: float, passes: bool
) -> None:
    ask = packet("app", "web", "udp/53")
    host.send(ask, APP)
    host.send(answer(ask), WEB)
    host.advance(idle)
    assert host.send(answer(ask), WEB).passed is passes


@pytest.mark.parametrize(
    ("exchange", "idle"),
    [
        ([], 120),
        ([(True, SYN | ACK)], 60),
        ([(True, SYN | ACK), (False, ACK)], 432_000),
        ([(True, SYN | ACK), (False, ACK), (False, FIN | ACK)], 120),
        ([(True, SYN | ACK), (False, ACK), (False, FIN | ACK), (True, FIN | ACK)], 10),
        ([(True, SYN | ACK), (False, ACK), (True, RST)], 10),
    ],
    ids=["asked", "answered", "established", "half shut", "shut", "reset"],
)
def test_a_connection_is_remembered_as_long_as_its_state_deserves(
    host: SimulatedDatapath, exchange: list[tuple[bool, Tcp]], idle: float
) -> None:
    host.send(CALL, WEB)
    for is_answer, flags in exchange:
        assert host.send(answer(CALL) if is_answer else CALL, APP if is_answer else WEB, flags=flags).passed
    host.advance(idle)
    assert host.send(answer(CALL), APP, flags=ACK).passed
    host.advance(432_001)
    assert host.send(answer(CALL), APP, flags=ACK).reason is NO_IN


def test_a_packet_in_the_middle_of_an_unknown_flow_is_judged_by_the_rules(host: SimulatedDatapath) -> None:
    assert host.send(CALL, WEB, flags=ACK).passed
    assert host.send(answer(CALL), APP, flags=ACK).passed


def test_a_reset_opens_nothing(host: SimulatedDatapath) -> None:
    assert host.send(CALL, WEB, flags=RST).passed
    assert host.send(answer(CALL), APP, flags=ACK).reason is NO_IN


def test_a_ping_is_answered_by_its_identifier_only(host: SimulatedDatapath) -> None:
    ping = packet("app", "web", "icmp/8:0", source_port=7)
    pong = packet("web", "app", "icmp/0:0", source_port=7)
    assert host.send(pong, WEB).reason is NO_OUT
    assert host.send(ping, APP).passed
    assert host.send(pong, WEB).passed
    assert host.send(replace(pong, source_port=8), WEB).reason is NO_OUT


def test_an_echo_reply_nobody_asked_for_opens_no_way_back(host: SimulatedDatapath) -> None:
    pong = packet("app", "other", "icmp/0:0", source_port=7)
    ping = packet("other", "app", "icmp/8:0", source_port=7)
    host.send(pong, APP)
    assert host.send(ping, OTHER).reason is NO_IN


def test_an_error_passes_when_it_quotes_a_live_flow_of_its_sender(host: SimulatedDatapath) -> None:
    unreachable = packet("app", "web", "icmp/3:3")
    assert host.send(unreachable, APP, quoted=CALL).reason is NO_IN
    host.send(CALL, WEB)
    assert host.send(unreachable, APP, quoted=CALL).passed
    assert host.send(unreachable, APP, quoted=replace(CALL, port=8081)).reason is NO_IN
    assert host.send(packet("other", "web", "icmp/3:3"), OTHER, quoted=CALL).reason is NO_IN
    assert host.send(unreachable, APP).reason is NO_IN


def test_a_redirect_never_passes(host: SimulatedDatapath) -> None:
    host.send(CALL, WEB)
    redirect = packet("app", "web", "icmp/5:1")
    assert host.send(redirect, APP, quoted=CALL).reason is DropReason.INVALID_STATE


def test_an_error_from_outside_may_quote_an_answer_by_its_public_address(host: SimulatedDatapath) -> None:
    too_big = packet("203.0.113.1", "public web", "icmp/3:4")
    quoted = replace(VISIT_ANSWER, source=address("public web"))
    assert host.send(too_big, None, quoted=quoted).reason is NO_IN
    host.send(VISIT, None)
    assert host.send(too_big, None, quoted=quoted).passed


def test_a_call_by_public_address_is_one_flow_with_its_answer(host: SimulatedDatapath) -> None:
    call = packet("web", "public app", "tcp/8080")
    assert host.send(call, WEB).reason is NO_OUT  # the egress rule names the group, which is private addresses
    visit = packet("app", "public web", "tcp/80")
    assert host.send(visit, APP).passed
    assert host.send(packet("web", "app", "tcp/40000", source_port=80), WEB, flags=SYN | ACK).passed


def test_other_protocols_are_followed_by_their_addresses() -> None:
    tunnel = world(group("a", ingress=["47 from 0.0.0.0/0"], egress=[]), instance("a"))
    datapath = SimulatedDatapath(datetime(2026, 1, 1, tzinfo=UTC))
    datapath.apply(compile_host(view(tunnel)))
    name = interface_id(tunnel, "a")
    datapath.attach(name, DeviceName("veth-a"))
    back = Packet(address("a", tunnel), address(OUTSIDE), 47)
    assert datapath.send(back, name).reason is NO_OUT
    assert datapath.send(Packet(address(OUTSIDE), address("public a", tunnel), 47), None).passed
    datapath.advance(599)
    assert datapath.send(back, name).passed
    datapath.advance(601)
    assert datapath.send(back, name).reason is NO_OUT


def test_detaching_an_endpoint_ends_its_flows(host: SimulatedDatapath) -> None:
    host.send(CALL, WEB)
    host.detach(WEB)
    host.attach(WEB, DeviceName("veth-again"))
    assert host.send(answer(CALL), APP, flags=ACK).reason is NO_IN


def test_rules_are_credited_with_every_packet_of_their_flows(host: SimulatedDatapath) -> None:
    opening = host.send(CALL, WEB, size=60)
    host.send(answer(CALL), APP, flags=SYN | ACK, size=60)
    host.send(CALL, WEB, flags=ACK, size=1500)
    rules = [hop.rule for hop in opening.hops]
    assert [host.counters().rules[rule] for rule in rules if rule] == [RuleHits(3, 1620)] * 2


def test_drops_are_counted_for_the_host_and_for_the_endpoint_that_refused(host: SimulatedDatapath) -> None:
    for port in (22, 23):
        host.send(packet(OUTSIDE, "public web", f"tcp/{port}"), None)
    counters = host.counters()
    assert counters.drops == {NO_IN: 2}
    assert counters.endpoint_drops == {WEB: {NO_IN: 2}}


def test_events_tell_new_flows_and_drops_once_each(host: SimulatedDatapath) -> None:
    first = host.send(CALL, WEB)
    host.send(CALL, WEB)
    host.send(answer(CALL), APP, flags=SYN | ACK)
    host.send(packet("other", "web", "tcp/22"), OTHER)
    opened, dropped = host.flows()
    assert (opened.passed, opened.packet, opened.rules) == (True, CALL, tuple(hop.rule for hop in first.hops))
    assert (dropped.passed, dropped.reason, dropped.vpc) == (False, NO_IN, 1)
    assert list(host.flows()) == []


def test_an_endpoint_without_policy_sends_and_gets_nothing(host: SimulatedDatapath) -> None:
    stranger = NetworkInterfaceId("eni-01ffffff")
    assert host.send(CALL, stranger).reason is DropReason.ENDPOINT_UNKNOWN
    host.attach(stranger, DeviceName("veth-stranger"))
    assert host.send(CALL, stranger).reason is DropReason.NO_POLICY
    host.detach(APP)
    assert host.send(CALL, WEB).reason is DropReason.ENDPOINT_UNKNOWN

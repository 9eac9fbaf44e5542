"""Whole frames through the simulated datapath: neighbours, spoofs, filter mode, allowances, audits, timers."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest

from scenarios.frames import ACK, SYN, arp_frame, frame_of, neighbour_frame
from scenarios.worlds import OPEN, World, address6, group, instance, interface_id, private_address, view, world
from stockade.datapath.contract import Audit, DeviceName, Usage
from stockade.datapath.simulated.allowance import Allowance
from stockade.datapath.simulated.conntrack import Tcp
from stockade.datapath.simulated.datapath import SimulatedDatapath
from stockade.model.addresses import MacAddress, mac_of
from stockade.model.flow import DropReason, Packet
from stockade.model.ports import ICMPV6, TCP, UDP
from stockade.model.tracking import ConnectionTracking
from stockade.policy.compile import compile_host
from stockade.policy.entries import HostPolicy

OFFICE = world(
    group("app", ingress=["all from app"], egress=OPEN),
    group("open", ingress=["all from 0.0.0.0/0", "all from ::/0"], egress=OPEN),
    instance("one", "app", ipv6=True),
    instance("two", "app", ipv6=True),
    instance("free", "open", ipv6=True),
)
ONE, TWO, FREE = (interface_id(OFFICE, name) for name in ("one", "two", "free"))
MAC, FOREIGN = mac_of(1), MacAddress("02:00:00:00:00:09")
NONE = DropReason.NONE


def started(of: World = OFFICE, **settings: object) -> SimulatedDatapath:
    datapath = SimulatedDatapath(datetime(2026, 1, 1, tzinfo=UTC), **settings)  # type: ignore[arg-type]
    datapath.apply(compile_host(view(of)))
    for guest in of.guests:
        datapath.attach(interface_id(of, guest.name), DeviceName(f"veth-{guest.name}"))
    return datapath


def call(port: int = 80, source_port: int = 40_000, *, to: str = "two", protocol: int = TCP) -> Packet:
    return Packet(private_address(OFFICE, "one"), private_address(OFFICE, to), protocol, port, source_port)


def back(packet: Packet) -> Packet:
    return Packet(packet.destination, packet.source, packet.protocol, packet.source_port, packet.port)


# ── neighbours and spoofs ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("operation", "sender", "target", "claimed", "reason"),
    [
        (1, "10.0.0.16", "10.0.0.1", MAC, None),
        (1, "0.0.0.0", "10.0.0.16", MAC, NONE),
        (1, "10.0.0.16", "10.0.0.16", MAC, NONE),
        (2, "10.0.0.16", "10.0.0.1", MAC, NONE),
        (1, "10.0.0.17", "10.0.0.1", MAC, DropReason.SPOOFED_ARP),
        (2, "10.0.0.16", "10.0.0.1", FOREIGN, DropReason.SPOOFED_ARP),
    ],
)
def test_s3_arp(operation: int, sender: str, target: str, claimed: MacAddress, reason: DropReason | None) -> None:
    frame = arp_frame(MAC, operation, ip_address(sender).packed, ip_address(target).packed, claimed)
    assert started().send_frame(frame, ONE).reason is reason


@pytest.mark.parametrize(
    ("kind", "source", "target", "claimed", "hop_limit", "reason"),
    [
        (135, "own", "fe80::1", MAC, 255, None),
        (135, "fe80::5c", "2600::1", None, 255, None),
        (135, "::", "own", None, 255, NONE),
        (136, "own", "own", MAC, 255, NONE),
        (133, "own", "own", None, 255, NONE),
        (135, "own", "fe80::1", FOREIGN, 255, DropReason.SPOOFED_ARP),
        (135, "own", "fe80::1", MAC, 64, DropReason.SPOOFED_ARP),
        (135, "2600::9", "fe80::1", MAC, 255, DropReason.SPOOFED_ARP),
        (136, "own", "2600::9", MAC, 255, DropReason.SPOOFED_ARP),
        (134, "own", "own", None, 255, DropReason.FOREIGN_REPLY),
        (137, "own", "own", None, 255, DropReason.FOREIGN_REPLY),
    ],
)
def test_s3_neighbour_discovery(
    kind: int, source: str, target: str, claimed: MacAddress | None, hop_limit: int, reason: DropReason | None
) -> None:
    own = address6(OFFICE, "one")
    said = Packet(own if source == "own" else ip_address(source), ip_address("ff02::1"), ICMPV6, kind << 8)
    about = own if target == "own" else ip_address(target)
    frame = neighbour_frame(said, MAC, about.packed, claimed, hop_limit)
    assert started().send_frame(frame, ONE).reason is reason


@pytest.mark.parametrize(("port", "version"), [(67, 4), (547, 6)])
def test_s3_nobody_but_the_host_gives_out_addresses(port: int, version: int) -> None:
    own, other = (address6, address6) if version == 6 else (private_address, private_address)
    reply = Packet(own(OFFICE, "one"), other(OFFICE, "two"), UDP, port + 1, port)
    assert started().send_frame(frame_of(reply, MAC), ONE).reason is DropReason.FOREIGN_REPLY


def test_s2_the_mac_is_pinned_also_where_addresses_are_not() -> None:
    free = world(group("r", egress=OPEN), instance("r", source_dest_check=False))
    packet = Packet(ip_address("9.9.9.9"), ip_address("10.0.0.99"), TCP, 80, 1)
    datapath = started(free)
    assert datapath.send_frame(frame_of(packet, FOREIGN), interface_id(free, "r")).reason is DropReason.SPOOFED_MAC
    assert datapath.send_frame(frame_of(packet, MAC), interface_id(free, "r")).reason is DropReason.NO_ROUTE


# ── timers of the ends ────────────────────────────────────────────────────────────────────────────────


def with_timers(timers: ConnectionTracking) -> HostPolicy:
    policy = compile_host(view(OFFICE))
    return replace(policy, endpoints=policy.endpoints | {TWO: replace(policy.endpoints[TWO], tracking=timers)})


def without_rules(policy: HostPolicy) -> HostPolicy:
    """The same timers, but nothing new is let in."""
    bare = compile_host(view(OFFICE, ["app"]))
    ends = {name: replace(bare.endpoints[name], tracking=each.tracking) for name, each in policy.endpoints.items()}
    return replace(bare, endpoints=ends)


def test_5_3_a_flow_lives_as_long_as_both_ends_remember_it() -> None:
    datapath = started()
    policy = with_timers(ConnectionTracking(tcp_established=60))
    datapath.apply(policy)
    for packet, sender, flags in ((call(), ONE, SYN), (back(call()), TWO, 0x12), (call(), ONE, ACK)):
        assert datapath.send(packet, sender, flags=Tcp(flags)).passed
    datapath.apply(without_rules(policy))
    datapath.advance(55)
    assert datapath.send(call(), ONE, flags=Tcp.ACK).passed
    datapath.advance(65)
    assert not datapath.send(call(), ONE, flags=Tcp.ACK).passed


def test_5_3_a_change_of_timers_reaches_a_flow_with_its_next_packet() -> None:
    datapath = started()
    for packet, sender, flags in ((call(), ONE, SYN), (back(call()), TWO, 0x12), (call(), ONE, ACK)):
        assert datapath.send(packet, sender, flags=Tcp(flags)).passed
    shorter = without_rules(with_timers(ConnectionTracking(tcp_established=60)))
    datapath.apply(shorter)
    datapath.advance(1000)
    assert datapath.send(call(), ONE, flags=Tcp.ACK).passed
    datapath.advance(65)
    assert not datapath.send(call(), ONE, flags=Tcp.ACK).passed


# ── allowances ────────────────────────────────────────────────────────────────────────────────────────


def answered(datapath: SimulatedDatapath, ports: Iterable[int]) -> None:
    for port in ports:
        assert datapath.send(call(source_port=port), ONE).passed
        assert datapath.send(back(call(source_port=port)), TWO, flags=Tcp.SYN | Tcp.ACK).passed
        assert datapath.send(call(source_port=port), ONE, flags=Tcp.ACK).passed


def test_5_4_beyond_the_allowance_new_flows_are_dropped_and_live_ones_go_on() -> None:
    datapath = started(allowance=Allowance(flows=4))
    answered(datapath, range(1, 5))
    assert datapath.usage()[ONE] == Usage(tracked=4, untracked=0, allowance=4)
    assert datapath.send(call(source_port=9), ONE).reason is DropReason.CONNTRACK_FULL
    assert datapath.send(call(source_port=1), ONE, flags=Tcp.ACK).passed
    assert datapath.usage()[TWO].tracked == 4


def test_5_4_half_open_flows_give_way_first() -> None:
    datapath = started(allowance=Allowance(flows=4))
    answered(datapath, (1, 2))
    for port in range(10, 30):
        assert datapath.send(call(source_port=port), ONE).passed
    assert datapath.usage()[ONE].tracked == 4
    for port in (1, 2):
        assert datapath.send(call(source_port=port), ONE, flags=Tcp.ACK).passed


def test_5_4_a_listening_victim_does_not_keep_the_flows_of_a_flood() -> None:
    datapath = started(allowance=Allowance(flows=4))
    answered(datapath, (1, 2))
    for port in range(10, 30):
        assert datapath.send(call(source_port=port), ONE).passed
        assert datapath.send(back(call(source_port=port)), TWO, flags=Tcp.SYN | Tcp.ACK).passed
    for port in (1, 2):
        assert datapath.send(call(source_port=port), ONE, flags=Tcp.ACK).passed


def test_5_4_an_untracked_flow_needs_no_entry() -> None:
    datapath = started(allowance=Allowance(flows=2, table=3))
    free = Packet(private_address(OFFICE, "free"), private_address(OFFICE, "free"), UDP, 53, 1000)
    for port in range(50):
        assert datapath.send(replace(free, source_port=port), FREE).passed
    assert datapath.usage()[FREE].untracked <= 3


def test_5_4_when_the_tables_are_nearly_full_nobody_has_more_than_a_fair_share() -> None:
    datapath = started(allowance=Allowance(flows=100, table=12))
    answered(datapath, range(1, 10))
    assert datapath.send(call(source_port=50), ONE).reason is DropReason.CONNTRACK_FULL
    other = Packet(private_address(OFFICE, "free"), private_address(OFFICE, "free"), TCP, 80, 1000)
    assert datapath.send(other, FREE).passed


# ── audits ────────────────────────────────────────────────────────────────────────────────────────────


def test_an_audit_tells_drift_and_puts_it_right() -> None:
    datapath = started()
    right = datapath.observe()
    assert datapath.audit() == Audit(compared=len(right.endpoints) + len(right.members) + len(right.rule_sets))
    datapath.tamper(replace(right, members={}))
    audit = datapath.audit()
    assert len(audit.drift) == len(right.members)
    assert datapath.observe() == right
    assert datapath.audit().drift == ()


# ── strict errors ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("strict", "reason"), [(False, None), (True, DropReason.NO_INGRESS_RULE)])
def test_p1_in_strict_mode_errors_about_tracked_flows_need_a_rule(strict: bool, reason: DropReason | None) -> None:
    web = world(group("web", ingress=["tcp/80 from 198.51.100.0/24"], egress=[]), instance("web"))
    datapath = started(web, strict=strict)
    outside, public = ip_address("198.51.100.7"), view(web).interfaces[interface_id(web, "web")].public
    assert public is not None
    asked = Packet(outside, public, TCP, 80, 40_000)
    assert datapath.send(asked, None).passed
    error = Packet(outside, public, 1, 0x0301)
    assert datapath.send(error, None, quoted=back(asked)).reason is reason


# ── filter mode ───────────────────────────────────────────────────────────────────────────────────────


def filtered() -> SimulatedDatapath:
    """Two devices that somebody else forwards for: a guest that may call, and a server."""
    of = world(
        group("guest", ingress=[], egress=["tcp/80 to 0.0.0.0/0"]),
        group("server", ingress=["tcp/80 from guest"], egress=[]),
        instance("guest"),
        instance("server"),
    )
    seen = view(of)
    devices = {name: replace(each, device=f"veth-{name}") for name, each in seen.interfaces.items()}
    datapath = SimulatedDatapath(datetime(2026, 1, 1, tzinfo=UTC))
    datapath.apply(compile_host(replace(seen, interfaces=devices)))
    for name in devices:
        datapath.attach(name, DeviceName(f"veth-{name}"))
    return datapath


def test_filter_mode_judges_at_each_device_and_follows_its_own_flows() -> None:
    datapath = filtered()
    ask = frame_of(call(), MAC)
    answer = frame_of(back(call()), mac_of(2), flags=0x12)
    assert datapath.receive_frame(answer, ONE).reason is DropReason.NO_INGRESS_RULE
    assert datapath.send_frame(ask, ONE).passed
    assert datapath.receive_frame(ask, TWO).passed
    assert datapath.send_frame(answer, TWO).passed
    assert datapath.receive_frame(answer, ONE).passed
    assert datapath.send_frame(frame_of(call(22), MAC), ONE).reason is DropReason.NO_EGRESS_RULE
    assert datapath.receive_frame(frame_of(call(22), MAC), TWO).reason is DropReason.NO_INGRESS_RULE


def test_filter_mode_checks_sources_and_neighbours_and_lets_routers_speak_to_the_guest() -> None:
    datapath = filtered()
    forged = replace(call(), source=ip_address("10.0.0.99"))
    assert datapath.send_frame(frame_of(forged, MAC), ONE).reason is DropReason.SPOOFED_ADDRESS
    assert datapath.send_frame(frame_of(call(), FOREIGN), ONE).reason is DropReason.SPOOFED_MAC
    lie = arp_frame(MAC, 2, bytes([10, 0, 0, 99]), bytes([10, 0, 0, 1]), MAC)
    assert datapath.send_frame(lie, ONE).reason is DropReason.SPOOFED_ARP
    truth = arp_frame(MAC, 1, bytes([10, 0, 0, 16]), bytes([10, 0, 0, 1]), MAC)
    assert datapath.send_frame(truth, ONE).passed
    advertisement = neighbour_frame(
        Packet(ip_address("fe80::1"), ip_address("ff02::1"), ICMPV6, 134 << 8), FOREIGN, bytes(16), None
    )
    assert datapath.receive_frame(advertisement, ONE).passed
    assert datapath.send_frame(advertisement, ONE).reason is not None
    others = replace(back(call()), destination=ip_address("10.0.0.77"))
    assert datapath.receive_frame(frame_of(others, FOREIGN), ONE).reason is DropReason.NOT_OURS


def test_a_device_of_ours_takes_nothing_that_comes_by_another_way() -> None:
    assert started().receive_frame(frame_of(call(), MAC), TWO).reason is DropReason.NOT_OURS


def test_filter_mode_passes_on_nothing_behind_which_a_lie_could_stand() -> None:
    datapath = filtered()
    own = ip_address("2001:db8:5c::10")
    whole = view(OFFICE)
    six = replace(
        whole, interfaces={name: replace(each, device=f"v-{name}") for name, each in whole.interfaces.items()}
    )
    datapath.apply(compile_host(six))
    token_ring = bytearray(arp_frame(MAC, 2, bytes([10, 0, 0, 99]), bytes([10, 0, 0, 1]), MAC))
    token_ring[15] = 6  # IEEE 802: Linux takes it for Ethernet's
    assert datapath.send_frame(bytes(token_ring), ONE).reason is DropReason.SPOOFED_ARP
    asks = Packet(own, ip_address("ff02::1"), ICMPV6, 135 << 8)
    nonce, lie = bytes([14, 1]) + bytes(6), bytes([1, 1]) + bytes.fromhex(FOREIGN.replace(":", ""))
    body = bytes([135, 0]) + bytes(6) + ip_address("fe80::1").packed + nonce + lie
    assert datapath.send_frame(frame_of(asks, MAC, body=body, hop_limit=255), ONE).reason is DropReason.SPOOFED_ARP
    to_router = replace(asks, port=133 << 8)
    assert datapath.send_frame(neighbour_frame(to_router, MAC, bytes(16), MAC), ONE).passed
    forged = neighbour_frame(to_router, MAC, bytes(16), FOREIGN)
    assert datapath.send_frame(forged, ONE).reason is DropReason.SPOOFED_ARP
    others = neighbour_frame(replace(to_router, source=ip_address("2001:db8:5c::99")), MAC, bytes(16), MAC)
    assert datapath.send_frame(others, ONE).reason is DropReason.SPOOFED_ARP

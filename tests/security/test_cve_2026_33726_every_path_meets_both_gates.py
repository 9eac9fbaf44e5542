"""Cilium, CVE-2026-33726: in one routing mode, traffic between two workloads of one node skipped the ingress policy.

Every way from a sender to a receiver, by private and public address, inside a network and between networks, from
outside, to oneself, by IPv4 and IPv6, through the host or past it on somebody's bridge, meets the receiver's ingress
gate and the sender's egress gate.
"""

from dataclasses import replace

import pytest

from kernel.judging import KernelJudge
from netns import frames
from netns.frames import tcp
from scenarios.worlds import World, group, instance, interface_id, world
from security.wire import OUTSIDE, PASSED, Wire, packet
from stockade.model.host_view import HostView

ALL_IN = ["all from 0.0.0.0/0", "all from ::/0"]
ALL_OUT = ["all to 0.0.0.0/0", "all to ::/0"]
OUTSIDERS = {4: "198.51.100.7", 6: "2001:db8::7"}


def town(egress: list[str], ingress: list[str]) -> World:
    """Two classic instances, two of a VPC and one of another; senders and receivers have groups of their own."""
    networks = ("classic", "vpc", "other")
    roles = [(role, place) for place in range(len(networks)) for role in ("sender", "receiver")]
    guests = [instance(f"{role}{place}", role, network=networks[place]) for role, place in roles]
    return world(group("sender", egress=egress), group("receiver", ingress=ingress, egress=[]), *guests)


def public(wire: Wire, name: str) -> str:
    address = wire.seen.interfaces[interface_id(wire.world, name)].public
    assert address is not None
    return str(address)


def ways(wire: Wire) -> dict[str, tuple[bytes, str]]:
    """Frame and sender of a new connection over each way there is."""
    found = {}

    def add(way: str, sender: str, destination: str) -> None:
        version = 6 if ":" in destination else 4
        if sender == OUTSIDE:
            origin, mac = OUTSIDERS[version], "02:00:00:00:00:01"
        else:
            origin, mac = str(wire.face(sender)[version]), wire.face(sender).mac
        body = tcp(origin, destination, 1024 + len(found), 80)  # other ports, or two ways could be one flow
        router = wire.gateway_mac if sender == OUTSIDE else frames.ROUTER
        found[way] = (packet(origin, destination, frames.TCP, body, mac, router), sender)

    for place, network in enumerate(("classic", "vpc", "other")):
        sender, receiver = f"sender{place}", f"receiver{place}"
        add(f"{network}: private", sender, str(wire.face(receiver).four))
        add(f"{network}: IPv6", sender, str(wire.face(receiver).six))
        add(f"{network}: by its public address", sender, public(wire, receiver))
        add(f"{network}: from outside", OUTSIDE, public(wire, receiver))
    for place, other in ((0, 1), (1, 2), (2, 1), (1, 0)):
        add(f"{place} to {other} by public address", f"sender{place}", public(wire, f"receiver{other}"))
        add(f"{place} to {other} by IPv6", f"sender{place}", str(wire.face(f"receiver{other}").six))
    return found


def told(wire: Wire) -> dict[str, str]:
    return {way: wire.send(*each) for way, each in ways(wire).items()}


def every_way_meets_both_gates(judge: KernelJudge | None) -> None:
    everything = told(Wire(town(ALL_OUT, ALL_IN), judge))
    assert set(everything.values()) == {PASSED}
    assert len(everything) == 20
    assert set(told(Wire(town(ALL_OUT, []), judge)).values()) == {"NO_INGRESS_RULE"}
    silent = told(Wire(town([], ALL_IN), judge))
    assert {way for way, what in silent.items() if what == PASSED} == {way for way in silent if "outside" in way}
    assert set(silent.values()) == {PASSED, "NO_EGRESS_RULE"}


def test_every_way_meets_both_gates() -> None:
    every_way_meets_both_gates(None)


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
def test_every_way_meets_both_gates_in_the_kernel(judge: KernelJudge) -> None:
    every_way_meets_both_gates(judge)


def to_oneself(judge: KernelJudge | None) -> None:
    """By its own public address an instance meets its own two gates, as anybody would."""
    for egress, ingress, what in (
        (ALL_OUT, ALL_IN, PASSED),
        (ALL_OUT, [], "NO_INGRESS_RULE"),
        ([], ALL_IN, "NO_EGRESS_RULE"),
    ):
        wire = Wire(world(group("self", egress=egress, ingress=ingress), instance("self")), judge)
        me, own = wire.face("self"), public(wire, "self")
        assert wire.send(packet(me.four, own, frames.TCP, tcp(me.four, own, 1024, 80), me.mac), "self") == what


def test_so_does_the_way_to_oneself() -> None:
    to_oneself(None)


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
def test_so_does_the_way_to_oneself_in_the_kernel(judge: KernelJudge) -> None:
    to_oneself(judge)


def as_filters(seen: HostView) -> HostView:
    """The same interfaces on devices that somebody else forwards for."""
    changed = {name: replace(one, device=f"veth-{name}") for name, one in seen.interfaces.items()}
    return replace(seen, interfaces=changed)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("egress", "ingress"), [(ALL_OUT, ALL_IN), (ALL_OUT, []), ([], ALL_IN)])
def test_on_a_bridge_of_others_each_device_asks_its_own_gate(
    version: int, egress: list[str], ingress: list[str]
) -> None:
    wire = Wire(town(egress, ingress))
    wire._datapath.apply(wire.policy_of(as_filters(wire.seen)))
    me, to = wire.face("sender1"), wire.face("receiver1")
    frame = packet(me[version], to[version], frames.TCP, tcp(me[version], to[version], 1024, 80), me.mac, to.mac)
    sent = wire._datapath.send_frame(frame, interface_id(wire.world, "sender1"))
    received = wire._datapath.receive_frame(frame, interface_id(wire.world, "receiver1"))
    assert (sent.passed, received.passed) == (bool(egress), bool(ingress))

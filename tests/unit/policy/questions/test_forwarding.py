"""Attached devices: each judges at its own gate, whoever forwards between them."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from scenarios.worlds import group, instance, view, world
from stockade.model.flow import DropReason, Gate, Packet
from stockade.model.host_view import HostView
from stockade.model.ids import NetworkInterfaceId
from stockade.model.ports import TCP
from stockade.policy.evaluate import evaluate
from stockade.policy.questions.explain import explain
from stockade.policy.questions.forwarding import judged

OFFICE = view(
    world(
        group("web", ingress=["tcp/80 from app", "tcp/443 from 192.0.2.0/24"]),
        group("app", egress=["tcp/1-1000 to 0.0.0.0/0"]),
        instance("web"),
        instance("app"),
        instance("plain", "app"),
    )
)
BY_NAME = dict(zip(("web", "app", "plain"), sorted(OFFICE.interfaces), strict=True))
ADDRESS = {name: OFFICE.interfaces[id].addresses[0] for name, id in BY_NAME.items()}


def attached(*names: str) -> HostView:
    """The office with these interfaces on devices that somebody else forwards for."""
    found = dict(OFFICE.interfaces)
    for name in names:
        found[BY_NAME[name]] = replace(found[BY_NAME[name]], device=f"veth-{name}", public=None)
    return replace(OFFICE, interfaces=found)


def asked(of: HostView, source: str | None, to: str, port: int) -> list[tuple[Gate, DropReason | None]]:
    sender: NetworkInterfaceId | None = BY_NAME.get(source or "")
    from_address = ADDRESS[source] if source in ADDRESS else ip_address(source or "198.51.100.7")
    packet = Packet(from_address, ADDRESS.get(to) or ip_address(to), TCP, port)
    verdict = judged(of, packet, sender)
    explained = explain(of, packet, sender)
    assert explained.verdict == verdict
    assert [gate.hop for gate in explained.gates] == [
        hop
        for hop in verdict.hops
        if hop.gate in (Gate.EGRESS, Gate.INGRESS) and hop.reason is not DropReason.MULTICAST
    ]
    return [(hop.gate, hop.reason) for hop in verdict.hops]


BOTH = attached("web", "app")


@pytest.mark.parametrize(
    ("source", "to", "port", "hops"),
    [
        ("app", "web", 80, [(Gate.EGRESS, None), (Gate.INGRESS, None)]),
        ("app", "web", 81, [(Gate.EGRESS, None), (Gate.INGRESS, DropReason.NO_INGRESS_RULE)]),
        ("app", "web", 2000, [(Gate.EGRESS, DropReason.NO_EGRESS_RULE)]),
        ("app", "198.51.100.7", 80, [(Gate.EGRESS, None), (Gate.ROUTE, None)]),
        ("app", "224.0.0.1", 80, [(Gate.EGRESS, DropReason.MULTICAST)]),
        ("192.0.2.7", "web", 443, [(Gate.INGRESS, None)]),
        ("192.0.3.7", "web", 443, [(Gate.INGRESS, DropReason.NO_INGRESS_RULE)]),
        ("127.0.0.1", "web", 443, [(Gate.SPOOF, DropReason.SPOOFED_ADDRESS)]),
        ("plain", "web", 80, [(Gate.EGRESS, None), (Gate.ROUTE, DropReason.NO_ROUTE)]),
    ],
)
def test_each_device_asks_its_own_gate(
    source: str, to: str, port: int, hops: list[tuple[Gate, DropReason | None]]
) -> None:
    assert asked(BOTH, source, to, port) == hops


def test_a_member_is_known_by_its_private_address_wherever_it_comes_from() -> None:
    packet = Packet(ADDRESS["app"], ADDRESS["web"], TCP, 80)
    assert judged(BOTH, packet, None).passed
    assert explain(BOTH, packet, None).gates[0].peer.groups == frozenset(OFFICE.interfaces[BY_NAME["app"]].groups)


def test_without_attached_devices_it_is_the_evaluators_verdict() -> None:
    for source in ("web", "app"):
        for port in (80, 81):
            packet = Packet(ADDRESS[source], ADDRESS["plain"], TCP, port)
            assert judged(OFFICE, packet, BY_NAME[source]) == evaluate(OFFICE, packet, BY_NAME[source])

"""All of it, none or some: the packets tried stand for every packet that could be asked about."""

from ipaddress import ip_network
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.random_worlds import random_packet, random_view
from scenarios.worlds import World, group, instance, view, world
from stockade.model.errors import PortRangeInvalid, ProtocolUnknown
from stockade.model.host_view import HostView
from stockade.model.ids import NetworkInterfaceId
from stockade.model.traffic import Traffic, parse_traffic
from stockade.policy.evaluate import evaluate
from stockade.policy.questions.reach import At, Outside, Reach, Reachability, Side

OFFICE = world(
    group("web", ingress=["tcp/80-89 from 0.0.0.0/0", "tcp/22 from 192.168.1.0/24", "icmp/8 from 0.0.0.0/0"]),
    group("app", ingress=["all from web"], egress=["tcp/1-65535 to 0.0.0.0/0"]),
    instance("web"),
    instance("app"),
)
WORLD = Outside(ip_network("0.0.0.0/0"))
OFFICES = Outside(ip_network("192.168.0.0/16"))


def at(name: str, of: World = OFFICE) -> At:
    place = [guest.name for guest in of.guests].index(name)
    return At(list(view(of).interfaces)[place])


def asked(source: Side, destination: Side, traffic: str) -> Reach:
    return Reachability(view(OFFICE)).reach([source], [destination], parse_traffic(traffic))


@pytest.mark.parametrize(
    ("source", "destination", "traffic", "verdict"),
    [
        (WORLD, at("web"), "tcp/80", "all"),
        (WORLD, at("web"), "tcp/80-89", "all"),
        (WORLD, at("web"), "tcp/80-90", "some"),
        (WORLD, at("web"), "tcp/22", "some"),
        (Outside(ip_network("192.168.1.64/26")), at("web"), "tcp/22", "all"),
        (OFFICES, at("web"), "tcp/22", "some"),
        (Outside(ip_network("192.168.2.0/24")), at("web"), "tcp/22", "none"),
        (WORLD, at("web"), "icmp/8", "all"),
        (WORLD, at("web"), "icmp", "some"),
        (WORLD, at("app"), "all", "none"),
        (at("web"), at("app"), "all", "all"),
        (at("app"), at("web"), "tcp/80", "all"),
        (at("app"), at("web"), "icmp/8", "none"),
        (at("web"), WORLD, "tcp/443", "none"),
    ],
)
def test_all_none_or_some(source: Side, destination: Side, traffic: str, verdict: str) -> None:
    reach = asked(source, destination, traffic)
    assert ("all" if reach.all_pass else "none" if reach.none_pass else "some") == verdict


def test_nobody_is_asked_about_itself() -> None:
    assert asked(at("web"), at("web"), "tcp/80").tried == ()


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False))
def test_a_stretch_has_one_verdict(chance: Random) -> None:
    seen = only_own(random_view(chance))
    for _ in range(10):
        packet, sender = random_packet(chance, seen)
        if sender is None or packet.source not in seen.interfaces[sender].addresses:
            continue
        for receiver in seen.interfaces:
            reach = Reachability(seen).reach([At(sender)], [At(receiver)], Traffic(packet.protocol))
            for one in reach.tried:
                assert evaluate(seen, one.packet, sender).passed is one.passed
                last = type(one.packet)(one.packet.source, one.packet.destination, packet.protocol, one.stretch.high)
                assert evaluate(seen, last, sender).passed is one.passed


def only_own(seen: HostView) -> HostView:
    return HostView(seen.host, seen.revision, seen.groups, {}, seen.interfaces)


@pytest.mark.parametrize(
    ("text", "traffic"),
    [
        ("tcp/80", Traffic(6, 80, 80)),
        ("TCP/80-90", Traffic(6, 80, 90)),
        ("udp", Traffic(17)),
        ("icmp/8", Traffic(1, 0x800, 0x8FF)),
        ("icmp/3:4", Traffic(1, 0x304, 0x304)),
        ("all", Traffic(-1)),
        ("47", Traffic(47)),
    ],
)
def test_traffic_is_read_and_written(text: str, traffic: Traffic) -> None:
    assert parse_traffic(text) == traffic
    assert parse_traffic(str(traffic)) == traffic


@pytest.mark.parametrize("text", ["tcp/", "tcp/90-80", "tcp/65536", "icmp/256", "47/1", "tcp/-1", "all/80"])
def test_ports_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(PortRangeInvalid):
        parse_traffic(text)


@pytest.mark.parametrize("text", ["", "http", "256", "-2"])
def test_unknown_protocols_are_refused(text: str) -> None:
    with pytest.raises(ProtocolUnknown):
        parse_traffic(text)


def test_owners_are_known_by_every_address() -> None:
    asking = Reachability(view(OFFICE))
    web = view(OFFICE).interfaces[NetworkInterfaceId(at("web").interface)]
    assert web.public is not None
    assert asking.owners_of(web.public) == asking.owners_of(web.addresses[0]) == [web.id]

"""Questions over IPv6 and by prefix lists: each family is asked about by itself."""

from ipaddress import ip_address, ip_network

import pytest

from scenarios.worlds import OPEN, World, group, instance, interface_id, prefix_list, view, world
from stockade.model.traffic import parse_traffic
from stockade.policy.questions.reach import At, Outside, Reachability, Side

OFFICE = world(
    prefix_list("offices", "198.51.100.0/24"),
    prefix_list("offices6", "2001:db8:a::/48"),
    group("web", ingress=["tcp/80 from ::/0", "tcp/22 from pl:offices", "tcp/22 from pl:offices6"], egress=OPEN),
    group("app", ingress=["all from web"], egress=[]),
    instance("web", network="mine", public6=True),
    instance("app", network="mine", public6=True),
)


def at(name: str, of: World = OFFICE) -> At:
    return At(interface_id(of, name))


def at6(name: str) -> At:
    interface = view(OFFICE).interfaces[interface_id(OFFICE, name)]
    return At(interface.id, next(each for each in interface.addresses if each.version == 6))


def outside(block: str) -> Outside:
    return Outside(ip_network(block))


@pytest.mark.parametrize(
    ("source", "destination", "traffic", "verdict"),
    [
        (outside("::/0"), at("web"), "tcp/80", "all"),
        (outside("0.0.0.0/0"), at("web"), "tcp/80", "none"),
        (outside("2001:db8:a::/48"), at("web"), "tcp/22", "all"),
        (outside("2001:db8::/32"), at("web"), "tcp/22", "some"),
        (outside("198.51.100.0/25"), at("web"), "tcp/22", "all"),
        (outside("198.51.0.0/16"), at("web"), "tcp/22", "some"),
        (outside("::/0"), at("app"), "all", "none"),
        (at6("web"), at("app"), "all", "all"),
        (at("web"), at6("app"), "47", "all"),
        (at("app"), at6("web"), "tcp/80", "none"),
    ],
)
def test_all_none_or_some(source: Side, destination: Side, traffic: str, verdict: str) -> None:
    reach = Reachability(view(OFFICE)).reach([source], [destination], parse_traffic(traffic))
    assert ("all" if reach.all_pass else "none" if reach.none_pass else "some") == verdict


def test_neighbour_messages_are_nobodys_traffic() -> None:
    reach = Reachability(view(OFFICE)).reach([at6("web")], [at6("app")], parse_traffic("all"))
    kinds = {one.packet.port >> 8 for one in reach.tried if one.packet.protocol == 58}
    assert not kinds & set(range(133, 138))
    assert 138 in kinds
    assert ip_address("2001:db8:5c:1::10") in {one.packet.source for one in reach.tried}

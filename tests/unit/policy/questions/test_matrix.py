"""What is open between parties, and members that no rule tells apart."""

from ipaddress import ip_network

import pytest

from scenarios.worlds import World, group, instance, view, world
from stockade.model.traffic import parse_traffic
from stockade.policy.questions.matrix import open_traffic
from stockade.policy.questions.reach import At, Outside, Reachability

OFFICE = world(
    group("web", ingress=["tcp/80 from 0.0.0.0/0", "tcp/443 from 0.0.0.0/0", "all from web"]),
    group("app", ingress=["tcp/8080 from web", "udp from web", "47 from web"]),
    *(instance(f"web{number}", "web") for number in range(5)),
    instance("app"),
)
WORLD = Outside(ip_network("0.0.0.0/0"))


def members(name: str, of: World = OFFICE) -> list[At]:
    ids = list(view(of).interfaces)
    return [At(ids[at]) for at, guest in enumerate(of.guests) if guest.groups == (name,)]


@pytest.mark.parametrize(
    ("source", "destination", "traffic", "found"),
    [
        ([WORLD], members("web"), "all", ["tcp/80", "tcp/443"]),
        (members("web"), members("app"), "all", ["tcp/8080", "udp", "47"]),
        (members("web"), members("web"), "all", ["all"]),
        (members("app"), members("web"), "tcp/80-90", ["tcp/80"]),
        ([WORLD], members("app"), "all", []),
    ],
)
def test_open_traffic(source: list[At], destination: list[At], traffic: str, found: list[str]) -> None:
    reach = Reachability(view(OFFICE)).reach(source, destination, parse_traffic(traffic))
    assert [str(part) for part in open_traffic(reach)] == found


def test_two_of_a_kind_stand_for_all() -> None:
    asked = Reachability(view(OFFICE))
    assert len(asked.telling(members("web"))) == 2
    assert asked.telling([WORLD]) == (WORLD,)


def test_members_that_a_block_tells_apart_are_all_asked() -> None:
    address = view(OFFICE).interfaces[members("web")[4].interface].addresses[0]
    apart = world(group("db", ingress=[f"tcp/5432 from {address}/32"]), *OFFICE.groups, *OFFICE.guests)
    asked = Reachability(view(apart))
    assert len(asked.telling(members("web", apart))) == 3

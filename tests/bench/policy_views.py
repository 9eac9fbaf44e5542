"""Views of a size that can be chosen, in which every part looks like every other, for `./dev bench policy`.

A view is made of cells; each has 12 groups of 8 rules, 10 interfaces of this host and 24 sets of groups with 20
members each, and names nobody outside. So one change in one group is the same change in a view of any size.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from ipaddress import IPv4Address, IPv4Network
from random import Random

from stockade.model.addresses import mac_of
from stockade.model.change import Revision
from stockade.model.host_view import (
    Frame,
    HostView,
    ViewGroup,
    ViewInterface,
    ViewItem,
    ViewMember,
    apply_frame,
)
from stockade.model.ids import AccountId, HostId, NetworkInterfaceId, RuleId, SecurityGroupId
from stockade.model.ports import TCP
from stockade.model.rule import CidrPeer, Direction, GroupPeer, Peer, Rule

GROUPS, RULES, INTERFACES, SETS, MEMBERS = 12, 8, 10, 24, 20
HERE, THERE = HostId("host-here"), HostId("host-there")
ACCOUNT = AccountId("598916040194")
NETWORK = IPv4Network("10.0.0.0/8")
VPC = 1


@cache
def view_of(cells: int) -> HostView:
    """The view with so many cells."""
    items = tuple(item for cell in range(cells) for item in _cell(cell))
    return apply_frame(HostView(HERE), Frame(Revision(1), items, whole=True))


def with_other_rules(view: HostView, turn: int) -> HostView:
    """The view after one rule of one group opens another port."""
    group = view.groups[group_id(0, turn % GROUPS)]
    first = replace(group.rules[0], from_port=1000 + turn, to_port=1000 + turn)
    return changed(view, replace(group, rules=(first, *group.rules[1:])))


def changed(view: HostView, *items: ViewItem) -> HostView:
    return apply_frame(view, Frame(Revision(view.revision + 1), items))


def group_id(cell: int, place: int) -> SecurityGroupId:
    return SecurityGroupId(f"sg-{cell * GROUPS + place:08x}")


def interface_id(number: int) -> NetworkInterfaceId:
    return NetworkInterfaceId(f"eni-{number:08x}")


def member(number: int, *groups: SecurityGroupId) -> ViewMember:
    """Somebody elsewhere."""
    return ViewMember(interface_id(number), VPC, (_address(number),), groups, THERE)


def interface(number: int, *groups: SecurityGroupId) -> ViewInterface:
    """Somebody here."""
    return ViewInterface(
        id=interface_id(number),
        number=number,
        account=ACCOUNT,
        vpc=VPC,
        classic=False,
        network=NETWORK,
        mac=mac_of(number),
        addresses=(_address(number),),
        groups=groups,
        public=None,
        source_dest_check=True,
        instance=None,
    )


def rule(number: int, peer: Peer, port: int) -> Rule:
    return Rule(RuleId(f"sgr-{number:08x}"), number, Direction.INGRESS, TCP, port, port, peer)


def _cell(cell: int) -> Iterator[ViewItem]:
    chance = Random(7)  # the same for every cell
    groups = [group_id(cell, place) for place in range(GROUPS)]
    for place, group in enumerate(groups):
        rules = []
        for turn in range(RULES):
            peer: Peer = GroupPeer(chance.choice(groups), ACCOUNT)
            if turn % 2:
                peer = CidrPeer(IPv4Network((f"192.{chance.randrange(100)}.0.0", 16)))
            rules.append(rule((cell * GROUPS + place) * RULES + turn + 1, peer, 20 + turn))
        yield ViewGroup(group, f"group-{place}", tuple(rules))
    sets = [tuple(chance.sample(groups, chance.choice((1, 2, 3)))) for _ in range(SETS)]
    number = cell * (SETS * MEMBERS + INTERFACES) + 1
    for place in range(SETS * MEMBERS):
        yield member(number + place, *sets[place % SETS])
    for place in range(INTERFACES):
        yield interface(number + SETS * MEMBERS + place, *sets[place])


def _address(number: int) -> IPv4Address:
    return NETWORK.network_address + number

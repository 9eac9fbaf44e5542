"""The language of scenarios: small worlds of groups and instances, and rows of verdicts.

    WEB_ONLY = scenario(
        "web only",
        world("web", ingress=["tcp/80 from 0.0.0.0/0"]),
        [("198.51.100.7", "web", "tcp/80", PASS), ("198.51.100.7", "web", "tcp/22", NO_INGRESS_RULE)],
    )

A world is plain data; `view()` makes the HostView of its one host of it, and `cases()` makes packets of a
scenario's rows. Both are pure and give equal results each time, so every level of the tests (evaluator,
compiler, simulated datapath, eBPF by test run, real packets) judges the same thing.

Rules      "tcp/80 from 0.0.0.0/0"  "udp/1000-2000 to 10.0.0.0/8"  "all from web"  "icmp/8:0 from web"
           "icmp/8 from ..." all codes of a type  "icmp from ..." all types  "47 from ..." a protocol number
           "tcp/22 from pl:offices" a prefix list.
           Without `egress` a group allows all to 0.0.0.0/0, as new groups do.
Rows       (from, to, traffic, expected). From: an instance, "NAME as ADDRESS" (a forged source), or an
           address outside the region. To: an instance (its private address from inside, its public one
           from outside), "public NAME", or an address. Traffic: "tcp/80" "udp/53" "icmp/8:0" "47".
           "NAME/6" is an instance by its IPv6 address, on either side.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

from stockade.model import ports
from stockade.model.addresses import Address, Cidr, mac_of, parse_cidr
from stockade.model.flow import DropReason, Packet, Verdict
from stockade.model.host_view import HostView, ViewGroup, ViewInterface, ViewMember, ViewPrefixList
from stockade.model.ids import (
    AccountId,
    HostId,
    InstanceId,
    NetworkInterfaceId,
    PrefixListId,
    RuleId,
    SecurityGroupId,
)
from stockade.model.rule import CidrPeer, Direction, GroupPeer, Peer, PrefixListPeer, Rule

PASS = DropReason.NONE
"""The expected outcome of a row that gets through; every other row names the reason it does not."""

ACCOUNT = AccountId("598916040194")
HERE, ELSEWHERE = HostId("host-here"), HostId("host-elsewhere")
CLASSIC = "classic"
OPEN_EGRESS = ("all to 0.0.0.0/0",)
NETWORKS = {CLASSIC: IPv4Network("10.0.0.0/8")}
VPC_NETWORK = IPv4Network("172.31.0.0/16")
NETWORKS6 = IPv6Network("2001:db8:5c::/48")
OPEN = (*OPEN_EGRESS, "all to ::/0")
PUBLIC_POOL = IPv4Network("198.18.0.0/16")


@dataclass(frozen=True, slots=True)
class Group:
    """Rules as text, so that a world reads like a sentence."""

    name: str
    ingress: tuple[str, ...]
    egress: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Guest:
    """An instance with one interface. Each network other than "classic" is a VPC of its own, and they overlap."""

    name: str
    groups: tuple[str, ...]
    network: str = CLASSIC
    public: bool = True
    here: bool = True
    source_dest_check: bool = True
    ipv6: bool = False
    public6: bool = False


@dataclass(frozen=True, slots=True)
class PrefixList:
    """Blocks under a name."""

    name: str
    cidrs: tuple[Cidr, ...]


@dataclass(frozen=True, slots=True)
class World:
    """Everything a scenario stands on."""

    groups: tuple[Group, ...]
    guests: tuple[Guest, ...]
    prefix_lists: tuple[PrefixList, ...] = ()

    @property
    def networks(self) -> tuple[str, ...]:
        """In order of first mention; a network's number is its place, from 1."""
        return tuple(dict.fromkeys([CLASSIC, *(guest.network for guest in self.guests)]))


Row: TypeAlias = tuple[str, str, str, DropReason]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A world and the verdicts it must give."""

    name: str
    world: World
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One row, ready to be judged. `sender` None: it comes from outside. `expected` PASS or the reason."""

    name: str
    packet: Packet
    sender: NetworkInterfaceId | None
    expected: DropReason


def group(name: str, ingress: Iterable[str] = (), egress: Iterable[str] = OPEN_EGRESS) -> Group:
    """A group with its rules."""
    return Group(name, tuple(ingress), tuple(egress))


def instance(
    name: str,
    *groups: str,
    network: str = CLASSIC,
    public: bool = True,
    here: bool = True,
    source_dest_check: bool = True,
    ipv6: bool = False,
    public6: bool = False,
) -> Guest:
    """An instance in these groups; in the group of its own name when none is given."""
    return Guest(name, groups or (name,), network, public, here, source_dest_check, ipv6 or public6, public6)


def prefix_list(name: str, *cidrs: str) -> PrefixList:
    """A prefix list; rules name it as pl:NAME."""
    return PrefixList(name, tuple(parse_cidr(each) for each in cidrs))


def world(
    *parts: str | Group | Guest | PrefixList, ingress: Iterable[str] = (), egress: Iterable[str] = OPEN_EGRESS
) -> World:
    """A world of these groups and instances.

    A bare name is a group with these rules *and* an instance in it, enough for the smallest worlds.
    """
    groups: list[Group] = []
    guests: list[Guest] = []
    lists: list[PrefixList] = []
    for part in parts:
        match part:
            case str():
                groups.append(group(part, ingress, egress))
                guests.append(instance(part))
            case Group():
                groups.append(part)
            case Guest():
                guests.append(part)
            case PrefixList():
                lists.append(part)
    return World(tuple(groups), tuple(guests), tuple(lists))


def scenario(name: str, world: World, rows: Iterable[Row]) -> Scenario:
    """A named world with its table."""
    return Scenario(name, world, tuple(rows))


# ── names and numbers, given by place and so always the same ──────────────────────────────────────────


def group_id(world: World, name: str) -> SecurityGroupId:
    """The id of a group; a name the world has no group for gets one of a group that is not there."""
    names = [each.name for each in world.groups]
    place = names.index(name) if name in names else 0xFFFF
    return SecurityGroupId(f"sg-01{place:06x}")


def interface_id(world: World, name: str) -> NetworkInterfaceId:
    return NetworkInterfaceId(f"eni-01{_place(world, name):06x}")


def private_address(world: World, name: str) -> IPv4Address:
    """From the guest's network, counting from .16; VPCs count alike, so that their addresses overlap."""
    guest = world.guests[_place(world, name)]
    neighbours = [each.name for each in world.guests if each.network == guest.network]
    return NETWORKS.get(guest.network, VPC_NETWORK)[16 + neighbours.index(name)]


def address6(world: World, name: str) -> IPv6Address:
    """From a /64 of its own network; these differ, as global addresses do."""
    guest = world.guests[_place(world, name)]
    network = int(NETWORKS6.network_address) + (world.networks.index(guest.network) << 64)
    return IPv6Address(network + 0x10 + _place(world, name))


def list_id(world: World, name: str) -> PrefixListId:
    """The id of a prefix list; of one that is not there for a name the world has no list for."""
    names = [each.name for each in world.prefix_lists]
    return PrefixListId(f"pl-01{names.index(name) if name in names else 0xFFFF:06x}")


def public_address(world: World, name: str) -> IPv4Address:
    return PUBLIC_POOL[256 + _place(world, name)]


def _place(world: World, name: str) -> int:
    return [guest.name for guest in world.guests].index(name)


# ── rules and traffic from text ───────────────────────────────────────────────────────────────────────

_TRAFFIC = re.compile(r"(?P<protocol>icmpv6|[a-z]+|\d+)(?:/(?P<first>\d+)(?:(?P<mark>[-:])(?P<last>\d+))?)?")


def parse_rule(text: str, world: World, number: int) -> Rule:
    """`TRAFFIC from|to PEER`, as the module's docstring shows."""
    traffic, word, peer_text = text.split(" ")
    direction = {"from": Direction.INGRESS, "to": Direction.EGRESS}[word]
    protocol, first, last = _parse_traffic(traffic)
    if protocol in ports.PORTED:
        first, last = (0, ports.LAST) if first is None else (first, first if last is None else last)
    elif protocol in ports.TYPED:
        first, last = (ports.ANY if first is None else first), (ports.ANY if last is None else last)
    pair = ports.check_ports(protocol, first, last)
    peer: Peer = GroupPeer(group_id(world, peer_text), ACCOUNT)
    if peer_text.startswith("pl:"):
        peer = PrefixListPeer(list_id(world, peer_text.removeprefix("pl:")))
    elif "/" in peer_text:
        peer = CidrPeer(parse_cidr(peer_text))
    return Rule(RuleId(f"sgr-01{number:06x}"), number, direction, protocol, *pair, peer)


def parse_packet(traffic: str, source: Address, destination: Address) -> Packet:
    """The packet that opens a flow of this traffic."""
    protocol, first, last = _parse_traffic(traffic)
    if protocol in ports.TYPED:
        return Packet(source, destination, protocol, (first or 0) << 8 | (last or 0), 0)
    return Packet(source, destination, protocol, first or 0, 40000 if protocol in ports.PORTED else 0)


def _parse_traffic(text: str) -> tuple[int, int | None, int | None]:
    found = _TRAFFIC.fullmatch(text)
    if found is None:
        raise ValueError(f"not traffic: {text!r}")
    first, last = found["first"], found["last"]
    return ports.parse_protocol(found["protocol"]), int(first) if first else None, int(last) if last else None


# ── worlds as a host sees them ────────────────────────────────────────────────────────────────────────


def view(world: World, without_rules: Sequence[str] = ()) -> HostView:
    """The view of the world's one host. `without_rules`: groups whose rules are all taken away, for revokes."""
    groups: dict[SecurityGroupId, ViewGroup] = {}
    number = 0
    for each in world.groups:
        rules: list[Rule] = []
        for text in (*each.ingress, *each.egress):
            number += 1
            rules.append(parse_rule(text, world, number))
        kept = () if each.name in without_rules else tuple(rules)
        groups[group_id(world, each.name)] = ViewGroup(group_id(world, each.name), each.name, kept)
    members = [_member(world, guest) for guest in world.guests]
    interfaces = [_interface(world, guest) for guest in world.guests if guest.here]
    return replace(
        HostView(HERE),
        groups=groups,
        members={member.interface: member for member in members},
        interfaces={interface.id: interface for interface in interfaces},
        prefix_lists={
            list_id(world, each.name): ViewPrefixList(list_id(world, each.name), each.cidrs)
            for each in world.prefix_lists
        },
    )


def _member(world: World, guest: Guest) -> ViewMember:
    return ViewMember(
        interface=interface_id(world, guest.name),
        vpc=world.networks.index(guest.network) + 1,
        addresses=(private_address(world, guest.name), *((address6(world, guest.name),) if guest.ipv6 else ())),
        groups=tuple(group_id(world, name) for name in guest.groups),
        host=HERE if guest.here else ELSEWHERE,
        public=public_address(world, guest.name) if guest.public else None,
    )


def _interface(world: World, guest: Guest) -> ViewInterface:
    member = _member(world, guest)
    number = _place(world, guest.name) + 1
    return ViewInterface(
        id=member.interface,
        number=number,
        account=ACCOUNT,
        vpc=member.vpc,
        classic=guest.network == CLASSIC,
        network=NETWORKS.get(guest.network, VPC_NETWORK),
        mac=mac_of(number),
        addresses=member.addresses,
        groups=member.groups,
        public=member.public,
        source_dest_check=guest.source_dest_check,
        instance=InstanceId(f"i-01{number:06x}"),
        public6=guest.public6,
    )


# ── rows as packets ───────────────────────────────────────────────────────────────────────────────────


def cases(scenario: Scenario) -> Iterator[Case]:
    """Each row as a packet, its sender and what must become of it."""
    for row in scenario.rows:
        yield case(scenario, row)


def case(scenario: Scenario, row: Row) -> Case:
    """One row as a packet."""
    world = scenario.world
    names: Mapping[str, Guest] = {guest.name: guest for guest in world.guests}
    from_text, to_text, traffic, expected = row
    called, _, forged = from_text.partition(" as ")
    name = called.removesuffix("/6")
    inside = name in names
    own = address6 if called.endswith("/6") else private_address
    source = ip_address(forged or name) if forged or not inside else own(world, name)
    if to_text.removesuffix("/6") in names and to_text.endswith("/6"):
        destination: Address = address6(world, to_text.removesuffix("/6"))
    elif to_text in names:
        destination = (private_address if inside else public_address)(world, to_text)
    elif to_text.startswith("public "):
        destination = public_address(world, to_text.removeprefix("public "))
    else:
        destination = ip_address(to_text)
    return Case(
        name=f"{scenario.name}: {from_text} -> {to_text} {traffic} {'passes' if expected is PASS else expected.name}",
        packet=parse_packet(traffic, source, destination),
        sender=interface_id(world, name) if inside else None,
        expected=expected,
    )


def outcome(verdict: Verdict) -> DropReason:
    """A verdict in the terms of a row."""
    return verdict.reason or PASS

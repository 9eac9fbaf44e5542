"""Views, packets and histories by chance, from one random source: for property tests and for fuzzing.

Chance is steered to where engines differ: ports at the edges of rules, blocks around addresses in use,
groups nobody is in, two networks with the same addresses, rule numbers in no order.
"""

from dataclasses import replace
from ipaddress import IPv4Address, ip_network
from random import Random
from typing import Any

from stockade.model import ports
from stockade.model.addresses import Address, mac_of, parse_cidr
from stockade.model.change import Revision
from stockade.model.flow import Packet
from stockade.model.host_view import (
    Frame,
    HostView,
    ViewGroup,
    ViewInterface,
    ViewItem,
    ViewKey,
    ViewMember,
    apply_frame,
)
from stockade.model.ids import AccountId, HostId, NetworkInterfaceId, RuleId, SecurityGroupId
from stockade.model.rule import CidrPeer, Direction, GroupPeer, Peer, Rule

ACCOUNT = AccountId("598916040194")
CLASSIC_NUMBER = 1
NETWORKS = {1: ip_network("10.0.0.0/8"), 2: ip_network("172.31.0.0/16"), 3: ip_network("172.31.0.0/16")}
OUTSIDERS = ("198.51.100.7", "198.51.100.8", "198.51.101.1", "203.0.113.5", "9.9.9.9", "192.168.1.130")
STRANGE = ("169.254.169.254", "169.254.1.1", "224.0.0.1", "255.255.255.255", "127.0.0.1", "0.0.0.1", "198.18.77.77")
SERVICES = (("169.254.169.254", 6, 80), ("169.254.169.253", 17, 53), ("169.254.169.253", 6, 53))
EDGES = (0, 1, 21, 22, 23, 79, 80, 81, 1023, 1024, 8080, 65534, 65535)
PROTOCOLS = (ports.ANY, ports.TCP, ports.TCP, ports.TCP, ports.UDP, ports.UDP, ports.ICMP, ports.ICMPV6, 47, 50, 0, 255)
GROUPS_PER_NETWORK = 3
ALL_TRAFFIC: dict[str, Any] = {"protocol": ports.ANY, "from_port": None, "to_port": None}


def group_name(network: int, place: int) -> SecurityGroupId:
    return SecurityGroupId(f"sg-01{network:03x}{place:03x}")


def random_view(random: Random, guests: int = 8) -> HostView:
    """A host's view with up to so many interfaces, some of them elsewhere."""
    view = HostView(HostId("host-here"), Revision(1))
    items: list[ViewItem] = []
    for network in NETWORKS:
        items += [random_group(random, network, place) for place in range(GROUPS_PER_NETWORK)]
    for number in range(1, random.randint(1, guests) + 1):
        items += random_guest(random, number)
    return apply_frame(view, Frame(Revision(1), tuple(items), whole=True))


def random_group(random: Random, network: int, place: int) -> ViewGroup:
    name = group_name(network, place)
    rules = [random_rule(random, network) for _ in range(random.choice((0, 1, 2, 3, 5, 12)))]
    if random.random() < 0.5:  # as groups are born
        peer = CidrPeer(parse_cidr("0.0.0.0/0"))
        rules.append(replace(random_rule(random, network), direction=Direction.EGRESS, peer=peer, **ALL_TRAFFIC))
    return ViewGroup(name, f"g{network}{place}", tuple(rules))


def random_rule(random: Random, network: int) -> Rule:
    protocol = random.choice(PROTOCOLS)
    number = random.randint(1, 60_000)
    low, high = sorted((random.choice(EDGES), random.choice(EDGES)))
    if protocol in ports.TYPED:
        low = random.choice((ports.ANY, 0, 3, 8, 255))
        high = ports.ANY if low == ports.ANY else random.choice((ports.ANY, 0, 4, 255))
    return Rule(
        RuleId(f"sgr-{number:08x}"),
        number,
        random.choice(tuple(Direction)),
        protocol,
        *ports.check_ports(protocol, low, high),
        _random_peer(random, network),
    )


def _random_peer(random: Random, network: int) -> Peer:
    """A group of the network (one of them never exists), or a block around somebody."""
    if random.random() < 0.45:
        return GroupPeer(group_name(network, random.randint(0, GROUPS_PER_NETWORK)), ACCOUNT)
    if random.random() < 0.05:
        return CidrPeer(parse_cidr(random.choice(("::/0", "2001:db8::/32"))))
    around = random.choice((*OUTSIDERS, *(str(_private(random.choice((1, 2)), n)) for n in range(1, 5)), "198.18.1.3"))
    length = random.choice((0, 0, 1, 8, 12, 16, 24, 25, 30, 31, 32))
    return CidrPeer(parse_cidr(f"{around}/{length}"))


def _private(network: int, number: int) -> IPv4Address:
    return IPv4Address(int(NETWORKS[network].network_address) + 16 + number)


def random_guest(random: Random, number: int) -> tuple[ViewItem, ...]:
    """An interface of this host and its membership, or only the membership of one elsewhere."""
    network = random.choice(tuple(NETWORKS))
    places = random.sample(range(GROUPS_PER_NETWORK), random.randint(1, GROUPS_PER_NETWORK))
    name = NetworkInterfaceId(f"eni-01{number:06x}")
    groups = tuple(group_name(network, place) for place in places)
    here = random.random() < 0.8
    public = IPv4Address(f"198.18.1.{number}") if random.random() < 0.7 else None
    addresses: tuple[Address, ...] = (_private(network, number),)
    if random.random() < 0.2:
        addresses = (*addresses, _private(network, number + 100))
    member = ViewMember(name, network, addresses, groups, HostId("host-here" if here else "host-there"), public)
    if not here:
        return (member,)
    interface = ViewInterface(
        id=name,
        number=number,
        account=ACCOUNT,
        vpc=network,
        classic=network == CLASSIC_NUMBER,
        network=NETWORKS[network],
        mac=mac_of(number),
        addresses=addresses,
        groups=groups,
        public=public,
        source_dest_check=random.random() < 0.9,
        instance=None,
    )
    return (member, interface)


def random_packet(random: Random, view: HostView) -> tuple[Packet, NetworkInterfaceId | None]:
    """The first packet of a flow and who sends it; None: from outside, to a public address."""
    interfaces = sorted(view.interfaces)
    publics = [each.public for each in view.interfaces.values() if each.public] or [IPv4Address("198.18.77.77")]
    everybody: list[Address] = [address for each in view.members.values() for address in each.addresses]
    if not interfaces or random.random() < 0.35:
        source: Address = IPv4Address(random.choice(OUTSIDERS))
        if random.random() < 0.08:
            source = random.choice([*everybody, *publics, *map(IPv4Address, STRANGE)])
        return _random_traffic(random, view, source, random.choice(publics)), None
    sender = view.interfaces[random.choice(interfaces)]
    source = random.choice(sender.addresses)
    chance = random.random()
    if chance < 0.08:
        source = random.choice([*everybody, *map(IPv4Address, (*OUTSIDERS, *STRANGE))])
    elif chance < 0.12:
        address, protocol, port = random.choice(SERVICES)
        near = port + random.choice((0, 0, 1))
        return Packet(source, IPv4Address(address), protocol, near, 40_000), sender.id
    neighbours = [address for each in view.members.values() if each.vpc == sender.vpc for address in each.addresses]
    pool: list[Address] = [*neighbours * 4, *everybody, *publics * 2, *map(IPv4Address, OUTSIDERS)]
    if random.random() < 0.1:
        pool = [IPv4Address(text) for text in STRANGE]
    return _random_traffic(random, view, source, random.choice(pool)), sender.id


def _random_traffic(random: Random, view: HostView, source: Address, destination: Address) -> Packet:
    """Often what some rule speaks of, or nearly that."""
    protocol = random.choice(tuple(each for each in PROTOCOLS if each != ports.ANY))
    port = random.choice(EDGES)
    kind, code = random.choice((0, 3, 5, 8, 8, 8, 13, 255)), random.choice((0, 0, 4, 255))
    rules = [rule for group in view.groups.values() for rule in group.rules if rule.protocol != ports.ANY]
    if rules and random.random() < 0.7:
        rule = random.choice(rules)
        protocol, port = rule.protocol, random.choice(rule.interval)
        if random.random() < 0.6:
            kind, code = port >> 8, port & 0xFF
    if protocol in ports.PORTED:
        near = min(max(port + random.choice((-1, 0, 0, 0, 1)), 0), ports.LAST)
        return Packet(source, destination, protocol, near, random.randint(1024, 65_535))
    if protocol == ports.ICMP:
        return Packet(source, destination, protocol, kind << 8 | code, random.randint(0, 65_535))
    return Packet(source, destination, protocol)


def random_frame(random: Random, view: HostView) -> Frame:
    """A change such as a feed sends: rules, membership, arrivals, departures; seldom a whole new view."""
    revision = Revision(view.revision + 1)
    put: list[ViewItem] = []
    removed: list[ViewKey] = []
    for _ in range(random.choice((1, 1, 2, 4))):
        match random.randrange(6):
            case 0 | 1:
                network, place = random.choice(tuple(NETWORKS)), random.randrange(GROUPS_PER_NETWORK)
                put.append(random_group(random, network, place))
            case 2:
                put += random_guest(random, random.randint(1, 9))
            case 3 if view.members:
                name = random.choice(sorted(view.members))
                removed += [("member", name), ("interface", name)]
            case 4 if view.groups:
                removed.append(("group", random.choice(sorted(view.groups))))
            case _:
                whole = random_view(random)
                items = (*whole.groups.values(), *whole.members.values(), *whole.interfaces.values())
                return Frame(revision, items, whole=random.random() < 0.5)
    return Frame(revision, tuple(put), tuple(removed))


def random_history(random: Random, length: int) -> list[HostView]:
    """A view and what becomes of it."""
    views = [random_view(random)]
    for _ in range(length):
        views.append(apply_frame(views[-1], random_frame(random, views[-1])))
    return views


def unused_revision(view: HostView) -> HostView:
    """The same view at a later revision, with tables that are equal but not the same objects."""
    return replace(
        view,
        revision=Revision(view.revision + 1),
        groups=dict(view.groups),
        members=dict(view.members),
        interfaces=dict(view.interfaces),
    )

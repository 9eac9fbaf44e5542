"""Views, packets and histories by chance, from one random source: for property tests and for fuzzing.

Chance is steered to where engines differ: ports at the edges of rules, blocks around addresses in use,
groups nobody is in, two networks with the same addresses, rule numbers in no order.
"""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network
from random import Random
from typing import Any

from stockade.model import ports
from stockade.model.addresses import Address, Cidr, mac_of, parse_cidr
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
    ViewPrefixList,
    apply_frame,
)
from stockade.model.ids import AccountId, HostId, NetworkInterfaceId, PrefixListId, RuleId, SecurityGroupId
from stockade.model.rule import CidrPeer, Direction, GroupPeer, Peer, PrefixListPeer, Rule
from stockade.model.tracking import DEFAULT_TRACKING, ConnectionTracking

ACCOUNT = AccountId("598916040194")
CLASSIC_NUMBER = 1
NETWORKS = {1: IPv4Network("10.0.0.0/8"), 2: IPv4Network("172.31.0.0/16"), 3: IPv4Network("172.31.0.0/16")}
NETWORKS6 = {1: ip_network("fd5c:1::/64"), 2: ip_network("2001:db8:5c::/64"), 3: ip_network("2001:db8:5c:1::/64")}
OUTSIDERS6 = ("2001:db8:a::7", "2001:db8:a::8", "2001:db8:b::1", "2600::5")
OUTSIDERS = ("198.51.100.7", "198.51.100.8", "198.51.101.1", "203.0.113.5", "9.9.9.9", "192.168.1.130")
STRANGE6 = ("fd00:ec2::254", "fd00:ec2::1", "fe80::1", "ff02::1", "::1", "::ffff:9.9.9.9", "2001:db8:5c::77")
STRANGE = ("169.254.169.254", "169.254.1.1", "224.0.0.1", "255.255.255.255", "127.0.0.1", "0.0.0.1", "198.18.77.77")
SERVICES = (
    *(
        ("169.254.169.254", 6, 80),
        ("169.254.169.253", 17, 53),
        ("169.254.169.253", 6, 53),
        ("169.254.169.123", 17, 123),
    ),
    *(("fd00:ec2::254", 6, 80), ("fd00:ec2::253", 17, 53), ("fd00:ec2::253", 6, 53), ("fd00:ec2::123", 17, 123)),
    *(("172.16.0.23", 17, 53), ("172.31.0.2", 6, 53)),
)
EDGES = (0, 1, 21, 22, 23, 79, 80, 81, 1023, 1024, 8080, 65534, 65535)
USUAL = (ports.TCP, ports.TCP, ports.TCP, ports.UDP, ports.UDP, ports.ICMP, ports.ICMPV6)
PROTOCOLS = (ports.ANY, *USUAL, 47, 50, 132, 253, 0, 255)
LISTS = tuple(PrefixListId(f"pl-01{place:06x}") for place in range(4))  # the last is never in view
ELSEWHERE: dict[int, tuple[list[Address], list[Address]]] = {
    4: ([ip_address(text) for text in OUTSIDERS], [ip_address(text) for text in STRANGE]),
    6: ([ip_address(text) for text in OUTSIDERS6], [ip_address(text) for text in STRANGE6]),
}
ASKED = [(ip_address(text), protocol, port) for text, protocol, port in SERVICES]
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
    items += [random_list(random, place) for place in range(len(LISTS) - 1)]
    for number in range(1, random.randint(1, guests) + 1):
        items += random_guest(random, number)
    return apply_frame(view, Frame(Revision(1), tuple(items), whole=True))


def random_list(random: Random, place: int) -> ViewPrefixList:
    """A prefix list of one family, sometimes empty, seldom with everybody in it."""
    version = 6 if place == 2 else 4
    return ViewPrefixList(LISTS[place], tuple(_random_block(random, version) for _ in range(random.randint(0, 4))))


def random_group(random: Random, network: int, place: int) -> ViewGroup:
    name = group_name(network, place)
    rules = [random_rule(random, network) for _ in range(random.choice((0, 1, 2, 3, 5, 12)))]
    for everybody in ("0.0.0.0/0", "::/0"):
        for direction, odds in ((Direction.EGRESS, 0.6), (Direction.INGRESS, 0.25)):
            if random.random() < odds:  # as groups are born, and as careless people make them
                peer = CidrPeer(parse_cidr(everybody))
                rules.append(replace(random_rule(random, network), direction=direction, peer=peer, **ALL_TRAFFIC))
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
    if random.random() < 0.15:
        return PrefixListPeer(random.choice(LISTS))
    return CidrPeer(_random_block(random, random.choice((4, 4, 6))))


def _random_block(random: Random, version: int) -> Cidr:
    near = [str(_private(random.choice((1, 2)), n, version)) for n in range(1, 5)]
    if version == 6:
        around = random.choice((*OUTSIDERS6, *near))
        return parse_cidr(f"{around}/{random.choice((0, 0, 0, 16, 32, 48, 64, 127, 128))}")
    around = random.choice((*OUTSIDERS, *near, "198.18.1.3"))
    return parse_cidr(f"{around}/{random.choice((0, 0, 1, 8, 12, 16, 24, 25, 30, 31, 32))}")


def _private(network: int, number: int, version: int = 4) -> Address:
    block: Cidr = (NETWORKS if version == 4 else NETWORKS6)[network]
    return block[16 + number]


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
    if random.random() < 0.7:
        addresses = (*addresses, _private(network, number, 6))
    if random.random() < 0.2:
        addresses = (*addresses, _private(network, number + 100, 6))
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
        source_dest_check=random.random() < 0.85,
        instance=None,
        tracking=random.choice((DEFAULT_TRACKING, DEFAULT_TRACKING, ConnectionTracking(60, 60, 60))),
        resolver=IPv4Address("172.16.0.23" if network == CLASSIC_NUMBER else "172.31.0.2"),
        public6=network != CLASSIC_NUMBER and random.random() < 0.7,
    )
    return (member, interface)


def random_packet(random: Random, view: HostView) -> tuple[Packet, NetworkInterfaceId | None]:
    """The first packet of a flow and who sends it; None: from outside, to whom outsiders may meet."""
    interfaces = sorted(view.interfaces)
    version = 6 if random.random() < 0.4 else 4
    outsiders, strange = ELSEWHERE[version]
    met = [address for each in view.interfaces.values() for address in _met(each) if address.version == version]
    met = met or [strange[-1]]
    everybody = [address for each in view.members.values() for address in each.addresses if address.version == version]
    if not interfaces or random.random() < 0.35:
        source: Address = random.choice(outsiders)
        if random.random() < 0.08:
            source = random.choice([*everybody, *met, *strange])
        return _random_traffic(random, view, source, random.choice(met)), None
    sender = view.interfaces[random.choice(interfaces)]
    own = [address for address in sender.addresses if address.version == version]
    source = random.choice(own or list(sender.addresses))
    chance = random.random()
    if chance < 0.06 and source.version == version:
        source = random.choice([*everybody, *outsiders, *strange])
    elif chance < 0.10:
        service, protocol, port = random.choice([each for each in ASKED if each[0].version == source.version])
        near = port + random.choice((0, 0, 1))
        return Packet(source, service, protocol, near, 40_000), sender.id
    if source.version != version:
        return random_packet(random, view)
    neighbours = [
        address
        for each in view.members.values()
        if each.vpc == sender.vpc
        for address in each.addresses
        if address.version == version
    ]
    pool: list[Address] = [*neighbours * 4, *everybody, *met * 2, *outsiders]
    if random.random() < 0.06:
        pool = strange
    return _random_traffic(random, view, source, random.choice(pool)), sender.id


def _met(interface: ViewInterface) -> list[Address]:
    """The addresses under which outsiders meet it."""
    found: list[Address] = [] if interface.public is None else [interface.public]
    return found + [each for each in interface.addresses if interface.public6 and isinstance(each, IPv6Address)]


def _random_traffic(random: Random, view: HostView, source: Address, destination: Address) -> Packet:
    """Often what some rule speaks of, or nearly that."""
    protocol = random.choice(tuple(each for each in PROTOCOLS if each != ports.ANY))
    port = random.choice(EDGES)
    icmp = ports.ICMP if source.version == 4 else ports.ICMPV6
    kinds = (0, 3, 5, 8, 8, 8, 13, 255) if source.version == 4 else (1, 2, 128, 128, 128, 129, 130, 255)
    kind, code = random.choice(kinds), random.choice((0, 0, 4, 255))
    rules = [rule for group in view.groups.values() for rule in group.rules if rule.protocol != ports.ANY]
    if rules and random.random() < 0.7:
        rule = random.choice(rules)
        protocol, port = rule.protocol, random.choice(rule.interval)
        if random.random() < 0.6 and not (source.version == 6 and port >> 8 in range(133, 138)):
            kind, code = port >> 8, port & 0xFF
    if protocol in ports.PORTED:
        near = min(max(port + random.choice((-1, 0, 0, 0, 1)), 0), ports.LAST)
        return Packet(source, destination, protocol, near, random.randint(1024, 65_535))
    if protocol in ports.TYPED and random.random() < 0.9:
        protocol = icmp
    if source.version == 6 and protocol == 0:
        protocol = 254  # 0 is a header there, not a protocol
    if protocol == icmp:
        return Packet(source, destination, protocol, kind << 8 | code, random.randint(0, 65_535))
    return Packet(source, destination, protocol)


def random_frame(random: Random, view: HostView) -> Frame:
    """A change such as a feed sends: rules, membership, arrivals, departures; seldom a whole new view."""
    revision = Revision(view.revision + 1)
    put: list[ViewItem] = []
    removed: list[ViewKey] = []
    for _ in range(random.choice((1, 1, 2, 4))):
        match random.randrange(8):
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
            case 5:
                put.append(random_list(random, random.randrange(len(LISTS) - 1)))
            case 6 if view.interfaces:
                own = view.interfaces[random.choice(sorted(view.interfaces))]
                timers = random.choice((DEFAULT_TRACKING, ConnectionTracking(60, 60, 60)))
                put.append(replace(own, cuts=own.cuts + random.randint(0, 1), tracking=timers))
            case _:
                whole = random_view(random)
                items: tuple[ViewItem, ...] = (
                    *whole.groups.values(),
                    *whole.prefix_lists.values(),
                    *whole.members.values(),
                    *whole.interfaces.values(),
                )
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
        prefix_lists=dict(view.prefix_lists),
    )

"""Stockade among the contestants of `./dev bench datapath`, and held against itself as its tables fill.

stockade   both gates, conntrack, anti-spoof, counters; 10,000 members of each family
empty      the members that the client speaks as, and the two rule sets of client and server
full       100,000 members, 100,000 rules in 1,000 rule sets of as many other interfaces; the client speaks as
           each of the members in turn, so that a member is looked up again only 100,000 flows later
full_warm  the same tables, and the client speaks as the same few members as in `empty`
"""

import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

from bench.datapath_paths import CLIENT6, MEMBERS, MEMBERS6, SERVER6, Contestant, path
from kernel.ebpf_host import EbpfHost, Guest
from scenarios.worlds import group, instance, interface_id, private_address, view, world
from stockade.linux import links, namespaces
from stockade.linux.netlink import Netlink
from stockade.model.addresses import Address, mac_of
from stockade.model.ids import NetworkInterfaceId
from stockade.model.ports import TCP
from stockade.policy.compile import compile_host
from stockade.policy.entries import Endpoint, GateRules, HostPolicy, Identity, Interval, MemberKey, RuleSet, RuleSetId

VPC = 1
CROWD = IPv4Network("10.64.0.0/15")
FEW, SPREAD, MANY = 256, 4096, 100_000
RULE_SETS, RULES_EACH, RULE_NUMBERS = 1000, 100, 30_000
_ROUTER6 = IPv6Address("fe80::1")
_ROUTER_MAC = "0e:5c:00:00:00:01"
_NEXT_HOP = IPv4Address("10.255.255.254")
_WORLD = world(
    group("clients", egress=["all to 0.0.0.0/0", "all to ::/0"]),
    group("servers", ingress=["all from clients"]),
    instance("client", "clients"),
    instance("server", "servers"),
)
_ROOM = {"flows_tcp": 131_072, "flows_other": 65_536}
_MUCH_ROOM = {"flows_tcp": 524_288, "flows_other": 524_288, "allowance": 524_288}


def make_stockade(opened: ExitStack) -> Contestant:
    """With all that the peers have."""
    host = opened.enter_context(EbpfHost(settings=_ROOM))
    guests = _guests(host)
    policy = _with_addresses(compile_host(view(_WORLD)), {"client": CLIENT6, "server": SERVER6})
    addresses: tuple[Address, ...] = (*MEMBERS, *MEMBERS6)
    crowd: dict[MemberKey, Identity] = {(VPC, each): _identity(policy) for each in addresses}
    host.datapath.apply(replace(policy, members={**policy.members, **crowd}))
    for name, address in (("client", CLIENT6), ("server", SERVER6)):
        with Netlink(guests[name].netns) as route:
            index = links.index_of(route, "eth0")
            links.add_address(route, index, IPv6Interface((address, 128)))
            links.add_route(route, IPv6Network("::/0"), index, gateway=_ROUTER6)
    return _contestant(guests)


def make_growing(opened: ExitStack) -> dict[str, Contestant]:
    """The same small policy, alone and among a large one."""
    return {
        "empty": _growing(opened, 0, FEW, FEW),
        "full": _growing(opened, RULE_SETS, MANY, SPREAD),
        "full_warm": _growing(opened, RULE_SETS, MANY, FEW),
    }


def _growing(opened: ExitStack, others: int, members: int, sources: int) -> Contestant:
    """A client with so many addresses of the crowd, as far apart as can be, which speaks from one after the other."""
    host = opened.enter_context(EbpfHost(settings=_MUCH_ROOM))
    guests = _guests(host)
    policy = compile_host(view(_WORLD))
    client = interface_id(_WORLD, "client")
    own, step = policy.endpoints[client], members // sources
    speaker = replace(own, addresses=(*own.addresses, *(CROWD[number * step] for number in range(sources))))
    sets = {each.id: each for each in map(_rule_set, range(1, others + 1))}
    crowd: dict[MemberKey, Identity] = {(VPC, CROWD[number]): _identity(policy) for number in range(members)}
    host.datapath.apply(
        HostPolicy(
            {**policy.endpoints, client: speaker, **{each.id: each for each in map(_other, range(1, others + 1))}},
            {**policy.members, **crowd},
            {**policy.rule_sets, **sets},
        )
    )
    _have_crowd(guests["client"].netns)
    _answer_by_router(guests["server"].netns)
    return replace(_contestant(guests), sources=(CROWD[0], sources, step))


def _guests(host: EbpfHost) -> dict[str, Guest]:
    return {
        each.name: host.add_guest(
            number, str(private_address(_WORLD, each.name)), interface=interface_id(_WORLD, each.name)
        )
        for number, each in enumerate(_WORLD.guests, start=1)
    }


def _contestant(guests: Mapping[str, Guest]) -> Contestant:
    client, server = guests["client"], guests["server"]
    return Contestant(path(client.netns), path(server.netns), str(server.address), str(SERVER6))


def _with_addresses(policy: HostPolicy, added: Mapping[str, Address]) -> HostPolicy:
    """The policy when these instances have one more address each."""
    endpoints, members = dict(policy.endpoints), dict(policy.members)
    for name, address in added.items():
        endpoint = endpoints[interface_id(_WORLD, name)]
        endpoints[endpoint.id] = replace(endpoint, addresses=(*endpoint.addresses, address))
        members[VPC, address] = endpoint.identity
    return replace(policy, endpoints=endpoints, members=members)


def _identity(policy: HostPolicy) -> Identity:
    """Whom the server lets in."""
    return policy.endpoints[interface_id(_WORLD, "client")].identity


def _other(number: int) -> Endpoint:
    """An interface that waits for its device, with a rule set of its own."""
    return Endpoint(
        id=NetworkInterfaceId(f"eni-02{number:06x}"),
        vpc=VPC,
        mac=mac_of(100_000 + number),
        addresses=(IPv4Address("10.128.0.0") + number,),
        public=None,
        identity=_nobody(number),
        rule_set=RuleSetId(number),
        source_dest_check=True,
        classic=True,
    )


def _rule_set(number: int) -> RuleSet:
    """Rules for ports that do not touch; a number stands for the same rule in several sets, as a group's does."""
    intervals = tuple(
        Interval(100 * place, 100 * place + 9, (number * RULES_EACH + place) % RULE_NUMBERS + 1)
        for place in range(RULES_EACH)
    )
    ingress = GateRules({(_nobody(number), TCP): intervals})
    return RuleSet(RuleSetId(number), ingress, GateRules())


def _nobody(number: int) -> Identity:
    return Identity(1_000_000 + number)


def _have_crowd(client: int) -> None:
    """The crowd's addresses are local there; the server is met without ARP, which would be sent from any of them."""

    def inside() -> None:
        subprocess.run(["ip", "route", "add", "local", str(CROWD), "dev", "lo"], check=True)

    namespaces.in_netns(client, inside)
    with Netlink(client) as route:
        links.set_neighbour(route, links.index_of(route, "eth0"), private_address(_WORLD, "server"), _ROUTER_MAC)


def _answer_by_router(server: int) -> None:
    """One neighbour for the whole crowd."""
    with Netlink(server) as route:
        index = links.index_of(route, "eth0")
        links.set_neighbour(route, index, _NEXT_HOP, _ROUTER_MAC)
        links.add_route(route, CROWD, index, gateway=_NEXT_HOP, onlink=True)

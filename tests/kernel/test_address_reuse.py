"""Who gets an address that was another's inherits none of its flows, and the other keeps none of them."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface, ip_address

import pytest

from kernel.ebpf_host import EbpfHost, Guest
from kernel.policies import guests_of, outer_address, own_address, policy_of
from scenarios.worlds import group, instance, interface_id, world
from stockade.linux import links
from stockade.linux.netlink import Netlink
from stockade.model.addresses import Address
from stockade.policy.entries import HostPolicy, Identity

pytestmark = [
    pytest.mark.root,
    pytest.mark.xdist_group("kernel-datapath"),
    pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"]),
]
OPEN = ["all to 0.0.0.0/0", "all to ::/0"]
WORLD = world(
    group("askers", egress=OPEN),
    group("servers", ingress=["udp/53 from askers", "udp/54 from 0.0.0.0/0", "udp/54 from ::/0"], egress=OPEN),
    group("others", egress=OPEN),
    instance("asker", "askers"),
    instance("server", "servers"),
    instance("heir", "others"),
)


@pytest.fixture
def host() -> Iterator[EbpfHost]:
    with EbpfHost(uplink=True) as made:
        yield made


@pytest.fixture
def guests(host: EbpfHost) -> dict[str, Guest]:
    made = guests_of(host, WORLD)
    host.datapath.apply(policy_of(WORLD))
    return made


def inherited(family: int, *, outer: bool = False) -> HostPolicy:
    """The policy once the heir has the server's address (`outer`: its public one), and the server has it no more."""
    policy = policy_of(WORLD)
    names = {name: interface_id(WORLD, name) for name in ("server", "heir")}
    server, heir = (policy.endpoints[name] for name in names.values())
    if outer and family == 4:
        public = server.public
        server, heir = replace(server, public=None), replace(heir, public=public)
        return replace(policy, endpoints={**policy.endpoints, server.id: server, heir.id: heir})
    moved: Address = ip_address(own_address(WORLD, "server", family))
    server = replace(server, addresses=tuple(each for each in server.addresses if each != moved))
    heir = replace(heir, addresses=(*heir.addresses, moved))
    members = {**policy.members, (heir.vpc, moved): Identity(heir.identity)}
    return replace(policy, endpoints={**policy.endpoints, server.id: server, heir.id: heir}, members=members)


def give(guest: Guest, address: str) -> None:
    """The address is on the guest's own device too."""
    with Netlink(guest.netns) as route:
        index = links.index_of(route, "eth0")
        made = IPv4Interface if ip_address(address).version == 4 else IPv6Interface
        links.add_address(route, index, made(address))


def datagram_socket(guest: Guest, family: int, port: int, address: str = "") -> socket.socket:
    made = guest.open_socket(socket.SOCK_DGRAM, family=family)
    made.bind((address or ("0.0.0.0" if family == 4 else "::"), port))
    made.settimeout(0.4)
    return made


def hears(listening: socket.socket) -> bool:
    try:
        return bool(listening.recv(16))
    except TimeoutError:
        return False


def test_a_flow_with_an_address_ends_with_it(host: EbpfHost, guests: dict[str, Guest], family: int) -> None:
    address = own_address(WORLD, "server", family)
    server, asker = datagram_socket(guests["server"], family, 53), datagram_socket(guests["asker"], family, 4053)
    asker.sendto(b"?", (address, 53))
    assert hears(server)
    server.sendto(b"!", (own_address(WORLD, "asker", family), 4053))
    assert hears(asker)
    host.datapath.apply(inherited(family))
    give(guests["heir"], address)
    heir = datagram_socket(guests["heir"], family, 53, address)
    asker.sendto(b"?", (address, 53))
    assert not hears(heir)
    assert not hears(server)
    heir.sendto(b"!", (own_address(WORLD, "asker", family), 4053))
    server.sendto(b"!", (own_address(WORLD, "asker", family), 4053))
    assert not hears(asker)


def test_an_instance_that_came_instead_of_another_is_nobody_to_its_flows(
    host: EbpfHost, guests: dict[str, Guest], family: int
) -> None:
    """As when one is terminated and the next launch gets its address."""
    address = own_address(WORLD, "server", family)
    server, asker = datagram_socket(guests["server"], family, 53), datagram_socket(guests["asker"], family, 4053)
    asker.sendto(b"?", (address, 53))
    assert hears(server)
    host.datapath.detach(guests["server"].interface)
    policy = inherited(family)
    gone = {name: each for name, each in policy.endpoints.items() if name != guests["server"].interface}
    host.datapath.apply(replace(policy, endpoints=gone))
    give(guests["heir"], address)
    heir = datagram_socket(guests["heir"], family, 53, address)
    heir.sendto(b"!", (own_address(WORLD, "asker", family), 4053))
    assert not hears(asker)
    asker.sendto(b"?", (address, 53))
    assert not hears(heir)


def test_a_flow_from_outside_does_not_follow_its_address(host: EbpfHost, guests: dict[str, Guest], family: int) -> None:
    assert host.world is not None
    address = outer_address(WORLD, "server", family)
    server = datagram_socket(guests["server"], family, 54)
    outside = host.world.open_socket(socket.SOCK_DGRAM, family=family)
    outside.settimeout(0.4)
    outside.sendto(b"?", (address, 54))
    data, source = server.recvfrom(16)
    server.sendto(data, source)
    assert hears(outside)
    host.datapath.apply(inherited(family, outer=True))
    if family == 6:
        give(guests["heir"], address)
    heir = datagram_socket(guests["heir"], family, 54)
    outside.sendto(b"?", (address, 54))
    assert not hears(heir)
    assert not hears(server)
    server.sendto(b"!", source)
    heir.sendto(b"!", source)
    assert not hears(outside)


def test_an_address_that_comes_back_is_a_new_one(host: EbpfHost, guests: dict[str, Guest], family: int) -> None:
    """Between the two nobody had it; what was open before is not open again by itself."""
    address = own_address(WORLD, "server", family)
    server, asker = datagram_socket(guests["server"], family, 53), datagram_socket(guests["asker"], family, 4053)
    asker.sendto(b"?", (address, 53))
    assert hears(server)
    policy = policy_of(WORLD)
    name = guests["server"].interface
    without = {**policy.endpoints}
    del without[name]
    host.datapath.apply(replace(policy, endpoints=without))
    host.datapath.apply(policy)
    server.sendto(b"!", (own_address(WORLD, "asker", family), 4053))
    assert not hears(asker)
    asker.sendto(b"?", (address, 53))
    assert hears(server)

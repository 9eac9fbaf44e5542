"""The peers of `./dev bench datapath`: ways from one guest to another on one host, over IPv4 and IPv6.

    direct    one veth pair, no host between
    routed    the host forwards, nobody filters: what Stockade is measured against
    bridge    the host bridges, nobody filters
    nftables  routed, with spoof checks, both gates, conntrack and sets of 10,000 members
    ipset     bridged, the same by iptables and ipset in the manner of OpenStack's port chains
    floor     redirected by a BPF program that decides nothing

Everything lives in network namespaces without names, and is gone with the process.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import Path

from stockade.datapath.ebpf import loader, syscall
from stockade.datapath.ebpf.maps import Map
from stockade.linux import links, namespaces, traffic_control
from stockade.linux.netlink import Netlink
from stockade.model.addresses import Address

MEMBERS = [IPv4Network("10.64.0.0/16")[number] for number in range(1, 10_001)]
MEMBERS6 = [IPv6Network("fd5c:64::/64")[number] for number in range(1, 10_001)]
CLIENT, SERVER = IPv4Address("10.0.1.2"), IPv4Address("10.0.2.2")
CLIENT6, SERVER6 = IPv6Address("fd5c::1:2"), IPv6Address("fd5c::2:2")
ROUTED, ON_LINK = (24, 112), (16, 64)
"""Prefix lengths of guests that a router joins, and of guests on one link."""
FLOOR_SOURCE = Path(__file__).with_name("floor.bpf.c")


@dataclass(frozen=True, slots=True)
class Contestant:
    """A way from the client's namespace to the server's."""

    client: str
    server: str
    address: str
    address6: str
    sources: tuple[IPv4Address, int, int] | None = None
    """The addresses that the client speaks from in turn: the first, how many, how far apart."""


def make_peers(opened: ExitStack) -> dict[str, Contestant]:
    """All of them, each with namespaces of its own; gone when `opened` closes."""
    makers: Mapping[str, Callable[[ExitStack], Contestant]] = {
        "direct": _direct,
        "routed": _routed,
        "bridge": _bridge,
        "nftables": _nftables,
        "ipset": _ipset,
        "floor": _floor,
    }
    return {name: make(opened) for name, make in makers.items()}


class _Host:
    """A host namespace with two guests, whose devices here are h0 and h1; nothing joins them yet."""

    def __init__(self, opened: ExitStack) -> None:
        self.netns, self.client, self.server = (namespace(opened) for _ in range(3))
        with Netlink(self.netns) as route:
            for device, guest in (("h0", self.client), ("h1", self.server)):
                links.create_veth(route, device, "eth0", peer_netns=guest)
                links.set_up(route, device)
            links.set_up(route, "lo")

    def address_guests(self, lengths: tuple[int, int]) -> None:
        _configure(self.client, (CLIENT, CLIENT6), lengths)
        _configure(self.server, (SERVER, SERVER6), lengths)

    def run(self, *command: str, text: str = "") -> None:
        def inside() -> None:
            subprocess.run(command, input=text, text=True, check=True, stdout=subprocess.DEVNULL)

        namespaces.in_netns(self.netns, inside)

    def set(self, setting: str, value: str) -> None:
        def inside() -> None:
            Path("/proc/sys", setting).write_text(value, encoding="ascii")

        namespaces.in_netns(self.netns, inside)

    def bridge_meets_iptables(self, meets: bool) -> None:
        """Where the kernel has no such setting, bridged packets never do."""
        for name in ("iptables", "ip6tables"):
            try:
                self.set(f"net/bridge/bridge-nf-call-{name}", str(int(meets)))
            except FileNotFoundError:
                if meets:
                    raise

    def introduce(self, client_meets: str, server_meets: str) -> None:
        """Each guest knows the other's addresses under this MAC, and need not ask."""
        for netns, peers, mac in (
            (self.client, (SERVER, SERVER6), client_meets),
            (self.server, (CLIENT, CLIENT6), server_meets),
        ):
            with Netlink(netns) as route:
                for peer in peers:
                    links.set_neighbour(route, links.index_of(route, "eth0"), peer, mac)

    def mac(self, guest: int) -> str:
        with Netlink(guest) as route:
            found = links.find_link(route, "eth0")
        assert found is not None
        return found.mac

    @property
    def contestant(self) -> Contestant:
        return between(self.client, self.server)


def between(client: int, server: int) -> Contestant:
    return Contestant(path(client), path(server), str(SERVER), str(SERVER6))


def namespace(opened: ExitStack) -> int:
    netns = namespaces.new_netns()
    opened.callback(os.close, netns)
    return netns


def path(netns: int) -> str:
    return f"/proc/{os.getpid()}/fd/{netns}"


def _configure(netns: int, addresses: tuple[IPv4Address, IPv6Address], lengths: tuple[int, int]) -> None:
    with Netlink(netns) as route:
        links.set_up(route, "lo")
        links.set_up(route, "eth0")
        index = links.index_of(route, "eth0")
        links.add_address(route, index, IPv4Interface((addresses[0], lengths[0])))
        links.add_address(route, index, IPv6Interface((addresses[1], lengths[1])))


def _direct(opened: ExitStack) -> Contestant:
    client, server = namespace(opened), namespace(opened)
    with Netlink(client) as route:
        links.create_veth(route, "eth0", "eth0", peer_netns=server)
    _configure(client, (CLIENT, CLIENT6), ON_LINK)
    _configure(server, (SERVER, SERVER6), ON_LINK)
    return between(client, server)


def _routed(opened: ExitStack) -> Contestant:
    return _routed_host(opened).contestant


def _routed_host(opened: ExitStack) -> _Host:
    host = _Host(opened)
    host.address_guests(ROUTED)
    for device, netns, guest, guest6 in (
        ("h0", host.client, CLIENT, CLIENT6),
        ("h1", host.server, SERVER, SERVER6),
    ):
        with Netlink(host.netns) as route:
            index = links.index_of(route, device)
            links.add_address(route, index, IPv4Interface((guest - 1, ROUTED[0])))
            links.add_address(route, index, IPv6Interface((guest6 - 1, ROUTED[1])))
        with Netlink(netns) as route:
            index = links.index_of(route, "eth0")
            links.add_route(route, IPv4Network("0.0.0.0/0"), index, gateway=guest - 1)
            links.add_route(route, IPv6Network("::/0"), index, gateway=guest6 - 1)
    host.set("net/ipv4/ip_forward", "1")
    host.set("net/ipv6/conf/all/forwarding", "1")
    return host


def _bridge(opened: ExitStack) -> Contestant:
    return _bridged_host(opened).contestant


def _bridged_host(opened: ExitStack) -> _Host:
    host = _Host(opened)
    host.address_guests(ON_LINK)
    host.run("ip", "-batch", "-", text="link add br0 type bridge\nlink set h0 master br0\nlink set h1 master br0\n")
    host.run("ip", "link", "set", "br0", "up")
    host.bridge_meets_iptables(False)
    return host


def _nftables(opened: ExitStack) -> Contestant:
    host = _routed_host(opened)
    members = ", ".join(map(str, (CLIENT, SERVER, *MEMBERS)))
    members6 = ", ".join(map(str, (CLIENT6, SERVER6, *MEMBERS6)))
    client, server = (f'"{port}" . {host.mac(guest)}' for port, guest in (("h0", host.client), ("h1", host.server)))
    rules = f"""
        table inet firewall {{
            set members {{ type ipv4_addr; elements = {{ {members} }} }}
            set members6 {{ type ipv6_addr; elements = {{ {members6} }} }}
            set bound {{
                type ifname . ether_addr . ipv4_addr
                elements = {{ {client} . {CLIENT}, {server} . {SERVER} }}
            }}
            set bound6 {{
                type ifname . ether_addr . ipv6_addr
                elements = {{ {client} . {CLIENT6}, {server} . {SERVER6} }}
            }}
            chain egress {{
                meta l4proto {{ tcp, udp, icmp }} ip daddr 0.0.0.0/0 return
                meta l4proto {{ tcp, udp, icmpv6 }} ip6 daddr ::/0 return
                drop
            }}
            chain ingress {{
                ip saddr @members meta l4proto {{ tcp, udp, icmp }} accept
                ip6 saddr @members6 meta l4proto {{ tcp, udp, icmpv6 }} accept
                drop
            }}
            chain forward {{
                type filter hook forward priority filter; policy drop;
                iifname . ether saddr . ip saddr != @bound drop
                iifname . ether saddr . ip6 saddr != @bound6 drop
                ct state vmap {{ established : accept, related : accept, invalid : drop }}
                iifname vmap {{ "h0" : jump egress, "h1" : jump egress }}
                oifname vmap {{ "h0" : goto ingress, "h1" : goto ingress }}
            }}
        }}
    """
    host.run("nft", "-f", "-", text=rules)
    return host.contestant


def _ipset(opened: ExitStack) -> Contestant:
    host = _bridged_host(opened)
    with suppress(FileNotFoundError):  # a system without modules has it built in
        subprocess.run(["modprobe", "--quiet", "br_netfilter"], check=False)
    host.bridge_meets_iptables(True)
    host.introduce(host.mac(host.server), host.mac(host.client))
    _port_chains(host, "iptables-restore", "inet", (CLIENT, SERVER), MEMBERS)
    _port_chains(host, "ip6tables-restore", "inet6", (CLIENT6, SERVER6), MEMBERS6)
    return host.contestant


def _port_chains(
    host: _Host, restore: str, family: str, guests: tuple[Address, Address], members: Sequence[Address]
) -> None:
    """The chains of two bridge ports and the set of members, for one family."""
    lines = [f"create {family} hash:ip family {family} maxelem 65536"]
    lines += [f"add {family} {each}" for each in (*guests, *members)]
    host.run("ipset", "restore", text="\n".join([*lines, ""]))
    ports = (("h0", host.mac(host.client), guests[0]), ("h1", host.mac(host.server), guests[1]))
    lines = ["*filter", ":FORWARD DROP [0:0]", ":ports - [0:0]"]
    lines += [f":{kind}-{port} - [0:0]" for port, _, _ in ports for kind in ("in", "out", "spoof")]
    for port, mac, address in ports:
        lines += [
            f"-A FORWARD -m physdev --physdev-out {port} --physdev-is-bridged -j ports",
            f"-A FORWARD -m physdev --physdev-in {port} --physdev-is-bridged -j ports",
            f"-A ports -m physdev --physdev-in {port} --physdev-is-bridged -j out-{port}",
            f"-A ports -m physdev --physdev-out {port} --physdev-is-bridged -j in-{port}",
            f"-A spoof-{port} -s {address} -m mac --mac-source {mac} -j RETURN",
            f"-A spoof-{port} -j DROP",
            f"-A out-{port} -j spoof-{port}",
            f"-A out-{port} -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
            f"-A out-{port} -m conntrack --ctstate INVALID -j DROP",
            f"-A out-{port} -j RETURN",
            f"-A in-{port} -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
            f"-A in-{port} -m set --match-set {family} src -j RETURN",
            f"-A in-{port} -j DROP",
        ]
    host.run(restore, text="\n".join([*lines, "-A ports -j ACCEPT", "COMMIT", ""]))


def _floor(opened: ExitStack) -> Contestant:
    host = _Host(opened)
    host.address_guests(ON_LINK)
    with tempfile.TemporaryDirectory() as directory:
        compiled = Path(directory, "floor.o")
        include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
        order = "el" if sys.byteorder == "little" else "eb"
        target = ["-target", f"bpf{order}", include, "-c", str(FLOOR_SOURCE), "-o", str(compiled)]
        subprocess.run(["clang", "-O2", *target], check=True)
        spec = loader.read_object(compiled.read_bytes())
    made = {
        name: syscall.create_map(each.kind, each.key_size, each.value_size, each.max_entries, each.flags, name)
        for name, each in spec.maps.items()
    }
    program = loader.load_programs(spec, made)["redirect"]
    others = Map("other", made["other"])
    with Netlink(host.netns) as route:
        ends = [links.find_link(route, device) for device in ("h0", "h1")]
        first, second = (end for end in ends if end is not None)
        for here, there in ((first, second), (second, first)):
            others.put(here.index.to_bytes(4, sys.byteorder), there.index.to_bytes(4, sys.byteorder))
            traffic_control.add_clsact(route, here.index)
            traffic_control.replace_filter(route, here.index, traffic_control.INGRESS, 1, program, "redirect")
    host.introduce(first.mac, second.mac)  # nobody answers, and the host's end must take the frames for its own
    others.close()
    os.close(program)
    return host.contestant

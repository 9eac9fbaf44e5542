"""The contestants of `./dev bench datapath`: ways from one guest to another on one host.

    direct    one veth pair, no host between
    routed    the host forwards, nobody filters: what Stockade is measured against
    bridge    the host bridges, nobody filters
    nftables  routed, with spoof checks, both gates, conntrack and a set of 10,000 members
    ipset     bridged, the same by iptables and ipset in the manner of OpenStack's port chains
    floor     redirected by a BPF program that decides nothing
    stockade  redirected by ours, 10,000 members in its tables

Everything lives in network namespaces without names, and is gone with the process.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from kernel.ebpf_host import EbpfHost
from kernel.policies import guests_of, policy_of
from scenarios.worlds import group, instance, interface_id, world
from stockade.datapath.ebpf import loader, syscall
from stockade.datapath.ebpf.maps import Map
from stockade.linux import links, namespaces, traffic_control
from stockade.linux.netlink import Netlink

MEMBERS = [IPv4Network("10.64.0.0/16")[number] for number in range(1, 10_001)]
CLIENT, SERVER = IPv4Address("10.0.1.2"), IPv4Address("10.0.2.2")
FLOOR_SOURCE = Path(__file__).with_name("floor.bpf.c")


@dataclass(frozen=True, slots=True)
class Contestant:
    """A way from the client's namespace to the server's."""

    client: str
    server: str
    address: str


def make_contestants(opened: ExitStack) -> dict[str, Contestant]:
    """All of them, each with namespaces of its own; gone when `opened` closes."""
    makers: Mapping[str, Callable[[ExitStack], Contestant]] = {
        "direct": _direct,
        "routed": _routed,
        "bridge": _bridge,
        "nftables": _nftables,
        "ipset": _ipset,
        "floor": _floor,
        "stockade": _stockade,
    }
    return {name: make(opened) for name, make in makers.items()}


class _Host:
    """A host namespace with two guests, whose devices here are h0 and h1; nothing joins them yet."""

    def __init__(self, opened: ExitStack) -> None:
        self.netns, self.client, self.server = (_namespace(opened) for _ in range(3))
        with Netlink(self.netns) as route:
            for device, guest in (("h0", self.client), ("h1", self.server)):
                links.create_veth(route, device, "eth0", peer_netns=guest)
                links.set_up(route, device)
            links.set_up(route, "lo")

    def address_guests(self, length: int) -> None:
        for netns, address in ((self.client, CLIENT), (self.server, SERVER)):
            _configure(netns, address, length)

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
        try:
            self.set("net/bridge/bridge-nf-call-iptables", str(int(meets)))
        except FileNotFoundError:
            if meets:
                raise

    def mac(self, guest: int) -> str:
        with Netlink(guest) as route:
            found = links.find_link(route, "eth0")
        assert found is not None
        return found.mac

    @property
    def contestant(self) -> Contestant:
        return Contestant(_path(self.client), _path(self.server), str(SERVER))


def _namespace(opened: ExitStack) -> int:
    netns = namespaces.new_netns()
    opened.callback(os.close, netns)
    return netns


def _path(netns: int) -> str:
    return f"/proc/{os.getpid()}/fd/{netns}"


def _configure(netns: int, address: IPv4Address, length: int) -> None:
    with Netlink(netns) as route:
        links.set_up(route, "lo")
        links.set_up(route, "eth0")
        links.add_address(route, links.index_of(route, "eth0"), IPv4Interface((address, length)))


def _direct(opened: ExitStack) -> Contestant:
    client, server = _namespace(opened), _namespace(opened)
    with Netlink(client) as route:
        links.create_veth(route, "eth0", "eth0", peer_netns=server)
    for netns, address in ((client, CLIENT), (server, SERVER)):
        _configure(netns, address, 16)
    return Contestant(_path(client), _path(server), str(SERVER))


def _routed(opened: ExitStack) -> Contestant:
    return _routed_host(opened).contestant


def _routed_host(opened: ExitStack) -> _Host:
    host = _Host(opened)
    host.address_guests(24)
    with Netlink(host.netns) as route:
        for device, guest in (("h0", CLIENT), ("h1", SERVER)):
            links.add_address(route, links.index_of(route, device), IPv4Interface((guest - 1, 24)))
    for netns, gateway in ((host.client, CLIENT - 1), (host.server, SERVER - 1)):
        with Netlink(netns) as route:
            links.add_route(route, IPv4Network("0.0.0.0/0"), links.index_of(route, "eth0"), gateway=gateway)
    host.set("net/ipv4/ip_forward", "1")
    return host


def _bridge(opened: ExitStack) -> Contestant:
    return _bridged_host(opened).contestant


def _bridged_host(opened: ExitStack) -> _Host:
    host = _Host(opened)
    host.address_guests(16)
    host.run("ip", "-batch", "-", text="link add br0 type bridge\nlink set h0 master br0\nlink set h1 master br0\n")
    host.run("ip", "link", "set", "br0", "up")
    host.bridge_meets_iptables(False)
    return host


def _nftables(opened: ExitStack) -> Contestant:
    host = _routed_host(opened)
    members = ", ".join(str(each) for each in (CLIENT, SERVER, *MEMBERS))
    rules = f"""
        table inet firewall {{
            set members {{ type ipv4_addr; elements = {{ {members} }} }}
            set bound {{
                type ifname . ether_addr . ipv4_addr
                elements = {{ "h0" . {host.mac(host.client)} . {CLIENT}, "h1" . {host.mac(host.server)} . {SERVER} }}
            }}
            chain egress {{ meta l4proto {{ tcp, udp, icmp }} ip daddr 0.0.0.0/0 return; drop; }}
            chain ingress {{ ip saddr @members meta l4proto {{ tcp, udp, icmp }} accept; drop; }}
            chain forward {{
                type filter hook forward priority filter; policy drop;
                iifname . ether saddr . ip saddr != @bound drop
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
    members = "\n".join(f"add members {each}" for each in (CLIENT, SERVER, *MEMBERS))
    host.run("ipset", "restore", text=f"create members hash:ip maxelem 65536\n{members}\n")
    ports = (("h0", host.mac(host.client), CLIENT), ("h1", host.mac(host.server), SERVER))
    lines = ["*filter", ":FORWARD DROP [0:0]", ":ports - [0:0]"]
    lines += [f":{kind}-{port} - [0:0]" for port, _, _ in ports for kind in ("in", "out", "spoof")]
    for port, mac, address in ports:
        lines += [
            f"-A FORWARD -m physdev --physdev-out {port} --physdev-is-bridged -j ports",
            f"-A FORWARD -m physdev --physdev-in {port} --physdev-is-bridged -j ports",
            f"-A ports -m physdev --physdev-in {port} --physdev-is-bridged -j out-{port}",
            f"-A ports -m physdev --physdev-out {port} --physdev-is-bridged -j in-{port}",
            f"-A spoof-{port} -s {address}/32 -m mac --mac-source {mac} -j RETURN",
            f"-A spoof-{port} -j DROP",
            f"-A out-{port} -j spoof-{port}",
            f"-A out-{port} -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
            f"-A out-{port} -m conntrack --ctstate INVALID -j DROP",
            f"-A out-{port} -j RETURN",
            f"-A in-{port} -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
            f"-A in-{port} -m set --match-set members src -j RETURN",
            f"-A in-{port} -j DROP",
        ]
    host.run("iptables-restore", text="\n".join([*lines, "-A ports -j ACCEPT", "COMMIT", ""]))
    return host.contestant


def _floor(opened: ExitStack) -> Contestant:
    host = _Host(opened)
    host.address_guests(16)
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
    # It answers no ARP, and the host's end must take the frames for its own.
    for netns, peer, end in ((host.client, SERVER, first), (host.server, CLIENT, second)):
        with Netlink(netns) as route:
            links.set_neighbour(route, links.index_of(route, "eth0"), peer, end.mac)
    others.close()
    os.close(program)
    return host.contestant


def _stockade(opened: ExitStack) -> Contestant:
    host = opened.enter_context(EbpfHost(settings={"flows_tcp": 131_072, "flows_other": 65_536}))
    members = world(
        group("clients"),
        group("servers", ingress=["all from clients"]),
        instance("client", "clients"),
        instance("server", "servers"),
    )
    guests = guests_of(host, members)
    policy = policy_of(members)
    identity = policy.endpoints[interface_id(members, "client")].identity
    crowd = {(1, each): identity for each in MEMBERS}
    host.datapath.apply(replace(policy, members={**policy.members, **crowd}))
    return Contestant(_path(guests["client"].netns), _path(guests["server"].netns), str(guests["server"].address))

"""Devices that somebody else forwards for: containers on a Linux bridge, with another firewall's rules beside ours."""

import contextlib
import errno
import json
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Any

import pytest

from kernel.ebpf_host import EbpfHost, Guest, checksum
from kernel.policies import dual_view, own_address
from scenarios.worlds import group, instance, interface_id, private_address, world
from stockade.datapath.contract import DeviceName
from stockade.datapath.ebpf import syscall
from stockade.linux import links, namespaces, traffic_control
from stockade.linux.netlink import Netlink
from stockade.model.addresses import mac_of
from stockade.model.flow import DropReason
from stockade.policy.compile import compile_host
from stockade.policy.entries import HostPolicy

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("kernel-filter")]
both_families = pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])

OPEN = ["all to 0.0.0.0/0", "all to ::/0"]
WORLD = world(
    group("web", ingress=["tcp/80 from 0.0.0.0/0", "tcp/80 from ::/0", "icmp from 10.0.0.1/32"], egress=OPEN),
    group("app", ingress=["tcp/8080-8081 from web", "udp/8080 from web"], egress=OPEN),
    instance("web1", "web"),
    instance("app1", "app"),
    instance("idle1", "app"),
)
BRIDGE = "br0"
GATEWAYS = ("10.0.0.1", "2001:db8:5c:1::1")


def policy(without_rules: tuple[str, ...] = ()) -> HostPolicy:
    seen = dual_view(WORLD, without_rules)
    adopted = {name: replace(each, device=f"cont{each.number}", public=None) for name, each in seen.interfaces.items()}
    return compile_host(replace(seen, interfaces=adopted))


@dataclass
class Engine:
    """A container engine's work: a bridge with an address, and containers on it."""

    host: EbpfHost
    containers: dict[str, Guest]

    def device_state(self, name: str) -> dict[str, Any]:
        """All that an engine may have said about a device, with its hooks and filters."""
        device = self.containers[name].device
        conf = f"/proc/sys/net/ipv6/conf/{device}"
        return {
            "link": json.loads(self.run("ip", "-j", "link", "show", device)),
            # An address that the kernel made up is tentative at first.
            "addresses": self.run("ip", "-o", "address", "show", device).replace(" tentative", ""),
            "sysctls": self.run("cat", f"{conf}/disable_ipv6", f"{conf}/accept_ra", f"{conf}/addr_gen_mode"),
            "qdiscs": self.run("tc", "qdisc", "show", "dev", device),
            **{hook: self.run("tc", "filter", "show", "dev", device, hook) for hook in ("ingress", "egress")},
        }

    def run(self, *command: str) -> str:
        return self.host.run(lambda: subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def add_container(host: EbpfHost, number: int, name: str) -> Guest:
    """As an engine makes one: up, on the bridge, its peer inside with its addresses."""
    netns = namespaces.new_netns()
    device = DeviceName(f"cont{number}")
    address, address6 = private_address(WORLD, name), IPv6Address(own_address(WORLD, name, 6))
    guest = Guest(
        netns=netns,
        interface=interface_id(WORLD, name),
        device=device,
        address=address,
        mac=mac_of(number),
        address6=address6,
    )
    with Netlink(host.netns) as route:
        links.create_veth(route, device, "eth0", peer_mac=guest.mac, peer_netns=netns)
        links.set_up(route, device)
    host.run(lambda: subprocess.run(["ip", "link", "set", device, "master", BRIDGE], check=True))
    with Netlink(netns) as route:
        links.set_up(route, "lo")
        links.set_up(route, "eth0")
        index = links.index_of(route, "eth0")
        links.add_address(route, index, IPv4Interface((address, 24)))
        links.add_address(route, index, IPv6Interface((address6, 64)))
    host.guests.append(guest)
    return guest


@pytest.fixture
def engine() -> Iterator[Engine]:
    with EbpfHost(settings={"gateway_address": IPv4Address("198.18.255.254")}) as host:
        host.run(lambda: subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=True))
        with Netlink(host.netns) as route:
            links.set_up(route, BRIDGE)
            index = links.index_of(route, BRIDGE)
            links.add_address(route, index, IPv4Interface("10.0.0.1/24"))
            links.add_address(route, index, IPv6Interface("2001:db8:5c:1::1/64"))
        names = [each.name for each in WORLD.guests]
        yield Engine(host, {name: add_container(host, number, name) for number, name in enumerate(names, start=1)})


@pytest.fixture
def policed(engine: Engine) -> Engine:
    """Both containers under their groups; the third stays as it is."""
    engine.host.datapath.apply(policy())
    for name in ("web1", "app1"):
        engine.host.datapath.attach(engine.containers[name].interface, engine.containers[name].device)
    return engine


def answers(engine: Engine, client: str, server: str, port: int, family: int) -> bool:
    address = own_address(WORLD, server, family)
    with engine.containers[server].listen(port), contextlib.suppress(TimeoutError):
        # Engines, other firewalls and neighbour discovery have their say too, so this waits longer than most tests.
        engine.containers[client].connect(address, port, timeout=1.5).close()
        return True
    return False


# ── gates ─────────────────────────────────────────────────────────────────────────────────────────────


@both_families
def test_both_gates_judge_what_the_bridge_forwards(policed: Engine, family: int) -> None:
    assert answers(policed, "web1", "app1", 8080, family)
    assert not answers(policed, "web1", "app1", 22, family)
    assert not answers(policed, "app1", "web1", 22, family)
    assert answers(policed, "app1", "web1", 80, family)
    assert policed.host.datapath.counters().drops[DropReason.NO_INGRESS_RULE] >= 2


@both_families
def test_whoever_is_not_attached_is_an_outsider_or_a_member_by_the_address_it_is_known_by(
    policed: Engine, family: int
) -> None:
    assert answers(policed, "idle1", "web1", 80, family)
    assert not answers(policed, "idle1", "app1", 8080, family)
    stack = policed.host.stack
    with policed.containers["web1"].listen(80):
        assert stack.can_connect(own_address(WORLD, "web1", family), 80)
    assert not stack.can_connect(own_address(WORLD, "web1", family), 22)


@both_families
def test_a_revoke_refuses_new_flows_and_leaves_tracked_ones(policed: Engine, family: int) -> None:
    listening = policed.containers["app1"].listen(8080)
    client = policed.containers["web1"].connect(own_address(WORLD, "app1", family), 8080)
    accepted, _ = policed.containers["app1"].accept(listening)
    policed.host.datapath.apply(policy(("app",)))
    client.sendall(b"?")
    assert accepted.recv(1) == b"?"
    assert not answers(policed, "web1", "app1", 8081, family)


@both_families
def test_a_revoke_of_what_everybody_might_cuts(policed: Engine, family: int) -> None:
    listening = policed.containers["web1"].listen(80)
    client = policed.containers["idle1"].connect(own_address(WORLD, "web1", family), 80)
    accepted, _ = policed.containers["web1"].accept(listening)
    policed.host.datapath.apply(policy(("web",)))
    accepted.settimeout(0.5)
    client.sendall(b"?")
    with pytest.raises(TimeoutError):
        accepted.recv(1)


# ── hostile containers ────────────────────────────────────────────────────────────────────────────────


def udp4(mac: str, source: str, destination: str) -> bytes:
    body = struct.pack("!HHHH", 4000, 8080, 12, 0) + b"boo!"
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, 17, 0)
    ip += socket.inet_aton(source) + socket.inet_aton(destination)
    ip = ip[:10] + checksum(ip).to_bytes(2, "big") + ip[12:]
    return bytes.fromhex(("ff:ff:ff:ff:ff:ff" + mac).replace(":", "")) + b"\x08\0" + ip + body


def arp(mac: str, said: str) -> bytes:
    head = bytes.fromhex(("ff:ff:ff:ff:ff:ff" + mac).replace(":", "")) + b"\x08\x06"
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + bytes.fromhex(mac.replace(":", "")) + socket.inet_aton(said)
    return head + body + bytes(6) + socket.inet_aton("10.0.0.1")


def icmp6(mac: str, source: str, destination: str, body: bytes) -> bytes:
    addresses = IPv6Address(source).packed + IPv6Address(destination).packed
    pseudo = addresses + struct.pack("!II", len(body), 58)
    body = body[:2] + checksum(pseudo + body).to_bytes(2, "big") + body[4:]
    head = bytes.fromhex(("33:33:00:00:00:01" + mac).replace(":", "")) + b"\x86\xdd"
    return head + struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + addresses + body


def advertisement(mac: str, target: str) -> bytes:
    """A neighbour advertisement: this address is at this MAC."""
    option = b"\2\1" + bytes.fromhex(mac.replace(":", ""))
    return struct.pack("!BBHI", 136, 0, 0, 0x20000000) + IPv6Address(target).packed + option


ROUTER_ADVERTISEMENT = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (lambda me: udp4(me.mac, "10.0.0.99", "10.0.0.17"), DropReason.SPOOFED_ADDRESS),
        (lambda me: udp4("02:00:00:00:00:99", str(me.address), "10.0.0.17"), DropReason.SPOOFED_MAC),
        (lambda me: arp(me.mac, "10.0.0.1"), DropReason.SPOOFED_ARP),
        (
            lambda me: icmp6(me.mac, str(me.address6), "ff02::1", advertisement(me.mac, GATEWAYS[1])),
            DropReason.SPOOFED_ARP,
        ),
        (lambda me: icmp6(me.mac, "fe80::1", "ff02::1", ROUTER_ADVERTISEMENT), DropReason.FOREIGN_REPLY),
    ],
    ids=["address", "MAC", "ARP", "neighbour", "router"],
)
def test_a_container_that_says_it_is_somebody_else_is_not_heard(
    policed: Engine, frame: Any, reason: DropReason
) -> None:
    me = policed.containers["web1"]
    listener = policed.containers["idle1"].raw()
    sender = me.raw()
    forged = frame(me)
    sender.send(forged)
    assert policed.host.datapath.counters().drops.get(reason, 0) == 1
    with contextlib.suppress(TimeoutError):
        while True:
            assert listener.recv(2048)[: len(forged)] != forged


# ── beside others ─────────────────────────────────────────────────────────────────────────────────────


def test_a_device_is_as_it_was_when_we_let_go(engine: Engine) -> None:
    before = engine.device_state("web1")
    engine.host.datapath.apply(policy())
    web = engine.containers["web1"]
    engine.host.datapath.attach(web.interface, web.device)
    during = engine.device_state("web1")
    assert "from_endpoint" in during["ingress"]
    assert "to_endpoint" in during["egress"]
    for kind in ("link", "addresses", "sysctls"):
        assert during[kind] == before[kind], kind
    engine.host.datapath.detach(web.interface)
    assert engine.device_state("web1") == before
    assert answers(engine, "app1", "web1", 22, 4)


PASS_ALL = bytes.fromhex("b700000000000000 9500000000000000")
"""r0 = TC_ACT_OK: the last word, for whoever comes behind."""
DROP_LONG = bytes.fromhex(
    "6112000000000000 25020200e8030000 b700000000000000 9500000000000000 b700000002000000 9500000000000000"
)
"""r2 = skb->len; over 1000 TC_ACT_SHOT, else TC_ACT_OK."""


def add_foreign(engine: Engine, container: Guest, hook: int, priority: int, code: bytes) -> None:
    """Somebody else's filter."""
    program = syscall.load_program(code, "GPL", "theirs")
    with Netlink(engine.host.netns) as route:
        index = links.index_of(route, container.device)
        traffic_control.replace_filter(route, index, hook, priority, program, "theirs")
    os.close(program)


@pytest.mark.parametrize("others", ["hooks", "filters"])
def test_what_others_have_at_its_hooks_stays(engine: Engine, others: str) -> None:
    web = engine.containers["web1"]
    engine.run("tc", "qdisc", "add", "dev", web.device, "clsact")
    if others == "filters":
        add_foreign(engine, web, traffic_control.INGRESS, 7, DROP_LONG)
        add_foreign(engine, web, traffic_control.EGRESS, 9, PASS_ALL)
    before = engine.device_state("web1")
    engine.host.datapath.apply(policy())
    for name in ("web1", "app1"):
        engine.host.datapath.attach(engine.containers[name].interface, engine.containers[name].device)
    assert answers(engine, "web1", "app1", 8080, 4)
    # Theirs is asked about what passed ours, and ours is asked though theirs would let everything in.
    server = engine.containers["app1"].open_socket(socket.SOCK_DGRAM, ("0.0.0.0", 8080))
    client = web.open_socket(socket.SOCK_DGRAM)
    for size in (1200, 10):
        client.sendto(b"x" * size, (str(engine.containers["app1"].address), 8080))
    assert len(server.recvfrom(2048)[0]) == (1200 if others == "hooks" else 10)
    assert not answers(engine, "app1", "web1", 22, 4)
    engine.host.restart()
    assert not answers(engine, "app1", "web1", 22, 4)
    assert answers(engine, "web1", "app1", 8080, 4)
    engine.host.datapath.detach(web.interface)
    assert engine.device_state("web1") == before


def test_where_somebody_elses_filter_comes_first_we_do_not_pretend(engine: Engine) -> None:
    web = engine.containers["web1"]
    engine.run("tc", "qdisc", "add", "dev", web.device, "clsact")
    add_foreign(engine, web, traffic_control.EGRESS, 1, PASS_ALL)
    before = engine.device_state("web1")
    engine.host.datapath.apply(policy())
    with pytest.raises(OSError, match="first place") as refusal:
        engine.host.datapath.attach(web.interface, web.device)
    assert refusal.value.errno == errno.EBUSY
    assert engine.device_state("web1") == before


def test_another_firewalls_rules_hold_beside_ours_and_stay(policed: Engine) -> None:
    policed.run("nft", "table bridge theirs { chain i { type filter hook forward priority 0; tcp dport 8081 drop; }; }")
    listed = policed.run("nft", "list", "ruleset")
    assert answers(policed, "web1", "app1", 8080, 4)
    assert not answers(policed, "web1", "app1", 8081, 4)
    assert not answers(policed, "web1", "app1", 22, 4)
    for name in ("web1", "app1"):
        policed.host.datapath.detach(policed.containers[name].interface)
    assert policed.run("nft", "list", "ruleset") == listed
    assert answers(policed, "web1", "app1", 22, 4)
    assert not answers(policed, "web1", "app1", 8081, 4)


def test_everything_of_ours_goes_and_nothing_of_theirs(policed: Engine) -> None:
    policed.host.datapath.remove()
    for name in ("web1", "app1"):
        state = policed.device_state(name)
        assert (state["ingress"], state["egress"]) == ("", "")
        assert "clsact" not in state["qdiscs"]
    assert answers(policed, "web1", "app1", 22, 4)
    policed.host.datapath = policed.host.start()


def test_what_is_observed_after_a_restart_is_what_was_applied(policed: Engine) -> None:
    policed.host.restart()
    assert policed.host.datapath.observe() == policy()
    assert policed.host.datapath.apply(policy()).steps == 0
    usage = policed.host.datapath.usage()
    assert set(usage) == {policed.containers[name].interface for name in ("web1", "app1")}

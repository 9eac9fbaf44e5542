"""Who may have how many flows: a flood harms nobody but the one it comes from, and is counted."""

import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from kernel.ebpf_host import EbpfHost, Guest
from kernel.judging import frame
from kernel.policies import guests_of, own_address, policy_of
from scenarios.worlds import group, instance, world
from stockade.datapath.contract import Usage
from stockade.datapath.ebpf.layout import ROUTER_MAC
from stockade.datapath.simulated.conntrack import Tcp
from stockade.model.flow import DropReason, Packet
from stockade.model.ports import TCP, UDP

pytestmark = [
    pytest.mark.root,
    pytest.mark.xdist_group("kernel-allowance"),
    pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"]),
]
ALLOWANCE = 256
TABLE = 1024
OPEN = ["all to 0.0.0.0/0", "all to ::/0"]
WORLD = world(
    group("careful", ingress=["all from careful"], egress=["all to careful"]),
    group("open", ingress=["all from 0.0.0.0/0", "all from ::/0"], egress=OPEN),
    *(instance(name, "careful") for name in ("flooder", "victim", "quiet1", "quiet2")),
    *(instance(name, "open") for name in ("anybody", "everybody")),
)


@pytest.fixture
def host() -> Iterator[EbpfHost]:
    sizes = {"allowance": ALLOWANCE, "flows_tcp": TABLE, "flows_other": TABLE}
    with EbpfHost(settings=sizes) as made:
        yield made


@pytest.fixture
def guests(host: EbpfHost) -> dict[str, Guest]:
    made = guests_of(host, WORLD)
    host.datapath.apply(policy_of(WORLD))
    return made


Connection = tuple[socket.socket, socket.socket]


def connection(guests: dict[str, Guest], client: str, server: str, family: int, port: int = 80) -> Connection:
    """The opener's end, and the other."""
    with guests[server].listen(port) as listening:
        made = guests[client].connect(own_address(WORLD, server, family), port)
        return made, guests[server].accept(listening)[0]


def goes_on(ends: Connection) -> bool:
    client, server = ends
    client.sendall(b"?")
    server.settimeout(1.0)
    try:
        return server.recv(1) == b"?"
    except TimeoutError:
        return False


def flood(guests: dict[str, Guest], sender: str, target: str, family: int, count: int, protocol: int = TCP) -> None:
    """So many first packets, each of a flow of its own, that nobody answers."""
    me = guests[sender]
    ends = (ip_address(own_address(WORLD, name, family)) for name in (sender, target))
    source, destination = ends
    with me.raw() as raw:
        for number in range(count):
            packet = Packet(source, destination, protocol, 1 + number % 60_000, 1024 + number % 64)
            raw.send(frame(packet, me.mac, ROUTER_MAC, Tcp.SYN))


def silence(guest: Guest) -> None:
    """It answers nothing any more: its device is up, and its stack has no address."""
    for version in ("-4", "-6"):
        at = ["nsenter", f"--net=/proc/self/fd/{guest.netns}", "ip", version, "address", "flush", "dev", "eth0"]
        subprocess.run(at, check=True, pass_fds=(guest.netns,))


def used(host: EbpfHost, guests: dict[str, Guest], name: str) -> Usage:
    return host.datapath.usage()[guests[name].interface]


def dropped(host: EbpfHost, guests: dict[str, Guest], name: str) -> int:
    found = host.datapath.counters().endpoint_drops.get(guests[name].interface, {})
    return int(found.get(DropReason.CONNTRACK_FULL, 0))


def test_flows_count_for_both_ends_and_no_more_when_they_are_over(
    host: EbpfHost, guests: dict[str, Guest], family: int
) -> None:
    connection(guests, "quiet1", "quiet2", family)
    assert used(host, guests, "quiet1") == used(host, guests, "quiet2") == Usage(1, 0, ALLOWANCE)
    connection(guests, "anybody", "everybody", family)
    assert used(host, guests, "anybody") == used(host, guests, "everybody") == Usage(0, 1, ALLOWANCE)


def test_a_flow_that_becomes_untracked_counts_as_that(host: EbpfHost, guests: dict[str, Guest], family: int) -> None:
    client = connection(guests, "quiet1", "quiet2", family)
    policy = policy_of(WORLD)
    open_rules = policy.endpoints[guests["anybody"].interface].rule_set
    endpoints = {**policy.endpoints}
    name = guests["quiet2"].interface
    endpoints[name] = replace(endpoints[name], rule_set=open_rules)
    host.datapath.apply(replace(policy, endpoints=endpoints))
    assert goes_on(client)
    assert used(host, guests, "quiet1") == Usage(1, 0, ALLOWANCE)
    assert used(host, guests, "quiet2") == Usage(0, 1, ALLOWANCE)


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_a_flood_costs_the_flooder_its_own_half_open_flows_and_nothing_else(
    host: EbpfHost, guests: dict[str, Guest], protocol: int, family: int
) -> None:
    own = connection(guests, "flooder", "victim", family, 81)
    others = connection(guests, "quiet1", "quiet2", family)
    if protocol == TCP:
        silence(guests["victim"])
    flood(guests, "flooder", "victim", family, 4 * ALLOWANCE, protocol)
    assert used(host, guests, "flooder").tracked <= ALLOWANCE
    assert goes_on(others)
    connection(guests, "quiet1", "quiet2", family, 82)
    if protocol == UDP:
        assert goes_on(own)


def test_who_answers_a_flood_keeps_its_established_flows(host: EbpfHost, guests: dict[str, Guest], family: int) -> None:
    """Every SYN is answered by a reset, so none is half-open for long; what is established stays."""
    own = connection(guests, "flooder", "victim", family, 81)
    flood(guests, "flooder", "victim", family, 3 * ALLOWANCE)
    assert used(host, guests, "flooder").tracked <= ALLOWANCE
    assert goes_on(own)


def test_untracked_flows_beyond_the_allowance_pass_without_memory(
    host: EbpfHost, guests: dict[str, Guest], family: int
) -> None:
    flood(guests, "anybody", "everybody", family, 3 * ALLOWANCE, UDP)
    assert used(host, guests, "anybody").untracked <= ALLOWANCE
    assert dropped(host, guests, "anybody") == dropped(host, guests, "everybody") == 0


def test_in_a_crowd_nobody_has_more_than_a_fair_share(family: int) -> None:
    crowd = world(
        group("open", ingress=["all from open"], egress=["all to open"]),
        *(instance(f"one{number}", "open") for number in range(4)),
    )
    sizes = {"allowance": 4 * TABLE, "flows_tcp": TABLE, "flows_other": TABLE}
    with EbpfHost(settings=sizes) as full:
        made = guests_of(full, crowd)
        full.datapath.apply(policy_of(crowd))
        me = made["one0"]
        source, destination = (ip_address(own_address(crowd, name, family)) for name in ("one0", "one1"))
        with me.raw() as raw:
            for number in range(3 * TABLE):
                packet = Packet(source, destination, UDP, 1 + number, 1024)
                raw.send(frame(packet, me.mac, ROUTER_MAC))
        assert full.datapath.sweep().live_other <= TABLE
        # The other two have never said a word, and may still have flows of their own.
        listening = made["one3"].listen(80)
        made["one2"].connect(own_address(crowd, "one3", family), 80).close()
        server = made["one3"].open_socket(socket.SOCK_DGRAM, ("0.0.0.0" if family == 4 else "::", 53))
        client = made["one2"].open_socket(socket.SOCK_DGRAM, family=family)
        client.sendto(b"?", (own_address(crowd, "one3", family), 53))
        assert server.recvfrom(8)[0] == b"?"
        listening.close()


def test_flows_of_an_endpoint_that_is_gone_leave_the_tables(
    host: EbpfHost, guests: dict[str, Guest], family: int
) -> None:
    connection(guests, "quiet1", "quiet2", family)
    connection(guests, "flooder", "victim", family)
    assert host.datapath.sweep().live_tcp == 2
    host.datapath.detach(guests["quiet2"].interface)
    swept = host.datapath.sweep()
    assert (swept.forgotten, swept.live_tcp) == (1, 1)
    assert used(host, guests, "quiet1").tracked == 0

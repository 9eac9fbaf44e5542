"""Machines and rules for tests of what goes on while an agent dies, or an instance floods.

Clients reach servers by tcp 7010-7019 and udp 7002, by group: tracked at both ends. Everybody reaches everybody by
tcp 7001, by 0.0.0.0/0 and ::/0, and everything may leave: such a flow is untracked where it enters. Nothing else is
allowed.
"""

from ipaddress import IPv4Network, IPv6Network

from netns.agent_host import ACCOUNT, AgentHost, Machine, rule, view_items
from netns.live_traffic import Between, End
from stockade.model.host_view import ViewGroup, ViewItem
from stockade.model.ids import SecurityGroupId
from stockade.model.ports import ANY, TCP, UDP
from stockade.model.rule import CidrPeer, Direction, GroupPeer

TRACKED_PORT, UNTRACKED_PORT, UDP_PORT = 7010, 7001, 7002
CLIENTS, SERVERS = SecurityGroupId("sg-00000001"), SecurityGroupId("sg-00000002")
ANYBODY, ANYBODY6 = CidrPeer(IPv4Network("0.0.0.0/0")), CidrPeer(IPv6Network("::/0"))


def clients(count: int) -> list[Machine]:
    return [Machine(number, (CLIENTS,)) for number in range(1, count + 1)]


def servers(count: int) -> list[Machine]:
    return [Machine(100 + number, (SERVERS,)) for number in range(1, count + 1)]


def items(machines: list[Machine]) -> tuple[ViewItem, ...]:
    """The view of a host with these machines."""
    leave = (rule(1, Direction.EGRESS, ANY, None, ANYBODY), rule(5, Direction.EGRESS, ANY, None, ANYBODY6))
    by_group = rule(2, Direction.INGRESS, TCP, (TRACKED_PORT, TRACKED_PORT + 9), GroupPeer(CLIENTS, ACCOUNT))
    by_block = (
        rule(3, Direction.INGRESS, TCP, (UNTRACKED_PORT, UNTRACKED_PORT), ANYBODY),
        rule(6, Direction.INGRESS, TCP, (UNTRACKED_PORT, UNTRACKED_PORT), ANYBODY6),
    )
    datagrams = rule(4, Direction.INGRESS, UDP, (UDP_PORT, UDP_PORT), GroupPeer(CLIENTS, ACCOUNT))
    groups = (
        ViewGroup(CLIENTS, "clients", (*leave, *by_block)),
        ViewGroup(SERVERS, "servers", (*leave, by_group, *by_block, datagrams)),
    )
    return view_items(groups, machines)


def ends_of(host: AgentHost, machines: list[Machine]) -> list[End]:
    """Where they are; the descriptors are the caller's to close."""
    return [End(one.address, one.address6, host.network_of(one)) for one in machines]


def pairs(near: list[End], far: list[End], count: int) -> list[Between]:
    """So many connections, spread over all of them, half tracked and half not, half IPv4 and half IPv6."""
    kinds = [(family, port) for family in (4, 6) for port in (TRACKED_PORT, UNTRACKED_PORT)]
    return [
        Between(near[number % len(near)], far[number // len(near) % len(far)], *kinds[number // 2 % 4])
        for number in range(count)
    ]

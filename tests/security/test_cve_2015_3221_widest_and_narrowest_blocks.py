"""Neutron, CVE-2015-3221: an address pair that ipset refuses (/0) crashed the agent of the whole host.

The widest and the narrowest block of either family, wherever a block is taken: accepted, shown as it was given, and
exact at both of its ends in every engine.
"""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from kernel.judging import KernelJudge
from scenarios.worlds import PASS, Row, scenario, world
from security.engines import expected, from_outside, launch, make_group, stored, told_by_all, told_by_kernel
from serving import ControlPlane
from stockade.model.flow import DropReason

CLOSED = DropReason.NO_INGRESS_RULE
BLOCKS = ("0.0.0.0/0", "128.0.0.0/1", "198.51.100.6/31", "198.51.100.7/32", "0.0.0.0/1", "198.51.100.255/32")
BLOCKS6 = ("::/0", "8000::/1", "2001:db8::6/127", "2001:db8::7/128", "::/1", "ffff:ffff:ffff:ffff::/64")
SOURCES = ("198.51.100.5", "198.51.100.6", "198.51.100.7", "198.51.100.8", "9.9.9.9", "126.255.255.254", "128.0.0.1")


@pytest.mark.parametrize("block", BLOCKS)
def test_the_api_takes_it_both_ways_and_every_engine_is_exact(plane: ControlPlane, mary: Any, block: str) -> None:
    permission = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": block}]}
    group = make_group(mary, "edge", permission)
    mary.authorize_security_group_egress(GroupId=group, IpPermissions=[permission])
    shown = mary.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
    assert shown["IpPermissions"][0]["IpRanges"] == [{"CidrIp": block}]
    interface = launch(mary, group)
    seen = stored(plane)
    for source in map(ip_address, SOURCES):
        told = from_outside(seen, interface, "tcp/80", source)
        assert told is (DropReason.NONE if source in ip_network(block) else CLOSED)


@pytest.mark.parametrize("block", BLOCKS6)
def test_the_api_takes_it_for_ipv6(plane: ControlPlane, mary: Any, block: str) -> None:
    permission = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "Ipv6Ranges": [{"CidrIpv6": block}]}
    group = make_group(mary, "edge", permission)
    shown = mary.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
    assert shown["IpPermissions"][0]["Ipv6Ranges"] == [{"CidrIpv6": block}]
    interface = launch(mary, group)
    assert from_outside(stored(plane), interface, "tcp/80", ip_address("198.51.100.7")) is CLOSED


def edge_rows(port: int, block: str) -> list[Row]:
    """Who may use the port that is open to this block: its ends, and those just beside them."""
    network = ip_network(block)
    first, last = int(network.network_address), int(network.broadcast_address)
    near = {
        ip_address(number)
        for number in (first - 1, first, last, last + 1)
        if 0 < number >> 24 < 224 and number >> 24 != 127
    }
    return [(str(one), "edge", f"tcp/{port}", PASS if one in network else CLOSED) for one in sorted(near)]


EDGES = ("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "192.0.2.0/30", "192.0.2.6/31", "192.0.2.9/32", "203.0.113.255/32")
AT_EACH_END = scenario(
    "both ends of the widest and narrowest blocks",
    world("edge", ingress=[f"tcp/{80 + place} from {block}" for place, block in enumerate(EDGES)]),
    [row for place, block in enumerate(EDGES) for row in edge_rows(80 + place, block)],
)


def test_rules_and_entries_are_exact_at_both_ends() -> None:
    assert told_by_all(AT_EACH_END) == expected(AT_EACH_END)


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
def test_the_kernel_is_exact_at_both_ends(judge: KernelJudge) -> None:
    assert told_by_kernel(judge, AT_EACH_END) == expected(AT_EACH_END)

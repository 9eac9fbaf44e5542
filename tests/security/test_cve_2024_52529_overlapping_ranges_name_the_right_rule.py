"""Cilium, CVE-2024-52529: a rule for a range of ports hid the stricter rule for one port inside it.

All our rules allow, so overlapping ranges are a union; which of them is named, and so counted and shown as the reason,
is always the lowest-numbered one that covers the packet, a rule naming a group before one naming a block.
"""

from collections import Counter
from ipaddress import ip_address

import pytest

from kernel.judging import KernelJudge
from scenarios.worlds import group, instance, interface_id, parse_packet, private_address, public_address, view, world
from security.engines import agreed, simulated
from stockade.policy.compile import compile_host

OUTSIDER = ip_address("198.51.100.7")
WORLD = world(
    group(
        "web",
        ingress=[
            "tcp/20-30 from 0.0.0.0/0",  # rule 1
            "tcp/25 from 0.0.0.0/0",  # 2, never named
            "tcp/28-40 from 0.0.0.0/0",  # 3
            "tcp/0-65535 from 198.51.100.0/24",  # 4
            "tcp/22 from peers",  # 5, before 1 for members
        ],
        egress=[],
    ),
    group("peers"),
    instance("web"),
    instance("peer", "peers"),
)
NAMED = {19: 4, 20: 1, 22: 1, 25: 1, 28: 1, 30: 1, 31: 3, 40: 3, 41: 4, 80: 4}


@pytest.mark.parametrize(("port", "rule"), NAMED.items())
def test_the_lowest_number_that_covers_it_is_named(port: int, rule: int) -> None:
    packet = parse_packet(f"tcp/{port}", OUTSIDER, public_address(WORLD, "web"))
    assert agreed(view(WORLD), packet, None).hops[-1].rule == rule


@pytest.mark.parametrize(("port", "rule"), [(22, 5), (23, 1), (31, 3)])
def test_a_rule_naming_a_group_comes_first_for_its_members(port: int, rule: int) -> None:
    packet = parse_packet(f"tcp/{port}", private_address(WORLD, "peer"), private_address(WORLD, "web"))
    assert agreed(view(WORLD), packet, interface_id(WORLD, "peer")).hops[-1].rule == rule


def test_each_hit_counts_for_the_rule_named() -> None:
    datapath = simulated(view(WORLD))
    for port in NAMED:
        assert datapath.send(parse_packet(f"tcp/{port}", OUTSIDER, public_address(WORLD, "web")), None).passed
    counted = {number: hits.packets for number, hits in datapath.counters().rules.items()}
    assert counted == Counter(NAMED.values())


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
def test_the_kernel_names_and_counts_the_same(judge: KernelJudge) -> None:
    judge.enforce(compile_host(view(WORLD)))
    before = Counter({number: hits.packets for number, hits in judge.datapath.counters().rules.items()})
    packets = [(parse_packet(f"tcp/{port}", OUTSIDER, public_address(WORLD, "web")), None) for port in NAMED]
    assert [told.rules[1] for told in judge.judge_all(packets)] == list(NAMED.values())
    after = Counter({number: hits.packets for number, hits in judge.datapath.counters().rules.items()})
    assert after - before == Counter(NAMED.values())

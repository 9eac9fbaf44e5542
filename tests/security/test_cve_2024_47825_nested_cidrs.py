"""Cilium, CVE-2024-47825: the longest prefix that covered an address hid what a shorter one said of it.

The kernel finds only the longest prefix too, so each carries the rules of every prefix around it: nested blocks in
every order of writing, in one group and in several, in and out, over IPv4 and IPv6, always mean their union.
"""

from ipaddress import ip_address, ip_network
from itertools import permutations

import pytest

from kernel.judging import KernelJudge
from scenarios.rules import NESTED_BLOCKS
from scenarios.worlds import PASS, Scenario, group, instance, parse_rule, scenario, world
from security.engines import expected, told_by_all, told_by_kernel
from stockade.model.flow import DropReason
from stockade.policy.peers import by_prefix

NESTED = {"0.0.0.0/0": 80, "198.0.0.0/8": 81, "198.51.0.0/16": 82, "198.51.100.0/24": 83, "198.51.100.7/32": 84}
SOURCES = ("9.9.9.9", "198.1.1.1", "198.51.1.1", "198.51.100.8", "198.51.100.7")
NESTED6 = ("::/0", "2001:db8::/32", "2001:db8:1::/48", "2001:db8:1:1::/64", "2001:db8:1:1::7/128")


def in_order(order: tuple[str, ...], groups: int) -> Scenario:
    """The nested blocks, one port each, written in this order and dealt to so many groups."""
    rules = [f"tcp/{NESTED[block]} from {block}" for block in order]
    names = [f"g{number}" for number in range(groups)]
    made = world(
        *(group(name, ingress=rules[place::groups]) for place, name in enumerate(names)), instance("web", *names)
    )
    rows = [
        (source, "web", f"tcp/{port}", PASS if ip_address(source) in ip_network(block) else DropReason.NO_INGRESS_RULE)
        for source in SOURCES
        for block, port in NESTED.items()
    ]
    return scenario(f"nested {order} in {groups}", made, rows)


@pytest.mark.parametrize("order", list(permutations(NESTED)), ids=lambda order: " ".join(map(str, order)))
def test_a_union_in_every_order(order: tuple[str, ...]) -> None:
    made = in_order(order, 1)
    assert told_by_all(made) == expected(made)


@pytest.mark.parametrize("groups", [2, 3, 5])
def test_a_union_over_groups(groups: int) -> None:
    made = in_order(tuple(NESTED), groups)
    assert told_by_all(made) == expected(made)


EGRESS = scenario(
    "nested blocks going out",
    world(
        group("out", egress=["tcp/80 to 0.0.0.0/0", "tcp/81 to 10.0.0.0/16", "tcp/82 to 10.0.0.17/32"]),
        group("in", ingress=["all from 0.0.0.0/0"]),
        instance("sender", "out"),
        instance("near", "in"),
        instance("far", "in"),
    ),
    [
        *(("sender", "near", f"tcp/{port}", PASS) for port in (80, 81, 82)),
        *(("sender", "far", f"tcp/{port}", PASS) for port in (80, 81)),
        ("sender", "far", "tcp/82", DropReason.NO_EGRESS_RULE),
    ],
)


def test_a_union_going_out() -> None:
    assert told_by_all(EGRESS) == expected(EGRESS)


@pytest.mark.parametrize("order", list(permutations(NESTED6)))
def test_each_ipv6_prefix_carries_those_around_it(order: tuple[str, ...]) -> None:
    made = world("web")
    rules = [parse_rule(f"tcp/{80 + NESTED6.index(block)} from {block}", made, n) for n, block in enumerate(order)]
    unions = by_prefix(rules, {})
    for depth, block in enumerate(NESTED6):
        assert {rule.from_port for rule in unions[ip_network(block)]} == set(range(80, 80 + depth + 1))


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
@pytest.mark.parametrize(
    "made",
    [
        NESTED_BLOCKS,
        EGRESS,
        in_order(tuple(NESTED), 1),
        in_order(tuple(reversed(NESTED)), 1),
        in_order(tuple(NESTED), 3),
    ],
    ids=lambda made: made.name,
)
def test_a_union_in_the_kernel(judge: KernelJudge, made: Scenario) -> None:
    assert told_by_kernel(judge, made) == expected(made)

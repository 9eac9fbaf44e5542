"""Which rules make flows untracked: one rule, to everybody, for every port (semantics 5.1)."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from scenarios.worlds import group, instance, parse_rule, world
from stockade.model.ids import PrefixListId
from stockade.model.ports import TCP, UDP
from stockade.model.rule import PrefixListPeer
from stockade.policy.entries import GateRules, RuleSet
from stockade.policy.rule_sets import build_rule_set

WORLD = world(group("web"), instance("web"))


def all_ports(*texts: str) -> frozenset[tuple[int, int]]:
    rules = [parse_rule(text, WORLD, number) for number, text in enumerate(texts, 1)]
    return build_rule_set(rules, {}).ingress.all_ports


@pytest.mark.parametrize(
    ("text", "opened"),
    [
        ("all from 0.0.0.0/0", {(4, TCP), (4, UDP)}),
        ("all from ::/0", {(6, TCP), (6, UDP)}),
        ("tcp/0-65535 from 0.0.0.0/0", {(4, TCP)}),
        ("udp/0-65535 from ::/0", {(6, UDP)}),
    ],
)
def test_one_rule_for_every_port_to_everybody(text: str, opened: set[tuple[int, int]]) -> None:
    assert all_ports(text) == opened


@pytest.mark.parametrize(
    "texts",
    [
        ["tcp/1-65535 from 0.0.0.0/0"],
        ["tcp/0-65534 from 0.0.0.0/0"],
        ["all from 0.0.0.0/1", "all from 128.0.0.0/1"],
        ["tcp/0-1023 from 0.0.0.0/0", "tcp/1024-65535 from 0.0.0.0/0"],
        ["all from 8000::/1"],
        ["all from web"],
        ["icmp from 0.0.0.0/0", "47 from 0.0.0.0/0"],
        ["all to 0.0.0.0/0"],
    ],
)
def test_nothing_less_will_do(texts: list[str]) -> None:
    assert all_ports(*texts) == frozenset()


def test_it_is_part_of_what_names_a_set() -> None:
    """What each port answers is the same and so is how many protocols are open; which of them is not."""
    low = ["tcp/0-1023 from 0.0.0.0/0", "udp/0-1023 from 0.0.0.0/0"]

    def named(*texts: str) -> RuleSet:
        rules = [parse_rule(text, WORLD, number) for number, text in enumerate([*low, *texts], 1)]
        return build_rule_set(rules, {})

    one = named("tcp/0-65535 from 0.0.0.0/0", "udp/1024-65535 from 0.0.0.0/0")
    other = named("tcp/1024-65535 from 0.0.0.0/0", "udp/0-65535 from 0.0.0.0/0")
    assert (one.ingress.intervals, one.ingress.prefixes) == (other.ingress.intervals, other.ingress.prefixes)
    assert one.id != other.id


def test_a_list_that_is_not_known_opens_nothing() -> None:
    rule = replace(parse_rule("all from 0.0.0.0/0", WORLD, 1), peer=PrefixListPeer(PrefixListId("pl-01000001")))
    known = {PrefixListId("pl-01000002"): (ip_network("0.0.0.0/0"),)}
    assert build_rule_set([rule], {}, known).ingress == GateRules()

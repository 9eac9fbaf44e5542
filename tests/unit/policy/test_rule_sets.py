"""Rules laid over the line of ports, blocks inside blocks, all protocols folded in."""

from ipaddress import ip_network

import pytest

from scenarios.worlds import group, group_id, instance, list_id, parse_rule, prefix_list, world
from stockade.model.ports import ICMP, ICMPV6, TCP, UDP
from stockade.model.rule import Rule
from stockade.policy.entries import ANY_PROTOCOL, CLASS_BIT, Identity, Interval, RuleSet
from stockade.policy.rule_sets import build_rule_set, cover_ports

WORLD = world(
    group("web"),
    group("app"),
    instance("web"),
    instance("app"),
    prefix_list("offices", "10.0.0.0/8", "10.1.0.0/16"),
    prefix_list("everybody", "0.0.0.0/0"),
)
WEB, APP = Identity(11), Identity(22)
MEMBERS = {group_id(WORLD, "web"): frozenset({WEB}), group_id(WORLD, "app"): frozenset({APP})}
GRE = 47


def rules(*texts: str) -> list[Rule]:
    return [parse_rule(text, WORLD, number) for number, text in enumerate(texts, 1)]


def built(*texts: str) -> RuleSet:
    lists = {list_id(WORLD, each.name): each.cidrs for each in WORLD.prefix_lists}
    return build_rule_set(rules(*texts), MEMBERS, lists)


def test_the_lowest_numbered_rule_is_on_top() -> None:
    assert cover_ports([(20, 30, 3), (25, 40, 7), (22, 22, 9)]) == (Interval(20, 30, 3), Interval(31, 40, 7))


def test_a_later_rule_shows_on_both_sides_of_an_earlier_narrower_one() -> None:
    found = cover_ports([(22, 22, 1), (0, 65535, 2)])
    assert found == (Interval(0, 21, 2), Interval(22, 22, 1), Interval(23, 65535, 2))


def test_touching_ranges_of_two_rules_stay_two() -> None:
    assert cover_ports([(1, 5, 1), (6, 9, 2)]) == (Interval(1, 5, 1), Interval(6, 9, 2))


def test_nothing_covers_nothing() -> None:
    assert cover_ports([]) == ()


def test_a_group_rule_is_kept_under_the_identities_of_its_members() -> None:
    gate = built("tcp/80 from web", "tcp/443 from app").ingress
    assert gate.intervals == {(WEB, TCP): (Interval(80, 80, 1),), (APP, TCP): (Interval(443, 443, 2),)}
    assert gate.prefixes == {}


def test_a_group_nobody_is_in_gives_no_entry() -> None:
    assert built("all from nowhere").ingress.intervals == {}


def test_a_block_inside_another_carries_the_rules_of_both() -> None:
    gate = built("tcp/80 from 0.0.0.0/0", "tcp/22 from 10.0.0.0/8").ingress
    inner, outer = gate.prefixes[ip_network("10.0.0.0/8")], gate.prefixes[ip_network("0.0.0.0/0")]
    assert gate.intervals[inner, TCP] == (Interval(22, 22, 2), Interval(80, 80, 1))
    assert gate.intervals[outer, TCP] == (Interval(80, 80, 1),)


def test_blocks_with_the_same_union_share_a_class() -> None:
    gate = built("tcp/22-30 from 10.0.0.0/8", "tcp/25 from 10.1.0.0/16").ingress
    assert set(gate.prefixes.values()) == {CLASS_BIT | 1}


def test_blocks_beside_one_another_carry_only_their_own() -> None:
    gate = built("tcp/22 from 10.0.0.0/9", "tcp/23 from 10.128.0.0/9", "tcp/24 from 10.1.0.0/16").ingress
    right = gate.prefixes[ip_network("10.128.0.0/9")]
    assert gate.intervals[right, TCP] == (Interval(23, 23, 2),)


def test_blocks_of_the_two_families_never_mix() -> None:
    gate = built("all from 0.0.0.0/0", "tcp/22 from ::/0").ingress
    six = gate.prefixes[ip_network("::/0")]
    assert {protocol for peer, protocol in gate.intervals if peer == six} == {TCP}


def test_a_rule_for_all_protocols_is_folded_into_each_that_is_named() -> None:
    gate = built("47 from web", "all from web", "tcp/22 from web").ingress
    everything = (Interval(0, 65535, 2),)
    assert gate.intervals == {
        (WEB, TCP): everything,
        (WEB, UDP): everything,
        (WEB, ICMP): everything,
        (WEB, ICMPV6): everything,
        (WEB, GRE): (Interval(0, 65535, 1),),
        (WEB, ANY_PROTOCOL): everything,
    }


def test_without_a_rule_for_all_protocols_only_named_ones_have_entries() -> None:
    assert set(built("47 from web", "udp/53 from web").ingress.intervals) == {(WEB, GRE), (WEB, UDP)}


def test_icmp_types_and_codes_are_intervals() -> None:
    gate = built("icmp/8:0 from web", "icmp/3 from web").ingress
    assert gate.intervals[WEB, ICMP] == (Interval(0x300, 0x3FF, 2), Interval(0x800, 0x800, 1))


def test_directions_are_kept_apart() -> None:
    both = built("tcp/80 from web", "tcp/443 to app")
    assert set(both.ingress.intervals) == {(WEB, TCP)}
    assert set(both.egress.intervals) == {(APP, TCP)}


def test_a_set_is_named_by_its_content() -> None:
    listed = rules("tcp/80 from web", "tcp/443 from 0.0.0.0/0", "all to 0.0.0.0/0")
    assert build_rule_set(listed, MEMBERS) == build_rule_set(reversed(listed), MEMBERS)
    names = {
        built("tcp/80 from web").id,
        built("tcp/81 from web").id,
        built("udp/80 from web").id,
        built("tcp/80 to web").id,
        built("tcp/80 from app").id,
        built("tcp/80 from 10.0.0.0/8").id,
        built("tcp/80 from 10.0.0.0/9").id,
        built().id,
    }
    assert len(names) == 8


def test_a_prefix_list_is_its_blocks() -> None:
    assert built("tcp/22 from pl:offices").ingress.intervals == built("tcp/22 from 10.0.0.0/8").ingress.intervals
    assert set(built("tcp/22 from pl:offices").ingress.prefixes) == set(map(ip_network, ("10.0.0.0/8", "10.1.0.0/16")))


def test_a_prefix_list_that_is_not_known_matches_nothing() -> None:
    assert built("tcp/22 from pl:vanished").ingress.prefixes == {}


@pytest.mark.parametrize(
    ("texts", "protocols"),
    [
        (["all from 0.0.0.0/0"], {(4, TCP), (4, UDP)}),
        (["all from ::/0", "udp/0-65535 from 0.0.0.0/0"], {(6, TCP), (6, UDP), (4, UDP)}),
        (["all from pl:everybody"], {(4, TCP), (4, UDP)}),
        (["tcp/0-65535 from 0.0.0.0/0", "tcp/22 from 0.0.0.0/0"], {(4, TCP)}),
        (["tcp/0-9999 from 0.0.0.0/0", "tcp/10000-65535 from 0.0.0.0/0"], set()),
        (["all from 0.0.0.0/1", "all from 128.0.0.0/1"], set()),
        (["all from web", "icmp from 0.0.0.0/0", "47 from 0.0.0.0/0"], set()),
    ],
)
def test_one_rule_must_open_every_port_to_everybody(texts: list[str], protocols: set[tuple[int, int]]) -> None:
    assert built(*texts).ingress.all_ports == protocols
    assert built(*texts).egress.all_ports == frozenset()


def test_every_port_by_one_rule_or_by_two_are_two_sets() -> None:
    one, two = "tcp/0-65535 from 0.0.0.0/0", ["tcp/0-99 from 0.0.0.0/0", "tcp/100-65535 from 0.0.0.0/0"]
    assert built(one).id != built(*two).id

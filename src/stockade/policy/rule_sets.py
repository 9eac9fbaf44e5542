"""The rules of a set of groups -> one RuleSet, shared by all interfaces with the same rules.

The rules that one peer meets are laid over the line of port numbers, lowest rule number on top:

    rule 3  tcp/20-30        ├─────────────┤
    rule 7  tcp/25-40             ├─────────────────┤
    rule 9  tcp/22              ┤├
    result                   ├── 3 ────────┤── 7 ───┤
"""

import struct
from collections.abc import Iterable, Mapping
from heapq import heappop, heappush
from itertools import pairwise

from stockade.model.addresses import Cidr
from stockade.model.ids import SecurityGroupId
from stockade.model.ports import ANY, ICMP, ICMPV6, LAST, PORTED, TCP, UDP
from stockade.model.rule import Direction, Rule
from stockade.policy.entries import (
    ANY_PROTOCOL,
    CLASS_BIT,
    GateRules,
    Identity,
    Interval,
    PeerKey,
    RuleSet,
    RuleSetId,
    SetKey,
)
from stockade.policy.identity import digest
from stockade.policy.peers import PrefixLists, blocks_of, by_identity, by_prefix, prefix_order

ByProtocol = Mapping[int, tuple[Interval, ...]]
NO_PREFIX_LISTS: PrefixLists = {}
ALWAYS_SPELLED = frozenset({TCP, UDP, ICMP, ICMPV6})


def build_rule_set(
    rules: Iterable[Rule],
    members: Mapping[SecurityGroupId, frozenset[Identity]],
    prefix_lists: PrefixLists = NO_PREFIX_LISTS,
) -> RuleSet:
    """The union of these rules, both directions, as entries. Equal rules give an equal set with an equal id."""
    listed = tuple(rules)
    ingress = _build_gate([rule for rule in listed if rule.direction is Direction.INGRESS], members, prefix_lists)
    egress = _build_gate([rule for rule in listed if rule.direction is Direction.EGRESS], members, prefix_lists)
    return RuleSet(_content_id(ingress, egress), ingress, egress)


def _build_gate(
    rules: Iterable[Rule], members: Mapping[SecurityGroupId, frozenset[Identity]], prefix_lists: PrefixLists
) -> GateRules:
    listed = tuple(rules)
    intervals: dict[SetKey, tuple[Interval, ...]] = {}
    for identity, named in by_identity(listed, members).items():
        intervals.update(_keyed(identity, by_protocol(named)))
    prefixes: dict[Cidr, PeerKey] = {}
    classes: dict[tuple[tuple[int, tuple[Interval, ...]], ...], PeerKey] = {}
    for block, covering in by_prefix(listed, prefix_lists).items():
        union = by_protocol(covering)
        content = tuple(sorted(union.items(), key=lambda each: each[0]))
        if content not in classes:
            classes[content] = CLASS_BIT | (len(classes) + 1)
            intervals.update(_keyed(classes[content], union))
        prefixes[block] = classes[content]
    return GateRules(intervals, prefixes, _all_ports(listed, prefix_lists))


def _all_ports(rules: Iterable[Rule], prefix_lists: PrefixLists) -> frozenset[tuple[int, int]]:
    """(IP version, protocol) for which one rule opens every port to everybody."""
    return frozenset(
        (block.version, protocol)
        for rule in rules
        for protocol in PORTED
        if rule.covers_protocol(protocol) and _range(rule, protocol) == (0, LAST)
        for block in blocks_of(rule, prefix_lists)
        if block.prefixlen == 0
    )


def _keyed(peer: PeerKey, protocols: ByProtocol) -> Mapping[SetKey, tuple[Interval, ...]]:
    return {(peer, protocol): intervals for protocol, intervals in protocols.items()}


def by_protocol(rules: Iterable[Rule]) -> ByProtocol:
    """The intervals that these rules open, under each protocol they name.

    A rule for all protocols holds under every one of them, and under ANY_PROTOCOL for those not named.
    """
    listed = tuple(rules)
    for_all = [rule for rule in listed if rule.protocol == ANY]
    named = {rule.protocol for rule in listed if rule.protocol != ANY} | (ALWAYS_SPELLED if for_all else frozenset())
    found = {
        protocol: cover_ports(
            [(*_range(rule, protocol), rule.number) for rule in listed if rule.covers_protocol(protocol)]
        )
        for protocol in sorted(named)
    }
    if for_all:
        found[ANY_PROTOCOL] = cover_ports([(0, LAST, rule.number) for rule in for_all])
    return found


def _range(rule: Rule, protocol: int) -> tuple[int, int]:
    return rule.interval if rule.protocol == protocol else (0, LAST)


def cover_ports(ranges: Iterable[tuple[int, int, int]]) -> tuple[Interval, ...]:
    """Ranges (low, high, rule) as the fewest sorted disjoint intervals, each with its lowest-numbered rule.

    Both ends count, 0 <= low <= high <= 65535. n ranges give at most 2n - 1 intervals, in O(n log n).
    """
    waiting = sorted(ranges)
    edges = sorted({low for low, _, _ in waiting} | {high + 1 for _, high, _ in waiting})
    open_rules: list[tuple[int, int]] = []  # (rule, high): the lowest number is on top
    found: list[Interval] = []
    place = 0
    for start, end in pairwise(edges):
        while place < len(waiting) and waiting[place][0] == start:
            _, high, rule = waiting[place]
            heappush(open_rules, (rule, high))
            place += 1
        while open_rules and open_rules[0][1] < start:
            heappop(open_rules)
        if not open_rules:
            continue
        rule = open_rules[0][0]
        if found and found[-1].high == start - 1 and found[-1].rule == rule:
            found[-1] = Interval(found[-1].low, end - 1, rule)
        else:
            found.append(Interval(start, end - 1, rule))
    return tuple(found)


def _content_id(ingress: GateRules, egress: GateRules) -> RuleSetId:
    """Names a set by what is in it: equal content, equal id, on every host and after every restart."""
    parts: list[bytes] = []
    for gate in (ingress, egress):
        parts.append(struct.pack("!III", len(gate.intervals), len(gate.prefixes), len(gate.all_ports)))
        for (peer, protocol), intervals in sorted(gate.intervals.items(), key=lambda each: each[0]):
            parts.append(struct.pack("!QHI", peer, protocol, len(intervals)))
            parts += [struct.pack("!HHQ", each.low, each.high, each.rule) for each in intervals]
        for block in sorted(gate.prefixes, key=prefix_order):
            network = block.network_address.packed
            parts.append(struct.pack("!BB", block.version, block.prefixlen) + network)
            parts.append(struct.pack("!Q", gate.prefixes[block]))
        parts += [struct.pack("!BB", *each) for each in sorted(gate.all_ports)]
    return RuleSetId(digest(b"".join(parts)))

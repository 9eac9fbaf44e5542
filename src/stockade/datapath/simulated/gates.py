"""Entries -> what a gate says. The slow spelling of bpf/policy.h: same lookups, same order, same answers."""

from bisect import bisect_right
from collections.abc import Mapping
from ipaddress import ip_network

from stockade.model.addresses import Address, Cidr
from stockade.model.flow import DropReason, Gate, Hop, Packet
from stockade.model.ids import NetworkInterfaceId
from stockade.policy import exempt
from stockade.policy.entries import ANY_PROTOCOL, NO_IDENTITY, GateRules, Identity, Interval, PeerKey, RuleSet

CLOSED = {Gate.EGRESS: DropReason.NO_EGRESS_RULE, Gate.INGRESS: DropReason.NO_INGRESS_RULE}


def ask(
    gate: Gate, owner: NetworkInterfaceId, rule_set: RuleSet, packet: Packet, *, peer: Address, identity: Identity
) -> Hop:
    """What the gate says of a packet whose other side is this peer."""
    if exempt.is_redirect(packet):
        return Hop(gate, owner, reason=DropReason.INVALID_STATE)
    rules = rule_set.egress if gate is Gate.EGRESS else rule_set.ingress
    rule = opening_rule(rules, packet, peer, identity)
    return Hop(gate, owner, reason=CLOSED[gate]) if rule is None else Hop(gate, owner, rule=rule)


def opening_rule(rules: GateRules, packet: Packet, peer: Address, identity: Identity) -> int | None:
    """Two questions: the peer's identity, then the class of the longest prefix that covers it."""
    if identity != NO_IDENTITY:
        rule = _find(rules, identity, packet)
        if rule is not None:
            return rule
    class_ = longest_match(rules.prefixes, peer)
    return None if class_ is None else _find(rules, class_, packet)


def longest_match(prefixes: Mapping[Cidr, PeerKey], address: Address) -> PeerKey | None:
    for length in range(address.max_prefixlen, -1, -1):
        found = prefixes.get(ip_network((address, length), strict=False))
        if found is not None:
            return found
    return None


def _find(rules: GateRules, peer: PeerKey, packet: Packet) -> int | None:
    """An entry for the packet's protocol is conclusive; only without one is ANY_PROTOCOL asked."""
    intervals = rules.intervals.get((peer, packet.protocol))
    if intervals is None:
        intervals = rules.intervals.get((peer, ANY_PROTOCOL), ())
    return _rule_at(intervals, packet.port)


def _rule_at(intervals: tuple[Interval, ...], port: int) -> int | None:
    place = bisect_right(intervals, port, key=lambda interval: interval.low) - 1
    return intervals[place].rule if place >= 0 and port <= intervals[place].high else None

"""Entries -> what a gate says. The slow spelling of bpf/policy.h: same lookups, same order, same answers."""

from bisect import bisect_right
from collections.abc import Mapping

from stockade.model.addresses import EVERYWHERE_V4, EVERYWHERE_V6, Address, Cidr, covers
from stockade.model.flow import DropReason, Gate, Hop, Packet
from stockade.model.ids import NetworkInterfaceId
from stockade.model.ports import PORTED
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


def is_untracked(rule_set: RuleSet, gate: Gate, packet: Packet) -> bool:
    """Whether a flow that begins with this packet need not be tracked at this gate.

    A rule for everybody covers it, and one rule opens every port of its protocol to everybody the other way.
    """
    rules, back = (rule_set.egress, rule_set.ingress) if gate is Gate.EGRESS else (rule_set.ingress, rule_set.egress)
    version = packet.source.version
    if packet.protocol not in PORTED or (version, packet.protocol) not in back.all_ports:
        return False
    everybody = rules.prefixes.get(EVERYWHERE_V4 if version == 4 else EVERYWHERE_V6)
    return everybody is not None and _find(rules, everybody, packet) is not None


def longest_match(prefixes: Mapping[Cidr, PeerKey], address: Address) -> PeerKey | None:
    covering = [block for block in prefixes if covers(block, address)]
    return prefixes[max(covering, key=lambda block: block.prefixlen)] if covering else None


def _find(rules: GateRules, peer: PeerKey, packet: Packet) -> int | None:
    """An entry for the packet's protocol is conclusive; only without one is ANY_PROTOCOL asked."""
    intervals = rules.intervals.get((peer, packet.protocol))
    if intervals is None:
        intervals = rules.intervals.get((peer, ANY_PROTOCOL), ())
    return _rule_at(intervals, packet.port)


def _rule_at(intervals: tuple[Interval, ...], port: int) -> int | None:
    place = bisect_right(intervals, port, key=lambda interval: interval.low) - 1
    return intervals[place].rule if place >= 0 and port <= intervals[place].high else None

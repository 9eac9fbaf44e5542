"""Why does this packet pass, or not? The verdict, and for each gate the rules that made it or came nearest.

A gate that opened names every rule that opens it, the deciding one first. A gate that stayed closed names
the rules that lacked least: first those that only miss the port, then those that only miss the peer.
"""

from dataclasses import dataclass
from enum import Flag, auto

from stockade.model.flow import DropReason, Gate, Hop, Packet, Verdict
from stockade.model.host_view import HostView, ViewGroup, ViewInterface
from stockade.model.ids import NetworkInterfaceId
from stockade.model.rule import Direction, GroupPeer, Rule
from stockade.policy.evaluate import Party, covers_traffic, receiving_party, speaks_of, way_of
from stockade.policy.questions.forwarding import forwarded_party, judged

NEAREST = 5


class Lacks(Flag):
    """What keeps a rule from covering the packet."""

    NOTHING = 0
    PORT = auto()
    PROTOCOL = auto()
    PEER = auto()


@dataclass(frozen=True, slots=True)
class Considered:
    """A rule, the group it is of, and what it lacks."""

    group: ViewGroup
    rule: Rule
    lacks: Lacks


@dataclass(frozen=True, slots=True)
class GateAnswer:
    """What one gate said and why. `rules`: those that open it, or the nearest that do not."""

    hop: Hop
    peer: Party
    rules: tuple[Considered, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict with its reasons. Hops without rules (forged source, no way there) explain themselves."""

    verdict: Verdict
    gates: tuple[GateAnswer, ...]


def explain(view: HostView, packet: Packet, sender: NetworkInterfaceId | None) -> Explanation:
    """As evaluate, with reasons, of attached devices too. `sender` None: the packet comes from outside."""
    verdict = judged(view, packet, sender)
    own = None if sender is None else view.interfaces[sender]
    return Explanation(verdict, tuple(_answer(view, packet, own, hop) for hop in verdict.hops if _asked_rules(hop)))


def _asked_rules(hop: Hop) -> bool:
    return hop.gate in (Gate.EGRESS, Gate.INGRESS) and hop.reason not in (
        DropReason.INVALID_STATE,
        DropReason.MULTICAST,
    )


def _answer(view: HostView, packet: Packet, sender: ViewInterface | None, hop: Hop) -> GateAnswer:
    at = view.interfaces[hop.interface] if hop.interface is not None else None
    if hop.gate is Gate.INGRESS and at is not None and at.device is not None:
        owner, peer, direction = at, forwarded_party(view, packet, at), Direction.INGRESS
    elif hop.gate is Gate.EGRESS and sender is not None:
        owner, peer, direction = sender, receiving_party(view, packet, sender), Direction.EGRESS
    else:
        way = way_of(view, packet, sender)
        assert not isinstance(way, DropReason), "a packet that met an ingress gate has got there"
        (owner, peer), direction = way, Direction.INGRESS
    considered = [
        Considered(view.groups[group], rule, _lacks(view, rule, packet, peer))
        for group in owner.groups
        if group in view.groups
        for rule in view.groups[group].rules
        if rule.direction is direction
    ]
    if hop.rule is not None:
        opening = [each for each in considered if each.lacks is Lacks.NOTHING]
        return GateAnswer(hop, peer, tuple(sorted(opening, key=_deciding_first)))
    return GateAnswer(hop, peer, tuple(sorted(considered, key=_nearest_first)[:NEAREST]))


def _lacks(view: HostView, rule: Rule, packet: Packet, peer: Party) -> Lacks:
    lacks = Lacks.NOTHING if speaks_of(view, rule, peer) else Lacks.PEER
    if not rule.covers_protocol(packet.protocol):
        return lacks | Lacks.PROTOCOL
    return lacks if covers_traffic(rule, packet) else lacks | Lacks.PORT


def _deciding_first(each: Considered) -> tuple[bool, int]:
    return (not isinstance(each.rule.peer, GroupPeer), each.rule.number)


def _nearest_first(each: Considered) -> tuple[int, int, int]:
    return (each.lacks.value.bit_count(), each.lacks.value, each.rule.number)

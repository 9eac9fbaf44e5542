"""Is a flow that a gate lets through tracked there, and by which rules not?

An untracked flow has no state to lean on: what lets it go on is the rules, packet by packet, and a revoke cuts it. So
it is with TCP and UDP that one rule opens to everybody while another opens every port back to everybody.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from stockade.model import ports
from stockade.model.flow import Packet
from stockade.model.host_view import HostView, ViewGroup, ViewInterface
from stockade.model.rule import Direction, Rule
from stockade.policy.evaluate import blocks_of, covers_traffic


@dataclass(frozen=True, slots=True)
class OwnedRule:
    """A rule and the group it is of."""

    group: ViewGroup
    rule: Rule


@dataclass(frozen=True, slots=True)
class Tracking:
    """`opener` opens this to everybody, `way_back` every port in the other direction. Both there: untracked.

    Other protocols than TCP and UDP are always tracked, and no rule is named for them.
    """

    always: bool
    opener: OwnedRule | None
    way_back: OwnedRule | None

    @property
    def tracked(self) -> bool:
        return self.opener is None or self.way_back is None


def tracking_at(view: HostView, interface: ViewInterface, direction: Direction, packet: Packet) -> Tracking:
    """Of a flow that begins with this packet, at the interface's gate in this direction."""
    if packet.protocol not in ports.PORTED:
        return Tracking(True, None, None)
    opposite = Direction.INGRESS if direction is Direction.EGRESS else Direction.EGRESS
    openers = (one for one in _for_everybody(view, interface, direction, packet) if covers_traffic(one.rule, packet))
    ways_back = (one for one in _for_everybody(view, interface, opposite, packet) if _covers_all(one.rule, packet))
    return Tracking(False, _first(openers), _first(ways_back))


def _for_everybody(
    view: HostView, interface: ViewInterface, direction: Direction, packet: Packet
) -> Iterator[OwnedRule]:
    for id in interface.groups:
        group = view.groups.get(id)
        for rule in group.rules if group is not None else ():
            everybody = any(
                block.prefixlen == 0 and block.version == packet.source.version for block in blocks_of(view, rule)
            )
            if group is not None and rule.direction is direction and everybody:
                yield OwnedRule(group, rule)


def _covers_all(rule: Rule, packet: Packet) -> bool:
    """Every port of the packet's protocol in this one rule."""
    return rule.covers_protocol(packet.protocol) and (rule.protocol == ports.ANY or rule.interval == (0, ports.LAST))


def _first(rules: Iterator[OwnedRule]) -> OwnedRule | None:
    return min(rules, key=lambda one: one.rule.number, default=None)

"""The verdict where somebody else forwards: attached devices judge at their own gates, and know no way between them.

    attached ──egress gate──▶ whoever forwards ──ingress gate──▶ attached
                                     │
                                     └─▶ the world, about which nothing more is said

Everything else is evaluate's. An attached device has no services, no translation and no public address; a source is
known by its private address, wherever it comes from. An instance of ours has no way to an attached device.
"""

from stockade.model.flow import DropReason, Gate, Hop, Packet, Verdict
from stockade.model.host_view import HostView, ViewInterface
from stockade.model.ids import NetworkInterfaceId
from stockade.model.rule import Direction
from stockade.policy import exempt
from stockade.policy.evaluate import Party, ask_gate, evaluate, groups_at, receiving_party, source_refused


def judged(view: HostView, packet: Packet, sender: NetworkInterfaceId | None) -> Verdict:
    """As evaluate, of attached devices too."""
    own = None if sender is None else view.interfaces[sender]
    target = attached_at(view, packet, own)
    if (own.device if own is not None else target) is None:
        return evaluate(view, packet, sender)
    hops: list[Hop] = []
    if own is not None:
        hops.append(_leaving(view, packet, own))
        if hops[0].reason is not None:
            return Verdict(tuple(hops))
        if target is None:
            return Verdict((*hops, Hop(Gate.ROUTE, own.id, rule=0)))
    assert target is not None, "with no sender it is what brought us here"
    if exempt.is_nobody(packet.source):
        return Verdict((*hops, Hop(Gate.SPOOF, target.id, reason=DropReason.SPOOFED_ADDRESS)))
    entering = ask_gate(view, target, Direction.INGRESS, packet, forwarded_party(view, packet, target))
    return Verdict((*hops, entering))


def attached_at(view: HostView, packet: Packet, sender: ViewInterface | None) -> ViewInterface | None:
    """The attached device that is meant: of the sender's network, where there is a sender of ours."""
    return next(
        (
            one
            for one in view.interfaces.values()
            if one.device is not None
            and packet.destination in one.addresses
            and (sender is None or one.vpc == sender.vpc)
        ),
        None,
    )


def forwarded_party(view: HostView, packet: Packet, receiver: ViewInterface) -> Party:
    """As whom the sender is seen at an attached device."""
    return Party(packet.source, groups_at(view, receiver.vpc, packet.source))


def _leaving(view: HostView, packet: Packet, own: ViewInterface) -> Hop:
    refused = source_refused(packet, own)
    if refused is not None:
        return Hop(Gate.SPOOF, own.id, reason=refused)
    if exempt.is_for_many(packet.destination):
        return Hop(Gate.EGRESS, own.id, reason=DropReason.MULTICAST)
    return ask_gate(view, own, Direction.EGRESS, packet, receiving_party(view, packet, own))

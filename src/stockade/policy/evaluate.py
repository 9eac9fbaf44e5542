"""The verdict straight from the rules: slow, obvious, and the oracle of every other engine.

It reads a HostView as a person would: who sends, who is meant, whose rules speak. Nothing here is shared
with the compiler, so an error would have to be made twice to go unseen.

    from an instance                                      from outside
    ────────────────                                      ────────────
    what only routers and DHCP                            destination is nobody's
      servers say                 drop FOREIGN_REPLY        public address       drop NO_ROUTE
    source is link-local          drop FOREIGN_REPLY      source is link-local   drop FOREIGN_REPLY
    source is not the sender's    drop SPOOFED_ADDRESS    source is nobody's, or
    exactly a host service        pass, no rule asked       somebody's inside    drop SPOOFED_ADDRESS
    to multicast, broadcast       drop MULTICAST          the ingress gate, with the destination now
    to other link-local           drop NO_ROUTE           private and the source belonging to no group
    ICMP redirect                 drop INVALID_STATE
    the egress gate, with the destination as written
    the way there:
      a private address of the sender's network, here     source and its groups stay
      a public address, sender classic, same network      source and its groups stay
      a public address otherwise                          source becomes the sender's public address and
                                                          belongs to no group; none: drop NO_PUBLIC_ADDRESS
      an IPv6 address that is met from outside            source stays and belongs to no group; not the
                                                          sender's, or the sender not met from outside:
                                                          drop NO_PUBLIC_ADDRESS
      anything else                                       drop NO_ROUTE
    the ingress gate of whoever owns the destination

IPv6 addresses are not translated: which of them outsiders meet is said of the interface (`public6`).

A gate asks all rules of all groups of its interface. Rules that name a group of the peer speak first,
then rules of which a block covers the peer's address; among those that speak, the lowest number is named.
What is judged is the first packet of a flow; packets of a live flow follow it (Hop.rule = 0).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never

from stockade.model.addresses import Address, Cidr, covers
from stockade.model.flow import DropReason, Gate, Hop, Packet, Verdict
from stockade.model.host_view import HostView, ViewInterface, ViewMember
from stockade.model.ids import NetworkInterfaceId, SecurityGroupId
from stockade.model.rule import CidrPeer, Direction, GroupPeer, PrefixListPeer, Rule
from stockade.policy import exempt

NOBODYS: frozenset[SecurityGroupId] = frozenset()


def evaluate(view: HostView, packet: Packet, sender: NetworkInterfaceId | None) -> Verdict:
    """What becomes of the first packet of a flow. `sender` None: it arrives from outside the region.

    The sender, when given, must be an interface of this host (KeyError otherwise).
    """
    if sender is None:
        return from_outside(view, packet)
    return _from_endpoint(view, packet, view.interfaces[sender])


@dataclass(frozen=True, slots=True)
class Party:
    """The other side of a gate, as the gate sees it."""

    address: Address
    groups: frozenset[SecurityGroupId]


def _from_endpoint(view: HostView, packet: Packet, sender: ViewInterface) -> Verdict:
    unasked = without_rules(packet, sender)
    if unasked is not None:
        return Verdict((unasked,))
    egress = ask_gate(view, sender, Direction.EGRESS, packet, receiving_party(view, packet, sender))
    if egress.reason is not None:
        return Verdict((egress,))
    way = way_of(view, packet, sender)
    if isinstance(way, DropReason):
        return Verdict((egress, Hop(Gate.ROUTE, sender.id, reason=way)))
    receiver, source = way
    return Verdict((egress, ask_gate(view, receiver, Direction.INGRESS, packet, source)))


def without_rules(packet: Packet, sender: ViewInterface) -> Hop | None:
    """What is decided before any rule is asked, if it is."""
    refused = source_refused(packet, sender)
    if refused is not None:
        return Hop(Gate.SPOOF, sender.id, reason=refused)
    if exempt.is_service(packet, sender.resolver):
        return Hop(Gate.ROUTE, sender.id, rule=0)
    if exempt.is_for_many(packet.destination):
        return Hop(Gate.ROUTE, sender.id, reason=DropReason.MULTICAST)
    if exempt.is_link_local(packet.destination):
        return Hop(Gate.ROUTE, sender.id, reason=DropReason.NO_ROUTE)
    return None


def receiving_party(view: HostView, packet: Packet, sender: ViewInterface) -> Party:
    """Whom the sender's egress gate is asked about: the destination as written."""
    return Party(packet.destination, groups_at(view, sender.vpc, packet.destination))


def way_of(view: HostView, packet: Packet, sender: ViewInterface | None) -> tuple[ViewInterface, Party] | DropReason:
    """Whose destination it is and as whom the sender is seen there, or why it gets nowhere."""
    if sender is None:
        receiver = _public_owner(view, packet.destination)
        return DropReason.NO_ROUTE if receiver is None else (receiver, Party(packet.source, NOBODYS))
    sender_groups = groups_at(view, sender.vpc, packet.source) if packet.source in sender.addresses else NOBODYS
    private = Party(packet.source, sender_groups)
    receiver = _owner(view, sender.vpc, packet.destination)
    if receiver is not None and receiver.device is not None:
        return DropReason.NO_ROUTE  # an adopted device: somebody else forwards to it
    return (receiver, private) if receiver is not None else _way_by_public(view, packet, sender, private)


def _way_by_public(
    view: HostView, packet: Packet, sender: ViewInterface, private: Party
) -> tuple[ViewInterface, Party] | DropReason:
    receiver = _public_owner(view, packet.destination)
    if receiver is None:
        return DropReason.NO_ROUTE
    if packet.destination.version == 6:
        is_met = sender.public6 and packet.source in sender.addresses
        return (receiver, Party(packet.source, NOBODYS)) if is_met else DropReason.NO_PUBLIC_ADDRESS
    if sender.classic and receiver.vpc == sender.vpc:
        return receiver, private
    if sender.public is None:
        return DropReason.NO_PUBLIC_ADDRESS
    return receiver, Party(sender.public, NOBODYS)


def from_outside(view: HostView, packet: Packet) -> Verdict:
    refused = refused_outside(view, packet)
    if refused is not None:
        return Verdict((refused,))
    way = way_of(view, packet, None)
    assert not isinstance(way, DropReason), "refused above"
    receiver, source = way
    return Verdict((ask_gate(view, receiver, Direction.INGRESS, packet, source),))


def refused_outside(view: HostView, packet: Packet) -> Hop | None:
    """What no outsider may send, whatever the rules and whatever flow it claims to be of."""
    way = way_of(view, packet, None)
    if isinstance(way, DropReason):
        return Hop(Gate.ROUTE, None, reason=way)
    receiver, _ = way
    if exempt.is_link_local(packet.source):
        return Hop(Gate.SPOOF, receiver.id, reason=DropReason.FOREIGN_REPLY)
    if exempt.is_nobody(packet.source) or _is_inside(view, receiver.vpc, packet.source):
        return Hop(Gate.SPOOF, receiver.id, reason=DropReason.SPOOFED_ADDRESS)
    return None


def source_refused(packet: Packet, sender: ViewInterface) -> DropReason | None:
    """Why the sender may not use this source. Without the check, any address that is somebody's is free."""
    if exempt.is_for_hosts_only(packet):
        return DropReason.FOREIGN_REPLY
    if exempt.is_link_local(packet.source):
        return DropReason.FOREIGN_REPLY
    if packet.source in sender.addresses:
        return None
    if sender.source_dest_check or exempt.is_nobody(packet.source):
        return DropReason.SPOOFED_ADDRESS
    return None


def ask_gate(view: HostView, interface: ViewInterface, direction: Direction, packet: Packet, peer: Party) -> Hop:
    """One gate: any rule of any group of the interface that covers the packet opens it."""
    gate = Gate.EGRESS if direction is Direction.EGRESS else Gate.INGRESS
    if exempt.is_redirect(packet):
        return Hop(gate, interface.id, reason=DropReason.INVALID_STATE)
    covering = [rule for rule in rules_of(view, interface, direction) if covers_traffic(rule, packet)]
    speaking = [rule for rule in covering if speaks_of(view, rule, peer)]
    by_group = [rule.number for rule in speaking if isinstance(rule.peer, GroupPeer)]
    deciding = min(by_group or [rule.number for rule in speaking], default=None)
    if deciding is not None:
        return Hop(gate, interface.id, rule=deciding)
    closed = DropReason.NO_EGRESS_RULE if gate is Gate.EGRESS else DropReason.NO_INGRESS_RULE
    return Hop(gate, interface.id, reason=closed)


def rules_of(view: HostView, interface: ViewInterface, direction: Direction) -> tuple[Rule, ...]:
    """All rules of all groups of the interface that speak of this direction; a group not in view has none."""
    groups = [view.groups[group] for group in interface.groups if group in view.groups]
    return tuple(rule for group in groups for rule in group.rules if rule.direction is direction)


def speaks_of(view: HostView, rule: Rule, peer: Party) -> bool:
    """Whether this is somebody the rule names."""
    if isinstance(rule.peer, GroupPeer):
        return rule.peer.group in peer.groups
    return any(covers(block, peer.address) for block in blocks_of(view, rule))


def blocks_of(view: HostView, rule: Rule) -> tuple[Cidr, ...]:
    """The blocks that the rule names, itself or by a list; a list not in view has none."""
    match rule.peer:
        case CidrPeer(cidr=cidr):
            return (cidr,)
        case PrefixListPeer(prefix_list=name):
            return view.prefix_lists[name].cidrs if name in view.prefix_lists else ()
        case GroupPeer():
            return ()
        case _ as never:
            assert_never(never)


def covers_traffic(rule: Rule, packet: Packet) -> bool:
    """Whether this is traffic the rule names."""
    low, high = rule.interval
    if rule.protocol != packet.protocol:
        return rule.covers_protocol(packet.protocol)
    return low <= packet.port <= high


def groups_at(view: HostView, vpc: int, address: Address) -> frozenset[SecurityGroupId]:
    """The groups of whoever has this private address. An address that two claim belongs to no group."""
    owners = _claimants(view, vpc, address)
    return frozenset(owners[0].groups) if len(owners) == 1 else NOBODYS


def _is_inside(view: HostView, vpc: int, address: Address) -> bool:
    """Whether it is somebody's in this network, or a public address here: then no outsider has it."""
    known = len(_claimants(view, vpc, address)) == 1 or _owner(view, vpc, address) is not None
    return known or _public_owner(view, address) is not None


def _claimants(view: HostView, vpc: int, address: Address) -> list[ViewMember | ViewInterface]:
    return [party for party in _everybody(view) if party.vpc == vpc and address in party.addresses]


def _everybody(view: HostView) -> Iterator[ViewMember | ViewInterface]:
    """Members and own interfaces, each once: what an own interface says of itself is the newer word."""
    yield from view.interfaces.values()
    yield from (member for name, member in view.members.items() if name not in view.interfaces)


def _owner(view: HostView, vpc: int, address: Address) -> ViewInterface | None:
    return next((own for own in view.interfaces.values() if own.vpc == vpc and address in own.addresses), None)


def _public_owner(view: HostView, address: Address) -> ViewInterface | None:
    """Whom outsiders meet under this address."""
    if address.version == 6:
        return next((own for own in view.interfaces.values() if own.public6 and address in own.addresses), None)
    return next((own for own in view.interfaces.values() if own.public == address), None)

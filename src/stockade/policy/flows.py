"""What becomes of every packet, flows included, straight from the rules: the oracle of every stateful engine.

evaluate.py judges the first packet of a flow; here is what later ones may rely on. Slow and obvious: flows are
remembered as the packet that opened them, and what an interface's rules were is remembered as the rules.

    a packet of a live flow, from a party of it       passes, unless a party's rules changed since its gate
                                                      spoke last and it is asked again (`asked_again`)
    a bare SYN                                        judged as new, whatever is known
    an ICMP error about a live flow                   passes where the flow is tracked; else judged as ICMP
    a later fragment                                  as its first, which must have passed and not be overlapped
    anything else                                     judged as new; it opens a flow, unless it is a TCP reset,
                                                      an ICMP reply or ICMP without reply

What a memory may hold (allowances) is no business of the rules, and so not known here.
"""

from dataclasses import dataclass, replace
from typing import TypeAlias

from stockade.model import ports
from stockade.model.addresses import Address
from stockade.model.flow import DropReason, Gate, Hop, Packet, Verdict
from stockade.model.host_view import HostView, ViewInterface
from stockade.model.ids import NetworkInterfaceId
from stockade.model.rule import Direction
from stockade.policy.dissect import Kind, Neighbour, Reading, dissect
from stockade.policy.evaluate import Party, ask_gate, evaluate, groups_at, refused_outside, source_refused, way_of
from stockade.policy.fragments import noted, of_its_first
from stockade.policy.memory import Flow, FlowKey, Memory, Sender, Side, ends_of, is_tracked, opens_everything
from stockade.policy.neighbours import judge_neighbour

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
SYN_SENT, SYN_ANSWERED, HALF_SHUT, SHUT = 120, 60, 120, 10
ICMP_QUERY, OTHER_PROTOCOL = 30, 600

End: TypeAlias = tuple[Address, int]


def judge_frame(view: HostView, memory: Memory, now: float, frame: bytes, sender: Sender) -> tuple[Verdict, Memory]:
    """What becomes of this Ethernet frame, and what is remembered then."""
    own = None if sender is None else view.interfaces.get(sender)
    if sender is not None and own is None:
        return Verdict((Hop(Gate.SPOOF, sender, reason=DropReason.ENDPOINT_UNKNOWN),)), memory
    found = dissect(frame)
    if isinstance(found, Neighbour) and own is not None:
        return judge_neighbour(own, found), memory
    if isinstance(found, Neighbour):  # outside are no neighbours
        found = DropReason.NONE if found.packet is None else Reading(found.packet, Kind.ALONE)
    if isinstance(found, DropReason):
        return Verdict((Hop(Gate.SPOOF, sender, reason=found),)), memory
    if own is not None and found.source_mac != own.mac:
        return Verdict((Hop(Gate.SPOOF, sender, reason=DropReason.SPOOFED_MAC),)), memory
    return judge(view, memory, now, found, sender)


def judge(view: HostView, memory: Memory, now: float, reading: Reading, sender: Sender) -> tuple[Verdict, Memory]:
    """What becomes of this packet, and what is remembered then."""
    refused = _refused(view, reading.packet, reading.kind, sender)
    if refused is not None:
        return Verdict((refused,)), memory
    if reading.kind is Kind.LATER:
        found, memory = of_its_first(memory, now, reading, sender)
        if found is None:
            return Verdict((Hop(Gate.SPOOF, sender, reason=DropReason.FRAGMENT),)), memory
        reading = found
    verdict, memory = _judge_whole(view, memory, now, reading, sender)
    if verdict.passed and reading.fragment is not None and reading.fragment.low == 0:
        memory = noted(memory, now, reading, sender)
    return verdict, memory


def _refused(view: HostView, packet: Packet, kind: Kind, sender: Sender) -> Hop | None:
    if sender is None:
        return refused_outside(view, packet)
    reason = source_refused(packet, view.interfaces[sender])
    return None if reason is None else Hop(Gate.SPOOF, sender, reason=reason)


def _judge_whole(
    view: HostView, memory: Memory, now: float, reading: Reading, sender: Sender
) -> tuple[Verdict, Memory]:
    packet = reading.packet
    about = _turned(reading, sender) if reading.kind is Kind.ERROR else reading
    found = None if about is None or about.kind is Kind.ALONE else _flow_of(view, memory, now, about, sender)
    if found is not None and not _is_bare_syn(reading):
        if _ends_have_their_addresses(view, found.flow):
            return _follow(view, memory, now, found, reading, sender)
        memory = memory.without(found.key)
    verdict = evaluate(view, packet, sender)
    if not verdict.passed or verdict.hops[-1].gate is Gate.ROUTE or not _opens_a_flow(reading):
        return verdict, memory
    return _remember(view, memory, now, reading, sender, verdict)


def _is_bare_syn(reading: Reading) -> bool:
    return reading.packet.protocol == ports.TCP and reading.flags & (SYN | ACK) == SYN


def _opens_a_flow(reading: Reading) -> bool:
    return reading.kind is Kind.OPENS and not (reading.packet.protocol == ports.TCP and reading.flags & RST)


def _turned(reading: Reading, sender: Sender) -> Reading | None:
    """The quoted packet the other way round: what would go the way the error goes.

    An interface complains for itself alone; outside, any router on the way may.
    """
    quoted = reading.quoted
    if quoted is None or (sender is not None and quoted.packet.destination != reading.packet.source):
        return None
    was = quoted.packet
    kind = {Kind.OPENS: Kind.REPLY, Kind.REPLY: Kind.OPENS}[quoted.kind] if quoted.query is not None else quoted.kind
    if was.protocol in ports.PORTED:
        return Reading(Packet(was.destination, was.source, was.protocol, was.source_port, was.port), kind)
    return Reading(Packet(was.destination, was.source, was.protocol, was.port, was.source_port), kind, 0, quoted.query)


# ── flows ─────────────────────────────────────────────────────────────────────────────────────────────


def _key(packet: Packet, query: int | None, from_asker: bool, zone: int) -> FlowKey:
    """What two flows cannot share: the ends as the responder sees them, whichever way this packet goes."""
    if query is not None:
        asker, asked = (packet.source, packet.destination) if from_asker else (packet.destination, packet.source)
        return zone, packet.protocol, (asker, asked, query, packet.source_port)
    source_port, port = (packet.source_port, packet.port) if packet.protocol in ports.PORTED else (0, 0)
    ends: frozenset[End] = frozenset({(packet.source, source_port), (packet.destination, port)})
    return zone, packet.protocol, ends


@dataclass(frozen=True, slots=True)
class Found:
    """A live flow, and who the sender of this packet is to it."""

    key: FlowKey
    flow: Flow
    by_initiator: bool


def _flow_of(view: HostView, memory: Memory, now: float, reading: Reading, sender: Sender) -> Found | None:
    """The live flow that this packet belongs to: by its addresses as they are, or as they are translated."""
    packet, asks = reading.packet, reading.kind is not Kind.REPLY
    if sender is not None:
        key = _key(packet, reading.query, asks, view.interfaces[sender].vpc)
        flow = memory.flows.get(key)
        if flow is not None and now <= flow.until:
            if flow.initiator is not None and flow.initiator.interface == sender and not flow.by_public:
                to_itself = flow.responder.interface == sender
                return Found(key, flow, by_initiator=not to_itself or _goes_as_the_first(reading, flow))
            if flow.responder.interface == sender:
                return Found(key, flow, by_initiator=False)
    own = None if sender is None else view.interfaces[sender]
    way = way_of(view, packet, own)
    if isinstance(way, DropReason):
        return None
    receiver, source = way
    if not _is_by_public(packet, own, receiver):
        return None
    seen = _translated(packet, own, receiver, source)
    key = _key(seen, reading.query, asks, receiver.vpc)
    flow = memory.flows.get(key)
    if flow is None or now > flow.until or flow.responder.interface != receiver.id or not flow.by_public:
        return None
    initiator = None if flow.initiator is None else flow.initiator.interface
    return Found(key, flow, by_initiator=True) if initiator == sender else None


def _ends_have_their_addresses(view: HostView, flow: Flow) -> bool:
    """An end that lost the address the flow knows it by is no end any more. A router is one of what others say."""
    called_by_public = flow.by_public and flow.seen.source.version == 4
    if flow.initiator is not None:
        own = view.interfaces[flow.initiator.interface]
        translated = called_by_public and not flow.known and flow.source != flow.written.source
        if translated and own.public != flow.source:
            return False
        if own.source_dest_check and flow.written.source not in own.addresses:
            return False
    own = view.interfaces[flow.responder.interface]
    if called_by_public:
        return own.public == flow.written.destination
    return not own.source_dest_check or flow.seen.destination in own.addresses


def _goes_as_the_first(reading: Reading, flow: Flow) -> bool:
    """Whether the packet goes the way of the one that opened the flow: all there is to tell, with oneself."""
    if reading.query is not None:
        return reading.kind is not Kind.REPLY
    return (reading.packet.source, reading.packet.source_port) == (flow.seen.source, flow.seen.source_port)


def _is_by_public(packet: Packet, own: ViewInterface | None, receiver: ViewInterface) -> bool:
    return own is None or own.vpc != receiver.vpc or packet.destination not in receiver.addresses


def _translated(packet: Packet, own: ViewInterface | None, receiver: ViewInterface, source: Party) -> Packet:
    """As the receiver gets it: IPv4 called by a public address comes to the private one behind it."""
    if packet.destination.version == 6 or not _is_by_public(packet, own, receiver):
        return packet
    inside = next(address for address in receiver.addresses if address.version == 4)
    if own is not None and own.id == receiver.id:
        return replace(packet, source=packet.destination, destination=inside)  # nobody hears from its own address
    return replace(packet, source=source.address, destination=inside)


def _remember(
    view: HostView, memory: Memory, now: float, reading: Reading, sender: Sender, verdict: Verdict
) -> tuple[Verdict, Memory]:
    """Its gates opened: from now on it is a flow."""
    packet, own = reading.packet, None if sender is None else view.interfaces[sender]
    way = way_of(view, packet, own)
    assert not isinstance(way, DropReason), "what passed has got there"
    receiver, source = way
    seen = _translated(packet, own, receiver, source)
    flow = Flow(
        written=packet,
        seen=seen,
        query=reading.query,
        zone=receiver.vpc,
        initiator=None if own is None else _side(memory, own.id, Direction.EGRESS, packet),
        responder=_side(memory, receiver.id, Direction.INGRESS, seen),
        source=source.address,
        known=bool(source.groups),
        by_public=_is_by_public(packet, own, receiver),
    )
    key = _key(seen, reading.query, True, receiver.vpc)
    old = memory.flows.get(key)
    if old is not None and now <= old.until and not old.shut:
        if old.parties == flow.parties:  # the same asked for again
            renewed = replace(
                old, initiator=flow.initiator, responder=flow.responder, source=flow.source, known=flow.known
            )
            return verdict, _kept(view, memory, now, key, renewed)
        if own is not None and old.parties[0] == own.id and old.by_public != flow.by_public:
            # Once by the private and once by the public address: answers could not be told apart.
            refused = Hop(Gate.INGRESS, receiver.id, reason=DropReason.INVALID_STATE)
            return Verdict((*verdict.hops[:-1], refused)), memory
    return verdict, _kept(view, memory, now, key, flow)


def _side(memory: Memory, interface: NetworkInterfaceId, direction: Direction, packet: Packet) -> Side:
    standings = memory.standings[interface]
    return Side(interface, is_tracked(standings[-1], direction, packet), len(standings) - 1)


def _kept(view: HostView, memory: Memory, now: float, key: FlowKey, flow: Flow) -> Memory:
    kept = replace(flow, until=now + _patience(view, flow))
    return replace(memory, flows={**memory.flows, key: kept})


def _patience(view: HostView, flow: Flow) -> float:
    """How long it may be idle now: as long as both its ends remember it."""
    timers = [view.interfaces[name].tracking for name in ends_of(flow)]
    if flow.seen.protocol == ports.TCP:
        if flow.shut:
            return SHUT
        if flow.shut_by:
            return HALF_SHUT
        if flow.established:
            return min(each.tcp_established for each in timers)
        return SYN_ANSWERED if flow.replied else SYN_SENT
    if flow.seen.protocol == ports.UDP:
        return min(each.udp_stream if flow.replied else each.udp for each in timers)
    return ICMP_QUERY if flow.seen.protocol in ports.TYPED else OTHER_PROTOCOL


def _follow(
    view: HostView, memory: Memory, now: float, found: Found, reading: Reading, sender: Sender
) -> tuple[Verdict, Memory]:
    """A packet of a live flow, or an error about it."""
    flow, key = found.flow, found.key
    egress = asked_again(view, memory, flow, Direction.EGRESS)
    ingress = asked_again(view, memory, flow, Direction.INGRESS)
    for hop in (egress, ingress):
        if isinstance(hop, Hop):
            return Verdict((hop,)), memory if reading.kind is Kind.ERROR else memory.without(key)
    assert isinstance(ingress, Side), "a responder is always an interface"
    assert not isinstance(egress, Hop), "looked at above"
    flow = replace(flow, initiator=egress, responder=ingress)
    receiver = flow.responder.interface if found.by_initiator else None if egress is None else egress.interface
    hops = (Hop(Gate.EGRESS, sender, rule=0), Hop(Gate.INGRESS, receiver, rule=0))
    passed = Verdict(tuple(hop for hop in hops if hop.interface is not None))
    if reading.kind is Kind.ERROR:
        verdict = _error_about(view, memory.strict, flow, found.by_initiator, reading) or passed
        return verdict, replace(memory, flows={**memory.flows, key: flow})
    return passed, _kept(view, memory, now, key, _moved_on(flow, found.by_initiator, reading.flags))


def _moved_on(flow: Flow, by_initiator: bool, flags: int) -> Flow:
    """Its state after this packet; the flags are those of TCP."""
    replied = flow.replied or not by_initiator
    if flow.seen.protocol != ports.TCP:
        return replace(flow, replied=replied)
    shutting = frozenset({"initiator" if by_initiator else "responder"} if flags & FIN else ())
    return replace(
        flow,
        replied=replied,
        established=flow.established or (flow.replied and by_initiator),
        shut_by=flow.shut_by | shutting,
        reset=flow.reset or bool(flags & RST),
    )


def asked_again(view: HostView, memory: Memory, flow: Flow, direction: Direction) -> Side | Hop | None:
    """One end's word on a flow under today's rules: as it was, anew, or the hop that ends the flow."""
    side = flow.initiator if direction is Direction.EGRESS else flow.responder
    if side is None:
        return None
    standings = memory.standings[side.interface]
    since = standings[side.asked + 1 :]
    if not since:
        return side
    interface = view.interfaces[side.interface]
    packet = flow.written if direction is Direction.EGRESS else flow.seen
    hop = ask_gate(view, interface, direction, packet, _peer(view, flow, direction))
    was_cut = any(standing.cuts != standings[side.asked].cuts for standing in since)
    was_open = packet.protocol in ports.PORTED and any(
        all(opens_everything(standing, each, packet) for each in Direction) for standing in since
    )
    if not side.tracked or was_cut or was_open:
        if hop.reason is not None:
            return hop
        return Side(side.interface, is_tracked(since[-1], direction, packet), len(standings) - 1)
    tracked = hop.reason is not None or is_tracked(since[-1], direction, packet)
    return Side(side.interface, tracked, len(standings) - 1)


def _peer(view: HostView, flow: Flow, direction: Direction) -> Party:
    """Whom the gate of this end is asked about: the other end, with the groups it has today."""
    if direction is Direction.EGRESS:
        assert flow.initiator is not None, "nobody outside has a gate"
        network = view.interfaces[flow.initiator.interface].vpc
        return Party(flow.written.destination, groups_at(view, network, flow.written.destination))
    network = view.interfaces[flow.responder.interface].vpc
    return Party(flow.source, groups_at(view, network, flow.source) if flow.known else frozenset())


def _error_about(view: HostView, strict: bool, flow: Flow, by_initiator: bool, reading: Reading) -> Verdict | None:
    """Where the flow is tracked the error is part of it; an end that does not track it asks its rules for ICMP.

    None: no gate had to be asked.
    """
    sends, gets = (flow.initiator, flow.responder) if by_initiator else (flow.responder, flow.initiator)
    by_router = reading.quoted is not None and reading.quoted.packet.destination != reading.packet.source
    hops = []
    for side, direction in ((sends, Direction.EGRESS), (gets, Direction.INGRESS)):
        if side is None or (side.tracked and not strict):
            continue
        own = view.interfaces[side.interface]
        peer = _peer(view, flow, Direction.EGRESS if side is flow.initiator else Direction.INGRESS)
        if direction is Direction.EGRESS:  # asked about a destination, so about whoever has it
            peer = Party(peer.address, groups_at(view, own.vpc, peer.address))
        if direction is Direction.INGRESS and by_router:
            peer = Party(reading.packet.source, frozenset())
        hops.append(ask_gate(view, own, direction, reading.packet, peer))
        if hops[-1].reason is not None:
            break
    return Verdict(tuple(hops)) if hops else None

"""A packet on its way from device to device: by the flow it belongs to, or by the rules.

The slow spelling of what bpf/stockade.bpf.c does with packets that were read and whose MAC is right.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from stockade.datapath.simulated.allowance import Allowance
from stockade.datapath.simulated.conntrack import (
    Conntrack,
    Flow,
    FlowKey,
    Tcp,
    asks_anew,
    flow_key,
    opens_flows,
    timers_of,
)
from stockade.datapath.simulated.evidence import Outcome, rules_of
from stockade.datapath.simulated.following import Following
from stockade.datapath.simulated.fragments import Fragments
from stockade.datapath.simulated.judge import Arrival, Judge, Sender
from stockade.model.flow import DropReason, Gate, Hop, Packet, Verdict
from stockade.model.ports import PORTED
from stockade.policy.dissect import Kind, Reading
from stockade.policy.entries import NO_IDENTITY


@dataclass(frozen=True, slots=True)
class Passage:
    """The fabric of one host at one moment."""

    judge: Judge
    following: Following
    conntrack: Conntrack
    fragments: Fragments
    allowance: Allowance
    now: float

    def let(self, reading: Reading, sender: Sender) -> Outcome:
        """What becomes of this packet; flows and fragments are remembered."""
        packet = reading.packet
        refused = self.judge.refused(packet, sender)
        if refused is None and reading.kind is Kind.LATER:
            followed = self.fragments.follow_first(reading, sender, self.now)
            if followed is None:
                refused = Hop(Gate.SPOOF, sender, reason=DropReason.FRAGMENT)
            else:
                reading = followed
        if refused is not None:
            return Outcome(Verdict((refused,)), packet)
        outcome = self._by_flow(reading, sender) or self._by_rules(reading, sender)
        if outcome.verdict.passed:
            self.fragments.note_first(reading, sender, self.now)
        return outcome

    # ── by a flow that is there ───────────────────────────────────────────────────────────────────────

    def _by_flow(self, reading: Reading, sender: Sender) -> Outcome | None:
        subject = reading if reading.kind is not Kind.ERROR else turned(reading, sender)
        if subject is None or subject.kind is Kind.ALONE or asks_anew(reading):
            return None
        for key, by_public in self._possible_keys(subject, sender):
            flow = self.conntrack.find(key)
            if flow is None:
                continue
            by_initiator = _is(flow, "initiator", sender) and (flow.via_public == by_public or sender is None)
            if by_initiator and not by_public and flow.is_with_oneself:
                by_initiator = flow.opened_like(subject)
            if by_initiator or (_is(flow, "responder", sender) and not by_public):
                return self._follow(key, flow, reading, sender, by_initiator)
        return None

    def _possible_keys(self, subject: Reading, sender: Sender) -> Iterator[tuple[FlowKey, bool]]:
        """Keys its flow may be under: with its addresses as they are, or as they would arrive by a public one."""
        if sender is not None:
            yield flow_key(subject, subject.packet, self.judge.policy.endpoints[sender].vpc), False
        arrival = self.judge.arrival(subject.packet, sender)
        if isinstance(arrival, Arrival) and arrival.via_public:
            yield flow_key(subject, arrival.packet, arrival.receiver.vpc), True

    def _follow(self, key: FlowKey, flow: Flow, reading: Reading, sender: Sender, by_initiator: bool) -> Outcome | None:
        stands = self.following.reconsidered(flow)
        if stands is None:
            self.conntrack.forget(key)
            return None
        if isinstance(stands, Hop):
            if reading.kind is not Kind.ERROR:
                self.conntrack.forget(key)
            return Outcome(Verdict((stands,)), reading.packet)
        gets = stands.responder if by_initiator else stands.initiator
        receiver = None if gets is None else gets.endpoint
        hops = (Hop(Gate.EGRESS, sender, rule=0), Hop(Gate.INGRESS, receiver, rule=0))
        passed = Verdict(tuple(hop for hop in hops if hop.interface is not None))
        if reading.kind is Kind.ERROR:
            self.conntrack.amend(key, stands)
            asked = Verdict(self.following.judged_error(stands, by_initiator, reading))
            if asked.hops:
                rules = rules_of(asked) if not asked.passed else stands.rules
                return Outcome(asked, reading.packet, rules)
            return Outcome(passed, reading.packet, stands.rules, is_news=False)
        moved = stands.moved(by_initiator, Tcp(reading.flags & 0x17))
        self.conntrack.put(key, moved, timers_of(*(self.judge.policy.endpoints[end.endpoint] for end in moved.ends)))
        return Outcome(passed, reading.packet, moved.rules, is_news=False)

    # ── by the rules ──────────────────────────────────────────────────────────────────────────────────

    def _by_rules(self, reading: Reading, sender: Sender) -> Outcome:
        verdict, arrival = self.judge.judge(reading.packet, sender)
        rules = rules_of(verdict)
        if arrival is None or not verdict.passed:
            return Outcome(verdict, reading.packet if arrival is None else arrival.packet, rules)
        if not opens_flows(reading):
            return Outcome(verdict, arrival.packet, rules)
        return self._open(reading, sender, verdict, arrival)

    def _open(self, reading: Reading, sender: Sender, verdict: Verdict, arrival: Arrival) -> Outcome:
        packet, (egress, ingress) = reading.packet, rules_of(verdict)
        flow = Flow(
            first=arrival.packet,
            query=reading.query,
            initiator=None if sender is None else self.following.end(Gate.EGRESS, sender, egress, packet),
            responder=self.following.end(Gate.INGRESS, arrival.receiver.id, ingress, arrival.packet),
            source=packet.source,
            called=packet.destination,
            judged_source=arrival.source,
            is_member=arrival.identity != NO_IDENTITY,
            via_public=arrival.via_public,
            seen=self.now,
        )
        key = flow_key(reading, arrival.packet, arrival.receiver.vpc)
        reason, is_new = self.remember(key, flow)
        if reason is None:
            return Outcome(verdict, arrival.packet, (egress, ingress), is_new)
        refused = Hop(Gate.INGRESS, arrival.receiver.id, reason=reason)
        return Outcome(Verdict((*verdict.hops[:-1], refused)), arrival.packet, (egress, ingress))

    def remember(self, key: FlowKey, flow: Flow) -> tuple[DropReason | None, bool]:
        """Keep a flow that passed its gates: why that is not possible, and whether it is a new one."""
        timers = timers_of(*(self.judge.policy.endpoints[end.endpoint] for end in flow.ends))
        old = self.conntrack.find(key)
        if old is not None and not old.shut:
            if old.parties == flow.parties:
                renewed = replace(old, initiator=flow.initiator, responder=flow.responder, is_member=flow.is_member)
                self.conntrack.put(key, replace(renewed, judged_source=flow.judged_source), timers)
                return None, False
            initiators = {None if each.initiator is None else each.initiator.endpoint for each in (old, flow)}
            if len(initiators) == 1 and initiators != {None} and old.via_public != flow.via_public:
                return DropReason.INVALID_STATE, True  # answers could not be told apart: the first come stays
        self.conntrack.forget(key)
        if self.allowance.take_room(self.conntrack, flow, len(self.judge.policy.endpoints)):
            self.conntrack.put(key, flow, timers)
            return None, True
        without_memory = flow.untracked_throughout and not flow.via_public
        return (None if without_memory else DropReason.CONNTRACK_FULL), True


def turned(reading: Reading, sender: Sender) -> Reading | None:
    """The packet that an error quotes, the other way round: it belongs to the flow that the error is about.

    None: the error is about nothing of its sender's. Outside, any router on the way may complain.
    """
    if reading.quoted is None:
        return None
    quoted, was = reading.quoted, reading.quoted.packet
    if sender is not None and was.destination != reading.packet.source:
        return None
    kind = quoted.kind
    if quoted.query is not None:
        kind = Kind.REPLY if kind is Kind.OPENS else Kind.OPENS
    there, back = (was.source_port, was.port) if was.protocol in PORTED else (was.port, was.source_port)
    return Reading(Packet(was.destination, was.source, was.protocol, there, back), kind, query=quoted.query)


def _is(flow: Flow, role: str, sender: Sender) -> bool:
    end = flow.initiator if role == "initiator" else flow.responder
    return (None if end is None else end.endpoint) == sender

"""Filter mode (architecture D11): somebody else forwards, and each device judges for itself what goes in and out.

The slow spelling of bpf/filter.h. Flows are kept by device, so the gates of two devices on one bridge are two.
"""

from dataclasses import dataclass

from stockade.datapath.simulated.conntrack import Flow, FlowKey, Tcp, asks_anew, flow_key, opens_flows, timers_of
from stockade.datapath.simulated.evidence import Outcome, rules_of
from stockade.datapath.simulated.gates import ask
from stockade.datapath.simulated.passage import Passage, turned
from stockade.model.flow import DropReason, Gate, Hop, Verdict
from stockade.policy import exempt
from stockade.policy.dissect import Kind, Reading
from stockade.policy.entries import NO_IDENTITY, Endpoint


@dataclass(frozen=True, slots=True)
class Filter:
    """One device's two hooks. `incoming`: what is to reach the guest, else what it sends."""

    passage: Passage
    endpoint: Endpoint
    incoming: bool

    def let(self, reading: Reading) -> Outcome:
        """What becomes of this packet at this device."""
        name, now, packet = self.endpoint.id, self.passage.now, reading.packet
        refused = self._refused(reading)
        if refused is None and reading.kind is Kind.LATER:
            followed = self.passage.fragments.follow_first(reading, name, now, self.incoming)
            if followed is None:
                refused = DropReason.FRAGMENT
            else:
                reading = followed
        if refused is not None:
            return Outcome(Verdict((Hop(Gate.SPOOF, name, reason=refused),)), packet)
        outcome = self._by_flow(reading) or self._by_rules(reading)
        if outcome.verdict.passed:
            self.passage.fragments.note_first(reading, name, now, self.incoming)
        return outcome

    def _refused(self, reading: Reading) -> DropReason | None:
        packet = reading.packet
        if not self.incoming:
            hop = self.passage.judge.refused(packet, self.endpoint.id)
            return None if hop is None else hop.reason
        if exempt.is_for_many(packet.destination):
            return DropReason.MULTICAST
        if self.endpoint.source_dest_check and packet.destination not in self.endpoint.addresses:
            return DropReason.NOT_OURS
        return DropReason.SPOOFED_ADDRESS if exempt.is_nobody(packet.source) else None

    def _by_flow(self, reading: Reading) -> Outcome | None:
        about = turned(reading, None) if reading.kind is Kind.ERROR else reading
        if about is None or about.kind is Kind.ALONE or asks_anew(reading):
            return None
        key = flow_key(about, about.packet, self.endpoint.id)
        flow = self.passage.conntrack.find(key)
        if flow is None or flow.end_of(self.endpoint.id) is None:
            return None
        return self._follow(key, flow, reading)

    def _follow(self, key: FlowKey, flow: Flow, reading: Reading) -> Outcome | None:
        mine = flow.initiator is not None
        by_initiator = mine is not self.incoming
        gate = Gate.INGRESS if self.incoming else Gate.EGRESS
        stands = self.passage.following.reconsidered(flow)
        if stands is None:
            self.passage.conntrack.forget(key)
            return None
        if isinstance(stands, Hop):
            self.passage.conntrack.forget(key)
            return Outcome(Verdict((stands,)), reading.packet)
        passed = Verdict((Hop(gate, self.endpoint.id, rule=0),))
        if reading.kind is Kind.ERROR:
            self.passage.conntrack.amend(key, stands)
            asked = Verdict(self.passage.following.judged_error(stands, by_initiator, reading))
            return Outcome(asked if asked.hops else passed, reading.packet, stands.rules, bool(asked.hops))
        moved = stands.moved(by_initiator, Tcp(reading.flags & 0x17))
        self.passage.conntrack.put(key, moved, timers_of(self.endpoint))
        return Outcome(passed, reading.packet, moved.rules, is_news=False)

    def _by_rules(self, reading: Reading) -> Outcome:
        packet, own = reading.packet, self.endpoint
        gate, peer = (Gate.INGRESS, packet.source) if self.incoming else (Gate.EGRESS, packet.destination)
        if not self.incoming and exempt.is_for_many(packet.destination):
            return Outcome(Verdict((Hop(Gate.EGRESS, own.id, reason=DropReason.MULTICAST),)), packet)
        following = self.passage.following
        identity = following.identity(own.vpc, peer)
        hop = ask(gate, own.id, following.policy.rule_sets[own.rule_set], packet, peer=peer, identity=identity)
        verdict = Verdict((hop,))
        if hop.rule is None or not opens_flows(reading):
            return Outcome(verdict, packet, rules_of(verdict))
        end = following.end(gate, own.id, hop.rule, packet)
        flow = Flow(
            first=packet,
            query=reading.query,
            initiator=None if self.incoming else end,
            responder=end if self.incoming else None,
            source=packet.source,
            called=packet.destination,
            judged_source=packet.source,
            is_member=identity != NO_IDENTITY,
            via_public=False,
            seen=self.passage.now,
        )
        reason, is_new = self.passage.remember(flow_key(reading, packet, own.id), flow)
        if reason is not None:
            return Outcome(Verdict((Hop(gate, own.id, reason=reason),)), packet, rules_of(verdict))
        return Outcome(verdict, packet, rules_of(verdict), is_new)

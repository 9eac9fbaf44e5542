"""What a live flow still is under today's rules. The slow spelling of `reconsider` and `judge_error` in bpf/.

An end whose rules changed is asked again about the packet that opened the flow; an ICMP error about a flow is
asked about at an end that does not track it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from stockade.datapath.simulated.conntrack import End, Flow
from stockade.datapath.simulated.epochs import Epochs
from stockade.datapath.simulated.gates import ask, is_untracked
from stockade.model.addresses import Address
from stockade.model.flow import Gate, Hop, Packet
from stockade.model.ids import NetworkInterfaceId
from stockade.policy.dissect import Reading
from stockade.policy.entries import NO_IDENTITY, Endpoint, HostPolicy, Identity


@dataclass(frozen=True, slots=True)
class Following:
    """The policy in force, and since when it is what it is at each endpoint. `strict`: errors always need a rule."""

    policy: HostPolicy
    epochs: Mapping[NetworkInterfaceId, Epochs]
    strict: bool

    def end(self, gate: Gate, endpoint: NetworkInterfaceId, rule: int, packet: Packet) -> End:
        """What a gate that opened for this packet leaves in the flow."""
        rules = self.policy.rule_sets[self.policy.endpoints[endpoint].rule_set]
        return End(endpoint, rule, is_untracked(rules, gate, packet), self.epochs[endpoint].now)

    def reconsidered(self, flow: Flow) -> Flow | Hop | None:
        """The flow as it stands today, or the gate that ends it. None: an end has lost the address it has in it."""
        ends = ((Gate.EGRESS, flow.initiator), (Gate.INGRESS, flow.responder))
        changed = [(gate, end) for gate, end in ends if end and self.epochs[end.endpoint].now != end.epoch]
        if not all(self._still_has(flow, gate, self.policy.endpoints[end.endpoint]) for gate, end in changed):
            return None
        for gate, end in changed:
            asked = self._asked_again(flow, gate, end)
            if isinstance(asked, Hop):
                return asked
            flow = replace(flow, initiator=asked) if gate is Gate.EGRESS else replace(flow, responder=asked)
        return flow

    def _still_has(self, flow: Flow, gate: Gate, endpoint: Endpoint) -> bool:
        """Whether the end has the address that the flow knows it by. A router is an end of what others say."""
        by_public = flow.via_public and flow.first.source.version == 4
        if by_public and gate is Gate.INGRESS:
            return endpoint.public == flow.called
        if by_public and not flow.is_member and flow.judged_source not in (flow.source, endpoint.public):
            return False
        own = flow.first.destination if gate is Gate.INGRESS else flow.source
        return not endpoint.source_dest_check or own in endpoint.addresses

    def _asked_again(self, flow: Flow, gate: Gate, end: End) -> End | Hop:
        packet = flow.first
        if gate is Gate.EGRESS:
            packet = replace(packet, source=flow.source, destination=flow.called)
        hop = self._ask(flow, gate, gate is Gate.EGRESS, end, packet, None)
        epochs = self.epochs[end.endpoint]
        anew = end.untracked or epochs.anew(end.epoch, packet.source.version, packet.protocol)
        if hop.rule is None:
            return hop if anew else replace(end, epoch=epochs.now)
        today = self.end(gate, end.endpoint, hop.rule, packet)
        return today if anew or today.untracked else replace(end, epoch=epochs.now)

    def judged_error(self, flow: Flow, by_initiator: bool, error: Reading) -> tuple[Hop, ...]:
        """What the gates say that have to be asked about this error, up to the first that stays closed."""
        sends, gets = (flow.initiator, flow.responder) if by_initiator else (flow.responder, flow.initiator)
        complainer = error.packet.source
        by_router = error.quoted is not None and error.quoted.packet.destination != complainer
        hops: list[Hop] = []
        for gate, end in ((Gate.EGRESS, sends), (Gate.INGRESS, gets)):
            if end is None or not (end.untracked or self.strict):
                continue
            seen = complainer if by_router and gate is Gate.INGRESS else None
            hops.append(self._ask(flow, gate, end is flow.initiator, end, error.packet, seen))
            if hops[-1].reason is not None:
                break
        return tuple(hops)

    def _ask(self, flow: Flow, gate: Gate, is_initiator: bool, end: End, packet: Packet, seen: Address | None) -> Hop:
        """One gate about this packet; the other side is the flow's other end, or `seen`."""
        endpoint = self.policy.endpoints[end.endpoint]
        peer = seen or (flow.called if is_initiator else flow.judged_source)
        known = is_initiator or flow.is_member or gate is Gate.EGRESS
        identity = self.identity(endpoint.vpc, peer) if known else NO_IDENTITY
        return ask(gate, endpoint.id, self.policy.rule_sets[endpoint.rule_set], packet, peer=peer, identity=identity)

    def identity(self, vpc: int, address: Address) -> Identity:
        return self.policy.members.get((vpc, address), NO_IDENTITY)

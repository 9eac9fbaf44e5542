"""The Datapath contract in memory: attach, apply, then `judge` a packet or `send` one.

`judge` answers for the first packet of a flow and changes nothing. `send` is what a packet on the wire
does: it meets conntrack first, opens flows, and leaves counters and events. Both work from the applied
entries; time stands still until `advance`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import IPv4Address
from typing import TypeVar

from stockade.datapath.contract import Applied, ApplyFailed, Counters, DeviceName, RuleHits
from stockade.datapath.simulated.conntrack import (
    ICMP_ERRORS,
    Conntrack,
    Flow,
    FlowKey,
    Tcp,
    asks_anew,
    flow_key,
    is_of_a_flow,
    opens_flows,
)
from stockade.datapath.simulated.judge import Judge, Sender, primary
from stockade.model.flow import DropReason, FlowEvent, Gate, Hop, Packet, Verdict
from stockade.model.ids import NetworkInterfaceId
from stockade.model.ports import ICMP, TCP
from stockade.policy.entries import HostPolicy

_Key = TypeVar("_Key")
SERVICE_ADDRESSES = IPv4Address("100.64.0.0")


class SimulatedDatapath:
    """Enforces policy on devices that are only names."""

    def __init__(self, start: datetime) -> None:
        """`start`: what its clock shows at first."""
        self._start = self._now = start
        self._devices: dict[NetworkInterfaceId, DeviceName] = {}
        self._slots: dict[NetworkInterfaceId, int] = {}
        self._slots_given = 0
        self._policy = HostPolicy()
        self._conntrack = Conntrack(self._seconds)
        self._events: list[FlowEvent] = []
        self._hits: defaultdict[int, Counter[str]] = defaultdict(Counter)
        self._drops: Counter[DropReason] = Counter()
        self._endpoint_drops: defaultdict[NetworkInterfaceId, Counter[DropReason]] = defaultdict(Counter)

    # ── the contract ──────────────────────────────────────────────────────────────────────────────────

    def attach(self, endpoint: NetworkInterfaceId, device: DeviceName) -> None:
        self._devices[endpoint] = device
        if endpoint not in self._slots:
            self._slots_given += 1
            self._slots[endpoint] = self._slots_given

    def detach(self, endpoint: NetworkInterfaceId) -> None:
        self._devices.pop(endpoint, None)
        self._slots.pop(endpoint, None)
        self._conntrack.forget(endpoint)

    def apply(self, desired: HostPolicy) -> Applied:
        for endpoint in desired.endpoints.values():
            if endpoint.rule_set not in desired.rule_sets:
                raise ApplyFailed(f"endpoint {endpoint.id} names rule set {endpoint.rule_set:x}, which is not given")
        old, self._policy = (
            self._policy,
            HostPolicy(dict(desired.endpoints), dict(desired.members), dict(desired.rule_sets)),
        )
        steps = (
            _changes(old.endpoints, desired.endpoints)
            + _changes(old.members, desired.members)
            + _changes(old.rule_sets, desired.rule_sets)
        )
        return Applied(steps=steps, took_ms=0.0)

    def observe(self) -> HostPolicy:
        return self._policy

    def flows(self) -> Iterator[FlowEvent]:
        while self._events:
            yield self._events.pop(0)

    def counters(self) -> Counters:
        return Counters(
            rules={number: RuleHits(hits["packets"], hits["bytes"]) for number, hits in self._hits.items()},
            drops=dict(self._drops),
            endpoint_drops={endpoint: dict(drops) for endpoint, drops in self._endpoint_drops.items()},
        )

    def service_address(self, endpoint: NetworkInterfaceId) -> IPv4Address:
        return SERVICE_ADDRESSES + self._slots[endpoint]

    def close(self) -> None:
        """Nothing to let go of."""

    # ── packets ───────────────────────────────────────────────────────────────────────────────────────

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += timedelta(seconds=seconds)

    def judge(self, packet: Packet, sender: Sender) -> Verdict:
        """What becomes of the first packet of a flow."""
        return self._judge.judge(packet, sender)[0]

    def send(
        self,
        packet: Packet,
        sender: Sender,
        *,
        flags: Tcp = Tcp.SYN,
        quoted: Packet | None = None,
        size: int = 60,
    ) -> Verdict:
        """What becomes of this packet on the wire, by conntrack or by the rules.

        `flags` count for TCP only. `quoted`: in an ICMP error, the packet it complains about as its sender
        had received it.
        """
        refused = self._judge.unasked(packet, sender)
        if refused is not None:
            return self._tell(packet, sender, Verdict((refused,)), size)
        followed = self._follow(packet, sender, flags, quoted)
        if followed is not None:
            flow, receiver = followed
            hops = (Hop(Gate.EGRESS, sender, rule=0), Hop(Gate.INGRESS, receiver, rule=0))
            verdict = Verdict(tuple(hop for hop in hops if hop.interface is not None))
            self._count(flow.rules, size)
            return verdict
        verdict, arrival = self._judge.judge(packet, sender)
        is_new = True
        if verdict.passed and arrival is not None and opens_flows(packet) and not _resets(packet, flags):
            key = flow_key(arrival.packet, arrival.receiver.vpc)
            rules = _rules_of(verdict)
            flow = Flow(arrival.packet, sender, arrival.receiver.id, rules, arrival.via_public, self._seconds())
            if self._conntrack.contradicts(key, flow):
                refused = Hop(Gate.EGRESS, sender, reason=DropReason.INVALID_STATE)
                return self._tell(arrival.packet, sender, Verdict((refused,)), size)
            is_new = self._conntrack.open(key, flow)
        if not is_new:
            self._count(_rules_of(verdict), size)
            return verdict
        return self._tell(packet if arrival is None else arrival.packet, sender, verdict, size)

    @property
    def _judge(self) -> Judge:
        return Judge(self._policy, self._devices)

    def _seconds(self) -> float:
        return (self._now - self._start).total_seconds()

    # ── flows ─────────────────────────────────────────────────────────────────────────────────────────

    def _follow(self, packet: Packet, sender: Sender, flags: Tcp, quoted: Packet | None) -> tuple[Flow, Sender] | None:
        """The live flow that lets this packet pass unasked, and who gets it."""
        is_error = packet.protocol == ICMP and packet.port >> 8 in ICMP_ERRORS
        subject = quoted if is_error and quoted is not None else packet
        if not is_of_a_flow(subject) or (is_error and subject.source != packet.destination):
            return None  # nobody's flow, or a complaint to somebody who did not send that packet
        if not is_error and asks_anew(packet, flags):
            return None
        for key, seen, via_public in self._possible_keys(subject, sender, is_error):
            flow = self._conntrack.find(key)
            if flow is None:
                continue
            if sender == flow.initiator and flow.via_public == via_public:
                receiver: Sender = flow.responder
            elif sender == flow.responder and not via_public:
                receiver = flow.initiator
            else:
                continue
            if receiver is not None and (receiver not in self._devices or receiver not in self._policy.endpoints):
                continue
            if not is_error:
                self._conntrack.follow(key, flow, seen, flags)
            return flow, receiver
        return None

    def _possible_keys(self, packet: Packet, sender: Sender, quoted: bool) -> Iterator[tuple[FlowKey, Packet, bool]]:
        """Keys this packet's flow may be under: with its addresses as they are, or as they would arrive.

        The last value: whether the other side is called by its public address. A quoted packet went the
        other way, so what the sender calls the other side by is its source.
        """
        if sender is not None:
            yield flow_key(packet, self._policy.endpoints[sender].vpc), packet, False
        if quoted:
            owner = self._judge.owner_of_public(packet.source)
            if owner is not None:
                private = replace(packet, source=primary(owner))
                yield flow_key(private, owner.vpc), private, True
            return
        arrival = self._judge.arrival(packet, sender)
        if not isinstance(arrival, DropReason):
            yield flow_key(arrival.packet, arrival.receiver.vpc), arrival.packet, arrival.via_public

    # ── evidence ──────────────────────────────────────────────────────────────────────────────────────

    def _tell(self, packet: Packet, sender: Sender, verdict: Verdict, size: int) -> Verdict:
        """Counters and an event for a packet that was judged."""
        rules = _rules_of(verdict)
        last = verdict.hops[-1]
        self._count(rules, size)
        if last.reason is not None:
            self._drops[last.reason] += 1
            if last.interface is not None:
                self._endpoint_drops[last.interface][last.reason] += 1
        owner = last.interface if sender is None else sender
        endpoint = None if owner is None else self._policy.endpoints.get(owner)
        self._events.append(
            FlowEvent(
                at=self._now,
                vpc=0 if endpoint is None else endpoint.vpc,
                packet=packet,
                passed=verdict.passed,
                gate=last.gate,
                reason=last.reason or DropReason.NONE,
                rules=rules,
            )
        )
        return verdict

    def _count(self, rules: tuple[int, int], size: int) -> None:
        for rule in rules:
            if rule:
                self._hits[rule].update(packets=1, bytes=size)


def _resets(packet: Packet, flags: Tcp) -> bool:
    return packet.protocol == TCP and Tcp.RST in flags


def _rules_of(verdict: Verdict) -> tuple[int, int]:
    """(egress, ingress) rule numbers, 0 where none spoke."""
    named = {hop.gate: hop.rule or 0 for hop in verdict.hops}
    return named.get(Gate.EGRESS, 0), named.get(Gate.INGRESS, 0)


def _changes(before: Mapping[_Key, object], after: Mapping[_Key, object]) -> int:
    """How many entries differ."""
    return sum(1 for key in before.keys() | after.keys() if before.get(key) != after.get(key))

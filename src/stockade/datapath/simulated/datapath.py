"""The Datapath contract in memory: attach, apply, then `judge` a packet, or `send` one, or a whole frame.

`judge` answers for the first packet of a flow and changes nothing. `send` and `send_frame` are what a packet on
the wire does: it meets flows first, opens them, and leaves counters and events. `receive_frame` is the second hook
of a device in filter mode. All work from the applied entries; time stands still until `advance`.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from ipaddress import IPv4Address
from typing import TypeVar

from stockade.datapath.contract import Applied, ApplyFailed, Audit, Counters, DeviceName, Usage
from stockade.datapath.simulated.allowance import Allowance
from stockade.datapath.simulated.conntrack import Conntrack, Tcp
from stockade.datapath.simulated.epochs import Epochs
from stockade.datapath.simulated.evidence import Evidence, Outcome
from stockade.datapath.simulated.filter_mode import Filter
from stockade.datapath.simulated.following import Following
from stockade.datapath.simulated.fragments import Fragments
from stockade.datapath.simulated.judge import Judge, Sender
from stockade.datapath.simulated.neighbours import is_answered, refused_neighbour
from stockade.datapath.simulated.passage import Passage
from stockade.model.flow import DropReason, FlowEvent, Gate, Hop, Packet, Verdict
from stockade.model.ids import NetworkInterfaceId
from stockade.policy.dissect import (
    REDIRECTS,
    Dissected,
    Kind,
    Neighbour,
    Reading,
    dissect,
    reading_of,
)
from stockade.policy.entries import Endpoint, HostPolicy

_Key = TypeVar("_Key")
SERVICE_ADDRESSES = IPv4Address("100.64.0.0")
ETHERNET = 14


class SimulatedDatapath:
    """Enforces policy on devices that are only names."""

    def __init__(self, start: datetime, *, allowance: Allowance | None = None, strict: bool = False) -> None:
        """`start`: what its clock shows at first. `strict`: ICMP errors need a rule, also about tracked flows."""
        self._start = self._now = start
        self._allowance = allowance or Allowance()
        self._strict = strict
        self._devices: dict[NetworkInterfaceId, DeviceName] = {}
        self._slots: dict[NetworkInterfaceId, int] = {}
        self._slots_given = 0
        self._applied = self._policy = HostPolicy()
        self._epochs: dict[NetworkInterfaceId, Epochs] = {}
        self._conntrack = Conntrack(self._seconds)
        self._fragments = Fragments()
        self._evidence = Evidence()

    # ── the contract ──────────────────────────────────────────────────────────────────────────────────

    def attach(self, endpoint: NetworkInterfaceId, device: DeviceName) -> None:
        self._devices[endpoint] = device
        if endpoint not in self._slots:
            self._slots_given += 1
            self._slots[endpoint] = self._slots_given

    def detach(self, endpoint: NetworkInterfaceId) -> None:
        self._devices.pop(endpoint, None)
        self._slots.pop(endpoint, None)
        self._forget(endpoint)

    def apply(self, desired: HostPolicy) -> Applied:
        for endpoint in desired.endpoints.values():
            if endpoint.rule_set not in desired.rule_sets:
                raise ApplyFailed(f"endpoint {endpoint.id} names rule set {endpoint.rule_set:x}, which is not given")
        old = self._policy
        self._policy = HostPolicy(dict(desired.endpoints), dict(desired.members), dict(desired.rule_sets))
        self._applied = self._policy
        for name, before in old.endpoints.items():
            if name not in desired.endpoints or desired.endpoints[name].vpc != before.vpc:
                self._forget(name)
        for name, endpoint in desired.endpoints.items():
            rules = desired.rule_sets[endpoint.rule_set]
            self._epochs[name] = self._epochs.get(name, Epochs()).after(old.endpoints.get(name), endpoint, rules)
        return Applied(steps=len(_differences(old, desired)), took_ms=0.0)

    def observe(self) -> HostPolicy:
        return self._policy

    def flows(self) -> Iterator[FlowEvent]:
        yield from self._evidence.events()

    def counters(self) -> Counters:
        return self._evidence.counters()

    def service_address(self, endpoint: NetworkInterfaceId) -> IPv4Address:
        return SERVICE_ADDRESSES + self._slots[endpoint]

    def audit(self) -> Audit:
        drift = _differences(self._applied, self._policy)
        compared = len(self._applied.endpoints) + len(self._applied.members) + len(self._applied.rule_sets)
        self._policy = self._applied
        return Audit(compared, tuple(drift))

    def usage(self) -> Mapping[NetworkInterfaceId, Usage]:
        self._conntrack.sweep()
        return {name: self._allowance.usage(self._conntrack, name) for name in self._devices}

    def close(self) -> None:
        """Nothing to let go of."""

    # ── time, and somebody else's hands ───────────────────────────────────────────────────────────────

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += timedelta(seconds=seconds)

    def tamper(self, policy: HostPolicy) -> None:
        """What enforces is suddenly this, as if another program had written it."""
        self._policy = policy

    # ── packets ───────────────────────────────────────────────────────────────────────────────────────

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
        return self._read(reading_of(packet, flags.value, quoted), sender, size)

    def send_frame(self, frame: bytes, sender: Sender) -> Verdict:
        """What becomes of this frame from the endpoint's device, or from outside."""
        found = dissect(frame)
        own = None if sender is None else self._policy.endpoints.get(sender)
        if own is not None and sender in self._devices:
            if isinstance(found, Neighbour):
                return self._neighbour(found, own, len(frame) - ETHERNET)
            if found is DropReason.NONE and own.filtered:
                found = DropReason.SPOOFED_ARP  # strange ARP is not passed on: some stacks take it for theirs
            if isinstance(found, Reading) and found.source_mac != own.mac:
                found = DropReason.SPOOFED_MAC
        return self._read(found, sender, len(frame) - ETHERNET)

    def receive_frame(self, frame: bytes, receiver: NetworkInterfaceId) -> Verdict:
        """What becomes of a frame that somebody else forwards to an endpoint's device."""
        own, size = self._policy.endpoints.get(receiver), len(frame) - ETHERNET
        if own is None or receiver not in self._devices or not own.filtered:
            return self._tell(_dropped(Gate.ROUTE, receiver, DropReason.NOT_OURS), receiver, size)
        found = dissect(frame)
        if isinstance(found, Neighbour):
            if found.packet is None or found.type != REDIRECTS:
                return Verdict((Hop(Gate.SPOOF, receiver, rule=0),))
            found = Reading(found.packet, Kind.ALONE)
        if found is DropReason.NONE:  # ARP of whatever kind: others say what it means
            return Verdict((Hop(Gate.SPOOF, receiver, rule=0),))
        if isinstance(found, DropReason):
            return self._tell(_dropped(Gate.SPOOF, receiver, found), receiver, size)
        return self._tell(Filter(self._passage, own, incoming=True).let(found), receiver, size)

    def _read(self, found: Dissected, sender: Sender, size: int) -> Verdict:
        if sender is not None and sender not in self._devices:
            return self._tell(_dropped(Gate.SPOOF, sender, DropReason.ENDPOINT_UNKNOWN), sender, size)
        if isinstance(found, Neighbour):  # outside are no neighbours
            found = DropReason.NONE if found.packet is None else Reading(found.packet, Kind.ALONE)
        if isinstance(found, DropReason):
            return self._tell(_dropped(Gate.SPOOF, sender, found), sender, size)
        own = None if sender is None else self._policy.endpoints.get(sender)
        if own is not None and own.filtered:
            return self._tell(Filter(self._passage, own, incoming=False).let(found), sender, size)
        return self._tell(self._passage.let(found, sender), sender, size)

    def _neighbour(self, said: Neighbour, own: Endpoint, size: int) -> Verdict:
        """ARP and neighbour discovery: answered here or heard and left at that; in filter mode passed on."""
        reason = refused_neighbour(own, said)
        if reason is not None:
            return self._tell(_dropped(Gate.SPOOF, own.id, reason), own.id, size)
        if own.filtered or is_answered(own, said):
            return Verdict((Hop(Gate.SPOOF, own.id, rule=0),))
        return Verdict((Hop(Gate.SPOOF, own.id, reason=DropReason.NONE),))

    def _tell(self, outcome: Outcome, owner: Sender, size: int) -> Verdict:
        last = outcome.verdict.hops[-1]
        endpoint = self._policy.endpoints.get(owner or last.interface or NetworkInterfaceId(""))
        self._evidence.take(outcome, self._now, 0 if endpoint is None else endpoint.vpc, size)
        return outcome.verdict

    @property
    def _judge(self) -> Judge:
        return Judge(self._policy, self._devices)

    @property
    def _passage(self) -> Passage:
        following = Following(self._policy, self._epochs, self._strict)
        return Passage(self._judge, following, self._conntrack, self._fragments, self._allowance, self._seconds())

    def _seconds(self) -> float:
        return (self._now - self._start).total_seconds()

    def _forget(self, endpoint: NetworkInterfaceId) -> None:
        self._conntrack.forget_endpoint(endpoint)
        self._fragments.forget(endpoint)


def _dropped(gate: Gate, owner: Sender, reason: DropReason) -> Outcome:
    """A drop before there was a packet to tell of."""
    return Outcome(Verdict((Hop(gate, owner, reason=reason),)), None)


def _differences(before: HostPolicy, after: HostPolicy) -> list[str]:
    """One line for each entry that differs."""
    return [
        *_changes("endpoint", before.endpoints, after.endpoints),
        *_changes("member", before.members, after.members),
        *_changes("rule set", before.rule_sets, after.rule_sets),
    ]


def _changes(kind: str, before: Mapping[_Key, object], after: Mapping[_Key, object]) -> Iterator[str]:
    for key in before.keys() | after.keys():
        if before.get(key) != after.get(key):
            said = "is missing" if key not in after else "should not be there" if key not in before else "is different"
            yield f"{kind} {key} {said}"

"""Flows: which packets belong to one, how long it lives, how it is kept.

The slow spelling of bpf/conntrack.h. A flow is kept under one key for both directions, as its responder
sees it: addresses after translation, ends without order (ICMP queries: who asked first). A packet of a live
flow passes both gates unasked; a packet that opens one is judged first and recorded after.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Flag

from stockade.model.addresses import Address
from stockade.model.flow import Packet
from stockade.model.ids import NetworkInterfaceId
from stockade.model.ports import PORTED, TCP, TYPED, UDP
from stockade.model.tracking import ConnectionTracking
from stockade.policy.dissect import Kind, Reading
from stockade.policy.entries import Endpoint


class Tcp(Flag):
    """The flags that flows depend on, with their bits on the wire."""

    NONE = 0
    FIN = 0x01
    SYN = 0x02
    RST = 0x04
    ACK = 0x10


# Seconds without a packet after which a flow is gone; the others are settings of each endpoint.
SYN_SENT = 120
SYN_ANSWERED = 60
TCP_HALF_SHUT = 120
TCP_SHUT = 10
ICMP_QUERY = 30
OTHER = 600

ICMP_REPLIES = {0: 8, 14: 13, 16: 15, 18: 17}
"""Reply types of IPv4 and the query each answers."""


@dataclass(frozen=True, slots=True)
class FlowKey:
    """Both ends as (address, port); the responder's network, or the device where each judges for itself; protocol."""

    ends: tuple[tuple[Address, int], tuple[Address, int]]
    zone: int | NetworkInterfaceId
    protocol: int


@dataclass(frozen=True, slots=True)
class End:
    """What one endpoint's gate said of a flow, and in which epoch of its rules."""

    endpoint: NetworkInterfaceId
    rule: int
    untracked: bool
    epoch: int


@dataclass(frozen=True, slots=True)
class Flow:
    """Has passed every gate on its way. `first`: the packet that opened it, as its responder saw it.

    An end that is None has no gate here: outside the region, or (filter mode) not this device's.
    """

    first: Packet
    query: int | None
    initiator: End | None
    responder: End | None
    source: Address  # the initiator's own address
    called: Address  # the responder's, as the initiator calls it
    judged_source: Address  # as whom the responder's gate was asked about the initiator
    is_member: bool  # ... and whether that is somebody of its network
    via_public: bool  # the initiator calls the responder by a public address
    seen: float
    patience: float = 0.0
    replied: bool = False
    finished: frozenset[bool] = frozenset()  # False: the initiator sent FIN, True: the responder did
    reset: bool = False
    established: bool = False

    @property
    def shut(self) -> bool:
        return self.reset or len(self.finished) == 2

    @property
    def rules(self) -> tuple[int, int]:
        """(egress, ingress), 0 where there was no gate."""
        egress, ingress = (0 if end is None else end.rule for end in (self.initiator, self.responder))
        return egress, ingress

    @property
    def ends(self) -> tuple[End, ...]:
        return tuple(end for end in (self.initiator, self.responder) if end is not None)

    @property
    def is_with_oneself(self) -> bool:
        return None not in (self.initiator, self.responder) and len({end.endpoint for end in self.ends}) == 1

    def opened_like(self, reading: Reading) -> bool:
        """Whether the reading goes the way of the first packet, not back."""
        if self.query is not None:
            return reading.kind is not Kind.REPLY
        packet = reading.packet
        return (packet.source, packet.source_port) == (self.first.source, self.first.source_port)

    @property
    def untracked_throughout(self) -> bool:
        return all(end.untracked for end in self.ends)

    @property
    def parties(self) -> tuple[object, ...]:
        """Who talks to whom, and how: what makes two flows under one key the same."""
        names = tuple(None if end is None else end.endpoint for end in (self.initiator, self.responder))
        return (*names, self.source, self.called)

    def end_of(self, endpoint: NetworkInterfaceId) -> End | None:
        return next((end for end in self.ends if end.endpoint == endpoint), None)

    def timeout(self, timers: list[ConnectionTracking]) -> float:
        """How long it lives without another packet, in seconds, by the timers of its ends."""
        protocol = self.first.protocol
        if protocol == TCP:
            if self.shut:
                return TCP_SHUT
            if self.finished:
                return TCP_HALF_SHUT
            if self.established:
                return min(each.tcp_established for each in timers)
            return SYN_ANSWERED if self.replied else SYN_SENT
        if protocol == UDP:
            return min(each.udp_stream if self.replied else each.udp for each in timers)
        return ICMP_QUERY if protocol in TYPED else OTHER

    def moved(self, by_initiator: bool, flags: Tcp) -> "Flow":
        """After a packet of its own."""
        replied = self.replied or not by_initiator
        if self.first.protocol != TCP:
            return replace(self, replied=replied)
        return replace(
            self,
            replied=replied,
            established=self.established or (self.replied and by_initiator),
            finished=self.finished | ({not by_initiator} if Tcp.FIN in flags else frozenset()),
            reset=self.reset or Tcp.RST in flags,
        )


def flow_key(reading: Reading, packet: Packet, zone: int | NetworkInterfaceId) -> FlowKey:
    """The key of the flow this reading belongs to; `packet`: it, with the addresses its responder sees.

    Ports for TCP and UDP; for ICMP queries the identifier and the query's type.
    """
    if reading.query is not None:
        asker, asked = (packet.source, packet.destination)
        if reading.kind is Kind.REPLY:
            asker, asked = asked, asker
        return FlowKey(((asker, packet.source_port), (asked, reading.query)), zone, packet.protocol)
    here, there = (packet.source_port, packet.port) if packet.protocol in PORTED else (0, 0)
    one, other = (packet.source, here), (packet.destination, there)
    ends = (one, other) if (int(one[0]), one[1]) <= (int(other[0]), other[1]) else (other, one)
    return FlowKey(ends, zone, packet.protocol)


def asks_anew(reading: Reading) -> bool:
    """A bare SYN is judged whatever is known: it may only look like an old connection."""
    flags = Tcp(reading.flags & 0x17)
    return reading.packet.protocol == TCP and Tcp.SYN in flags and Tcp.ACK not in flags


def opens_flows(reading: Reading) -> bool:
    """Whether a flow is recorded for it. ICMP other than queries is judged each time, a reset opens nothing."""
    return reading.kind is Kind.OPENS and not (reading.packet.protocol == TCP and reading.flags & Tcp.RST.value)


class Conntrack:
    """All flows of a host. `clock` gives seconds; nothing here waits."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._flows: dict[FlowKey, Flow] = {}

    def find(self, key: FlowKey) -> Flow | None:
        """The live flow under this key. One that has idled out is forgotten here."""
        flow = self._flows.get(key)
        if flow is not None and self._clock() - flow.seen > flow.patience:
            del self._flows[key]
            return None
        return flow

    def put(self, key: FlowKey, flow: Flow, timers: list[ConnectionTracking]) -> None:
        """As it is from now on, alive for as long as its state gives it."""
        self._flows[key] = replace(flow, seen=self._clock(), patience=flow.timeout(timers))

    def amend(self, key: FlowKey, flow: Flow) -> None:
        """As it is from now on, without having been heard from."""
        self._flows[key] = flow

    def forget(self, key: FlowKey) -> None:
        self._flows.pop(key, None)

    def forget_endpoint(self, endpoint: NetworkInterfaceId) -> None:
        """Every flow of an endpoint that is gone."""
        for key in [key for key, flow in self._flows.items() if flow.end_of(endpoint) is not None]:
            del self._flows[key]

    def sweep(self) -> None:
        """Forget whatever has idled out."""
        for key in list(self._flows):
            self.find(key)

    def of(self, endpoint: NetworkInterfaceId) -> Iterator[tuple[FlowKey, Flow, End]]:
        """The flows that count for this endpoint, oldest first."""
        for key, flow in list(self._flows.items()):
            end = flow.end_of(endpoint)
            if end is not None:
                yield key, flow, end

    def count(self, tcp: bool) -> int:
        """Flows in the table of TCP, or in that of everything else."""
        return sum(1 for key in self._flows if (key.protocol == TCP) is tcp)

    def __iter__(self) -> Iterator[Flow]:
        return iter(self._flows.values())

    def __len__(self) -> int:
        return len(self._flows)


def timers_of(*endpoints: Endpoint | None) -> list[ConnectionTracking]:
    """The timers of the ends that are here."""
    return [endpoint.tracking for endpoint in endpoints if endpoint is not None]

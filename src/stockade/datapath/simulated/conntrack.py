"""Flows: which packets belong to one, how long it lives, what it lets pass.

The slow spelling of bpf/conntrack.h. A flow is kept under one key for both directions, as its responder
sees it: addresses after translation, ends without order. A packet of a live flow passes both gates unasked;
a packet that opens one is judged first and recorded after.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Flag, auto

from stockade.model.addresses import Address
from stockade.model.flow import Packet
from stockade.model.ids import NetworkInterfaceId
from stockade.model.ports import ICMP, PORTED, TCP, UDP


class Tcp(Flag):
    """The flags that flows depend on."""

    NONE = 0
    FIN = auto()
    SYN = auto()
    RST = auto()
    ACK = auto()


# Seconds without a packet after which a flow is gone.
TCP_OPENING = 60
TCP_ESTABLISHED = 432_000
TCP_CLOSING = 10
UDP_SINGLE = 30
UDP_STREAM = 180
ICMP_QUERY = 30
OTHER = 600

ICMP_REPLIES = {0: 8, 14: 13, 16: 15, 18: 17}
"""Reply types and the query each answers."""
ICMP_QUERIES = frozenset(ICMP_REPLIES.values())
ICMP_ERRORS = frozenset({3, 11, 12})


@dataclass(frozen=True, slots=True)
class FlowKey:
    """Both ends as (address, port), sorted; the responder's network; the protocol."""

    ends: tuple[tuple[Address, int], tuple[Address, int]]
    vpc: int
    protocol: int


@dataclass(frozen=True, slots=True)
class Flow:
    """Has passed every gate on its way. `first`: the packet that opened it, as its responder saw it.

    `initiator` None: outside the region.
    """

    first: Packet
    initiator: NetworkInterfaceId | None
    responder: NetworkInterfaceId
    rules: tuple[int, int]  # egress, ingress; 0 where there was no gate
    seen: float
    replied: bool = False
    finished: frozenset[bool] = frozenset()  # False: the initiator sent FIN, True: the responder did
    reset: bool = False
    established: bool = False

    @property
    def closing(self) -> bool:
        return self.reset or len(self.finished) == 2

    def is_reply(self, packet: Packet) -> bool:
        """Whether this packet of the flow, as the responder's side sees it, goes back to the initiator."""
        if packet.protocol == ICMP:
            return packet.port >> 8 in ICMP_REPLIES
        return (packet.source, packet.source_port) != (self.first.source, self.first.source_port)

    def timeout(self, protocol: int) -> float:
        """How long it lives from now without another packet, in seconds."""
        if protocol == TCP:
            return TCP_CLOSING if self.closing else TCP_ESTABLISHED if self.established else TCP_OPENING
        if protocol == UDP:
            return UDP_STREAM if self.established else UDP_SINGLE
        return ICMP_QUERY if protocol == ICMP else OTHER


def query_of(packet: Packet) -> int | None:
    """The ICMP query type that a query or its reply is about; None for other ICMP."""
    kind = packet.port >> 8
    return kind if kind in ICMP_QUERIES else ICMP_REPLIES.get(kind)


def opens_flows(packet: Packet) -> bool:
    """Whether a flow is recorded for it. ICMP other than queries is judged each time."""
    return packet.protocol != ICMP or packet.port >> 8 in ICMP_QUERIES


def is_of_a_flow(packet: Packet) -> bool:
    """Whether it may belong to one: ICMP only as query or reply."""
    return packet.protocol != ICMP or query_of(packet) is not None


def flow_key(packet: Packet, vpc: int) -> FlowKey:
    """The key of the flow this packet belongs to; `packet` with the addresses its responder sees.

    Ports for TCP and UDP; for ICMP queries the identifier and the query's type, equal on both ends.
    """
    here, there = (packet.source_port, packet.port) if packet.protocol in PORTED else (0, 0)
    if packet.protocol == ICMP:
        here = there = packet.source_port << 8 | (query_of(packet) or 0)
    one, other = (packet.source, here), (packet.destination, there)
    ends = (one, other) if (int(one[0]), one[1]) <= (int(other[0]), other[1]) else (other, one)
    return FlowKey(ends, vpc, packet.protocol)


def reopens(flow: Flow, packet: Packet, flags: Tcp) -> bool:
    """A bare SYN on a closing flow, or against its direction, is a new flow and judged as one."""
    is_first = packet.protocol == TCP and Tcp.SYN in flags and Tcp.ACK not in flags
    return is_first and (flow.closing or flow.is_reply(packet))


class Conntrack:
    """All flows of a host. `clock` gives seconds; nothing here waits."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._flows: dict[FlowKey, Flow] = {}

    def find(self, key: FlowKey) -> Flow | None:
        """The live flow under this key. One that has idled out is forgotten here."""
        flow = self._flows.get(key)
        if flow is not None and self._clock() - flow.seen > flow.timeout(key.protocol):
            del self._flows[key]
            return None
        return flow

    def open(self, key: FlowKey, flow: Flow) -> None:
        """Record a flow that has passed its gates, in place of any former one."""
        self._flows[key] = flow

    def follow(self, key: FlowKey, flow: Flow, packet: Packet, flags: Tcp) -> None:
        """This packet of the flow passed."""
        is_reply = flow.is_reply(packet)
        self._flows[key] = replace(
            flow,
            seen=self._clock(),
            replied=flow.replied or is_reply,
            established=flow.established or (flow.replied and not is_reply),
            finished=flow.finished | ({is_reply} if Tcp.FIN in flags else frozenset()),
            reset=flow.reset or Tcp.RST in flags,
        )

    def forget(self, endpoint: NetworkInterfaceId) -> None:
        """Every flow of an endpoint that is gone."""
        gone = [key for key, flow in self._flows.items() if endpoint in (flow.initiator, flow.responder)]
        for key in gone:
            del self._flows[key]

    def __iter__(self) -> Iterator[Flow]:
        return iter(self._flows.values())

    def __len__(self) -> int:
        return len(self._flows)

"""Flows: which packets belong to one, how long it lives, what it lets pass.

The slow spelling of bpf/conntrack.h. A flow is kept under one key for both directions, as its responder
sees it: addresses after translation, ends without order. A packet of a live flow passes both gates unasked;
a packet that opens one is judged first and recorded after.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Flag

from stockade.model import ports
from stockade.model.addresses import Address
from stockade.model.flow import Packet
from stockade.model.ids import NetworkInterfaceId
from stockade.model.ports import ICMP, PORTED, TCP


class Tcp(Flag):
    """The flags that flows depend on, with their bits on the wire."""

    NONE = 0
    FIN = 0x01
    SYN = 0x02
    RST = 0x04
    ACK = 0x10


# Seconds without a packet after which a flow is gone.
SYN_SENT = 120
SYN_ANSWERED = 60
TCP_ESTABLISHED = 432_000
TCP_HALF_SHUT = 120
TCP_SHUT = 10
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
    via_public: bool  # the initiator calls the responder by its public address
    seen: float
    replied: bool = False
    finished: frozenset[bool] = frozenset()  # False: the initiator sent FIN, True: the responder did
    reset: bool = False
    established: bool = False

    @property
    def shut(self) -> bool:
        return self.reset or len(self.finished) == 2

    @property
    def parties(self) -> tuple[object, ...]:
        """Who talks to whom, and how: what makes two flows under one key the same."""
        return (self.initiator, self.responder, self.via_public, self.first.source, self.first.source_port)

    def is_reply(self, packet: Packet) -> bool:
        """Whether this packet of the flow, as the responder's side sees it, goes back to the initiator."""
        if packet.protocol == ICMP:
            return packet.port >> 8 in ICMP_REPLIES
        return (packet.source, packet.source_port) != (self.first.source, self.first.source_port)

    def timeout(self) -> float:
        """How long it lives from now without another packet, in seconds."""
        match self.first.protocol:
            case ports.TCP:
                return self._tcp_timeout()
            case ports.UDP:
                return UDP_STREAM if self.replied else UDP_SINGLE
            case ports.ICMP:
                return ICMP_QUERY
            case _:
                return OTHER

    def _tcp_timeout(self) -> float:
        if self.shut:
            return TCP_SHUT
        if self.finished:
            return TCP_HALF_SHUT
        if self.established:
            return TCP_ESTABLISHED
        return SYN_ANSWERED if self.replied else SYN_SENT


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


def asks_anew(packet: Packet, flags: Tcp) -> bool:
    """A bare SYN is judged whatever is known: it may only look like an old connection."""
    return packet.protocol == TCP and Tcp.SYN in flags and Tcp.ACK not in flags


class Conntrack:
    """All flows of a host. `clock` gives seconds; nothing here waits."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._flows: dict[FlowKey, Flow] = {}

    def find(self, key: FlowKey) -> Flow | None:
        """The live flow under this key. One that has idled out is forgotten here."""
        flow = self._flows.get(key)
        if flow is not None and self._clock() - flow.seen > flow.timeout():
            del self._flows[key]
            return None
        return flow

    def contradicts(self, key: FlowKey, flow: Flow) -> bool:
        """The same two ends with the same ports, once by the private and once by the public address.

        Their answers could not be told apart, so the first come stays.
        """
        old = self.find(key)
        same_ends = old is not None and (old.initiator, old.responder) == (flow.initiator, flow.responder)
        return same_ends and old is not None and not old.shut and old.via_public != flow.via_public

    def open(self, key: FlowKey, flow: Flow) -> bool:
        """Record a flow that has passed its gates; whether it is a new one, or the same asked for again."""
        old = self.find(key)
        if old is not None and not old.shut and old.parties == flow.parties:
            self._flows[key] = replace(old, rules=flow.rules, seen=flow.seen)
            return False
        self._flows[key] = flow
        return True

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

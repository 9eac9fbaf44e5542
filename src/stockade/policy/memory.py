"""What is remembered between packets: flows, fragments, and what the rules of each interface were.

Values only; flows.py says what they mean for a packet. A flow is kept as the packet that opened it, and the past
of an interface as the rules themselves, so that nothing here has to be trusted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from stockade.model import ports
from stockade.model.addresses import Address, Cidr
from stockade.model.flow import Packet
from stockade.model.host_view import HostView, ViewInterface
from stockade.model.ids import NetworkInterfaceId
from stockade.model.rule import Direction, Rule
from stockade.policy.dissect import Reading
from stockade.policy.evaluate import blocks_of, covers_traffic, rules_of

Sender: TypeAlias = NetworkInterfaceId | None
"""None: outside the region."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The rules of an interface as they stood between two changes, each with its blocks."""

    network: int
    rules: frozenset[tuple[Rule, tuple[Cidr, ...]]]
    cuts: int


@dataclass(frozen=True, slots=True)
class Side:
    """One end's word on a flow. `asked`: which of its standings spoke last."""

    interface: NetworkInterfaceId
    tracked: bool
    asked: int


@dataclass(frozen=True, slots=True)
class Flow:
    """Has passed its gates. `written`: its first packet as the initiator wrote it, `seen` as the responder got it.

    `source`: as whom the responder's gate was asked about the initiator; `known`: as somebody of its network.
    """

    written: Packet
    seen: Packet
    query: int | None
    zone: int  # the responder's network
    initiator: Side | None  # None: outside
    responder: Side
    source: Address
    known: bool
    by_public: bool
    replied: bool = False
    established: bool = False
    shut_by: frozenset[str] = frozenset()
    reset: bool = False
    until: float = 0.0

    @property
    def shut(self) -> bool:
        return self.reset or len(self.shut_by) == 2

    @property
    def parties(self) -> tuple[object, ...]:
        initiator = None if self.initiator is None else self.initiator.interface
        return (initiator, self.responder.interface, self.written.source, self.written.destination)


@dataclass(frozen=True, slots=True)
class Datagram:
    """A first fragment that passed, and which parts have come since; `spoiled`: one overlapped another."""

    first: Reading
    parts: tuple[tuple[int, int], ...]
    until: float
    spoiled: bool = False


FlowKey: TypeAlias = tuple[int, int, object]
DatagramKey: TypeAlias = tuple[Sender, Address, Address, int, int]


@dataclass(frozen=True, slots=True)
class Memory:
    """Everything that is remembered between packets. A value: what changes it returns another."""

    standings: Mapping[NetworkInterfaceId, tuple[Standing, ...]] = field(default_factory=dict)
    flows: Mapping[FlowKey, Flow] = field(default_factory=dict)
    datagrams: Mapping[DatagramKey, Datagram] = field(default_factory=dict)
    strict: bool = False  # ICMP errors need a rule at tracked ends too

    def without(self, key: FlowKey) -> "Memory":
        return replace(self, flows={name: flow for name, flow in self.flows.items() if name != key})


def advance(memory: Memory, view: HostView) -> Memory:
    """The memory once this view is in force: who is gone is forgotten, and changed rules are noted.

    An interface in another network is another one.
    """
    standings: dict[NetworkInterfaceId, tuple[Standing, ...]] = {}
    stayed = set()
    for interface in view.interfaces.values():
        past, now = memory.standings.get(interface.id, ()), _standing(view, interface)
        if past and past[-1].network == now.network:
            stayed.add(interface.id)
            standings[interface.id] = past if past[-1] == now else (*past, now)
        else:
            standings[interface.id] = (now,)
    flows = {name: flow for name, flow in memory.flows.items() if stayed.issuperset(ends_of(flow))}
    datagrams = {name: each for name, each in memory.datagrams.items() if name[0] is None or name[0] in stayed}
    return Memory(standings, flows, datagrams, memory.strict)


def _standing(view: HostView, interface: ViewInterface) -> Standing:
    rules = [rule for direction in Direction for rule in rules_of(view, interface, direction)]
    return Standing(interface.vpc, frozenset((rule, blocks_of(view, rule)) for rule in rules), interface.cuts)


def ends_of(flow: Flow) -> list[NetworkInterfaceId]:
    return [side.interface for side in (flow.initiator, flow.responder) if side is not None]


def opens_everything(standing: Standing, direction: Direction, packet: Packet) -> bool:
    """Whether one rule lets everybody of the packet's family have every port of its protocol."""
    return any(
        rule.direction is direction
        and rule.covers_protocol(packet.protocol)
        and (rule.protocol == ports.ANY or rule.interval == (0, ports.LAST))
        and _names_everybody(blocks, packet)
        for rule, blocks in standing.rules
    )


def _names_everybody(blocks: tuple[Cidr, ...], packet: Packet) -> bool:
    return any(block.prefixlen == 0 and block.version == packet.source.version for block in blocks)


def is_tracked(standing: Standing, direction: Direction, packet: Packet) -> bool:
    """The AWS condition. Untracked: TCP or UDP that a rule for everybody lets through, with everything open back."""
    if packet.protocol not in ports.PORTED:
        return True
    for_everybody = any(
        rule.direction is direction and covers_traffic(rule, packet) and _names_everybody(blocks, packet)
        for rule, blocks in standing.rules
    )
    opposite = Direction.INGRESS if direction is Direction.EGRESS else Direction.EGRESS
    return not (for_everybody and opens_everything(standing, opposite, packet))

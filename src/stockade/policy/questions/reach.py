"""Does all of it get through, none, or some? Many packets asked at once, with a reason for the first of each kind.

Two sides, each one or several interfaces or a block of addresses outside, and traffic. The packets are chosen
by samples.py so that none is left out that could be judged differently.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from stockade.model import ports
from stockade.model.addresses import Address, Cidr, covers
from stockade.model.flow import Packet
from stockade.model.host_view import HostView, ViewInterface
from stockade.model.ids import NetworkInterfaceId
from stockade.model.rule import Direction, Rule
from stockade.model.traffic import Traffic
from stockade.policy.evaluate import blocks_of, rules_of
from stockade.policy.questions.explain import Explanation, explain
from stockade.policy.questions.forwarding import judged
from stockade.policy.questions.samples import address_samples, traffic_samples


@dataclass(frozen=True, slots=True)
class At:
    """An interface. `address`: what it is called by, where that was said; else what reaches it best."""

    interface: NetworkInterfaceId
    address: Address | None = None


@dataclass(frozen=True, slots=True)
class Outside:
    """Addresses that are no interface's."""

    block: Cidr


Side: TypeAlias = At | Outside
ALIKE = 2


@dataclass(frozen=True, slots=True)
class Tried:
    """One packet and what became of it. `stretch`: the traffic it stands for."""

    packet: Packet
    sender: NetworkInterfaceId | None
    stretch: Traffic
    passed: bool


@dataclass(frozen=True, slots=True)
class Reach:
    """Every packet tried."""

    tried: tuple[Tried, ...]

    @property
    def all_pass(self) -> bool:
        return bool(self.tried) and all(one.passed for one in self.tried)

    @property
    def none_pass(self) -> bool:
        return not any(one.passed for one in self.tried)

    def first(self, passed: bool) -> Tried | None:
        """The first packet that passed, or that did not."""
        return next((one for one in self.tried if one.passed is passed), None)


class Reachability:
    """Asks evaluate.py about a view, quickly: each packet is judged in the small view of those it concerns."""

    def __init__(self, view: HostView) -> None:
        """Every interface of the view must be the host's own."""
        self._view = view
        self._at: defaultdict[Address, list[NetworkInterfaceId]] = defaultdict(list)
        for interface in view.interfaces.values():
            for address in (*interface.addresses, *(() if interface.public is None else (interface.public,))):
                self._at[address].append(interface.id)

    def reach(self, sources: Sequence[Side], destinations: Sequence[Side], traffic: Traffic) -> Reach:
        """Every source to every destination; nobody to itself."""
        tried: list[Tried] = []
        for source in sources:
            for destination in destinations:
                if not (isinstance(source, At) and isinstance(destination, At)) or (
                    source.interface != destination.interface
                ):
                    tried += self._pair(source, destination, traffic)
        return Reach(tuple(tried))

    def telling(self, sides: Sequence[Side]) -> tuple[Side, ...]:
        """Two of each kind of interfaces that no rule tells apart: what holds for them holds for all of the kind.

        Two, so that there is a pair within the kind. Blocks, and interfaces called by an address, are all kept.
        """
        blocks = {
            block
            for group in self._view.groups.values()
            for rule in group.rules
            for block in blocks_of(self._view, rule)
        }
        kept: list[Side] = []
        seen: defaultdict[object, int] = defaultdict(int)
        for side in sides:
            if isinstance(side, At) and side.address is None:
                own = self._view.interfaces[side.interface]
                addresses = (*(_first(own, version) for version in (4, 6)), own.public)
                covering = tuple(frozenset(b for b in blocks if a is not None and covers(b, a)) for a in addresses)
                kind = (
                    own.vpc,
                    own.classic,
                    frozenset(own.groups),
                    own.public is None,
                    own.public6,
                    own.device is None,
                    covering,
                )
                seen[kind] += 1
                if seen[kind] > ALIKE:
                    continue
            kept.append(side)
        return tuple(kept)

    def explain(self, tried: Tried) -> Explanation:
        """Why."""
        return explain(self._concerned(tried.packet, tried.sender), tried.packet, tried.sender)

    def owners_of(self, address: Address) -> list[NetworkInterfaceId]:
        """Whose private or public address it is, in whatever network."""
        return list(self._at.get(address, ()))

    def _pair(self, source: Side, destination: Side, traffic: Traffic) -> Iterator[Tried]:
        sender = self._view.interfaces[source.interface] if isinstance(source, At) else None
        receiver = self._view.interfaces[destination.interface] if isinstance(destination, At) else None
        rules = self._asked(sender, receiver)
        blocks = [block for rule in rules for block in blocks_of(self._view, rule)]
        version = _version(source, destination, sender, receiver, traffic)
        stretches = list(traffic_samples(traffic, rules, version))
        for from_address in self._source_addresses(source, sender, blocks, version):
            for to_address in self._destination_addresses(destination, sender, receiver, blocks, version):
                if from_address.version != to_address.version:
                    continue
                for stretch in stretches:
                    packet = Packet(from_address, to_address, stretch.protocol, stretch.low)
                    own = None if sender is None else sender.id
                    yield Tried(packet, own, stretch, judged(self._concerned(packet, own), packet, own).passed)

    def _asked(self, sender: ViewInterface | None, receiver: ViewInterface | None) -> tuple[Rule, ...]:
        """The rules that may be asked about any of these packets."""
        rules: list[Rule] = []
        if sender is not None:
            rules += rules_of(self._view, sender, Direction.EGRESS)
        if receiver is not None:
            rules += rules_of(self._view, receiver, Direction.INGRESS)
        return tuple(rules)

    def _source_addresses(
        self, source: Side, sender: ViewInterface | None, blocks: Sequence[Cidr], version: int
    ) -> Iterator[Address]:
        if isinstance(source, Outside):
            yield from address_samples(source.block, blocks, self._at)
        elif sender is not None:
            called = source.address
            own = called if called is not None and called in sender.addresses else _first(sender, version)
            yield from () if own is None else (own,)

    def _destination_addresses(
        self,
        destination: Side,
        sender: ViewInterface | None,
        receiver: ViewInterface | None,
        blocks: Sequence[Cidr],
        version: int,
    ) -> Iterator[Address]:
        if isinstance(destination, Outside):
            yield from address_samples(destination.block, blocks, self._at)
        elif destination.address is not None:
            yield destination.address
        elif receiver is not None:
            inside = sender is not None and sender.vpc == receiver.vpc
            private = _first(receiver, version)
            if version == 4 and not inside and receiver.public is not None:
                yield receiver.public
            elif private is not None:
                yield private

    def _concerned(self, packet: Packet, sender: NetworkInterfaceId | None) -> HostView:
        """The view without interfaces that have nothing to do with the packet: the verdict is the same."""
        names = {*self._at.get(packet.source, ()), *self._at.get(packet.destination, ())}
        if sender is not None:
            names.add(sender)
        found = {name: self._view.interfaces[name] for name in sorted(names)}
        view = self._view
        return HostView(view.host, view.revision, view.groups, {}, found, prefix_lists=view.prefix_lists)


def _first(interface: ViewInterface, version: int) -> Address | None:
    """Its primary address of this version of IP."""
    return next((address for address in interface.addresses if address.version == version), None)


def _version(
    source: Side,
    destination: Side,
    sender: ViewInterface | None,
    receiver: ViewInterface | None,
    traffic: Traffic,
) -> int:
    """The version of IP that the question names, else the one ICMP is of, else the first that both sides have."""
    for side in (source, destination):
        named = side.block.network_address if isinstance(side, Outside) else side.address
        if named is not None:
            return named.version
    both = [
        version
        for version in (4, 6)
        if all(each is None or _first(each, version) is not None for each in (sender, receiver))
    ]
    if traffic.protocol == ports.ICMPV6 and 6 in both:
        return 6
    return both[0] if both else 6

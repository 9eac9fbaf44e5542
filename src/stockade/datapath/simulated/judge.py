"""Where a packet gets, and what the gates on its way say: entries and devices in, a verdict out.

Spells out what the programs of bpf/ do with a packet that belongs to no flow. Changes nothing.
"""

from collections.abc import Container
from dataclasses import dataclass, replace

from stockade.datapath.simulated.gates import ask
from stockade.model.addresses import Address
from stockade.model.flow import DropReason, Gate, Hop, Packet, Verdict
from stockade.model.ids import NetworkInterfaceId
from stockade.policy import exempt
from stockade.policy.entries import NO_IDENTITY, Endpoint, HostPolicy, Identity

Sender = NetworkInterfaceId | None
"""None: outside the region."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A packet as its receiver gets it: addresses translated, and as whom its source is judged.

    `source` is judged and `packet.source` delivered: they differ when a classic endpoint calls itself by its
    public address, since no stack takes a packet from its own address.
    """

    packet: Packet
    receiver: Endpoint
    source: Address
    identity: Identity
    via_public: bool


def primary(endpoint: Endpoint) -> Address:
    """The private address that stands behind its public one: the first of IPv4."""
    return next(address for address in endpoint.addresses if address.version == 4)


@dataclass(frozen=True, slots=True)
class Judge:
    """A policy in force, and the endpoints that have a device."""

    policy: HostPolicy
    present: Container[NetworkInterfaceId]

    def judge(self, packet: Packet, sender: Sender) -> tuple[Verdict, Arrival | None]:
        """The verdict, and the packet's arrival if it got as far as its receiver's gate."""
        unasked = self.unasked(packet, sender)
        if unasked is not None:
            return Verdict((unasked,)), None
        passed: tuple[Hop, ...] = ()
        if sender is not None:
            egress = self._egress(packet, self.policy.endpoints[sender])
            if egress.reason is not None:
                return Verdict((egress,)), None
            passed = (egress,)
        arrival = self.arrival(packet, sender)
        if isinstance(arrival, DropReason):
            return Verdict((*passed, Hop(Gate.ROUTE, sender, reason=arrival))), None
        return Verdict((*passed, self._ingress(arrival))), arrival

    def unasked(self, packet: Packet, sender: Sender) -> Hop | None:
        """What is decided without rules: forged sources, host services, addresses for many."""
        refused = self.refused(packet, sender)
        if refused is not None or sender is None:
            return refused
        if exempt.is_service(packet, self.policy.endpoints[sender].resolver):
            return Hop(Gate.ROUTE, sender, rule=0)
        if exempt.is_for_many(packet.destination):
            return Hop(Gate.ROUTE, sender, reason=DropReason.MULTICAST)
        if exempt.is_link_local(packet.destination):
            return Hop(Gate.ROUTE, sender, reason=DropReason.NO_ROUTE)
        return None

    def refused(self, packet: Packet, sender: Sender) -> Hop | None:
        """What nobody may send, whatever the rules and whatever flow it claims to be of."""
        if sender is None:
            return self._refused_outside(packet)
        reason = self._source_refused(packet, sender)
        return None if reason is None else Hop(Gate.SPOOF, sender, reason=reason)

    def arrival(self, packet: Packet, sender: Sender) -> Arrival | DropReason:
        """Where the packet gets and as what, or why it gets nowhere."""
        found = self._from_outside(packet) if sender is None else self._from_endpoint(packet, sender)
        if isinstance(found, Arrival) and found.receiver.id not in self.present:
            return DropReason.ENDPOINT_UNKNOWN
        return found

    def owner_of_public(self, address: Address) -> Endpoint | None:
        endpoints = self.policy.endpoints.values()
        if address.version == 6:
            return next((each for each in endpoints if each.public6 and address in each.addresses), None)
        return next((each for each in endpoints if each.public == address), None)

    def _source_refused(self, packet: Packet, sender: NetworkInterfaceId) -> DropReason | None:
        endpoint = self.policy.endpoints.get(sender)
        if sender not in self.present:
            return DropReason.ENDPOINT_UNKNOWN
        if endpoint is None:
            return DropReason.NO_POLICY
        if exempt.is_for_hosts_only(packet) or exempt.is_link_local(packet.source):
            return DropReason.FOREIGN_REPLY
        own = packet.source in endpoint.addresses
        forged = not own and (endpoint.source_dest_check or exempt.is_nobody(packet.source))
        return DropReason.SPOOFED_ADDRESS if forged else None

    def _refused_outside(self, packet: Packet) -> Hop | None:
        receiver = self.owner_of_public(packet.destination)
        if receiver is None:
            return Hop(Gate.ROUTE, None, reason=DropReason.NO_ROUTE)
        if exempt.is_link_local(packet.source):
            return Hop(Gate.SPOOF, receiver.id, reason=DropReason.FOREIGN_REPLY)
        if exempt.is_nobody(packet.source) or self._is_inside(receiver.vpc, packet.source):
            return Hop(Gate.SPOOF, receiver.id, reason=DropReason.SPOOFED_ADDRESS)
        return None

    def _egress(self, packet: Packet, sender: Endpoint) -> Hop:
        rules = self.policy.rule_sets[sender.rule_set]
        identity = self._identity(sender.vpc, packet.destination)
        return ask(Gate.EGRESS, sender.id, rules, packet, peer=packet.destination, identity=identity)

    def _ingress(self, arrival: Arrival) -> Hop:
        packet, receiver = arrival.packet, arrival.receiver
        rules = self.policy.rule_sets[receiver.rule_set]
        return ask(Gate.INGRESS, receiver.id, rules, packet, peer=arrival.source, identity=arrival.identity)

    def _from_outside(self, packet: Packet) -> Arrival | DropReason:
        receiver = self.owner_of_public(packet.destination)
        if receiver is None:
            return DropReason.NO_ROUTE
        if packet.destination.version == 6:
            return Arrival(packet, receiver, packet.source, NO_IDENTITY, via_public=True)
        private = replace(packet, destination=primary(receiver))
        return Arrival(private, receiver, packet.source, NO_IDENTITY, via_public=True)

    def _from_endpoint(self, packet: Packet, name: NetworkInterfaceId) -> Arrival | DropReason:
        sender = self.policy.endpoints[name]
        own = self._identity(sender.vpc, packet.source) if packet.source in sender.addresses else NO_IDENTITY
        receiver = self._owner(sender.vpc, packet.destination)
        if receiver is not None and receiver.filtered and receiver.id in self.present:
            return DropReason.NO_ROUTE  # somebody else forwards to its device
        if receiver is not None:
            return Arrival(packet, receiver, packet.source, own, via_public=False)
        return self._by_public(packet, sender, own)

    def _by_public(self, packet: Packet, sender: Endpoint, own: Identity) -> Arrival | DropReason:
        receiver = self.owner_of_public(packet.destination)
        if receiver is None:
            return DropReason.NO_ROUTE
        if packet.destination.version == 6:
            if not sender.public6 or packet.source not in sender.addresses:
                return DropReason.NO_PUBLIC_ADDRESS
            return Arrival(packet, receiver, packet.source, NO_IDENTITY, via_public=True)
        private = replace(packet, destination=primary(receiver))
        if sender.classic and receiver.vpc == sender.vpc:
            if receiver.id == sender.id:
                private = replace(private, source=packet.destination)
            return Arrival(private, receiver, packet.source, own, via_public=True)
        if sender.public is None:
            return DropReason.NO_PUBLIC_ADDRESS
        return Arrival(replace(private, source=sender.public), receiver, sender.public, NO_IDENTITY, via_public=True)

    def _is_inside(self, vpc: int, address: Address) -> bool:
        known = (vpc, address) in self.policy.members or self._owner(vpc, address) is not None
        return known or self.owner_of_public(address) is not None

    def _owner(self, vpc: int, address: Address) -> Endpoint | None:
        owners = (each for each in self.policy.endpoints.values() if each.vpc == vpc and address in each.addresses)
        return next(owners, None)

    def _identity(self, vpc: int, address: Address) -> Identity:
        return self.policy.members.get((vpc, address), NO_IDENTITY)

"""Endpoints, addresses and devices in kernel maps.

    devices[ifindex] ─▶ slot ─▶ endpoints[slot]: generation, device, policy, addresses, MAC
    addresses[VPC, address] ─▶ identity, slot if here        publics[public address] ─▶ slot
    endpoint_names[slot]: what people call it, for whoever comes after a restart

An endpoint has a slot from when it is first attached or first in the policy until it is neither. A slot
that is given up gets a new generation at once, which cuts every flow that remembers it, and is given out
again only after all others were.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from stockade.datapath.ebpf import layout
from stockade.datapath.ebpf.layout import EndpointName, EndpointRecord
from stockade.datapath.ebpf.maps import Map, SharedArray
from stockade.datapath.ebpf.rule_tables import TableFull
from stockade.model.addresses import MacAddress
from stockade.model.flow import DropReason
from stockade.model.ids import NetworkInterfaceId
from stockade.policy.entries import Endpoint, Identity, MemberKey, RuleSetId

_LAST_GENERATION = 0xFFFFFFFF
_NOWHERE = IPv4Address(0)
AddressKey = tuple[int, IPv4Address]


@dataclass(slots=True)
class Slot:
    """One endpoint here. `endpoint` None: attached, but not in the applied policy."""

    number: int
    generation: int
    device: str = ""
    ifindex: int = 0
    endpoint: Endpoint | None = None


class EndpointTable:
    """The only writer of these maps."""

    def __init__(self, maps: Mapping[str, Map], shared: Mapping[str, SharedArray]) -> None:
        self._records, self._names, self._devices = shared["endpoints"], shared["endpoint_names"], shared["devices"]
        self._far_devices, self._drops = maps["far_devices"], maps["endpoint_drops"]
        self._addresses, self._publics = maps["addresses"], maps["publics"]
        self._slots: dict[NetworkInterfaceId, Slot] = {}
        self._by_number: dict[int, NetworkInterfaceId] = {}
        self._last_number = 0
        self._members: dict[AddressKey, Identity] = {}
        self._owners: dict[AddressKey, int] = {}
        self._public_owners: dict[IPv4Address, int] = {}

    # ── devices ───────────────────────────────────────────────────────────────────────────────────────

    def slot(self, endpoint: NetworkInterfaceId) -> Slot | None:
        return self._slots.get(endpoint)

    def name_of(self, number: int) -> NetworkInterfaceId | None:
        """Who has this slot."""
        return self._by_number.get(number)

    def attached(self) -> Iterator[tuple[NetworkInterfaceId, Slot]]:
        return ((name, slot) for name, slot in list(self._slots.items()) if slot.ifindex)

    def attach(self, endpoint: NetworkInterfaceId, device: str, ifindex: int) -> None:
        """Packets of this device are this endpoint's from now on, and of no other."""
        for other, slot in list(self.attached()):
            if slot.ifindex == ifindex and other != endpoint:
                self.detach(other)  # its device is gone and the kernel has used the index again
        slot = self._slots.get(endpoint) or self._take(endpoint)
        if slot.ifindex and slot.ifindex != ifindex:
            self.detach(endpoint)
            slot = self._slots.get(endpoint) or self._take(endpoint)
        slot.device, slot.ifindex = device, ifindex
        self._write_name(endpoint, slot)
        self._records.store32(slot.number, layout.IFINDEX_AT, ifindex)
        self._point(ifindex, slot.number)

    def detach(self, endpoint: NetworkInterfaceId) -> None:
        """Its device drops everything, its flows are cut, its slot is retired.

        An endpoint that the policy still names waits in another slot.
        """
        slot = self._slots.get(endpoint)
        if slot is None:
            return
        if slot.ifindex:
            self._point(slot.ifindex, 0)
        placed, policy = slot.endpoint, self._record(slot).policy
        self._give_up(endpoint, slot)
        if placed is not None:
            self.place(placed, policy)

    def _point(self, ifindex: int, number: int) -> None:
        if ifindex < layout.MAX_NEAR:
            self._devices.store32(ifindex, 0, number)
        elif number:
            self._far_devices.put(layout.NUMBER.pack(ifindex), layout.NUMBER.pack(number))
        else:
            self._far_devices.remove(layout.NUMBER.pack(ifindex))

    # ── policy ────────────────────────────────────────────────────────────────────────────────────────

    def place(self, endpoint: Endpoint, policy: int) -> None:
        """Police it so from now on; `policy` is the index of its loaded rule set. One store when only that changed."""
        if not 0 < endpoint.vpc <= layout.MAX_VPC:
            raise TableFull(f"endpoint {endpoint.id}: network number {endpoint.vpc} has more than 24 bits, or none")
        slot = self._slots.get(endpoint.id) or self._take(endpoint.id)
        old, slot.endpoint = slot.endpoint, endpoint
        try:
            if old is None or _place_of(old) != _place_of(endpoint):
                self._move(slot, old, endpoint)
        except OSError:
            # Neither what it was nor what it is to be, and closed: whoever places it next writes all of it.
            slot.endpoint = None
            self._disown(slot, endpoint)
            raise
        self._write_name(endpoint.id, slot)
        self._records.store32(slot.number, layout.POLICY_AT, policy)

    def forget(self, endpoint: NetworkInterfaceId) -> None:
        """No policy for it any more: everything is dropped. An attached one keeps its slot, and its flows end."""
        slot = self._slots[endpoint]
        if not slot.ifindex:
            self._give_up(endpoint, slot)
            return
        self._records.store32(slot.number, layout.POLICY_AT, 0)
        slot.generation = _after(slot.generation)
        self._records.store32(slot.number, layout.GENERATION_AT, slot.generation)
        old, slot.endpoint = slot.endpoint, None
        if old is not None:
            self._disown(slot, old)
        self._write_name(endpoint, slot)

    def place_member(self, key: MemberKey, identity: Identity) -> None:
        """This address is this identity. IPv6 is not judged yet, and so not kept."""
        vpc, address = key
        if isinstance(address, IPv4Address):
            self._members[vpc, address] = identity
            self._write_address((vpc, address))

    def forget_member(self, key: MemberKey) -> None:
        vpc, address = key
        if isinstance(address, IPv4Address) and self._members.pop((vpc, address), None) is not None:
            self._write_address((vpc, address))

    def _move(self, slot: Slot, old: Endpoint | None, new: Endpoint) -> None:
        """Addresses, MAC or network differ: no new flow passes until all of it is written."""
        self._records.store32(slot.number, layout.POLICY_AT, 0)
        if old is not None:
            self._disown(slot, old)
        primary = next(_v4_addresses(new), _NOWHERE)
        flags = layout.CHECK_SOURCE * new.source_dest_check | layout.CLASSIC * new.classic
        identity = self._members.get((new.vpc, primary), 0)
        self._records.put(
            slot.number,
            EndpointRecord(
                *(slot.generation, slot.ifindex, 0, new.vpc, identity, primary, new.public, new.mac, flags)
            ).pack(),
        )
        for address in _v4_addresses(new):
            self._owners[new.vpc, address] = slot.number
            self._write_address((new.vpc, address))
        if new.public is not None:
            self._public_owners[new.public] = slot.number
            self._publics.put(new.public.packed, layout.NUMBER.pack(slot.number))

    def _disown(self, slot: Slot, old: Endpoint) -> None:
        """Addresses lead to this slot no more, except where they lead to another one already."""
        for address in _v4_addresses(old):
            if self._owners.get((old.vpc, address)) == slot.number:
                del self._owners[old.vpc, address]
                self._write_address((old.vpc, address))
        if old.public is not None and self._public_owners.get(old.public) == slot.number:
            del self._public_owners[old.public]
            self._publics.remove(old.public.packed)

    def _write_address(self, key: AddressKey) -> None:
        identity, owner = self._members.get(key, 0), self._owners.get(key, 0)
        if identity or owner:
            self._addresses.put(layout.address_key(*key), layout.ADDRESS.pack(identity, owner))
        else:
            self._addresses.remove(layout.address_key(*key))
        name = self._by_number.get(owner)
        endpoint = self._slots[name].endpoint if name is not None else None
        if endpoint is not None and next(_v4_addresses(endpoint), None) == key[1]:
            self._records.store64(owner, layout.IDENTITY_AT, identity)

    # ── slots ─────────────────────────────────────────────────────────────────────────────────────────

    def _take(self, endpoint: NetworkInterfaceId) -> Slot:
        for step in range(1, layout.MAX_SLOTS):
            number = (self._last_number + step - 1) % (layout.MAX_SLOTS - 1) + 1
            if number not in self._by_number:
                break
        else:
            raise TableFull(f"map endpoints: {layout.MAX_SLOTS - 1} endpoints are known")
        self._last_number = number
        generation = _after(EndpointRecord.unpack(self._records.get(number)).generation)
        slot = self._slots[endpoint] = Slot(number, generation)
        self._by_number[number] = endpoint
        record = EndpointRecord(generation, 0, 0, 0, 0, _NOWHERE, None, MacAddress("00:00:00:00:00:00"), 0)
        self._records.put(number, record.pack())
        for reason in DropReason:
            self._drops.remove(layout.ENDPOINT_DROP_KEY.pack(number, reason))
        self._write_name(endpoint, slot)
        return slot

    def _give_up(self, endpoint: NetworkInterfaceId, slot: Slot) -> None:
        self._records.store32(slot.number, layout.IFINDEX_AT, 0)
        self._records.store32(slot.number, layout.POLICY_AT, 0)
        self._records.store32(slot.number, layout.GENERATION_AT, _after(slot.generation))
        self._names.put(slot.number, bytes(layout.ENDPOINT_NAME.size))
        del self._slots[endpoint], self._by_number[slot.number]
        if slot.endpoint is not None:
            self._disown(slot, slot.endpoint)

    def _record(self, slot: Slot) -> EndpointRecord:
        return EndpointRecord.unpack(self._records.get(slot.number))

    def _write_name(self, endpoint: NetworkInterfaceId, slot: Slot) -> None:
        placed = slot.endpoint
        identity, rule_set = (placed.identity, placed.rule_set) if placed is not None else (0, 0)
        self._names.put(slot.number, EndpointName(endpoint, identity, rule_set, slot.device).pack())

    # ── reading back ──────────────────────────────────────────────────────────────────────────────────

    def observe(self) -> tuple[dict[NetworkInterfaceId, Endpoint], dict[MemberKey, Identity]]:
        """Endpoints and members as the kernel has them. Several addresses: the primary first, then ascending."""
        members: dict[MemberKey, Identity] = {}
        addresses: dict[int, list[IPv4Address]] = {}
        for raw_key, raw in self._addresses.items():
            vpc, packed = layout.ADDRESS_KEY.unpack(raw_key)
            identity, owner = layout.ADDRESS.unpack(raw)
            if identity:
                members[vpc, IPv4Address(packed)] = Identity(identity)
            if owner:
                addresses.setdefault(owner, []).append(IPv4Address(packed))
        endpoints = {}
        for number, name in self._read_names():
            record = EndpointRecord.unpack(self._records.get(number))
            if not name.rule_set or not record.policy:
                continue
            others = sorted(each for each in addresses.get(number, ()) if each != record.address)
            primary = () if record.address == _NOWHERE else (record.address,)
            endpoint = Endpoint(
                id=NetworkInterfaceId(name.id),
                vpc=record.vpc,
                mac=record.mac,
                addresses=(*primary, *others),
                public=record.public,
                identity=Identity(name.identity),
                rule_set=RuleSetId(name.rule_set),
                source_dest_check=bool(record.flags & layout.CHECK_SOURCE),
                classic=bool(record.flags & layout.CLASSIC),
            )
            endpoints[endpoint.id] = endpoint
        return endpoints, members

    def adopt(self) -> None:
        """Take over what a former process wrote. A slot that it had not finished naming is given up."""
        endpoints, members = self.observe()
        for number, name in self._read_names():
            record = EndpointRecord.unpack(self._records.get(number))
            identifier = NetworkInterfaceId(name.id)
            slot = Slot(number, record.generation, name.device, record.ifindex, endpoints.get(identifier))
            self._slots[identifier], self._by_number[number] = slot, identifier
            self._last_number = max(self._last_number, number)
        for (vpc, address), identity in members.items():
            if isinstance(address, IPv4Address):
                self._members[vpc, address] = identity
        for raw_key, raw in self._addresses.items():
            vpc, packed = layout.ADDRESS_KEY.unpack(raw_key)
            _, owner = layout.ADDRESS.unpack(raw)
            if owner:
                self._owners[vpc, IPv4Address(packed)] = owner
        for raw_key, raw in self._publics.items():
            self._public_owners[IPv4Address(raw_key)] = layout.NUMBER.unpack(raw)[0]
        self._drop_orphans()

    def _drop_orphans(self) -> None:
        """Addresses that lead to a slot which no endpoint with that address has: left by a crash in between."""
        for key, owner in list(self._owners.items()):
            if key not in self._addresses_of(owner):
                del self._owners[key]
                self._write_address(key)
        for public, owner in list(self._public_owners.items()):
            endpoint = self._endpoint_in(owner)
            if endpoint is None or endpoint.public != public:
                del self._public_owners[public]
                self._publics.remove(public.packed)
        for name, slot in list(self._slots.items()):
            if slot.endpoint is None and not slot.ifindex:
                self._give_up(name, slot)

    def _endpoint_in(self, number: int) -> Endpoint | None:
        name = self._by_number.get(number)
        return None if name is None else self._slots[name].endpoint

    def _addresses_of(self, number: int) -> set[AddressKey]:
        endpoint = self._endpoint_in(number)
        return set() if endpoint is None else {(endpoint.vpc, each) for each in _v4_addresses(endpoint)}

    def _read_names(self) -> Iterator[tuple[int, EndpointName]]:
        memory, stride = self._names.memory, self._names.stride
        for number in range(1, layout.MAX_SLOTS):
            if memory[number * stride]:
                yield number, EndpointName.unpack(self._names.get(number))


def _v4_addresses(endpoint: Endpoint) -> Iterator[IPv4Address]:
    return (address for address in endpoint.addresses if isinstance(address, IPv4Address))


def _place_of(endpoint: Endpoint) -> Endpoint:
    """All of it but what a policy change alters."""
    return replace(endpoint, identity=Identity(0), rule_set=RuleSetId(0))


def _after(generation: int) -> int:
    return generation + 1 if generation < _LAST_GENERATION else 1

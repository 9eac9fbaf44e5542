"""Endpoints and devices in kernel maps; their addresses are address_table.py's.

    devices[ifindex] ─▶ slot ─▶ endpoints[slot]: generation, device, policy, addresses, MAC, timers
    endpoint_names[slot]: what people call it, for whoever comes after a restart

An endpoint has a slot from when it is first attached or first in the policy until it is neither. A slot
that is given up gets a new generation at once, which cuts every flow that remembers it, and is given out
again only after all others were.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address

from stockade.datapath.ebpf import layout
from stockade.datapath.ebpf.address_table import AddressTable
from stockade.datapath.ebpf.layout import EndpointName, EndpointRecord
from stockade.datapath.ebpf.maps import Map, SharedArray
from stockade.datapath.ebpf.rule_tables import Loaded, TableFull
from stockade.model.addresses import Address
from stockade.model.flow import DropReason
from stockade.model.ids import NetworkInterfaceId
from stockade.policy.entries import Endpoint, Identity, MemberKey, RuleSetId

_LAST_NUMBER = 0xFFFFFFFF


@dataclass(slots=True)
class Slot:
    """One endpoint here. `endpoint` None: attached, but not in the applied policy. `record`: as it should be."""

    number: int
    record: EndpointRecord
    device: str = ""
    adopted: int = layout.OURS
    endpoint: Endpoint | None = field(default=None)

    @property
    def generation(self) -> int:
        return self.record.generation

    @property
    def ifindex(self) -> int:
        return self.record.ifindex


class EndpointTable:
    """The only writer of these maps."""

    def __init__(self, maps: Mapping[str, Map], shared: Mapping[str, SharedArray]) -> None:
        self._records, self._names, self._devices = shared["endpoints"], shared["endpoint_names"], shared["devices"]
        self._usages = shared["usages"]
        self._far_devices, self._drops = maps["far_devices"], maps["endpoint_drops"]
        self._candidates, self._datagrams = maps["candidates"], maps["datagrams"]
        self._addresses = AddressTable(maps, self._hear_identity)
        self._slots: dict[NetworkInterfaceId, Slot] = {}
        self._by_number: dict[int, NetworkInterfaceId] = {}
        self._last_number = 0

    # ── devices ───────────────────────────────────────────────────────────────────────────────────────

    def slot(self, endpoint: NetworkInterfaceId) -> Slot | None:
        return self._slots.get(endpoint)

    def name_of(self, number: int) -> NetworkInterfaceId | None:
        """Who has this slot."""
        return self._by_number.get(number)

    def attached(self) -> Iterator[tuple[NetworkInterfaceId, Slot]]:
        return ((name, slot) for name, slot in list(self._slots.items()) if slot.ifindex)

    def attach(self, endpoint: NetworkInterfaceId, device: str, ifindex: int, adopted: int = layout.OURS) -> None:
        """Packets of this device are this endpoint's from now on, and of no other."""
        for other, slot in list(self.attached()):
            if slot.ifindex == ifindex and other != endpoint:
                self.detach(other)  # its device is gone and the kernel has used the index again
        slot = self._slots.get(endpoint) or self._take(endpoint)
        if slot.ifindex and slot.ifindex != ifindex:
            self.detach(endpoint)
            slot = self._slots.get(endpoint) or self._take(endpoint)
        slot.device, slot.adopted = device, adopted
        self._write_name(endpoint, slot)
        slot.record = replace(slot.record, ifindex=ifindex)
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
        placed, policy, opened = slot.endpoint, slot.record.policy, _open_now(slot.record)
        self._give_up(endpoint, slot)
        if placed is not None:
            self._place(placed, policy, opened)

    def _point(self, ifindex: int, number: int) -> None:
        if ifindex < layout.MAX_NEAR:
            self._devices.store32(ifindex, 0, number)
        elif number:
            self._far_devices.put(layout.NUMBER.pack(ifindex), layout.NUMBER.pack(number))
        else:
            self._far_devices.remove(layout.NUMBER.pack(ifindex))

    # ── policy ────────────────────────────────────────────────────────────────────────────────────────

    def place(self, endpoint: Endpoint, rules: Loaded) -> None:
        """Police it so from now on, by its loaded rule set. One store when only that changed."""
        if not 0 < endpoint.vpc <= layout.MAX_VPC:
            raise TableFull(f"endpoint {endpoint.id}: network number {endpoint.vpc} has more than 23 bits, or none")
        self._place(endpoint, rules.index, rules.opened)

    def _place(self, endpoint: Endpoint, policy: int, opened: Iterable[bool]) -> None:
        slot = self._slots.get(endpoint.id) or self._take(endpoint.id)
        old, slot.endpoint = slot.endpoint, endpoint
        try:
            if old is None or not _same_place(old, endpoint):
                self._move(slot, old, endpoint)
        except OSError:
            # Neither what it was nor what it is to be, and closed: whoever places it next writes all of it.
            slot.endpoint = None
            self._addresses.disclaim(slot.number, endpoint)
            raise
        self._flip(slot, old, endpoint, policy, opened)
        self._write_name(endpoint.id, slot)

    def _flip(self, slot: Slot, old: Endpoint | None, new: Endpoint, policy: int, opened: Iterable[bool]) -> None:
        """To other rules or timers, at once. A new epoch if a live flow could care: its next packet asks again.

        What an epoch means is written before it is reached; the rules and the epoch are one store.
        """
        before = slot.record
        epoch = before.epoch
        if old is None or before.policy != policy or not _same_to_flows(old, new):
            epoch = _after(epoch)
        one, two, three, four = (epoch if now else then for now, then in zip(opened, before.opened, strict=True))
        cut = epoch if old is not None and old.cuts != new.cuts else before.cut
        slot.record = replace(
            before, policy=policy, epoch=epoch, opened=(one, two, three, four), cut=cut, tracking=new.tracking
        )
        if before.tracking != new.tracking:
            for place, ticks in enumerate(layout.timers(new.tracking)):
                self._records.store32(slot.number, layout.TIMERS_AT + 4 * place, ticks)
        for place, (number, then) in enumerate(zip(slot.record.opened, before.opened, strict=True)):
            if number != then:
                self._records.store32(slot.number, layout.OPENED_AT + 4 * place, number)
        if cut != before.cut:
            self._records.store32(slot.number, layout.CUT_AT, cut)
        (both,) = struct.unpack("=Q", struct.pack("=II", policy, epoch))
        self._records.store64(slot.number, layout.POLICY_AT, both)

    def forget(self, endpoint: NetworkInterfaceId) -> None:
        """No policy for it any more: everything is dropped. An attached one keeps its slot, and its flows end."""
        slot = self._slots[endpoint]
        if not slot.ifindex:
            self._give_up(endpoint, slot)
            return
        self._close(slot, _after(slot.generation))
        old, slot.endpoint = slot.endpoint, None
        if old is not None:
            self._addresses.disclaim(slot.number, old)
        self._write_name(endpoint, slot)

    def place_member(self, key: MemberKey, identity: Identity) -> None:
        """This address is this identity."""
        self._addresses.place_member(key, identity)

    def forget_member(self, key: MemberKey) -> None:
        self._addresses.forget_member(key)

    def _hear_identity(self, number: int, key: MemberKey, identity: int) -> None:
        """The record repeats the identity of the primary address."""
        name = self._by_number.get(number)
        slot = self._slots[name] if name is not None else None
        if slot is not None and slot.endpoint is not None and primaries(slot.endpoint)[0] == key[1]:
            slot.record = replace(slot.record, identity=identity)
            self._records.store64(number, layout.IDENTITY_AT, identity)

    def _move(self, slot: Slot, old: Endpoint | None, new: Endpoint) -> None:
        """Addresses, MAC or network differ: no new flow passes until all of it is written."""
        self._records.store32(slot.number, layout.POLICY_AT, 0)
        slot.record = replace(slot.record, policy=0)
        if old is not None:
            self._addresses.disclaim(slot.number, old)
            if old.vpc != new.vpc:
                self._close(slot, _after(slot.record.generation))  # in another network it is another one
        primary, primary6 = primaries(new)
        slot.record = replace(
            slot.record,
            identity=0 if primary is None else self._addresses.identity((new.vpc, primary)),
            address=primary,
            public=new.public,
            mac=new.mac,
            flags=layout.CHECK_SOURCE * new.source_dest_check
            | layout.CLASSIC * new.classic
            | layout.FILTERED * new.filtered
            | layout.PUBLIC6 * new.public6,
            vpc=new.vpc,
            address6=primary6,
            resolver=new.resolver,
        )
        self._records.put(slot.number, slot.record.pack())
        self._addresses.claim(slot.number, new)

    # ── slots ─────────────────────────────────────────────────────────────────────────────────────────

    def _take(self, endpoint: NetworkInterfaceId) -> Slot:
        for step in range(1, layout.MAX_SLOTS):
            number = (self._last_number + step - 1) % (layout.MAX_SLOTS - 1) + 1
            if number not in self._by_number:
                break
        else:
            raise TableFull(f"map endpoints: {layout.MAX_SLOTS - 1} endpoints are known")
        for reason in DropReason:
            self._drops.remove(layout.ENDPOINT_DROP_KEY.pack(number, reason))
        self._last_number = number
        generation = _after(EndpointRecord.unpack(self._records.get(number)).generation)
        slot = self._slots[endpoint] = Slot(number, EndpointRecord(generation))
        self._by_number[number] = endpoint
        self._records.put(number, slot.record.pack())
        self._usages.put(number, bytes(layout.USAGE.size))
        self._write_name(endpoint, slot)
        return slot

    def _give_up(self, endpoint: NetworkInterfaceId, slot: Slot) -> None:
        self._records.store32(slot.number, layout.IFINDEX_AT, 0)
        self._close(slot, _after(slot.generation))
        self._names.put(slot.number, bytes(layout.ENDPOINT_NAME.size))
        _clear(self._drops, (layout.ENDPOINT_DROP_KEY.pack(slot.number, reason) for reason in DropReason))
        del self._slots[endpoint], self._by_number[slot.number]
        if slot.endpoint is not None:
            self._addresses.disclaim(slot.number, slot.endpoint)

    def _close(self, slot: Slot, generation: int) -> None:
        """No rules, and whoever remembers the former generation remembers somebody else."""
        slot.record = replace(slot.record, policy=0, generation=generation)
        self._records.store32(slot.number, layout.POLICY_AT, 0)
        self._records.store32(slot.number, layout.GENERATION_AT, generation)
        self._forget_traffic(slot.number)

    def _forget_traffic(self, number: int) -> None:
        """What the programs keep by its slot goes: the tables are everybody's, and would fill with the gone."""
        noted = layout.USAGE.unpack(self._usages.get(number))[2]
        if any(noted):
            _clear(self._candidates, (layout.PLACE.pack(number, place) for place in range(2 * layout.CANDIDATES)))
        _clear(self._datagrams, (layout.PLACE.pack(number, place) for place in range(layout.DATAGRAMS)))
        self._usages.put(number, bytes(layout.USAGE.size))

    def _write_name(self, endpoint: NetworkInterfaceId, slot: Slot) -> None:
        self._names.put(slot.number, _name_of(endpoint, slot).pack())

    # ── reading back ──────────────────────────────────────────────────────────────────────────────────

    def observe(self) -> tuple[dict[NetworkInterfaceId, Endpoint], dict[MemberKey, Identity]]:
        """Endpoints and members as the kernel has them. Several addresses: see `in_order`."""
        members: dict[MemberKey, Identity] = {}
        addresses: dict[int, list[Address]] = {}
        for key, identity, owner in self._addresses.read():
            if identity:
                members[key] = Identity(identity)
            if owner:
                addresses.setdefault(owner, []).append(key[1])
        endpoints = {}
        for number, name in self._read_names():
            record = EndpointRecord.unpack(self._records.get(number))
            if name.rule_set and record.policy:
                endpoint = _endpoint_of(name, record, addresses.get(number, ()))
                endpoints[endpoint.id] = endpoint
        return endpoints, members

    def adopt(self) -> None:
        """Take over what a former process wrote. A slot that it had not finished naming is given up."""
        endpoints, _ = self.observe()
        for number, name in self._read_names():
            record = EndpointRecord.unpack(self._records.get(number))
            identifier = NetworkInterfaceId(name.id)
            slot = Slot(number, record, name.device, name.adopted, endpoints.get(identifier))
            self._slots[identifier], self._by_number[number] = slot, identifier
            self._last_number = max(self._last_number, number)
        self._addresses.adopt()
        self._addresses.drop_orphans(self._endpoint_in)
        for identifier, slot in list(self._slots.items()):
            if slot.endpoint is None and slot.ifindex:
                self._write_name(identifier, slot)  # a former process may not have come to unsay its rules
            elif slot.endpoint is None:
                self._give_up(identifier, slot)

    def _endpoint_in(self, number: int) -> Endpoint | None:
        name = self._by_number.get(number)
        return None if name is None else self._slots[name].endpoint

    def _read_names(self) -> Iterator[tuple[int, EndpointName]]:
        memory, stride = self._names.memory, self._names.stride
        for number in range(1, layout.MAX_SLOTS):
            if memory[number * stride]:
                yield number, EndpointName.unpack(self._names.get(number))

    # ── holding against ───────────────────────────────────────────────────────────────────────────────

    def usage(self, slot: Slot) -> tuple[int, int]:
        """Its flows, tracked and untracked."""
        tracked, untracked, _ = layout.USAGE.unpack(self._usages.get(slot.number))
        return tracked, untracked

    def repair(self, name: NetworkInterfaceId, slot: Slot) -> list[str]:
        """Put right the record, name and device of one endpoint; a line for each that differed."""
        said = []
        record = slot.record.pack()
        if self._records.get(slot.number) != record:
            self._records.put(slot.number, record)
            said.append(f"map endpoints: the record of {name} is wrong")
        if self._names.get(slot.number) != _name_of(name, slot).pack():
            self._write_name(name, slot)
            said.append(f"map endpoint_names: the entry of {name} is wrong")
        near = slot.ifindex < layout.MAX_NEAR
        if slot.ifindex and near and layout.NUMBER.unpack(self._devices.get(slot.ifindex))[0] != slot.number:
            self._point(slot.ifindex, slot.number)
            said.append(f"map devices: {slot.device} did not lead to {name}")
        return said


def primaries(endpoint: Endpoint) -> tuple[IPv4Address | None, IPv6Address | None]:
    """Its first address of each family."""
    return (
        next((each for each in endpoint.addresses if isinstance(each, IPv4Address)), None),
        next((each for each in endpoint.addresses if isinstance(each, IPv6Address)), None),
    )


def _name_of(endpoint: NetworkInterfaceId, slot: Slot) -> EndpointName:
    placed = slot.endpoint
    if placed is None:
        return EndpointName(endpoint, 0, 0, slot.device, 0, slot.adopted)
    return EndpointName(endpoint, placed.identity, placed.rule_set, slot.device, placed.cuts, slot.adopted)


def _endpoint_of(name: EndpointName, record: EndpointRecord, addresses: Iterable[Address]) -> Endpoint:
    return Endpoint(
        id=NetworkInterfaceId(name.id),
        vpc=record.vpc,
        mac=record.mac,
        addresses=in_order(addresses, record.address, record.address6),
        public=record.public,
        identity=Identity(name.identity),
        rule_set=RuleSetId(name.rule_set),
        source_dest_check=bool(record.flags & layout.CHECK_SOURCE),
        classic=bool(record.flags & layout.CLASSIC),
        filtered=bool(record.flags & layout.FILTERED),
        tracking=record.tracking,
        cuts=name.cuts,
        resolver=record.resolver,
        public6=bool(record.flags & layout.PUBLIC6),
    )


def in_order(
    addresses: Iterable[Address], primary: IPv4Address | None, primary6: IPv6Address | None
) -> tuple[Address, ...]:
    """IPv4, then IPv6; of each the primary first, then ascending."""
    firsts = {primary, primary6}
    return tuple(sorted(addresses, key=lambda each: (each.version, each not in firsts, int(each))))


def _same_place(old: Endpoint, new: Endpoint) -> bool:
    """Whether they differ at most in what is changed without a packet noticing. Which address comes first matters,
    not the order of the others: that is not kept.
    """
    return (
        (old.addresses == new.addresses or _ordered(old) == _ordered(new))
        and (old.vpc, old.mac, old.public, old.resolver) == (new.vpc, new.mac, new.public, new.resolver)
        and (old.source_dest_check, old.classic, old.filtered, old.public6)
        == (new.source_dest_check, new.classic, new.filtered, new.public6)
    )


def _same_to_flows(old: Endpoint, new: Endpoint) -> bool:
    """Whether live flows have nothing to ask again, as far as it is not their rules."""
    return (old.tracking, old.cuts, old.public) == (new.tracking, new.cuts, new.public) and (
        old.addresses == new.addresses or set(old.addresses) == set(new.addresses)
    )


def _ordered(endpoint: Endpoint) -> tuple[Address, ...]:
    return in_order(endpoint.addresses, *primaries(endpoint))


def _open_now(record: EndpointRecord) -> tuple[bool, ...]:
    return tuple(bool(each) and each == record.epoch for each in record.opened)


def _clear(table: Map, keys: Iterable[bytes]) -> None:
    """Those of the keys that are there go, as far as the kernel lets them."""
    with suppress(OSError):
        for key in keys:
            if table.get(key) is not None:
                table.remove(key)


def _after(number: int) -> int:
    return number + 1 if number < _LAST_NUMBER else 1

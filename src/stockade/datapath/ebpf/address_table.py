"""Addresses in kernel maps: whose identity they have, and to which slot they lead.

    addresses[VPC, address] ─▶ identity, slot if here        publics[address met from outside] ─▶ slot

Two endpoints may claim one address while it passes from one to the other. It leads to whoever claimed it last, and
back to the former one if that is taken back.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from ipaddress import IPv6Address, ip_address
from typing import Generic, TypeVar

from stockade.datapath.ebpf import layout
from stockade.datapath.ebpf.maps import Map
from stockade.model.addresses import Address
from stockade.policy.entries import Endpoint, Identity, MemberKey

K = TypeVar("K", bound=Hashable)


class _Claims(Generic[K]):
    """Which slots claim what, the last one last."""

    def __init__(self, found: Mapping[K, int]) -> None:
        self._slots: dict[K, tuple[int, ...]] = {key: (slot,) for key, slot in found.items()}

    def owner(self, key: K) -> int:
        """0: nobody."""
        return self._slots.get(key, (0,))[-1]

    def owned(self) -> list[tuple[K, int]]:
        return [(key, slots[-1]) for key, slots in self._slots.items()]

    def add(self, key: K, slot: int) -> None:
        self._slots[key] = (*(each for each in self._slots.get(key, ()) if each != slot), slot)

    def drop(self, key: K, slot: int) -> bool:
        """Whether there was anything to drop."""
        before = self._slots.get(key, ())
        left = tuple(each for each in before if each != slot)
        if left:
            self._slots[key] = left
        else:
            self._slots.pop(key, None)
        return left != before


class AddressTable:
    """The only writer of these maps."""

    def __init__(self, maps: Mapping[str, Map], told: Callable[[int, MemberKey, int], None]) -> None:
        """`told` hears of every address that is written and leads to a slot: slot, address, identity."""
        self._addresses = {4: maps["addresses"], 6: maps["addresses6"]}
        self._publics = {4: maps["publics"], 6: maps["publics6"]}
        self._told = told
        self._members: dict[MemberKey, Identity] = {}
        self._claims: _Claims[MemberKey] = _Claims({})
        self._public_claims: _Claims[Address] = _Claims({})

    def identity(self, key: MemberKey) -> int:
        """0: nobody's."""
        return self._members.get(key, 0)

    def place_member(self, key: MemberKey, identity: Identity) -> None:
        """This address is this identity."""
        self._members[key] = identity
        self._write(key)

    def forget_member(self, key: MemberKey) -> None:
        if self._members.pop(key, None) is not None:
            self._write(key)

    def claim(self, slot: int, endpoint: Endpoint) -> None:
        """The endpoint's addresses lead to this slot."""
        for address in endpoint.addresses:
            self._claims.add((endpoint.vpc, address), slot)
            self._write((endpoint.vpc, address))
        for address in met_from_outside(endpoint):
            self._public_claims.add(address, slot)
            self._write_public(address)

    def disclaim(self, slot: int, endpoint: Endpoint) -> None:
        """They lead to this slot no more."""
        for address in endpoint.addresses:
            if self._claims.drop((endpoint.vpc, address), slot):
                self._write((endpoint.vpc, address))
        for address in met_from_outside(endpoint):
            if self._public_claims.drop(address, slot):
                self._write_public(address)

    def _write(self, key: MemberKey) -> None:
        identity, owner = self._members.get(key, 0), self._claims.owner(key)
        table = self._addresses[key[1].version]
        if identity or owner:
            table.put(layout.address_key(*key), layout.ADDRESS.pack(identity, owner))
        else:
            table.remove(layout.address_key(*key))
        if owner:
            self._told(owner, key, identity)

    def _write_public(self, address: Address) -> None:
        owner = self._public_claims.owner(address)
        table = self._publics[address.version]
        if owner:
            table.put(address.packed, layout.NUMBER.pack(owner))
        else:
            table.remove(address.packed)

    # ── reading back ──────────────────────────────────────────────────────────────────────────────────

    def read(self) -> Iterator[tuple[MemberKey, int, int]]:
        """Each address in the kernel with its identity and its slot."""
        for family, table in self._addresses.items():
            for raw_key, raw in table.items():
                vpc, packed = layout.ADDRESS_KEY[family].unpack(raw_key)
                identity, owner = layout.ADDRESS.unpack(raw)
                yield (vpc, ip_address(packed)), identity, owner

    def adopt(self) -> None:
        """Take over what a former process wrote."""
        found = list(self.read())
        self._members = {key: Identity(identity) for key, identity, _ in found if identity}
        self._claims = _Claims({key: owner for key, _, owner in found if owner})
        self._public_claims = _Claims(
            {
                ip_address(raw_key): layout.NUMBER.unpack(raw)[0]
                for table in self._publics.values()
                for raw_key, raw in table.items()
            }
        )

    def drop_orphans(self, endpoint_in: Callable[[int], Endpoint | None]) -> None:
        """Addresses that lead to a slot which no endpoint with that address has: left by a crash in between."""
        for key, owner in self._claims.owned():
            endpoint = endpoint_in(owner)
            if endpoint is None or endpoint.vpc != key[0] or key[1] not in endpoint.addresses:
                self._claims.drop(key, owner)
                self._write(key)
        for public, owner in self._public_claims.owned():
            endpoint = endpoint_in(owner)
            if endpoint is None or public not in met_from_outside(endpoint):
                self._public_claims.drop(public, owner)
                self._write_public(public)


def met_from_outside(endpoint: Endpoint) -> Iterable[Address]:
    """The addresses by which others than its own network meet it. In filter mode somebody else sees to that."""
    if endpoint.filtered:
        return
    if endpoint.public is not None:
        yield endpoint.public
    if endpoint.public6:
        yield from (each for each in endpoint.addresses if isinstance(each, IPv6Address))

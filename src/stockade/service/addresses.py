"""Private and public addresses: handed out, taken back.

An address that was given back is the last to be given out again: the search goes round. So whoever still trusts
an address by what it was has the longest time to learn better.
"""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network

from stockade.model import keys
from stockade.model.addresses import Address
from stockade.model.errors import AddressesExhausted
from stockade.model.network_interface import NetworkInterface
from stockade.model.resources import Resources
from stockade.model.vpc import Subnet, Vpc

RESERVED_FIRST = 4  # network, router, resolver, one for later: as in AWS
RESERVED_LAST = 1
LARGEST_SUBNET = 16  # prefix length; larger blocks are pools, where addresses ending in 0 and 255 are left out


def usable(block: IPv4Network) -> range:
    """The addresses of a block that may be given out, as numbers."""
    first = int(block.network_address)
    return range(first + RESERVED_FIRST, first + block.num_addresses - RESERVED_LAST)


class Addresses:
    """Remembers where the search in each block goes on. Guards on the claims make a choice final, not this."""

    def __init__(self, resources: Callable[[], Resources]) -> None:
        self._resources = resources
        self._next: dict[tuple[str, IPv4Network], int] = {}

    def private(self, vpc: Vpc, subnet: Subnet | None, count: int) -> list[IPv4Address]:
        """Free addresses of the subnet, or of the whole (classic) network: `count`, or as many as there are."""
        block = vpc.cidr if subnet is None else subnet.cidr
        place = (vpc.id, block)
        if place not in self._next:
            self._resume(place, self._resources().interfaces_in(vpc.id), lambda interface: interface.addresses[0])
        return self._search(place, count, lambda address: keys.private_address(vpc.id, address))

    def public(self, pool: IPv4Network, count: int) -> list[IPv4Address]:
        """Free public addresses: `count`, or as many as there are."""
        place = ("public", pool)
        if place not in self._next:
            self._resume(place, self._resources().interfaces.values(), lambda interface: interface.public)
        return self._search(place, count, keys.public_address)

    def available(self, vpc: Vpc, subnet: Subnet) -> int:
        """How many addresses of the subnet are free."""
        taken = sum(i.addresses[0] in subnet.cidr for i in self._resources().interfaces_in(vpc.id))
        return len(usable(subnet.cidr)) - taken

    def _resume(
        self,
        place: tuple[str, IPv4Network],
        interfaces: Iterable[NetworkInterface],
        address_of: Callable[[NetworkInterface], Address | None],
    ) -> None:
        """After a restart, go on behind the newest interface's address."""
        known = [(i.number, address) for i in interfaces if (address := address_of(i)) and address in place[1]]
        self._next[place] = int(max(known)[1]) + 1 if known else usable(place[1]).start

    def _search(
        self, place: tuple[str, IPv4Network], count: int, claim: Callable[[IPv4Address], str]
    ) -> list[IPv4Address]:
        block = place[1]
        candidates = usable(block)
        round_numbers_too = block.prefixlen > LARGEST_SUBNET
        claims = self._resources().claims
        found: list[IPv4Address] = []
        number = self._next[place]
        for _ in range(len(candidates)):
            if len(found) == count:
                break
            if number not in candidates:
                number = candidates.start
            address = IPv4Address(number)
            number += 1
            if (round_numbers_too or address.packed[3] not in (0, 255)) and claim(address) not in claims:
                found.append(address)
        if not found and count:
            raise AddressesExhausted(str(block))
        self._next[place] = number
        return found

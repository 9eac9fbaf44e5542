"""IPv6 blocks: from the cell's pool to a VPC, from there to its subnets, from there to interfaces.

    pool /40  ->  VPC /56  ->  subnet /64  ->  interface: the subnet's prefix and a number that was never used before

What is decided here is written by service/vpcs.py and service/launch.py.
"""

from collections.abc import Container, Iterator
from dataclasses import replace
from hashlib import blake2b
from ipaddress import IPv6Address, IPv6Network

from stockade.model import keys, ports
from stockade.model.addresses import EVERYWHERE_V4, EVERYWHERE_V6
from stockade.model.errors import AddressesExhausted, BlockAssociated, ParameterInvalid
from stockade.model.resources import Change, Resources, put
from stockade.model.rule import CidrPeer, Direction
from stockade.model.security_group import SecurityGroup
from stockade.model.vpc import Subnet, Vpc
from stockade.service.cell import Cell
from stockade.service.default_groups import open_to
from stockade.store.contract import Guard

VPC_LENGTH, SUBNET_LENGTH = 56, 64
_FIRST = 1 << 8  # hosts below are kept for the network's own, as the first four are over IPv4
_PER_INTERFACE = 1 << 8


def free_block(pool: IPv6Network, vpc: Vpc, claims: Container[str]) -> IPv6Network:
    """A /56 that no network has; where the search begins follows from the network's number."""
    count = 1 << (VPC_LENGTH - pool.prefixlen)
    size = 1 << (pool.max_prefixlen - VPC_LENGTH)
    for step in range(count):
        start = int(pool.network_address) + (vpc.number + step) % count * size
        block = IPv6Network((start, VPC_LENGTH))
        if keys.ipv6_block(block) not in claims:
            return block
    raise AddressesExhausted(str(pool))


def checked_block(resources: Resources, vpc: Vpc, subnet: Subnet, text: str) -> IPv6Network:
    """The /64 that a subnet asks for. Raises ParameterInvalid, BlockAssociated."""
    try:
        block = IPv6Network(text)
    except ValueError:
        raise ParameterInvalid("ipv6CidrBlock", text, "This is not a valid IPv6 CIDR block.") from None
    if block.prefixlen != SUBNET_LENGTH:
        raise ParameterInvalid("ipv6CidrBlock", text, f"A subnet's IPv6 block is a /{SUBNET_LENGTH}.")
    if vpc.ipv6 is None or not block.subnet_of(vpc.ipv6):
        raise ParameterInvalid("ipv6CidrBlock", text, f"It is not within the IPv6 CIDR block of {vpc.id}.")
    others = tuple(one.id for one in resources.subnets_in(vpc.id) if one.id != subnet.id and one.ipv6 == block)
    if others:
        raise BlockAssociated(subnet.id, str(block), others)
    return block


def addresses_of(subnet: IPv6Network, number: int, taken: Container[str], vpc: str) -> Iterator[IPv6Address]:
    """Addresses for the interface with this number, which nobody had before; one that somebody chose is left out."""
    start = int(subnet.network_address) + _FIRST + number * _PER_INTERFACE
    for last in range(_PER_INTERFACE):
        address = IPv6Address(start + last)
        if keys.private_address(vpc, address) not in taken:
            yield address


def association_id(resource: str, block: IPv6Network) -> str:
    """EC2's name for the fact that a network or subnet has this block: the same while it lasts."""
    prefix, _, digits = resource.partition("-")
    name = blake2b(f"{resource} {block}".encode(), digest_size=16).hexdigest()[: len(digits)]
    return f"{prefix}-cidr-assoc-{name}"


def opened_egress(cell: Cell, vpc: Vpc) -> tuple[list[Guard], list[Change]]:
    """Groups whose egress rules nobody has touched open to IPv6 too, as in EC2. A rule number for each group."""
    guards: list[Guard] = []
    changes: list[Change] = []
    for group in cell.resources.groups_in(vpc.id):
        if _is_untouched(group):
            account = cell.resources.accounts[group.account]
            rules = (*group.rules, open_to(cell, account, EVERYWHERE_V6))
            changes.append(put(replace(group, rules=rules)))
            guards.append(cell.unchanged(changes[-1].key))
    return guards, changes


def _is_untouched(group: SecurityGroup) -> bool:
    egress = [rule.identity for rule in group.rules if rule.direction is Direction.EGRESS]
    return egress == [(Direction.EGRESS, ports.ANY, None, None, CidrPeer(EVERYWHERE_V4))]

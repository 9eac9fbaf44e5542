"""CIDR blocks, host addresses and MAC addresses in canonical form."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NewType, TypeAlias

from stockade.model.errors import CidrMalformed

Address: TypeAlias = IPv4Address | IPv6Address
Cidr: TypeAlias = IPv4Network | IPv6Network
MacAddress = NewType("MacAddress", str)  # six lower-case hex pairs joined by colons

EVERYWHERE_V4 = IPv4Network("0.0.0.0/0")
EVERYWHERE_V6 = IPv6Network("::/0")


def parse_cidr(text: str) -> Cidr:
    """The block that `text` names, host bits cleared as EC2 stores it. Raises CidrMalformed.

    A prefix length is required: a bare address is not a block, as in EC2.
    """
    address, slash, length = text.partition("/")
    if not slash or not length.isascii() or not length.isdigit() or "%" in address:  # a zone is of one machine
        raise CidrMalformed(text)
    try:
        return ip_network((ip_address(address), int(length)), strict=False)
    except ValueError as err:
        raise CidrMalformed(text) from err


def mac_of(number: int) -> MacAddress:
    """The MAC address of the network interface with this number: locally administered, unique per cell."""
    octets = (0x02, 0x5C, *number.to_bytes(4, "big"))
    return MacAddress(":".join(f"{octet:02x}" for octet in octets))


def covers(block: Cidr, address: Address) -> bool:
    """Whether the address lies in the block; never across families."""
    return block.version == address.version and address in block

"""Traffic that no rule is asked about: the host's own services, and addresses nobody may use.

The services are exact (address, protocol, port): whatever looks like them and is not, is dropped. The
same numbers stand in bpf/types.h.
"""

from ipaddress import IPv4Address, IPv4Network
from typing import Final

from stockade.model.addresses import Address
from stockade.model.ports import TCP, UDP

METADATA: Final = IPv4Address("169.254.169.254")
RESOLVER: Final = IPv4Address("169.254.169.253")
SERVICES: Final = frozenset({(METADATA, TCP, 80), (RESOLVER, UDP, 53), (RESOLVER, TCP, 53)})

LINK_LOCAL: Final = IPv4Network("169.254.0.0/16")
MULTICAST: Final = IPv4Network("224.0.0.0/4")
BROADCAST: Final = IPv4Address("255.255.255.255")
NOBODYS: Final = (IPv4Network("0.0.0.0/8"), IPv4Network("127.0.0.0/8"), MULTICAST, IPv4Network("240.0.0.0/4"))


def is_link_local(address: Address) -> bool:
    """Belongs to the host's services, so no guest and no outsider may send from it."""
    return address.version == 4 and address in LINK_LOCAL


def is_for_many(address: Address) -> bool:
    """Multicast or limited broadcast: never delivered."""
    return address == BROADCAST or (address.version == 4 and address in MULTICAST)


def is_nobody(address: Address) -> bool:
    """Never anybody's source: unspecified, loopback, multicast, reserved."""
    return any(address.version == 4 and address in block for block in NOBODYS)

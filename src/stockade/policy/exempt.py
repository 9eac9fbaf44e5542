"""Traffic that no rule is asked about: the host's own services, and addresses nobody may use.

The services are exact (address, protocol, port): whatever looks like them and is not, is dropped. The
same numbers stand in bpf/types.h.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from stockade.model.addresses import Address, Cidr, covers
from stockade.model.flow import Packet
from stockade.model.ports import ICMP, ICMPV6, TCP, UDP

METADATA: Final = IPv4Address("169.254.169.254")
RESOLVER: Final = IPv4Address("169.254.169.253")
TIME: Final = IPv4Address("169.254.169.123")
METADATA6: Final = IPv6Address("fd00:ec2::254")
RESOLVER6: Final = IPv6Address("fd00:ec2::253")
TIME6: Final = IPv6Address("fd00:ec2::123")
QUESTIONS: Final = ((UDP, 53), (TCP, 53))
"""What a resolver is asked by, at whichever of its addresses."""
SERVICES: Final = frozenset(
    {
        *((address, TCP, 80) for address in (METADATA, METADATA6)),
        *((address, *question) for address in (RESOLVER, RESOLVER6) for question in QUESTIONS),
        *((address, UDP, 123) for address in (TIME, TIME6)),
    }
)

LINK_LOCAL: Final[tuple[Cidr, ...]] = (
    IPv4Network("169.254.0.0/16"),
    IPv6Network("fe80::/10"),
    IPv6Network("fd00:ec2::/32"),
)
MULTICAST: Final[tuple[Cidr, ...]] = (
    IPv4Network("224.0.0.0/4"),
    IPv4Network("255.255.255.255/32"),
    IPv6Network("ff00::/8"),
)
NOBODYS: Final[tuple[Cidr, ...]] = (
    *map(IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4")),
    *map(IPv6Network, ("::/128", "::1/128", "ff00::/8", "::ffff:0:0/96")),
)

REDIRECTS: Final = frozenset({(4, ICMP, 5), (6, ICMPV6, 137)})
ROUTER_MESSAGES: Final = frozenset({134, 137})
"""ICMPv6 types that only a router sends: advertisement, redirect."""
DHCP_SERVERS: Final = {4: 67, 6: 547}
"""Source ports of who hands out addresses."""


def is_service(packet: Packet, resolver: Address | None) -> bool:
    """Whether it is exactly for one of the host's services. `resolver`: the network's own name for the resolver."""
    if packet.destination == resolver and (packet.protocol, packet.port) in QUESTIONS:
        return True
    return (packet.destination, packet.protocol, packet.port) in SERVICES


def is_link_local(address: Address) -> bool:
    """Belongs to the host's services or to a link, so no guest and no outsider may send from it."""
    return any(covers(block, address) for block in LINK_LOCAL)


def is_for_many(address: Address) -> bool:
    """Multicast or limited broadcast: never delivered."""
    return any(covers(block, address) for block in MULTICAST)


def is_nobody(address: Address) -> bool:
    """Never anybody's source: unspecified, loopback, multicast, reserved, IPv4 written as IPv6."""
    return any(covers(block, address) for block in NOBODYS)


def is_redirect(packet: Packet) -> bool:
    """It would change a route, and nobody here may do that."""
    return (packet.source.version, packet.protocol, packet.port >> 8) in REDIRECTS


def is_for_hosts_only(packet: Packet) -> bool:
    """What the network says to instances and no instance may say: router messages, DHCP server replies."""
    if packet.protocol == ICMPV6:
        return packet.source.version == 6 and packet.port >> 8 in ROUTER_MESSAGES
    return packet.protocol == UDP and packet.source_port == DHCP_SERVERS[packet.source.version]

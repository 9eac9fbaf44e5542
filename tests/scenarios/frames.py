"""Packets as the bytes of Ethernet frames, right or wrong on purpose.

    frame_of(Packet(web, app, TCP, 80, 40_000), source_mac=mac_of(1))
    frame_of(packet, source_mac=mac, part=Part(7, offset=1, more=True))

Checksums are left out: nothing that judges looks at them.
"""

import struct
from dataclasses import dataclass, replace
from itertools import pairwise

from stockade.model.addresses import MacAddress
from stockade.model.flow import Packet
from stockade.model.ports import ICMP, ICMPV6, TCP, UDP

ROUTER = MacAddress("0e:5c:00:00:00:01")
ETHERTYPES = {4: 0x0800, 6: 0x86DD}
ARP = 0x0806
SYN, ACK, FIN, RST = 0x02, 0x10, 0x01, 0x04
DATA = b"stockade"


@dataclass(frozen=True, slots=True)
class Part:
    """A fragment: `offset` in units of 8 bytes."""

    identification: int
    offset: int
    more: bool


def ethernet(body: bytes, ethertype: int, source_mac: MacAddress, destination_mac: MacAddress = ROUTER) -> bytes:
    return bytes.fromhex((destination_mac + source_mac).replace(":", "")) + ethertype.to_bytes(2, "big") + body


def frame_of(
    packet: Packet,
    source_mac: MacAddress,
    *,
    flags: int = SYN,
    quoted: Packet | None = None,
    part: Part | None = None,
    body: bytes | None = None,
    hop_limit: int = 64,
) -> bytes:
    """`flags` are TCP's; `quoted`: what an ICMP error complains about; `body` instead of the transport's bytes."""
    if body is None:
        body = transport(packet, flags, b"" if quoted is None else quotation(quoted))
    ip = ip_of(packet, body, part, hop_limit)
    return ethernet(ip, ETHERTYPES[packet.source.version], source_mac)


def ip_of(packet: Packet, body: bytes, part: Part | None = None, hop_limit: int = 64) -> bytes:
    """The packet from its IP header on."""
    addresses = packet.source.packed + packet.destination.packed
    if packet.source.version == 4:
        identification, field = (1, 0) if part is None else (part.identification, part.more << 13 | part.offset)
        total, protocol = 20 + len(body), packet.protocol
        return (
            struct.pack("!BBHHHBBH", 0x45, 0, total, identification, field, hop_limit, protocol, 0) + addresses + body
        )
    following = packet.protocol
    if part is not None:
        body = struct.pack("!BBHI", following, 0, part.offset << 3 | part.more, part.identification) + body
        following = 44
    return struct.pack("!IHBB", 6 << 28, len(body), following, hop_limit) + addresses + body


def transport(packet: Packet, flags: int = SYN, quoted: bytes = b"") -> bytes:
    """What stands behind the IP header."""
    icmp = ICMP if packet.source.version == 4 else ICMPV6
    if packet.protocol == TCP:
        return struct.pack("!HHIIBBHHH", packet.source_port, packet.port, 1, 0, 0x50, flags, 64240, 0, 0)
    if packet.protocol == UDP:
        return struct.pack("!HHHH", packet.source_port, packet.port, 8 + len(DATA), 0) + DATA
    if packet.protocol == icmp:
        return struct.pack("!HHHH", packet.port, 0, packet.source_port, 1) + (quoted or DATA)
    return DATA * 2


def quotation(packet: Packet) -> bytes:
    """The packet as an error quotes it: its header and 8 bytes."""
    header = 20 if packet.source.version == 4 else 40
    return ip_of(packet, transport(packet))[: header + 8]


def parts_of(packet: Packet, source_mac: MacAddress, identification: int, *, flags: int = SYN) -> list[bytes]:
    """The packet in three fragments, the first with the whole header."""
    body = transport(packet, flags) + DATA * 6
    if packet.protocol == UDP:
        body = body[:4] + len(body).to_bytes(2, "big") + body[6:]
    cuts = [0, 24, 40, len(body)]
    return [
        frame_of(
            packet,
            source_mac,
            part=Part(identification, low // 8, more=high != len(body)),
            body=body[low:high],
        )
        for low, high in pairwise(cuts)
    ]


def arp_frame(source_mac: MacAddress, operation: int, sender: bytes, target: bytes, claimed: MacAddress) -> bytes:
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + bytes.fromhex(claimed.replace(":", "")) + sender
    return ethernet(body + bytes(6) + target, ARP, source_mac, MacAddress("ff:ff:ff:ff:ff:ff"))


def neighbour_frame(
    packet: Packet, source_mac: MacAddress, target: bytes, claimed: MacAddress | None, hop_limit: int = 255
) -> bytes:
    """ICMPv6 neighbour discovery; `packet.port` has its type."""
    kind = packet.port >> 8
    option = b""
    if claimed is not None:
        option = bytes([2 if kind == 136 else 1, 1]) + bytes.fromhex(claimed.replace(":", ""))
    body = struct.pack("!HHI", packet.port, 0, 0) + (target if kind in (135, 136) else b"") + option
    return frame_of(replace(packet, protocol=ICMPV6), source_mac, body=body, hop_limit=hop_limit)

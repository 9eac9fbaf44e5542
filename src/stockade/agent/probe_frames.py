"""One packet that opens nothing it should not: the frame of a probe, and how it is known again where it arrives.

A TCP probe is a bare SYN (the sender's own stack answers a SYN-ACK it knows nothing of with RST, which ends the flow);
a UDP probe is an empty datagram; any other protocol carries four bytes. Every probe holds a token of its own
in fields that no address translation changes: sequence number, IP identification or flow label, ICMP rest of header.
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from stockade.model.flow import Packet
from stockade.model.ports import ICMP, ICMPV6, TCP, UDP

_ETHERNET = struct.Struct("!6s6sH")
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_TCP = struct.Struct("!HHIIBBHHH")
_UDP = struct.Struct("!HHHH")
_ICMP = struct.Struct("!BBHI")
_TYPE_IPV4, _TYPE_IPV6 = 0x0800, 0x86DD
_TTL = 64
_SYN = 0x02
_DONT_FRAGMENT = 0x4000
_LABEL = 0xFFFFF

ERRORS = {ICMP: (3, 5, 11, 12), ICMPV6: (1, 2, 3, 4)}
NEIGHBOURS = range(133, 138)
EXTENSIONS = (0, 43, 44, 60, 135, 139, 140)


@dataclass(frozen=True, slots=True)
class Probe:
    """A packet and the token it carries (32 bits, by chance)."""

    packet: Packet
    token: int

    @property
    def source_port(self) -> int:
        """Of the dynamic range, so that no server's reply is mistaken for it."""
        return 0xC000 | (self.token & 0x3FFF)


def cannot_be_sent(packet: Packet) -> str | None:
    """Why a single packet would tell nothing about the rules for this traffic, if that is so."""
    kind = packet.port >> 8
    if kind in ERRORS.get(packet.protocol, ()) and packet.protocol in ERRORS:
        return "an ICMP error is judged by the flow it is about"
    if packet.source.version == 6 and packet.protocol == ICMPV6 and kind in NEIGHBOURS:
        return "neighbour and router messages never cross from one interface to another"
    if packet.source.version == 6 and packet.protocol in EXTENSIONS:
        return "this number is an IPv6 extension header, and no protocol"
    if packet.source.version != packet.destination.version:
        return "source and destination are of different families"
    return None


def frame_of(probe: Probe, source_mac: bytes, destination_mac: bytes) -> bytes:
    """The whole Ethernet frame."""
    packet, token = probe.packet, probe.token
    upper = _upper(probe)
    if packet.source.version == 4:
        kind = _TYPE_IPV4
        fields = (0x45, 0, _IPV4.size + len(upper), token >> 16, _DONT_FRAGMENT, _TTL, packet.protocol)
        ends = (packet.source.packed, packet.destination.packed)
        header = _IPV4.pack(*fields, _checksum(_IPV4.pack(*fields, 0, *ends)), *ends)
    else:
        kind = _TYPE_IPV6
        header = _IPV6.pack(
            6 << 28 | token & _LABEL,
            len(upper),
            packet.protocol,
            _TTL,
            packet.source.packed,
            packet.destination.packed,
        )
    return _ETHERNET.pack(destination_mac, source_mac, kind) + header + upper


def is_probe(frame: bytes, probe: Probe) -> bool:
    """Whether this frame, as it arrived, is the probe. Addresses may have been translated on the way."""
    if len(frame) < _ETHERNET.size + _IPV4.size:
        return False
    kind = _ETHERNET.unpack_from(frame)[2]
    packet, token, at = probe.packet, probe.token, _ETHERNET.size
    if kind == _TYPE_IPV4 and packet.source.version == 4:
        _, _, _, mark, _, _, protocol, _, _, _ = _IPV4.unpack_from(frame, at)
        marked = mark == token >> 16
        upper = frame[at + _IPV4.size :]
    elif kind == _TYPE_IPV6 and packet.source.version == 6 and len(frame) >= at + _IPV6.size:
        first, _, protocol, _, _, _ = _IPV6.unpack_from(frame, at)
        marked = first & _LABEL == token & _LABEL
        upper = frame[at + _IPV6.size :]
    else:
        return False
    return marked and protocol == packet.protocol and _is_upper(upper, probe)


def _upper(probe: Probe) -> bytes:
    packet, token = probe.packet, probe.token
    match packet.protocol:
        case protocol if protocol == TCP:
            ports = (probe.source_port, packet.port)
            fields = (*ports, token, 0, _TCP.size // 4 << 4, _SYN, 1024)
            return _TCP.pack(*fields, _sum_with_ends(packet, _TCP.pack(*fields, 0, 0)), 0)
        case protocol if protocol == UDP:
            fields3 = (probe.source_port, packet.port, _UDP.size)
            found = _sum_with_ends(packet, _UDP.pack(*fields3, 0))
            return _UDP.pack(*fields3, found or 0xFFFF)
        case protocol if protocol == (ICMP if isinstance(packet.source, IPv4Address) else ICMPV6):
            kind, code = packet.port >> 8, packet.port & 0xFF
            bare = _ICMP.pack(kind, code, 0, token)
            found = _checksum(bare) if protocol == ICMP else _sum_with_ends(packet, bare)
            return _ICMP.pack(kind, code, found, token)
        case _:
            return token.to_bytes(4, "big")


def _is_upper(upper: bytes, probe: Probe) -> bool:
    packet, token = probe.packet, probe.token
    if packet.protocol == TCP:
        if len(upper) < _TCP.size:
            return False
        source, destination, sequence, *_ = _TCP.unpack_from(upper)
        return (source, destination, sequence) == (probe.source_port, packet.port, token)
    if packet.protocol == UDP:
        return len(upper) >= _UDP.size and _UDP.unpack_from(upper)[:2] == (probe.source_port, packet.port)
    if packet.protocol == (ICMP if packet.source.version == 4 else ICMPV6):
        if len(upper) < _ICMP.size:
            return False
        kind, code, _, rest = _ICMP.unpack_from(upper)
        return (kind << 8 | code, rest) == (packet.port, token)
    return upper[:4] == token.to_bytes(4, "big")


def _sum_with_ends(packet: Packet, upper: bytes) -> int:
    """The checksum over pseudo header and payload, which both families have alike but for the length of addresses."""
    ends = packet.source.packed + packet.destination.packed
    if packet.source.version == 4:
        pseudo = ends + struct.pack("!HH", packet.protocol, len(upper))
    else:
        pseudo = ends + struct.pack("!II", len(upper), packet.protocol)
    return _checksum(pseudo + upper)


def _checksum(data: bytes) -> int:
    """The ones' complement sum of RFC 1071."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

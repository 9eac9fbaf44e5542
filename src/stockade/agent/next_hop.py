"""Whom a guest would hand a frame to: the MAC address of the next hop of a device that somebody else forwards for."""

import socket
import struct
import time
from ipaddress import IPv4Address, IPv6Address

from stockade.linux.far_end import FarEnd
from stockade.linux.links import list_addresses6, list_routes
from stockade.linux.namespaces import socket_in
from stockade.linux.netlink import Netlink
from stockade.model.addresses import Address

_ARP = struct.Struct("!HHBBH6s4s6s4s")
_TYPE_ARP, _TYPE_IPV6 = 0x0806, 0x86DD
_REQUEST, _REPLY = 1, 2
_SOLICITATION, _ADVERTISEMENT = 135, 136
_PATIENCE_S = 0.5
_EVERYBODY = b"\xff" * 6


def next_hop(inside: Netlink, end: FarEnd, destination: Address, source: Address) -> bytes | None:
    """Asked as the guest would ask, by ARP or neighbour solicitation. None: no route, or nobody answers."""
    hop = _hop(inside, end, destination)
    if hop is None:
        return None
    own = bytes.fromhex(end.mac.replace(":", ""))
    if isinstance(hop, IPv4Address) and isinstance(source, IPv4Address):
        question = _arp(own, source, hop)
        kind, reads = _TYPE_ARP, _arp_answer
    elif isinstance(hop, IPv6Address) and isinstance(source, IPv6Address):
        # A solicitation must come from an address of the link that answers can be sent to: our own.
        asker = _link_local(inside, end) if hop.is_link_local else source
        question = _solicitation(own, asker or source, hop)
        kind, reads = _TYPE_IPV6, _advertisement
    else:
        return None
    with socket_in(end.netns, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind)) as asking:
        asking.bind((end.name, kind))
        asking.send(question)
        deadline = time.monotonic() + _PATIENCE_S
        while (left := deadline - time.monotonic()) > 0:
            asking.settimeout(left)
            try:
                frame = asking.recv(2048)
            except TimeoutError:
                return None
            found = reads(frame, hop)
            if found is not None:
                return found
    return None


def _hop(inside: Netlink, end: FarEnd, destination: Address) -> Address | None:
    family = socket.AF_INET if destination.version == 4 else socket.AF_INET6
    fitting = [
        route for route in list_routes(inside, family) if route.device == end.index and destination in route.destination
    ]
    if not fitting:
        return None
    best = max(fitting, key=lambda route: (route.destination.prefixlen, -route.priority))
    return best.gateway or destination


def _link_local(inside: Netlink, end: FarEnd) -> IPv6Address | None:
    return next(
        (one.ip for device, one in list_addresses6(inside) if device == end.index and one.ip.is_link_local), None
    )


def _arp(own: bytes, source: IPv4Address, hop: IPv4Address) -> bytes:
    frame = _EVERYBODY + own + _TYPE_ARP.to_bytes(2, "big")
    return frame + _ARP.pack(1, 0x0800, 6, 4, _REQUEST, own, source.packed, bytes(6), hop.packed)


def _arp_answer(frame: bytes, hop: Address) -> bytes | None:
    if len(frame) < 14 + _ARP.size:
        return None
    *_, operation, mac, address, _, _ = _ARP.unpack_from(frame, 14)
    return bytes(mac) if operation == _REPLY and address == hop.packed else None


def _solicitation(own: bytes, source: IPv6Address, hop: IPv6Address) -> bytes:
    group = b"\xff\x02" + bytes(9) + b"\x01\xff" + hop.packed[-3:]
    message = struct.pack("!BBHI", _SOLICITATION, 0, 0, 0) + hop.packed + b"\x01\x01" + own
    pseudo = source.packed + group + struct.pack("!II", len(message), 58)
    total: int = sum(struct.unpack(f"!{len(pseudo + message) // 2}H", pseudo + message))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    message = message[:2] + checksum.to_bytes(2, "big") + message[4:]
    header = struct.pack("!IHBB", 6 << 28, len(message), 58, 255) + source.packed + group
    return b"\x33\x33" + group[-4:] + own + _TYPE_IPV6.to_bytes(2, "big") + header + message


def _advertisement(frame: bytes, hop: Address) -> bytes | None:
    """The MAC it tells: its option's, else the frame's own source."""
    if len(frame) < 14 + 40 + 24 or frame[20] != 58 or frame[54] != _ADVERTISEMENT or frame[62:78] != hop.packed:
        return None
    return frame[80:86] if frame[78:80] == b"\x02\x01" and len(frame) >= 86 else frame[6:12]

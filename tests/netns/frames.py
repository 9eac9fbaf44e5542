"""Ethernet frames by hand, of both families, well formed unless a test says otherwise."""

import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

ROUTER = "0e:5c:00:00:00:01"
BROADCAST = "ff:ff:ff:ff:ff:ff"
IPV4, ARP, VLAN, IPV6 = 0x0800, 0x0806, 0x8100, 0x86DD
TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
SYN, RST, ACK = 0x02, 0x04, 0x10

Address = IPv4Address | IPv6Address


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ethernet(source: str, destination: str, kind: int, body: bytes) -> bytes:
    return mac(destination) + mac(source) + struct.pack("!H", kind) + body


def checksum(data: bytes) -> int:
    padded = data + bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip(
    source: str | Address,
    destination: str | Address,
    protocol: int,
    body: bytes,
    *,
    options: bytes = b"",
    fragment: int = 0,
    identification: int = 1,
    hops: int = 64,
) -> bytes:
    """A packet; `fragment` is the 16 bits of flags and offset, IPv4 only."""
    source, destination = ip_address(source), ip_address(destination)
    if source.version == 6:
        return struct.pack("!IHBB", 6 << 28, len(body), protocol, hops) + source.packed + destination.packed + body
    head = struct.pack(
        *("!BBHHHBBH", 0x40 | 5 + len(options) // 4, 0, 20 + len(options) + len(body)),
        *(identification, fragment, hops, protocol, 0),
    )
    head += source.packed + destination.packed + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def fragment6(
    source: str | Address,
    destination: str | Address,
    following: int,
    body: bytes,
    units: int,
    more: bool,
    number: int = 1,
) -> bytes:
    """An IPv6 packet with a fragment header: `units` of 8 bytes from the start."""
    header = struct.pack("!BBHI", following, 0, units << 3 | more, number)
    return ip(source, destination, socket.IPPROTO_FRAGMENT, header + body)


def _sealed(source: str | Address, destination: str | Address, protocol: int, body: bytes, at: int) -> bytes:
    source, destination = ip_address(source), ip_address(destination)
    pseudo = source.packed + destination.packed
    pseudo += struct.pack("!BBH" if source.version == 4 else "!I3xB", *_tail(source.version, protocol, len(body)))
    total = checksum(pseudo + body)
    return body[:at] + struct.pack("!H", total) + body[at + 2 :]


def _tail(version: int, protocol: int, length: int) -> tuple[int, ...]:
    return (0, protocol, length) if version == 4 else (length, protocol)


def udp(source: str | Address, destination: str | Address, sport: int, dport: int, data: bytes = b"boo!") -> bytes:
    body = struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data
    return _sealed(source, destination, UDP, body, 6)


def tcp(source: str | Address, destination: str | Address, sport: int, dport: int, flags: int = SYN) -> bytes:
    body = struct.pack("!HHIIBBHHH", sport, dport, 1000, 0, 5 << 4, flags, 65535, 0, 0)
    return _sealed(source, destination, TCP, body, 16)


def icmp(source: str | Address, destination: str | Address, kind: int, code: int, rest: bytes = bytes(4)) -> bytes:
    """ICMP or ICMPv6, as the addresses are; `rest` begins with the second word."""
    body = struct.pack("!BBH", kind, code, 0) + rest
    if ip_address(source).version == 6:
        return _sealed(source, destination, ICMP6, body, 2)
    return body[:2] + struct.pack("!H", checksum(body)) + body[4:]


def arp(sender_mac: str, sender: str | Address, target: str | Address, operation: int = 1) -> bytes:
    head = struct.pack("!HHBBH", 1, IPV4, 6, 4, operation) + mac(sender_mac) + ip_address(sender).packed
    return head + bytes(6) + ip_address(target).packed


def kind_of(version: int) -> int:
    return IPV4 if version == 4 else IPV6

"""The bytes of a frame -> what policy has to know of it, or why it is no packet.

Slow and obvious: the twin of bpf/packet.h, which reads the same bytes in the kernel and shares nothing with
it. Nothing is believed that a length field says without being there, and what is not understood whole is
refused, so that no later part judges half a packet.

    Ethernet ─┬─ ARP ───────────────────────────────────────────────► Neighbour
              ├─ IPv4 without options ─┬─ later fragment ───────────► Reading, LATER
              ├─ IPv6, at most with a  ├─ TCP, UDP, other protocols ► Reading, OPENS
              │  fragment header       └─ ICMP: query, reply, error about a packet, anything else; IPv6
              └─ anything else            neighbour discovery ──────► Neighbour
"""

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

from stockade.model.addresses import Address, MacAddress
from stockade.model.flow import DropReason, Packet
from stockade.model.ports import ICMP, ICMPV6, TCP, UDP

ETHERNET = 14
ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86DD
FRAGMENT_HEADER = 44
EXTENSIONS = frozenset({0, 43, FRAGMENT_HEADER, 60, 135, 139, 140})
"""IPv6 headers behind which nothing is looked for; only one fragment header is read, directly behind the first."""

QUERIES = {4: {8: 0, 13: 14, 15: 16, 17: 18}, 6: {128: 129}}
"""By version of IP: the ICMP types that ask, and the type that answers each."""
ERRORS = {4: frozenset({3, 11, 12}), 6: frozenset({1, 2, 3, 4})}
NEIGHBOUR_TYPES = range(133, 138)
SOLICITS_ROUTER, ADVERTISES_ROUTER, SOLICITS, ADVERTISES, REDIRECTS = NEIGHBOUR_TYPES


class Kind(Enum):
    """What a packet can be to a flow."""

    OPENS = "opens"  # may open one: TCP, UDP, ICMP queries, every other protocol
    REPLY = "reply"  # an ICMP reply: belongs to one or to none
    ERROR = "error"  # an ICMP error about the packet it quotes
    ALONE = "alone"  # other ICMP: judged each time
    LATER = "later"  # a later fragment: what it is, its first one told


@dataclass(frozen=True, slots=True)
class Fragment:
    """Part of a datagram: units of 8 bytes, from `low` up to but without `high`."""

    identification: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Reading:
    """A packet, and what flows have to know of it. `quoted`: in an error, the packet it complains about."""

    packet: Packet
    kind: Kind = Kind.OPENS
    flags: int = 0  # of TCP, as on the wire
    query: int | None = None  # of ICMP queries and replies: the type that asks
    quoted: "Reading | None" = None
    fragment: Fragment | None = None
    source_mac: MacAddress | None = None


@dataclass(frozen=True, slots=True)
class Neighbour:
    """ARP, or IPv6 neighbour discovery. `claims`: MACs that the sender says are its own.

    `target` None: too short to have one, or torn by a fragment header.
    """

    type: int  # of ICMPv6; ARP: SOLICITS for a request, else ADVERTISES
    source_mac: MacAddress
    sender: Address
    claims: frozenset[MacAddress]
    target: Address | None
    hop_limit: int = 255
    is_strange: bool = False  # more than one option, behind which a lie could stand, or a fragment header before it
    packet: Packet | None = None  # as ICMPv6 like any other, which it is where nobody is a neighbour


Dissected: TypeAlias = Reading | Neighbour | DropReason


def dissect(frame: bytes) -> Dissected:
    """What is in this Ethernet frame. DropReason.NONE: ARP of a kind that means nothing here."""
    if len(frame) < ETHERNET:
        return DropReason.MALFORMED
    mac, body = _mac(frame[6:12]), frame[ETHERNET:]
    match _number(frame, 12, 2):
        case 0x0806:
            return _arp(body, mac)
        case 0x0800:
            return _ipv4(body, mac)
        case 0x86DD:
            return _ipv6(body, mac)
        case _:
            return DropReason.UNSUPPORTED


def reading_of(packet: Packet, flags: int = 0, quoted: Packet | None = None) -> Reading:
    """A packet given as a value, read as if it had come as bytes."""
    version, kind = packet.source.version, packet.port >> 8
    if packet.protocol != (ICMP if version == 4 else ICMPV6):
        return Reading(packet, Kind.OPENS, flags if packet.protocol == TCP else 0)
    for query, reply in QUERIES[version].items():
        if kind in (query, reply):
            return Reading(packet, Kind.OPENS if kind == query else Kind.REPLY, query=query)
    if kind in ERRORS[version] and quoted is not None and quoted.source == packet.destination:
        about = reading_of(quoted)
        if about.kind in (Kind.OPENS, Kind.REPLY):
            return Reading(packet, Kind.ERROR, quoted=about)
    return Reading(packet, Kind.ALONE)


def _ipv4(body: bytes, mac: MacAddress) -> Dissected:
    if len(body) < 20 or body[0] >> 4 != 4 or body[0] & 15 < 5:
        return DropReason.MALFORMED
    if body[0] & 15 > 5:
        return DropReason.OPTIONS
    total = _number(body, 2, 2)
    if not 20 <= total <= len(body):
        return DropReason.MALFORMED
    source, destination = IPv4Address(body[12:16]), IPv4Address(body[16:20])
    flags = _number(body, 6, 2)
    more, offset = bool(flags & 0x2000), flags & 0x1FFF
    fragment = _fragment(_number(body, 4, 2), offset, more, total - 20) if more or offset else None
    if isinstance(fragment, DropReason):
        return fragment
    return _transport(Packet(source, destination, body[9]), body[20:], total - 20, fragment, mac)


def _ipv6(body: bytes, mac: MacAddress) -> Dissected:
    if len(body) < 40 or body[0] >> 4 != 6:
        return DropReason.MALFORMED
    length = _number(body, 4, 2)
    if length > len(body) - 40:
        return DropReason.MALFORMED
    following, rest = body[6], body[40:]
    fragment: Fragment | DropReason | None = None
    if following == FRAGMENT_HEADER:
        if length < 8:
            return DropReason.MALFORMED
        following, field, identification = rest[0], _number(rest, 2, 2), _number(rest, 4, 4)
        rest, length = rest[8:], length - 8
        more, offset = bool(field & 1), field >> 3
        fragment = _fragment(identification, offset, more, length) if more or offset else None
    if following in EXTENSIONS or isinstance(fragment, DropReason):
        return DropReason.OPTIONS if following in EXTENSIONS else DropReason.FRAGMENT
    packet = Packet(IPv6Address(body[8:24]), IPv6Address(body[24:40]), following)
    if following == ICMPV6 and length >= 8 and rest[0] in NEIGHBOUR_TYPES and not (fragment and fragment.low):
        message = Packet(packet.source, packet.destination, ICMPV6, _number(rest, 0, 2))
        torn = body[6] == FRAGMENT_HEADER  # it may not be in parts (RFC 6980)
        return _neighbour_message(message, rest[: 8 if torn else length], body[7], mac, torn)
    return _transport(packet, rest, length, fragment, mac)


def _fragment(identification: int, offset: int, more: bool, length: int) -> Fragment | DropReason:
    if length == 0 or (more and length % 8) or offset * 8 + length > 0xFFFF:
        return DropReason.FRAGMENT
    return Fragment(identification, offset, offset + (length + 7) // 8)


def _transport(packet: Packet, rest: bytes, length: int, fragment: Fragment | None, mac: MacAddress) -> Dissected:
    """TCP, UDP and ICMP have ports, or what rules see as ports. `rest` may be longer than `length`: padding."""
    if fragment is not None and fragment.low:
        return Reading(packet, Kind.LATER, fragment=fragment, source_mac=mac)
    torn = DropReason.MALFORMED if fragment is None else DropReason.FRAGMENT
    found: Dissected
    match packet.protocol:
        case 6:
            found = _tcp(packet, rest, length, torn)
        case 17:
            found = _udp(packet, rest, length, torn)
        case 1 if packet.source.version == 4:
            found = _icmp(packet, rest, length, torn)
        case 58 if packet.source.version == 6:
            found = _icmp(packet, rest, length, torn)
        case _:
            found = Reading(packet)
    if not isinstance(found, Reading):
        return found
    if fragment is not None and found.packet.port >> 8 in ERRORS[packet.source.version] and found.kind is Kind.ERROR:
        return DropReason.FRAGMENT
    return Reading(found.packet, found.kind, found.flags, found.query, found.quoted, fragment, mac)


def _tcp(packet: Packet, rest: bytes, length: int, torn: DropReason) -> Dissected:
    if len(rest) < 20:
        return torn
    header = (rest[12] >> 4) * 4
    if header < 20:
        return DropReason.MALFORMED
    if header > length:
        return torn
    ports = Packet(packet.source, packet.destination, TCP, _number(rest, 2, 2), _number(rest, 0, 2))
    return Reading(ports, flags=rest[13])


def _udp(packet: Packet, rest: bytes, length: int, torn: DropReason) -> Dissected:
    if length < 8:
        return torn
    claimed = _number(rest, 4, 2)
    if claimed < 8 or (torn is DropReason.MALFORMED and claimed > length):
        return DropReason.MALFORMED
    return Reading(Packet(packet.source, packet.destination, UDP, _number(rest, 2, 2), _number(rest, 0, 2)))


def _icmp(packet: Packet, rest: bytes, length: int, torn: DropReason) -> Dissected:
    if length < 8:
        return torn
    version, kind = packet.source.version, rest[0]
    message = Packet(packet.source, packet.destination, packet.protocol, _number(rest, 0, 2))
    for query, reply in QUERIES[version].items():
        if kind in (query, reply):
            asked = Packet(packet.source, packet.destination, packet.protocol, message.port, _number(rest, 4, 2))
            return Reading(asked, Kind.OPENS if kind == query else Kind.REPLY, query=query)
    if kind not in ERRORS[version]:
        return Reading(message, Kind.ALONE)
    if torn is DropReason.FRAGMENT:
        return torn
    quoted = _quoted(rest[8:], version)
    if quoted is None or quoted.packet.source != packet.destination:
        return Reading(message, Kind.ALONE)  # too strange, or somebody else's: an ICMP packet like any other
    return Reading(message, Kind.ERROR, quoted=quoted)


def _quoted(body: bytes, version: int) -> Reading | None:
    """The packet that an error quotes, as far as it names a flow: its addresses and 8 bytes behind them."""
    header = 20 if version == 4 else 40
    if len(body) < header + 8:
        return None
    source: Address
    destination: Address
    if version == 4:
        if body[0] != 0x45 or _number(body, 6, 2) & 0x3FFF:
            return None
        source, destination, protocol = IPv4Address(body[12:16]), IPv4Address(body[16:20]), body[9]
    else:
        if body[0] >> 4 != 6 or body[6] in EXTENSIONS:
            return None
        source, destination, protocol = IPv6Address(body[8:24]), IPv6Address(body[24:40]), body[6]
    rest = body[header:]
    if protocol in (TCP, UDP):
        return Reading(Packet(source, destination, protocol, _number(rest, 2, 2), _number(rest, 0, 2)))
    if protocol != (ICMP if version == 4 else ICMPV6):
        return Reading(Packet(source, destination, protocol))
    about = reading_of(Packet(source, destination, protocol, _number(rest, 0, 2), _number(rest, 4, 2)))
    return about if about.query is not None else None


def _arp(body: bytes, mac: MacAddress) -> Dissected:
    if len(body) < 28 or body[:6] != b"\x00\x01\x08\x00\x06\x04":
        return DropReason.NONE
    kind = SOLICITS if _number(body, 6, 2) == 1 else ADVERTISES
    return Neighbour(kind, mac, IPv4Address(body[14:18]), frozenset({_mac(body[8:14])}), IPv4Address(body[24:28]))


def _neighbour_message(packet: Packet, message: bytes, hop_limit: int, mac: MacAddress, torn: bool) -> Neighbour:
    """Target and the sender's link-layer addresses, where the message has them."""
    kind = message[0]
    target = IPv6Address(message[8:24]) if kind in (SOLICITS, ADVERTISES) and len(message) >= 24 else None
    option = message[8:] if kind == SOLICITS_ROUTER else message[24:]
    names_a_mac = len(option) == 8 and option[0] == (2 if kind == ADVERTISES else 1)
    claims = frozenset({_mac(option[2:8])} if names_a_mac else ())
    return Neighbour(kind, mac, packet.source, claims, target, hop_limit, torn or len(option) > 8, packet)


def _mac(octets: bytes) -> MacAddress:
    return MacAddress(octets.hex(":"))


def _number(data: bytes, at: int, width: int) -> int:
    """In network order."""
    return int.from_bytes(data[at : at + width], "big")

"""Protocol numbers, port ranges, ICMP type and code.

A rule's traffic is a protocol and two numbers whose meaning follows the protocol: ports for TCP and
UDP, type and code for ICMP. To the engine both are one interval of 16-bit numbers (ICMP: type << 8 | code).
"""

from stockade.model.errors import PortRangeInvalid, ProtocolUnknown

ANY = -1
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
NAMES = {ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMPV6: "icmpv6", ANY: "-1"}
PORTED = (TCP, UDP)
TYPED = (ICMP, ICMPV6)
LAST = 0xFFFF

_NUMBERS = {name: number for number, name in NAMES.items()} | {"all": ANY}


def parse_protocol(text: str) -> int:
    """tcp, UDP, icmp, icmpv6, -1, all, or 0..255 as a number. Raises ProtocolUnknown."""
    known = _NUMBERS.get(text.lower())
    if known is not None:
        return known
    if text.isascii() and text.isdigit() and int(text) <= 255:
        return int(text)
    raise ProtocolUnknown(text)


def protocol_name(protocol: int) -> str:
    """As EC2 shows it: by name for the four that have one, else the number; -1 for all."""
    return NAMES.get(protocol, str(protocol))


def check_ports(protocol: int, from_port: int | None, to_port: int | None) -> tuple[int | None, int | None]:
    """The pair as a rule stores it; raises PortRangeInvalid for a pair EC2 refuses.

    TCP and UDP: both needed, 0 <= from <= to <= 65535. ICMP: type and code, -1 for all, and all
    types means all codes; ICMPv6 may omit both. Every other protocol has no ports: (None, None).
    """
    if protocol in PORTED:
        if from_port is None or to_port is None or not 0 <= from_port <= to_port <= LAST:
            raise PortRangeInvalid(protocol, from_port, to_port)
        return from_port, to_port
    if protocol in TYPED:
        if protocol == ICMPV6 and from_port is None and to_port is None:
            return ANY, ANY
        if from_port is None or to_port is None or not (-1 <= from_port <= 255 and -1 <= to_port <= 255):
            raise PortRangeInvalid(protocol, from_port, to_port)
        if from_port == ANY and to_port != ANY:
            raise PortRangeInvalid(protocol, from_port, to_port)
        return from_port, to_port
    return None, None


def interval(protocol: int, from_port: int | None, to_port: int | None) -> tuple[int, int]:
    """The 16-bit numbers a stored rule covers, both ends included."""
    if protocol in PORTED and from_port is not None and to_port is not None:
        return from_port, to_port
    if protocol in TYPED and from_port is not None and from_port != ANY:
        if to_port is None or to_port == ANY:
            return from_port << 8, from_port << 8 | 0xFF
        return from_port << 8 | to_port, from_port << 8 | to_port
    return 0, LAST

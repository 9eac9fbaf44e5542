"""Traffic as a person names it: tcp/80, tcp/80-90, udp, icmp/8, all, or a protocol number.

Wider than one packet: a question about `tcp/80-90` is about eleven ports, one about `all` about everything.
"""

from dataclasses import dataclass

from stockade.model import ports
from stockade.model.errors import PortRangeInvalid


@dataclass(frozen=True, slots=True)
class Traffic:
    """A protocol (ports.ANY: every one) and the 16-bit numbers meant, both ends included (ICMP: type << 8 | code)."""

    protocol: int
    low: int = 0
    high: int = ports.LAST

    def __str__(self) -> str:
        return traffic_text(self.protocol, self.low, self.high)


def parse_traffic(text: str) -> Traffic:
    """Raises ProtocolUnknown, PortRangeInvalid."""
    name, slash, numbers = text.strip().partition("/")
    protocol = ports.parse_protocol(name)
    if not slash:
        return Traffic(protocol)
    try:
        if protocol in ports.TYPED:
            return Traffic(protocol, *_types(numbers, protocol))
        first, dash, last = numbers.partition("-")
        low, high = int(first), int(last if dash else first)
    except ValueError:
        raise PortRangeInvalid(protocol, None, None) from None
    if protocol not in ports.PORTED or not 0 <= low <= high <= ports.LAST:
        raise PortRangeInvalid(protocol, low, high)
    return Traffic(protocol, low, high)


def _types(numbers: str, protocol: int) -> tuple[int, int]:
    first, colon, code_text = numbers.replace("/", ":").partition(":")
    kind, code = int(first), int(code_text) if colon else ports.ANY
    if not (0 <= kind <= 255 and -1 <= code <= 255):
        raise PortRangeInvalid(protocol, kind, code)
    return ports.interval(protocol, kind, code)


def traffic_text(protocol: int, low: int, high: int) -> str:
    """The shortest form that parse_traffic reads back."""
    if protocol == ports.ANY:
        return "all"
    name = ports.protocol_name(protocol)
    if (low, high) == (0, ports.LAST) or protocol not in (*ports.PORTED, *ports.TYPED):
        return name
    if protocol in ports.PORTED:
        return f"{name}/{low}" if low == high else f"{name}/{low}-{high}"
    if low == high:
        return f"{name}/{low >> 8}:{low & 0xFF}"
    return f"{name}/{low >> 8}"

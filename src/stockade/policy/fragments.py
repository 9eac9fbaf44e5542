"""Fragments: later ones have no ports, so they follow their first, which was judged.

What overlaps could rewrite what was judged, so nothing more of such a datagram passes. Another first fragment
begins its datagram anew: it has been judged itself.
"""

from dataclasses import replace

from stockade.model import ports
from stockade.policy.dissect import Fragment, Reading
from stockade.policy.memory import Datagram, DatagramKey, Memory, Sender

ACK = 0x10
REMEMBERED_S = 30
ISLANDS = 4


def noted(memory: Memory, now: float, reading: Reading, sender: Sender) -> Memory:
    """A first fragment has passed."""
    assert reading.fragment is not None, "only parts are kept by their datagram"
    datagram = Datagram(reading, ((0, reading.fragment.high),), now + REMEMBERED_S)
    return replace(memory, datagrams={**memory.datagrams, _key(reading, sender): datagram})


def of_its_first(memory: Memory, now: float, reading: Reading, sender: Sender) -> tuple[Reading | None, Memory]:
    """The later fragment as the packet that its first was; None when it may not be put together with it."""
    key = _key(reading, sender)
    datagram, part = memory.datagrams.get(key), reading.fragment
    if datagram is None or part is None or now >= datagram.until or datagram.spoiled:
        return None, memory
    if any(part.low < high and low < part.high for low, high in datagram.parts):
        spoiled = replace(datagram, spoiled=True)
        return None, replace(memory, datagrams={**memory.datagrams, key: spoiled})
    parts = _with_part(datagram.parts, part)
    if len(parts) > ISLANDS:
        return None, memory
    grown = replace(datagram, parts=parts)
    first = datagram.first
    flags = ACK if first.packet.protocol == ports.TCP else 0  # what the first one's flags asked for has been done
    return replace(first, flags=flags, fragment=part), replace(memory, datagrams={**memory.datagrams, key: grown})


def _with_part(parts: tuple[tuple[int, int], ...], part: Fragment) -> tuple[tuple[int, int], ...]:
    """Islands of what has come; the new part grows one that it touches."""
    for place, (low, high) in enumerate(parts):
        if part.low == high:
            return (*parts[:place], (low, part.high), *parts[place + 1 :])
        if part.high == low:
            return (*parts[:place], (part.low, high), *parts[place + 1 :])
    return (*parts, (part.low, part.high))


def _key(reading: Reading, sender: Sender) -> DatagramKey:
    assert reading.fragment is not None, "only parts are kept by their datagram"
    packet = reading.packet
    return sender, packet.source, packet.destination, packet.protocol, reading.fragment.identification

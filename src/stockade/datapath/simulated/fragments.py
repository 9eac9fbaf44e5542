"""Later fragments follow their first. The slow spelling of bpf/fragment.h, with room for as many as there are."""

from dataclasses import dataclass, replace

from stockade.datapath.simulated.conntrack import Tcp
from stockade.model.addresses import Address
from stockade.model.ids import NetworkInterfaceId
from stockade.model.ports import TCP
from stockade.policy.dissect import Fragment, Reading

DATAGRAM_LIFE = 30
DATAGRAMS = 32
ISLANDS = 4

_Key = tuple[Address, Address, int, int]


@dataclass(slots=True)
class _Datagram:
    first: Reading
    islands: list[tuple[int, int]]
    seen: float
    bad: bool = False


class Fragments:
    """The datagrams under way, by who sends them and on which side of its device."""

    def __init__(self) -> None:
        self._by_sender: dict[tuple[NetworkInterfaceId | None, bool], dict[_Key, _Datagram]] = {}

    def note_first(
        self, reading: Reading, sender: NetworkInterfaceId | None, now: float, incoming: bool = False
    ) -> None:
        """A first fragment that passed. Of too many datagrams of one sender the oldest gives way."""
        if reading.fragment is None or reading.fragment.low:
            return
        datagrams = self._by_sender.setdefault((sender, incoming), {})
        datagrams.pop(_key(reading), None)
        if len(datagrams) >= DATAGRAMS:
            del datagrams[next(iter(datagrams))]
        datagrams[_key(reading)] = _Datagram(reading, [(0, reading.fragment.high)], now)

    def follow_first(
        self, reading: Reading, sender: NetworkInterfaceId | None, now: float, incoming: bool = False
    ) -> Reading | None:
        """The later fragment as the packet that its first was; None: it is nobody's."""
        datagram = self._by_sender.get((sender, incoming), {}).get(_key(reading))
        part = reading.fragment
        if datagram is None or part is None or now - datagram.seen >= DATAGRAM_LIFE or datagram.bad:
            return None
        if any(part.low < to and start < part.high for start, to in datagram.islands):
            datagram.bad = True
            return None
        if not _taken_in(datagram.islands, part):
            return None
        first = datagram.first
        flags = Tcp.ACK.value if first.packet.protocol == TCP else 0
        return replace(first, flags=flags, fragment=part, source_mac=reading.source_mac)

    def forget(self, sender: NetworkInterfaceId) -> None:
        for incoming in (False, True):
            self._by_sender.pop((sender, incoming), None)


def _key(reading: Reading) -> _Key:
    packet, part = reading.packet, reading.fragment
    assert part is not None, "only parts are kept by their datagram"
    return packet.source, packet.destination, packet.protocol, part.identification


def _taken_in(islands: list[tuple[int, int]], part: Fragment) -> bool:
    """Grows an island that it touches, or is a new one if there is room for it."""
    for place, (start, to) in enumerate(islands):
        if part.low == to or part.high == start:
            islands[place] = (min(start, part.low), max(to, part.high))
            return True
    if len(islands) == ISLANDS:
        return False
    islands.append((part.low, part.high))
    return True

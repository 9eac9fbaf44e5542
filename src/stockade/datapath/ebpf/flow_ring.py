"""Ring buffer -> FlowEvent.

The kernel maps the ring as one page that we write (how far we have read), one that it writes (how far it
has written) and the records, twice in a row so that none is ever cut in two. A record is a length whose
top bits say "still being written" and "given up", four more bytes, and the event.
"""

import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address

from stockade.datapath.ebpf import layout, syscall
from stockade.model.addresses import Address
from stockade.model.flow import DropReason, FlowEvent, Gate, Packet

_GATES = (Gate.EGRESS, Gate.INGRESS, Gate.SPOOF, Gate.ROUTE)
_BUSY, _DISCARDED = 1 << 31, 1 << 30
_HEADER = 8
_POSITION = struct.Struct("=Q")


class FlowRing:
    """Reads the events of a pinned ring. One reader at a time; where the last one stopped is kept in the ring."""

    def __init__(self, fd: int) -> None:
        size = syscall.map_info(fd).max_entries
        self._fd = fd
        self._mask = size - 1
        self._read_to = mmap.mmap(fd, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._ring = mmap.mmap(fd, mmap.PAGESIZE + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=mmap.PAGESIZE)

    def records(self) -> Iterator[bytes]:
        """The events written since the last call."""
        (at,) = _POSITION.unpack_from(self._read_to)
        while at < _POSITION.unpack_from(self._ring)[0]:
            start = mmap.PAGESIZE + (at & self._mask)
            (head,) = struct.unpack_from("=I", self._ring, start)
            if head & _BUSY:
                return
            length = head & ~_DISCARDED
            record = self._ring[start + _HEADER : start + _HEADER + length]
            at += (_HEADER + length + 7) & ~7
            _POSITION.pack_into(self._read_to, 0, at)
            if not head & _DISCARDED:
                yield record

    def events(self, rule_number: Callable[[int], int]) -> Iterator[FlowEvent]:
        """The same, in the model's words. `rule_number` knows which rule an index stands for."""
        # The kernel stamps monotonic time; what the wall clock shows for it may differ from one call to the next.
        offset = time.time_ns() - time.monotonic_ns()
        for record in self.records():
            at, source, destination, vpc, _, egress, ingress, port, source_port, protocol, gate, reason, family = (
                layout.FLOW_EVENT.unpack(record[: layout.FLOW_EVENT.size])
            )
            ends = _address(source, family), _address(destination, family)
            yield FlowEvent(
                at=datetime.fromtimestamp((at + offset) / 1e9, UTC),
                vpc=vpc,
                packet=Packet(*ends, protocol, port, source_port),
                passed=reason == DropReason.NONE,
                gate=_GATES[gate],
                reason=DropReason(reason),
                rules=(rule_number(egress), rule_number(ingress)),
            )

    def close(self) -> None:
        self._read_to.close()
        self._ring.close()
        os.close(self._fd)


def _address(raw: bytes, family: int) -> Address:
    """`family` as an index; IPv4 stands in the first word."""
    return IPv6Address(raw) if layout.FAMILIES[family] == 6 else IPv4Address(raw[:4])

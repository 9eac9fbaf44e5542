"""Traffic that may not be disturbed, and traffic that may not arrive, while something happens to the agent.

    Flows     so many TCP connections between instances, each with a question always under way
    Scan      packets that policy forbids, from every instance to every other, again and again
    Sniffers  a raw socket in every instance that sees such a packet before anything else could

A forbidden packet has MARKED as its source port; one that is allowed and sent in the same way, by the same raw socket,
has WITNESS: as long as sniffers see those, they would have seen the others. All of it in threads of its own.
"""

import ctypes
import itertools
import os
import selectors
import socket
import struct
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from types import TracebackType

from stockade.linux import namespaces

V4, V6 = 4, 6
MARKED, WITNESS = 6666, 6667
Address = IPv4Address | IPv6Address
_AF = {V4: socket.AF_INET, V6: socket.AF_INET6}
_ETHERTYPE = {V4: 0x0800, V6: 0x86DD}
_HEADER_BYTES = {V4: 20, V6: 40}
_TCP_INFO_RETRANS = 100  # byte offset of tcpi_total_retrans
_SO_ATTACH_FILTER = 26
_INSTRUCTION = struct.Struct("=HBBI")
_QUESTION = struct.Struct("!Q")


@dataclass(frozen=True, slots=True)
class End:
    """An instance: its addresses, and a descriptor of its network namespace."""

    address: IPv4Address
    address6: IPv6Address
    netns: int

    def by(self, family: int) -> Address:
        """Its address of IP version 4 or 6."""
        return self.address if family == V4 else self.address6


@dataclass(frozen=True, slots=True)
class Between:
    """A connection to be."""

    client: End
    server: End
    family: int
    port: int


class InThread(ABC):
    """Something that goes on in a thread while the block runs. Its error ends the block."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._guarded, daemon=True)

    @abstractmethod
    def work(self) -> None:
        """What goes on."""

    def _guarded(self) -> None:
        try:
            self.work()
        except BaseException as err:
            self._error = err

    def __enter__(self) -> "InThread":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._error is not None and err is None:
            raise self._error


@dataclass(slots=True)
class _Flow:
    client: socket.socket
    server: socket.socket
    number: int = 0
    answers: int = 0
    asked_at: float = 0.0
    longest_s: float = 0.0
    broken: str = ""


class Flows(InThread):
    """Broken is one that ends, errs, or is mute for `mute_s`."""

    def __init__(self, between: list[Between], mute_s: float = 5.0) -> None:
        super().__init__()
        self._mute_s = mute_s
        self._listening: dict[tuple[Address, int], socket.socket] = {}
        self._flows = [self._connect(each) for each in between]

    @property
    def count(self) -> int:
        return len(self._flows)

    @property
    def broken(self) -> list[str]:
        return [flow.broken for flow in self._flows if flow.broken]

    @property
    def answers(self) -> int:
        return sum(flow.answers for flow in self._flows)

    @property
    def longest_s(self) -> float:
        """The longest that any answer took."""
        return max(flow.longest_s for flow in self._flows)

    def retransmitted(self) -> int:
        """Segments that TCP sent again: packets that did not arrive, or late."""
        ends = [end for flow in self._flows for end in (flow.client, flow.server)]
        return sum(_retransmitted(end) for end in ends)

    def until_all_answered(self, more: int = 1, within_s: float = 10.0) -> None:
        """Each has `more` answers more than now, or is broken."""
        before = [flow.answers for flow in self._flows]
        deadline = time.monotonic() + within_s
        while any(flow.answers < had + more and not flow.broken for flow, had in zip(self._flows, before, strict=True)):
            assert time.monotonic() < deadline, "flows do not go on"
            time.sleep(0.02)

    def work(self) -> None:
        with selectors.EpollSelector() as selector:
            for flow in self._flows:
                selector.register(flow.client, selectors.EVENT_READ, (flow, True))
                selector.register(flow.server, selectors.EVENT_READ, (flow, False))
                self._ask(flow)
            looked = time.monotonic()
            while not self._over.is_set():
                for key, _ in selector.select(0.1):
                    flow, is_client = key.data
                    if flow.broken or not self._read(flow, is_client):
                        selector.unregister(key.fileobj)
                now = time.monotonic()
                if now - looked > 0.5:
                    looked = now
                    for flow in self._flows:
                        if not flow.broken and now - flow.asked_at > self._mute_s:
                            flow.broken = f"mute for {now - flow.asked_at:.1f} s"

    def close(self) -> None:
        for flow in self._flows:
            flow.client.close()
            flow.server.close()
        for listening in self._listening.values():
            listening.close()

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, err, trace)
        self.close()

    def _connect(self, wanted: Between) -> _Flow:
        family, place = _AF[wanted.family], (wanted.server.by(wanted.family), wanted.port)
        if place not in self._listening:
            listening = namespaces.socket_in(wanted.server.netns, family, socket.SOCK_STREAM)
            listening.bind((str(place[0]), wanted.port))
            listening.listen(256)
            listening.settimeout(5)
            self._listening[place] = listening
        calling = namespaces.socket_in(wanted.client.netns, family, socket.SOCK_STREAM)
        calling.settimeout(5)
        calling.connect((str(place[0]), wanted.port))
        answering, _ = self._listening[place].accept()
        for end in (calling, answering):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.setblocking(False)
        return _Flow(calling, answering)

    def _ask(self, flow: _Flow) -> None:
        flow.number += 1
        flow.asked_at = time.monotonic()
        try:
            flow.client.send(_QUESTION.pack(flow.number))
        except OSError as err:
            flow.broken = f"cannot ask: {err}"

    def _read(self, flow: _Flow, is_client: bool) -> bool:
        """Whether there will be more."""
        end = flow.client if is_client else flow.server
        try:
            said = end.recv(_QUESTION.size)
            if len(said) != _QUESTION.size or _QUESTION.unpack(said)[0] != flow.number:
                flow.broken = f"heard {said!r}"
                return False
            if not is_client:
                end.send(said)
                return True
        except BlockingIOError:
            return True
        except OSError as err:
            flow.broken = str(err)
            return False
        flow.answers += 1
        flow.longest_s = max(flow.longest_s, time.monotonic() - flow.asked_at)
        self._ask(flow)
        return True


def _retransmitted(end: socket.socket) -> int:
    info = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_RETRANS + 4)
    return int(struct.unpack_from("=I", info, _TCP_INFO_RETRANS)[0])


class Scan(InThread):
    """`open_port`: one that everybody may reach, for the witnesses and for packets that lie about their sender."""

    def __init__(self, ends: list[End], open_port: int, every_s: float = 0.005) -> None:
        super().__init__()
        self._ends = ends
        self._open_port = open_port
        self._every_s = every_s
        self._raw = {
            (end, family): namespaces.socket_in(end.netns, _AF[family], socket.SOCK_RAW, socket.IPPROTO_RAW)
            for end in ends
            for family in (V4, V6)
        }
        self.sent: Counter[str] = Counter()

    def work(self) -> None:
        """Round after round through all pairs, one pair each `every_s`."""
        for near, far in itertools.cycle(itertools.permutations(self._ends, 2)):
            if self._over.wait(self._every_s):
                return
            other = next(one for one in self._ends if one not in (near, far))
            for family in (V4, V6):
                source, target = near.by(family), far.by(family)
                packets = dict(forbidden(source, target, other.by(family), self._open_port))
                packets["witness"] = tcp(source, target, WITNESS, self._open_port, SYN)
                for kind, packet in packets.items():
                    self._raw[near, family].sendto(packet, (str(target), 0))
                    self.sent[f"{kind} {family}"] += 1

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, err, trace)
        for raw in self._raw.values():
            raw.close()


SYN, ACK, RST = 0x02, 0x10, 0x04


def forbidden(near: Address, far: Address, other: Address, open_port: int) -> Mapping[str, bytes]:
    """What no rule lets through, whoever sends it; `other` is a third instance, which may reach the open port."""
    return {
        "syn": tcp(near, far, MARKED, 9998, SYN),
        "stray ack": tcp(near, far, MARKED, 9997, ACK),
        "udp": udp(near, far, MARKED, 9999),
        "in another's name": tcp(other, far, MARKED, open_port, SYN),
        "into another's flow": tcp(other, far, MARKED, open_port, RST | ACK),
    }


def tcp(source: Address, destination: Address, sport: int, dport: int, flags: int) -> bytes:
    """A packet with a right checksum: whoever gets it would take it."""
    header = struct.pack("!HHIIBBHHH", sport, dport, 1, 1, 5 << 4, flags, 1024, 0, 0)
    return _ip(source, destination, 6, _summed(source, destination, 6, header, 16))


def udp(source: Address, destination: Address, sport: int, dport: int) -> bytes:
    datagram = struct.pack("!HHHH", sport, dport, 12, 0) + b"scan"
    return _ip(source, destination, 17, _summed(source, destination, 17, datagram, 6))


def _ip(source: Address, destination: Address, protocol: int, payload: bytes) -> bytes:
    if source.version == V6:
        header = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64)
        return header + source.packed + destination.packed + payload
    # Length and checksum are the kernel's to fill in for a raw socket.
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0) + (
        source.packed + destination.packed + payload
    )


def _summed(source: Address, destination: Address, protocol: int, payload: bytes, place: int) -> bytes:
    pseudo = source.packed + destination.packed + struct.pack("!HH", protocol, len(payload)) + payload
    total = sum(struct.unpack(f"!{(len(pseudo) + 1) // 2}H", pseudo + bytes(len(pseudo) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return payload[:place] + struct.pack("!H", ~total & 0xFFFF) + payload[place + 2 :]


class Sniffers(InThread):
    """What arrived in the instances, by source port."""

    def __init__(self, ends: list[End]) -> None:
        super().__init__()
        self._sockets = {_sniffer(end, family): (end, family) for end in ends for family in (V4, V6)}
        self.forbidden = 0
        self.witnesses: Counter[Address] = Counter()
        self.example = b""

    def work(self) -> None:
        with selectors.EpollSelector() as selector:
            for sniffer, (end, family) in self._sockets.items():
                selector.register(sniffer, selectors.EVENT_READ, (end.by(family), 14 + _HEADER_BYTES[family]))
            while not self._over.is_set() or selector.select(0):
                for key, _ in selector.select(0.1):
                    packet, (address, place) = os.read(key.fd, 2048), key.data
                    if packet[place : place + 2] == struct.pack("!H", WITNESS):
                        self.witnesses[address] += 1
                    else:
                        self.forbidden += 1
                        self.example = self.example or packet

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, err, trace)
        for sniffer in self._sockets:
            sniffer.close()


def _sniffer(end: End, family: int) -> socket.socket:
    """Sees what comes in, and of it only what a Scan sent: the flows' packets are not copied for it."""
    kind = socket.htons(_ETHERTYPE[family])
    made = namespaces.socket_in(end.netns, socket.AF_PACKET, socket.SOCK_RAW, kind)
    program = b"".join(
        _INSTRUCTION.pack(*each)
        for each in (
            (0x28, 0, 0, 14 + _HEADER_BYTES[family]),  # the source port, behind a header without options
            (0x15, 1, 0, MARKED),
            (0x15, 0, 1, WITNESS),
            (0x06, 0, 0, 2048),
            (0x06, 0, 0, 0),
        )
    )
    code = ctypes.create_string_buffer(program)
    made.setsockopt(
        socket.SOL_SOCKET,
        _SO_ATTACH_FILTER,
        struct.pack("HP", len(program) // _INSTRUCTION.size, ctypes.addressof(code)),
    )
    return made

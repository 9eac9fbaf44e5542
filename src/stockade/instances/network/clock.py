"""The time service: SNTP (RFC 4330, RFC 5905) in server mode, with the host's clock."""

import struct
import time
from collections.abc import Callable

from stockade.instances.network.askers import PacketAllowance
from stockade.instances.network.datagrams import DatagramServer, Reply, Source
from stockade.linux.clock import ClockState, clock_state

_CLIENT, _SERVER = 3, 4
_NOT_SYNCHRONISED = 3
_STRATUM = 10  # the kernel does not tell how far its clock is from a source; "not close" is the honest bound
_PRECISION = -20  # about a microsecond
_LOCAL = b"LOCL"
_1900 = 2208988800
# leap, version and mode; stratum; poll; precision; root delay; root dispersion; reference; four timestamps
_PACKET = struct.Struct("!BBbbII4sQQQQ")


def answer(request: bytes, received_ns: int, now_ns: int, state: ClockState) -> bytes | None:
    """The answer to a client; None to anything else. Pure."""
    if len(request) < _PACKET.size:
        return None
    version, mode = request[0] >> 3 & 7, request[0] & 7
    if mode != _CLIENT or not 1 <= version <= 4:
        return None
    leap = {0: 0, 1: 1, -1: 2}[state.leap] if state.synchronised else _NOT_SYNCHRONISED
    poll = struct.unpack_from("!b", request, 2)[0]
    originate = struct.unpack_from("!Q", request, 40)[0]
    return _PACKET.pack(
        *(leap << 6 | version << 3 | _SERVER, _STRATUM if state.synchronised else 0, poll, _PRECISION),
        *(_short(0), _short(state.largest_error), _LOCAL if state.synchronised else bytes(4)),
        *(_stamp(received_ns) if state.synchronised else 0, originate, _stamp(received_ns), _stamp(now_ns)),
    )


def _stamp(ns: int) -> int:
    """Seconds since 1900, modulo the era, and their fraction."""
    seconds, rest = divmod(ns, 10**9)
    return (seconds + _1900 & 0xFFFFFFFF) << 32 | (rest << 32) // 10**9


def _short(microseconds: int) -> int:
    return min(0xFFFFFFFF, (max(0, microseconds) << 16) // 10**6)


def time_server(allowance: PacketAllowance, state: Callable[[], ClockState] = clock_state) -> DatagramServer:
    """Answers on the sockets that it is given to serve."""

    def receive(data: bytes, _: Source, reply: Reply) -> None:
        received = time.time_ns()
        said = answer(data, received, time.time_ns(), state())
        if said is not None:
            reply(said)

    return DatagramServer(receive, allowance)

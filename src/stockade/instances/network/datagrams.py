"""Questions by UDP: many taken at a time, those beyond an asker's allowance dropped before they are looked at."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

from stockade.instances.network.askers import PacketAllowance, asker_of

Source = tuple[Any, ...]
"""As recvfrom says it: address and port, and for IPv6 two more."""
Reply = Callable[[bytes], None]

_LONGEST = 65535
_AT_ONCE = 64


class DatagramServer:
    """Hands each question to `receive`, with what sends its answer."""

    def __init__(self, receive: Callable[[bytes, Source, Reply], None], allowance: PacketAllowance | None) -> None:
        self._receive = receive
        self._allowance = allowance
        self._sockets: list[socket.socket] = []

    def serve(self, udp: socket.socket) -> None:
        """Take questions from this bound socket until `close`. It is ours from here on."""
        udp.setblocking(False)
        self._sockets.append(udp)
        asyncio.get_running_loop().add_reader(udp, self._readable, udp)

    def close(self) -> None:
        for udp in self._sockets:
            asyncio.get_running_loop().remove_reader(udp)
            udp.close()
        self._sockets = []

    def _readable(self, udp: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, source = udp.recvfrom(_LONGEST)
            except OSError:  # nothing more for now, or an ICMP error about an answer of ours
                return
            if self._allowance is None or self._allowance.take(asker_of(source[0])):
                self._receive(data, source, _answering(udp, source))


def _answering(udp: socket.socket, source: Source) -> Reply:
    def reply(data: bytes) -> None:
        with contextlib.suppress(OSError):  # no room, or closed meanwhile: it will ask again
            udp.sendto(data, source)

    return reply

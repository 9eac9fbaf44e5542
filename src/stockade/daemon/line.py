"""The line between agent and control process: whole JSON messages over a SEQPACKET pair.

It carries what the feed's stream does not: settings and the host's status down, credentials and readiness up.
The stream that carries views is a socket of its own (feed/).
"""

import asyncio
import contextlib
import json
import socket
from typing import Any

_MOST = 1 << 18


class Line:
    """One end. `receive` gives None when the other end is gone."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        end.setblocking(False)

    def send(self, **message: Any) -> bool:
        """False when nobody takes it: the other end is gone, or so far behind that it may as well be."""
        try:
            self._socket.send(json.dumps(message).encode())
        except OSError:
            return False
        return True

    async def receive(self) -> dict[str, Any] | None:
        with contextlib.suppress(OSError):
            data = await asyncio.get_running_loop().sock_recv(self._socket, _MOST)
            if data:
                message: dict[str, Any] = json.loads(data)
                return message
        return None

    def receive_first(self) -> dict[str, Any] | None:
        """The first message, before there is a loop; waits for it."""
        self._socket.setblocking(True)
        data = self._socket.recv(_MOST)
        self._socket.setblocking(False)
        return json.loads(data) if data else None

    def close(self) -> None:
        self._socket.close()


def make_line() -> tuple[socket.socket, socket.socket]:
    """Two ends."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

"""UDP sockets that share an address, each with a queue of its own, chosen by who sends."""

import ctypes
import errno
import socket
import struct
from collections.abc import Callable

_ATTACH_CBPF = 51  # SO_ATTACH_REUSEPORT_CBPF
_NETWORK_HEADER = 0xFFF00000  # SKF_NET_OFF: what follows is counted from the IP header
_LOAD_WORD, _AND, _RETURN = 0x20, 0x54, 0x16
_SOURCES_LAST_WORD = {socket.AF_INET: 12, socket.AF_INET6: 20}


def sockets_by_source(open_bound: Callable[[], socket.socket], count: int) -> list[socket.socket]:
    """As many sockets on one address, a power of two; a sender's packets always go to the same one of them.

    `open_bound` makes each, with SO_REUSEPORT set before it binds. Senders whose addresses follow each other do not
    share one.
    """
    made: list[socket.socket] = []
    try:
        for _ in range(count):
            made.append(open_bound())
            if len(made) == 1:
                _attach(made[0], count)
    except OSError:
        for each in made:
            each.close()
        raise
    return made


def _attach(first: socket.socket, count: int) -> None:
    if count & count - 1:
        raise OSError(errno.EINVAL, "not a power of two")
    program = [
        (_LOAD_WORD, _NETWORK_HEADER + _SOURCES_LAST_WORD[first.family]),
        (_AND, count - 1),
        (_RETURN, 0),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", kind, 0, 0, value) for kind, value in program))
    first.setsockopt(socket.SOL_SOCKET, _ATTACH_CBPF, struct.pack("@HP", len(program), ctypes.addressof(code)))

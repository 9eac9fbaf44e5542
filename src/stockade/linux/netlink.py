"""Routing netlink: requests, answers, attributes.

A message is a header (length, type, flags, sequence, port), a fixed structure that depends on the type,
and attributes: length, kind, value, padded to four bytes, which nest. Numbers are in host byte order
except where the field is a network address.
"""

import os
import socket
import struct
import threading
from collections.abc import Iterator
from types import TracebackType

from stockade.linux.namespaces import socket_in

REQUEST, MULTI, ACK, DUMP = 0x01, 0x02, 0x04, 0x300
REPLACE, EXCLUDE, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800

NEWLINK, DELLINK, GETLINK, SETLINK = 16, 17, 18, 19
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWNEIGH, DELNEIGH, GETNEIGH = 28, 29, 30

_ERROR, _DONE = 2, 3
_NESTED = 0x8000
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_NETLINK_EXT_ACK, _NETLINK_CAP_ACK = 11, 10
_SOL_NETLINK = 270
_ACK_TLVS, _ACK_CAPPED = 0x200, 0x100
_ERROR_TEXT = 1

Payload = bytes | str | int | list[bytes]


def attribute(kind: int, value: Payload) -> bytes:
    """One attribute. Text gets its closing zero, an int is 32 bits, a list is a nest of attributes."""
    if isinstance(value, list):
        kind |= _NESTED
        value = b"".join(value)
    elif isinstance(value, str):
        value = value.encode() + b"\0"
    elif isinstance(value, int):
        value = struct.pack("=I", value)
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and value of each attribute in order; nests come as bytes, to be read by this function again."""
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3


def text(value: bytes) -> str:
    """A zero-ended string attribute."""
    return value.rstrip(b"\0").decode(errors="replace")


class Netlink:
    """A routing socket in one network namespace. May be shared by threads: a request holds it until answered.

    `namespace` is a file descriptor of a network namespace or a path to one; without it the caller's own.
    """

    def __init__(self, namespace: int | str | None = None, protocol: int = socket.NETLINK_ROUTE) -> None:
        if isinstance(namespace, str):
            fd = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._socket = socket_in(fd, socket.AF_NETLINK, socket.SOCK_RAW, protocol)
            finally:
                os.close(fd)
        elif namespace is not None:
            self._socket = socket_in(namespace, socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        else:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.bind((0, 0))
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._lock = threading.Lock()
        self._sequence = 0

    def request(self, kind: int, flags: int, payload: bytes) -> list[tuple[int, bytes]]:
        """Send one message, wait until it is done; the messages answered, as (type, payload).

        REQUEST and ACK are added. Raises OSError with the kernel's errno and text.
        """
        with self._lock:
            self._sequence += 1
            flags |= REQUEST if flags & DUMP == DUMP else REQUEST | ACK
            header = _HEADER.pack(_HEADER.size + len(payload), kind, flags, self._sequence, 0)
            self._socket.send(header + payload)
            return self._answers(self._sequence)

    def _answers(self, sequence: int) -> list[tuple[int, bytes]]:
        found: list[tuple[int, bytes]] = []
        while True:
            data = self._socket.recv(1 << 18)
            offset = 0
            while offset + _HEADER.size <= len(data):
                length, kind, flags, number, _ = _HEADER.unpack_from(data, offset)
                body = data[offset + _HEADER.size : offset + length]
                offset += (length + 3) & ~3
                if number != sequence:
                    continue  # what is left of a request that an exception cut short
                if kind == _DONE:
                    return found
                if kind == _ERROR:
                    _raise_if_refused(body, flags)
                    return found
                found.append((kind, body))

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> "Netlink":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _raise_if_refused(body: bytes, flags: int) -> None:
    (code,) = struct.unpack_from("=i", body)
    if code == 0:
        return
    said = ""
    if flags & _ACK_TLVS:
        # errno, then the refused header (with its payload unless capped), then what the kernel has to say
        quoted = _HEADER.size if flags & _ACK_CAPPED else _HEADER.unpack_from(body, 4)[0]
        for kind, value in attributes(body[4 + ((quoted + 3) & ~3) :]):
            if kind == _ERROR_TEXT:
                said = ": " + text(value)
    raise OSError(-code, os.strerror(-code) + said)

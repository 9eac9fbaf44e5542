"""Forwarding of names that are not ours to the host's own resolvers, for askers outside."""

import asyncio
import secrets
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

_PATIENCE_S = 3.0


def resolvers_of(resolv_conf: str, *, not_these: Sequence[str] = ()) -> list[str]:
    """The name servers of a resolv.conf's text, without our own."""
    found = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and words[1] not in not_these:
            try:
                ip_address(words[1].partition("%")[0])
            except ValueError:
                continue
            found.append(words[1])
    return found


class Upstream:
    """Asks the host's resolvers, one after the other, by UDP."""

    def __init__(self, servers: Sequence[str], port: int = 53) -> None:
        self._servers = tuple(servers)
        self._port = port

    @classmethod
    def of_host(cls, *, not_these: Sequence[str] = (), path: Path = Path("/etc/resolv.conf")) -> "Upstream":
        """The resolvers this host uses; none when it has none."""
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        return cls(resolvers_of(text, not_these=not_these))

    async def __call__(self, query: bytes) -> bytes | None:
        """The first answer, None when nobody answers in time."""
        for server in self._servers:
            reply = await self._ask(server, query)
            if reply is not None:
                return reply
        return None

    async def _ask(self, server: str, query: bytes) -> bytes | None:
        # A number of our own choosing, from a fresh port: whoever asks us must not help to guess either.
        number = secrets.token_bytes(2)
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[bytes] = loop.create_future()
        try:
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Answer(number, answered), remote_addr=(server, self._port)
            )
        except OSError:
            return None
        try:
            transport.sendto(number + query[2:])
            async with asyncio.timeout(_PATIENCE_S):
                reply = await answered
        except (TimeoutError, OSError):
            return None
        finally:
            transport.close()
        return query[:2] + reply[2:]


class _Answer(asyncio.DatagramProtocol):
    def __init__(self, number: bytes, answered: asyncio.Future[bytes]) -> None:
        self._number = number
        self._answered = answered

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data[:2] == self._number and not self._answered.done():
            self._answered.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._answered.done():
            self._answered.set_exception(exc)

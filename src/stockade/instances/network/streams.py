"""Questions by TCP: connections bounded for all askers together and for each, and closed with us."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address

from stockade.instances.network.askers import NOBODY, Places, asker_of

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter, IPv4Address], Awaitable[None]]


class StreamServer:
    """Hands each connection to `serve`, with who is asking; whatever ends that ends the connection."""

    def __init__(self, serve: Serve, places: Places, longest: int) -> None:
        """`longest`: bytes that one line or head may have."""
        self._serve = serve
        self._places = places
        self._longest = longest
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, tcp: socket.socket) -> None:
        """Take connections from this bound socket (not yet listening) until `close`. It is ours from here on."""
        serving = await asyncio.start_server(self._connection, sock=tcp, limit=self._longest, backlog=1024)
        self._servers.append(serving)

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        peer = writer.get_extra_info("peername")
        asker = asker_of(peer[0]) if peer else NOBODY
        if not self._places.take(asker):
            writer.close()
            return
        self._tasks.add(task)
        try:
            await self._serve(reader, writer, asker)
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass  # idle or gone: nobody to tell
        finally:
            self._tasks.discard(task)
            self._places.leave(asker)
            writer.close()

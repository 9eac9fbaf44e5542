"""The feed between the two processes: frames over a socket pair."""

import socket

from stockade.feed.frames import SocketViewStream


async def agent_stream(connected: socket.socket) -> SocketViewStream:
    """The agent's end, on our end of the pair."""
    return await SocketViewStream.over(connected)

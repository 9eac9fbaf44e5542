"""One port, several doors: EC2 and STS on any path, /_stockade/ beside them.

The only file that knows the HTTP server. That is uvicorn's HTTP/1.1 protocol, run on a socket that is
handed in, inside the loop that is already running; uvicorn's own server is not used, since it would take
our signals and wake up ten times a second.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, IPPROTO_TCP, TCP_NODELAY, socket
from typing import Any, TypeAlias

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from stockade import __version__
from stockade.api.aws.gateway import Answer, Gateway
from stockade.api.aws.request import HttpRequest
from stockade.api.aws.wire.faults import Fault, ec2_error_document
from stockade.api.native.counters import Counters
from stockade.api.origins import refusal

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

OWN_PATHS = ("/_stockade", "/_localstack/")
_XML = "text/xml;charset=UTF-8"


@dataclass(frozen=True, slots=True)
class FrontSettings:
    """`hosts`: names besides the local ones that a Host header may have."""

    hosts: frozenset[str] = frozenset()
    body_bytes: int = 1024 * 1024
    body_timeout_s: float = 20.0


class _Gone(Exception):
    """The client went away before its request was whole."""


class FrontDoor:
    """The ASGI application. `native` makes the one behind /_stockade/ when it is first asked for."""

    def __init__(
        self,
        gateway: Gateway,
        native: Callable[[], AsgiApp],
        counters: Counters,
        new_request_id: Callable[[], str],
        settings: FrontSettings = FrontSettings(),
    ) -> None:
        self._gateway = gateway
        self._make_native = native
        self._native: AsgiApp | None = None
        self._counters = counters
        self._new_request_id = new_request_id
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
        path: str = scope["raw_path"].decode("ascii")
        own = path.startswith(OWN_PATHS)
        server = scope.get("server") or ("",)
        why = refusal(headers, self._settings.hosts, own, server[0])
        if why is not None:
            await self._answer(send, self._refused(Fault("AccessDenied", why, 403)))
            return
        if own:
            await self._own(scope, receive, send)
            return
        try:
            body = await self._body(scope, receive)
        except _Gone:
            return
        except Fault as fault:
            await self._answer(send, self._refused(fault), close=True)
            return
        query: str = scope["query_string"].decode("latin-1")
        request = HttpRequest(scope["method"], path, query, headers, body, is_loopback(scope))
        answer = await self._gateway.answer(request)
        self._counters.count(answer.action, answer.code)
        await self._answer(send, answer)

    async def _own(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._native is None:
            self._native = self._make_native()
        request_id = self._new_request_id()

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_marks(request_id)]
            await send(message)

        await self._native(scope, receive, marked)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body. Raises _Gone when the client left, Fault when it is too long or does not come."""
        limit = self._settings.body_bytes
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if int(announced) > limit:
            raise _too_long(limit)
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._settings.body_timeout_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > limit:
                        raise _too_long(limit)
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            text = "Your socket connection to the server was not read from or written to within the timeout period."
            raise Fault("RequestTimeout", text) from None

    def _refused(self, fault: Fault) -> Answer:
        self._counters.count("-", fault.code)
        request_id = self._new_request_id()
        document = ec2_error_document(fault, request_id).encode()
        return Answer(fault.status, document, request_id, "-", fault.code, None)

    async def _answer(self, send: Send, answer: Answer, close: bool = False) -> None:
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", str(len(answer.document)).encode()),
            (b"cache-control", b"no-cache, no-store"),
            *((name.encode(), value.encode()) for name, value in answer.headers),
            *_marks(answer.request_id),
        ]
        if close:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.document})


class FrontProtocol(H11Protocol):
    """uvicorn's protocol, which also answers requests that end before they are whole."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """asyncio does this itself only for sockets that were made with the protocol's number, and few are.

        Without it the two writes of an answer wait for each other: 44 ms a call in place of 2.
        """
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family in (AF_INET, AF_INET6):
            connection.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        super().connection_made(transport)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client will send nothing more. What it asked is still answered; half a request gets a 400."""
        partial = self.conn.their_state is h11.SEND_BODY or bool(self.conn.trailing_data[0])
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY) and partial:
            self.conn.receive_data(b"")
            self.handle_events()
            return not self.transport.is_closing()
        if self.cycle is None or self.cycle.response_complete:
            return False
        self.cycle.keep_alive = False
        return True

    def send_400_response(self, msg: str) -> None:
        """EC2's error document in place of a line of text."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE) or self.transport.is_closing():
            self.transport.close()
            return
        request_id = self.config.loaded_app._new_request_id()
        fault = Fault("MalformedHttpRequest", "The HTTP request is malformed or ended before it was complete.")
        document = ec2_error_document(fault, request_id).encode()
        headers = [
            (b"content-type", _XML.encode()),
            (b"content-length", str(len(document)).encode()),
            (b"connection", b"close"),
            *_marks(request_id),
        ]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=document), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class Listening:
    """A server that accepts; `close` stops it and lets running requests end."""

    def __init__(self, server: asyncio.Server, state: ServerState) -> None:
        self._server = server
        self._state = state

    async def close(self, grace_s: float = 2.0) -> None:
        self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(list(self._state.tasks), timeout=grace_s)
        for task in list(self._state.tasks):
            task.cancel()


async def listen(app: FrontDoor, sock: socket, tls: ssl.SSLContext | None = None) -> Listening:
    """Serves on a socket that is bound already; returns once it accepts."""
    config = Config(
        app, http=FrontProtocol, ws="none", lifespan="off", interface="asgi3", log_config=None, access_log=False,
        proxy_headers=False, server_header=False, timeout_keep_alive=75,
    )  # fmt: skip
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: FrontProtocol(config=config, server_state=state, app_state={}, _loop=loop),
        sock=sock, ssl=tls, backlog=512,
    )  # fmt: skip
    return Listening(server, state)


def is_loopback(scope: Scope) -> bool:
    """Whether the peer is on this machine."""
    client = scope.get("client")
    if not client:
        return False
    try:
        return ip_address(client[0].partition("%")[0]).is_loopback
    except ValueError:
        return False


def _marks(request_id: str) -> list[tuple[bytes, bytes]]:
    """The headers of every answer."""
    return [
        (b"x-amzn-requestid", request_id.encode()),
        (b"x-stockade", __version__.encode()),
        (b"date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()).encode()),
    ]


def _too_long(limit: int) -> Fault:
    return Fault("RequestEntityTooLarge", f"The request is longer than {limit} bytes.", 413)

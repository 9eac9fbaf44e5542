"""The metadata service, versions 1 and 2, over HTTP (security-group semantics §14).

Who asks is told by the source address alone: `subject_of` maps it to an instance, and the datapath has made
sure that it is true. `respond` is a pure function; the class around it reads requests and writes answers.
"""

import asyncio
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv4Address

from stockade.instances.network.askers import Places
from stockade.instances.network.items import VERSIONS, Subject, read_item
from stockade.instances.network.streams import StreamServer
from stockade.instances.network.tokens import LONGEST_S, check_token, make_token

SubjectOf = Callable[[IPv4Address], Subject | None]

_TTL_HEADER, _TOKEN_HEADER = "x-aws-ec2-metadata-token-ttl-seconds", "x-aws-ec2-metadata-token"
_HEAD_LIMIT = 16384
_PATIENCE_S = 10.0
_MOST_CONNECTIONS, _MOST_OF_ONE = 512, 32  # none can keep the others from being served


@dataclass(frozen=True, slots=True)
class Request:
    """A request's head; names of headers in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """`hop_limit`: routers the packets of this answer may pass, one less (None: the system's usual)."""

    status: HTTPStatus
    body: bytes = b""
    kind: str = "text/plain"
    headers: tuple[tuple[str, str], ...] = ()
    hop_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """As an instance's metadata options: HttpTokens=required, HttpPutResponseHopLimit, HttpProtocolIpv6=enabled."""

    tokens_required: bool = False
    hop_limit: int = 1
    ipv6: bool = False


DEFAULT_OPTIONS = Options()


def _refusal(status: HTTPStatus) -> Answer:
    page = (
        '<?xml version="1.0" encoding="iso-8859-1"?>\n'
        f"<html><head><title>{status.value} - {status.phrase}</title></head>"
        f"<body><h1>{status.value} - {status.phrase}</h1></body></html>\n"
    )
    return Answer(status, page.encode(), "text/html")


def respond(request: Request, subject: Subject | None, options: Options, secret: bytes, now: float) -> Answer:
    """What this request is answered."""
    if subject is None:
        return _refusal(HTTPStatus.FORBIDDEN)
    version, _, path = request.path.partition("?")[0].lstrip("/").partition("/")
    if request.method == "PUT":
        return _issue_token(request, version, path, subject, options, secret, now)
    if request.method not in ("GET", "HEAD"):
        return _refusal(HTTPStatus.METHOD_NOT_ALLOWED)
    token = request.headers.get(_TOKEN_HEADER)
    missing = token is None and options.tokens_required
    if missing or (token is not None and not check_token(secret, subject.instance.id, token, now)):
        return _refusal(HTTPStatus.UNAUTHORIZED)
    if not version:
        body: bytes | None = "\n".join(VERSIONS).encode()
    else:
        body = read_item(subject, path) if version in VERSIONS else None
    if body is None:
        return _refusal(HTTPStatus.NOT_FOUND)
    kind = "application/octet-stream" if path.strip("/") == "user-data" else "text/plain"
    return Answer(HTTPStatus.OK, body, kind)


def _issue_token(
    request: Request, version: str, path: str, subject: Subject, options: Options, secret: bytes, now: float
) -> Answer:
    if version != "latest" or "x-forwarded-for" in request.headers:
        return _refusal(HTTPStatus.FORBIDDEN)
    if path != "api/token":
        return _refusal(HTTPStatus.METHOD_NOT_ALLOWED)
    asked = request.headers.get(_TTL_HEADER, "")
    if not (asked.isascii() and asked.isdigit() and len(asked) <= 5 and 1 <= int(asked) <= LONGEST_S):
        return _refusal(HTTPStatus.BAD_REQUEST)
    token = make_token(secret, subject.instance.id, int(now) + int(asked))
    return Answer(HTTPStatus.OK, token.encode(), headers=((_TTL_HEADER, asked),), hop_limit=options.hop_limit)


class MetadataServer:
    """Serves on bound sockets that somebody opened in the services namespace."""

    def __init__(self, subject_of: SubjectOf, options: Options = DEFAULT_OPTIONS, secret: bytes | None = None) -> None:
        """`secret` seals tokens; without one, tokens are good for this process's life."""
        self._subject_of = subject_of
        self._options = options
        self._secret = secret or secrets.token_bytes(32)
        self._streams = StreamServer(self._serve, Places(_MOST_CONNECTIONS, _MOST_OF_ONE), _HEAD_LIMIT)

    async def serve(self, tcp: socket.socket) -> None:
        """Answer on this bound socket (not yet listening) until `close`. It is ours from here on."""
        await self._streams.serve(tcp)

    async def close(self) -> None:
        await self._streams.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asker: IPv4Address) -> None:
        again = True
        while again:
            async with asyncio.timeout(_PATIENCE_S):
                again = await self._exchange(reader, writer, asker)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asker: IPv4Address) -> bool:
        """One request and its answer; whether the connection may carry another."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            request, keep = _parse(head)
        except (asyncio.LimitOverrunError, ValueError):
            _write(writer, _refusal(HTTPStatus.BAD_REQUEST), with_body=True, keep=False)
            await writer.drain()
            return False
        connection = writer.get_extra_info("socket")
        by_ipv6 = connection.family == socket.AF_INET6
        if by_ipv6 and not self._options.ipv6:
            answer = _refusal(HTTPStatus.FORBIDDEN)
        else:
            answer = respond(request, self._subject_of(asker), self._options, self._secret, time.time())
        if answer.hop_limit is not None:
            # The token must not travel past the instance itself (a proxy, a container inside) unless it is meant to.
            limit = (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) if by_ipv6 else (socket.IPPROTO_IP, socket.IP_TTL)
            connection.setsockopt(*limit, answer.hop_limit)
            keep = False
        _write(writer, answer, with_body=request.method != "HEAD", keep=keep)
        await writer.drain()
        return keep


def _parse(head: bytes) -> tuple[Request, bool]:
    """The request, and whether its sender keeps the connection open. ValueError for what is not HTTP."""
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, version = first.split(" ")
    if not version.startswith("HTTP/1.") or not target.startswith("/"):
        raise ValueError(first)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or name != name.strip() or not name:
            raise ValueError(line)
        headers[name.lower()] = value.strip()
    # A body is never wanted; whoever sends one anyway gets an answer and is hung up on.
    bodied = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    connection = headers.get("connection", "").lower()
    keep = not bodied and (connection != "close" if version == "HTTP/1.1" else connection == "keep-alive")
    return Request(method, target, headers), keep


def _write(writer: asyncio.StreamWriter, answer: Answer, *, with_body: bool, keep: bool) -> None:
    lines = [
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}",
        "Server: EC2ws",
        f"Content-Type: {answer.kind}",
        f"Content-Length: {len(answer.body)}",
        f"Connection: {'keep-alive' if keep else 'close'}",
        *(f"{name}: {value}" for name, value in answer.headers),
    ]
    writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (answer.body if with_body else b""))

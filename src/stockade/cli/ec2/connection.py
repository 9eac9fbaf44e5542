"""One signed Query request over one connection, and its answer.

HTTP/1.1 is spoken here directly: one POST, `Connection: close`, no redirect is ever followed (it could lead to
Amazon). The standard library's client would cost half of the time a tool has.
"""

import socket
import sys
import time

from stockade.cli.ec2.answer import AnswerUnreadable, Node, read_answer
from stockade.cli.ec2.endpoint import Endpoint, Keys
from stockade.cli.ec2.signature import canonical_query, sign

CONNECT_S = 20.0
ANSWER_S = 60.0
LARGEST_ANSWER = 64 << 20
CUT_HEADER = "x-stockade-cut: true\r\n"


class ServiceProblem(Exception):
    """The service refused, or could not be reached; the text is the one line for standard error."""


class Service:
    """The configured endpoint, in one API version, as one account."""

    def __init__(
        self,
        endpoint: Endpoint,
        keys: Keys,
        version: str,
        *,
        verbose: bool = False,
        connect_s: float = CONNECT_S,
        answer_s: float = ANSWER_S,
    ) -> None:
        self.endpoint = endpoint
        self.keys = keys
        self.version = version
        self.cut = False
        """Whether live flows are to be judged anew after the calls that follow: a header of Stockade's own."""
        self._verbose = verbose
        self._connect_s = connect_s
        self._answer_s = answer_s

    def call(self, action: str, parameters: "dict[str, str] | None" = None, *, since: str = "") -> Node:
        """The answer of `action`. `since`: the first API version that has it. Raises ServiceProblem."""
        fields = {
            "Action": action,
            "Version": max(self.version, since),
            "AWSAccessKeyId": self.keys.access,
            "SignatureVersion": "2",
            "SignatureMethod": "HmacSHA256",
            "Timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **(parameters or {}),
        }
        if self.keys.token:
            fields["SecurityToken"] = self.keys.token
        self._show("REQUEST", canonical_query(fields).replace("&", "\n"))
        fields["Signature"] = sign(self.keys.secret, "POST", self.endpoint.authority, self.endpoint.path, fields)
        status, body = self._post(canonical_query(fields).encode())
        self._show(f"RESPONSE {status}", body.decode(errors="replace"))
        try:
            answer = read_answer(body)
        except AnswerUnreadable as err:
            raise ServiceProblem(f"Server returned error code = {status}") from err
        if status != 200 or answer.name == "Response":
            raise ServiceProblem(_error_line(status, answer))
        return answer

    def _post(self, body: bytes) -> "tuple[int, bytes]":
        head = (
            f"POST {self.endpoint.path} HTTP/1.1\r\n"
            f"Host: {self.endpoint.authority}\r\n"
            "User-Agent: stockade-ec2-tools\r\n"
            "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\n"
            f"{CUT_HEADER if self.cut else ''}"
            "Connection: close\r\n\r\n"
        )
        try:
            with self._connect() as connection:
                connection.settimeout(self._answer_s)
                connection.sendall(head.encode("latin-1") + body)
                received = _read_all(connection)
        except TimeoutError as err:
            raise ServiceProblem(f"No answer in time from host: '{self.endpoint.url}'") from err
        except OSError as err:
            raise ServiceProblem(f"Connection to host lost: '{self.endpoint.url}' ({err.strerror or err})") from err
        return parse_response(received)

    def _connect(self) -> socket.socket:
        try:
            # As bytes: for a str, Python loads its codec for international names, 3 ms.
            host = self.endpoint.host.encode("ascii" if self.endpoint.host.isascii() else "idna")
            connection = socket.create_connection((host, self.endpoint.port), self._connect_s)  # type: ignore[arg-type]
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not self.endpoint.tls:
                return connection
            import ssl

            return ssl.create_default_context().wrap_socket(connection, server_hostname=self.endpoint.host)
        except OSError as err:
            raise ServiceProblem(f"Unable to connect to host: '{self.endpoint.url}'") from err

    def _show(self, title: str, text: str) -> None:
        if self._verbose:
            sys.stdout.write(f"--- {title}\n{text.rstrip()}\n")


def numbered(name: str, values: "list[str]") -> "dict[str, str]":
    """A list as Query parameters: Name.1, Name.2, ..."""
    return {f"{name}.{number}": value for number, value in enumerate(values, 1)}


def parse_response(received: bytes) -> "tuple[int, bytes]":
    """Status and body of a whole HTTP response. Raises ServiceProblem when it is not one, or cut short."""
    head, end, body = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ", 2)
    if not end or len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdecimal():
        raise ServiceProblem("The answer is not HTTP")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = _unchunk(body)
    length = headers.get("content-length", "")
    if length.isdecimal() and len(body) < int(length):
        raise ServiceProblem("The answer was cut short")
    return int(words[1]), body


def _unchunk(body: bytes) -> bytes:
    whole = b""
    while True:
        line, found, body = body.partition(b"\r\n")
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            size = -1
        if not found or size < 0 or len(body) < size:
            raise ServiceProblem("The answer was cut short")
        if size == 0:
            return whole
        whole, body = whole + body[:size], body[size + 2 :]


def _read_all(connection: socket.socket) -> bytes:
    parts = []
    size = 0
    while chunk := connection.recv(65536):
        parts.append(chunk)
        size += len(chunk)
        if size > LARGEST_ANSWER:
            raise ServiceProblem("The answer is larger than 64 MiB")
    return b"".join(parts)


def _error_line(status: int, answer: Node) -> str:
    """`Client.Code: text`: the Query API leaves out the side that SOAP's fault codes name, the tools print it."""
    error = answer.find("Errors/Error")
    if error is None or not error.text("Code"):
        return f"Server returned error code = {status}"
    code = error.text("Code")
    if not code.startswith(("Client.", "Server.")):
        code = f"{'Server' if status >= 500 else 'Client'}.{code}"
    return f"{code}: {error.text('Message')}"

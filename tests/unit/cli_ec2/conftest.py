"""A scripted service on loopback: it hands out the answers a test wrote and keeps the requests it got."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl

import pytest

from stockade.cli.ec2.main import main

OWNER = "598916040194"


@dataclass
class Request:
    """What the service saw."""

    path: str
    host: str
    fields: dict[str, str]
    cut: str | None = None


@dataclass
class Scripted:
    """The service: `answers` are given out in order, (status, body) each."""

    url: str
    answers: list[tuple[int, str]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def will_answer(self, action: str, body: str, version: str = "2008-02-01") -> None:
        """The next answer: an era document of `action` with `body` inside."""
        xmlns = f"http://ec2.amazonaws.com/doc/{version}/"
        self.answers.append((200, f'<?xml version="1.0"?><{action}Response xmlns="{xmlns}">{body}</{action}Response>'))

    def will_refuse(self, code: str, message: str, status: int = 400) -> None:
        """The next answer: the Query API's error document."""
        error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        document = f'<?xml version="1.0"?><Response><Errors>{error}</Errors><RequestID>r</RequestID></Response>'
        self.answers.append((status, document))


@dataclass
class Outcome:
    """What a tool did."""

    status: int
    out: str
    err: str

    @property
    def records(self) -> list[list[str]]:
        """Standard output, line by line, field by field."""
        return [line.split("\t") for line in self.out.splitlines()]


@pytest.fixture
def service() -> Iterator[Scripted]:
    """A service on a free port of loopback."""
    scripted = Scripted("")

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            fields = dict(parse_qsl(body, keep_blank_values=True, strict_parsing=True))
            scripted.requests.append(Request(self.path, self.headers["Host"], fields, self.headers["x-stockade-cut"]))
            status, document = scripted.answers.pop(0)
            self.send_response(status)
            self.send_header("Content-Length", str(len(document.encode())))
            self.end_headers()
            self.wfile.write(document.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    scripted.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield scripted
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def environment(service: Scripted, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The variables of a user who has run `stockade env`, and none besides."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "EC2_REGION", "AWS_REGION", "AWS_DEFAULT_REGION", "EC2_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("EC2_API_VERSION", "EC2_DEFAULT_ARGS", "AWS_SESSION_TOKEN", "AWS_DELEGATION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", service.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "SKEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    return monkeypatch


@pytest.fixture
def tool(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run a tool: `tool("ec2-add-group", "apache", "-d", "x")`."""

    def run(name: str, *words: str) -> Outcome:
        status = main(name, list(words))
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run

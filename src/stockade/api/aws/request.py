"""An HTTP request as plain values: what signatures are made of and actions are read from."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """`path` and `query` are as on the request line, still percent-encoded. Header names are lower-case.

    `loopback`: the peer is on this machine, where signature versions 0 and 1 are still taken.
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    loopback: bool = False

    def header(self, name: str) -> str | None:
        """The first value of this header."""
        return next((value for key, value in self.headers if key == name), None)

    def header_values(self, name: str) -> list[str]:
        """Every value of this header, in order."""
        return [value for key, value in self.headers if key == name]

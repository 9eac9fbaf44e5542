"""Which requests may be looked at at all: the Host they name and the page they come from.

A page in a browser on this machine can reach a loopback port. Three things stop it: the Host must be one
of ours (else the page rebound its own name to 127.0.0.1), a request that a page made carries an Origin,
which is refused, and one that it made without (an image, a link) says so in Sec-Fetch-Site.
"""

from collections.abc import Sequence

LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
SUFFIX = ".localhost"


def host_name(authority: str) -> str:
    """The name in a Host header, lower-case, without port and brackets."""
    text = authority.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    name, colon, port = text.rpartition(":")
    return (name if colon and port.isdigit() else text).rstrip(".")


def refusal(
    headers: Sequence[tuple[str, str]], allowed: frozenset[str], own_pages: bool, arrived_at: str = ""
) -> str | None:
    """Why the request is not looked at; None when it may be.

    `own_pages`: our own pages call this path. `arrived_at`: the address the connection came in on, which no
    page can have as its name without being served from there.
    """
    hosts = [value for name, value in headers if name == "host"]
    if len(hosts) != 1:
        return "The request must have one Host header."
    name = host_name(hosts[0])
    if not name or not (name in LOCAL or name in allowed or name == arrived_at or name.endswith(SUFFIX)):
        return "The Host header names another server."
    for header, value in headers:
        if header == "origin" and not (own_pages and _same(value, hosts[0])):
            return "Requests from web pages are refused."
        if header == "sec-fetch-site" and value not in ("none", "same-origin"):
            return "Requests from web pages are refused."
    return None


def _same(origin: str, host: str) -> bool:
    scheme, separator, rest = origin.partition("://")
    return bool(separator) and scheme in ("http", "https") and rest.lower() == host.strip().lower()

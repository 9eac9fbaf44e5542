"""Signature versions 0, 1 and 2: an HMAC over the request's parameters, sent as one of them.

Version 0 leaves all parameters but two unprotected, and version 1 can be re-split (`a=bc` signs as `ab=c`):
both are only taken where the caller of this package allows it. Clients of version 2 disagree whether the
signed host has the port and whether the path ends in a slash; every reading is tried.
"""

import hmac
from base64 import b64encode
from collections.abc import Iterator, Mapping
from urllib.parse import quote

from stockade.api.aws.request import HttpRequest

_DIGESTS = {"HmacSHA256": "sha256", "HmacSHA1": "sha1"}


def version_0(parameters: Mapping[str, str], secret: str) -> str:
    """Action and Timestamp, one after the other."""
    action = parameters.get("Action", parameters.get("Operation", ""))
    return _mac(secret, action + parameters.get("Timestamp", parameters.get("Expires", "")), "sha1")


def version_1(parameters: Mapping[str, str], secret: str) -> str:
    """Every parameter, sorted by name whatever its case, name and value without separators."""
    ordered = sorted(((n, v) for n, v in parameters.items() if n != "Signature"), key=lambda pair: pair[0].lower())
    return _mac(secret, "".join(name + value for name, value in ordered), "sha1")


def version_2(request: HttpRequest, parameters: Mapping[str, str], secret: str) -> Iterator[str]:
    """Each signature that a client of version 2 may have made for this request.

    An unknown SignatureMethod gives none.
    """
    digest = _DIGESTS.get(parameters.get("SignatureMethod", "HmacSHA1"))
    if digest is None:
        return
    pairs = sorted((n.encode(), v) for n, v in parameters.items() if n != "Signature")
    query = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs)
    for host in _hosts(request):
        for path in _paths(request.path):
            yield _mac(secret, f"{request.method}\n{host}\n{path}\n{query}", digest)


def _hosts(request: HttpRequest) -> Iterator[str]:
    host = (request.header("host") or "").lower()
    yield host
    bare, colon, port = host.rpartition(":")
    if colon and port.isdigit():
        yield bare


def _paths(path: str) -> Iterator[str]:
    yield path or "/"
    if len(path) > 1:
        yield path.removesuffix("/") if path.endswith("/") else path + "/"


def _mac(secret: str, text: str, digest: str) -> str:
    return b64encode(hmac.digest(secret.encode(), text.encode(), digest)).decode()

"""Who sent a request to /_stockade/: signature version 4, as for the EC2 API; and its body, bounded."""

import json
from typing import Any

from starlette.requests import Request

from stockade.api.aws.auth.authenticate import Authenticator, Identified
from stockade.api.aws.request import HttpRequest
from stockade.api.aws.wire.faults import Fault
from stockade.api.http import is_loopback

BODY_BYTES = 64 * 1024


def identify(authenticator: Authenticator, request: Request, body: bytes) -> Identified:
    """Raises Fault."""
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw)
    path = request.scope["raw_path"].decode("ascii")
    query = request.scope["query_string"].decode("latin-1")
    signed = HttpRequest(request.method, path, query, headers, body, is_loopback(request.scope))
    # No parameters: the older versions sign those alone, and not the body.
    return authenticator.identify(signed, {}, sts=False)


async def body_of(request: Request, most: int = BODY_BYTES) -> bytes:
    """The whole body. Raises Fault."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise Fault("RequestEntityTooLarge", f"The request is longer than {most} bytes.", 413)
    return bytes(body)


def object_of(body: bytes, known: frozenset[str]) -> dict[str, Any]:
    """The body as a JSON object that has no other keys. Raises Fault."""
    try:
        asked = json.loads(body)
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        raise Fault("MalformedQueryString", "The body must be a JSON object.")
    unknown = asked.keys() - known
    if unknown:
        raise Fault("UnknownParameter", f"The parameter {min(unknown)} is not recognized")
    return asked


def text_of(asked: dict[str, Any], name: str) -> str:
    """A string that must be there. Raises Fault."""
    value = asked.get(name)
    if not isinstance(value, str) or not value.strip():
        raise Fault("MissingParameter", f"The request must contain the parameter {name}")
    return value


def flag_of(asked: dict[str, Any], name: str) -> bool:
    """A boolean, false when it is not there. Raises Fault."""
    value = asked.get(name, False)
    if not isinstance(value, bool):
        raise Fault("InvalidParameterValue", f"Value ({value}) for parameter {name} is invalid.")
    return value

"""The running daemon, as its commands reach it: the credentials it left, its JSON pages, its EC2 API."""

import hashlib
import hmac
import http.client
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from stockade.cli.ec2.answer import Node
from stockade.cli.ec2.connection import Service, ServiceProblem
from stockade.cli.ec2.endpoint import Keys, parse_endpoint
from stockade.daemon import settings
from stockade.daemon.problems import REFUSED, UNREACHABLE, Problem
from stockade.daemon.site import Credentials, Site

EC2_VERSION = "2016-11-15"


def site() -> Site:
    """The site the commands speak of."""
    return Site.to_ask(settings.load())


def credentials() -> Credentials:
    """Raises Problem (exit 3) when no daemon runs."""
    asked = site()
    found = asked.credentials() if asked.agent() is not None else None
    if found is None:
        raise Problem(
            f"no daemon of site {asked.name!r} runs here",
            attempt="sudo stockade up -d",
            see="stockade doctor",
            code=UNREACHABLE,
        )
    return found


def calling_as() -> Credentials:
    """The account that `eval "$(stockade env)"` or `account create` put into the environment, else the admin's."""
    own = credentials()
    access, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if os.environ.get("AWS_ENDPOINT_URL_EC2") == own.endpoint and access and secret:
        region = os.environ.get("AWS_REGION") or own.region
        return Credentials(own.endpoint, access, secret, "", region)
    return own


class Ec2:
    """The EC2 API of the running daemon."""

    def __init__(self, caller: Credentials) -> None:
        endpoint = parse_endpoint(f"{caller.endpoint}/region/{caller.region}/")
        self._service = Service(endpoint, Keys(caller.access_key, caller.secret_key), EC2_VERSION)

    def call(self, action: str, parameters: dict[str, str] | None = None) -> Node:
        """Raises Problem (exit 4) with the API's own words."""
        try:
            return self._service.call(action, parameters)
        except ServiceProblem as err:
            unreachable = "host" in str(err) and "Client." not in str(err)
            raise Problem(str(err), code=UNREACHABLE if unreachable else REFUSED) from err


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and JSON body of a page below /_stockade/."""

    status: int
    document: dict[str, Any]


def native(
    caller: Credentials,
    method: str,
    path: str,
    document: Any = None,
    query: Mapping[str, str] | None = None,
    timeout_s: float = 30,
) -> Answer:
    """A page of the daemon's own, signed (version 4). Raises Problem when it cannot be reached."""
    connection = _connected(caller, timeout_s)
    try:
        answer = _asked(connection, caller, method, path, document, query)
        received = answer.read()
    except OSError as err:
        raise _unreachable(caller, err) from err
    finally:
        connection.close()
    try:
        parsed = json.loads(received)
    except ValueError:
        parsed = {"message": received.decode(errors="replace").strip()}
    return Answer(answer.status, parsed if isinstance(parsed, dict) else {"items": parsed})


def native_lines(caller: Credentials, path: str, query: Mapping[str, str]) -> Iterator[dict[str, Any] | Answer]:
    """A page that is one JSON document a line, for as long as it has any; an Answer when it is refused."""
    connection = _connected(caller, timeout_s=None)
    try:
        answer = _asked(connection, caller, "GET", path, None, query)
        if answer.status >= 400:
            yield Answer(answer.status, json.loads(answer.read()))
            return
        for line in answer:
            yield json.loads(line)
    except (OSError, http.client.HTTPException) as err:
        raise _unreachable(caller, err) from err
    finally:
        connection.close()


def _connected(caller: Credentials, timeout_s: float | None) -> http.client.HTTPConnection:
    place = urlsplit(caller.endpoint)
    return http.client.HTTPConnection(place.hostname or "", place.port, timeout=timeout_s)


def _asked(
    connection: http.client.HTTPConnection,
    caller: Credentials,
    method: str,
    path: str,
    document: Any,
    query: Mapping[str, str] | None,
) -> http.client.HTTPResponse:
    body = b"" if document is None else json.dumps(document).encode()
    full = quote(f"/_stockade/{path}", safe="/-_.~")
    canonical = urlencode(sorted((query or {}).items()), quote_via=quote, safe="-_.~")
    headers = _signed(caller, method, urlsplit(caller.endpoint).netloc, (full, canonical), body)
    if body:
        headers["content-type"] = "application/json"
    connection.request(method, f"{full}?{canonical}" if canonical else full, body, headers)
    return connection.getresponse()


def _unreachable(caller: Credentials, err: Exception) -> Problem:
    return Problem(
        f"the daemon does not answer at {caller.endpoint}", why=str(err), see="stockade status", code=UNREACHABLE
    )


def _signed(caller: Credentials, method: str, host: str, target: tuple[str, str], body: bytes) -> dict[str, str]:
    """The headers of signature version 4 for one request; `target` is its path and its query in canonical order."""
    at = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{at[:8]}/{caller.region}/ec2/aws4_request"
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": at}
    names = ";".join(headers)
    canonical = "\n".join(
        (
            method,
            quote(target[0], safe="/-_.~"),
            target[1],
            *(f"{name}:{value}" for name, value in headers.items()),
            "",
            names,
            digest,
        )
    )
    to_sign = "\n".join(("AWS4-HMAC-SHA256", at, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{caller.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={caller.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return headers

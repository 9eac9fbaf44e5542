"""Signature Version 4, verified: in the Authorization header, or in the query of a presigned URL.

The key is derived for whatever scope the request names: some clients guess region and service from the
endpoint's name (127.0.0.1 gives region "0", service "127"), and the signature proves the same either way.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote

from stockade.api.aws.request import HttpRequest
from stockade.api.aws.wire.faults import Fault

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"
LONGEST_PRESIGNED_S = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class SignatureV4:
    """What the request says about its signature. `expires_s` is set for presigned requests."""

    key_id: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str
    timestamp: str  # as signed: 20261122T093000Z
    expires_s: int | None = None

    @property
    def scope(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/{TERMINATOR}"


def from_header(request: HttpRequest, authorization: str) -> SignatureV4:
    """Reads `AWS4-HMAC-SHA256 Credential=..., SignedHeaders=..., Signature=...`; raises IncompleteSignature."""
    fields: dict[str, str] = {}
    for part in authorization.removeprefix(ALGORITHM).split(","):
        name, equals, value = part.strip().partition("=")
        if not equals or name in fields:
            raise _incomplete(
                f"'{part.strip()}' not a valid key=value pair (missing equal-sign) in Authorization header"
            )
        fields[name] = value
    missing = [name for name in ("Credential", "Signature", "SignedHeaders") if not fields.get(name)]
    if missing:
        said = " ".join(f"Authorization header requires '{name}' parameter." for name in missing)
        raise _incomplete(said)
    timestamp = _header_time(request)
    return _checked(fields["Credential"], fields["SignedHeaders"], fields["Signature"], timestamp, None)


def from_query(parameters: Mapping[str, str]) -> SignatureV4:
    """Reads the X-Amz-* parameters of a presigned URL; raises IncompleteSignature."""
    wanted = ("X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature")
    missing = [name for name in wanted if not parameters.get(name)]
    if missing:
        raise _incomplete(" ".join(f"AWS query-string parameters must include '{name}'." for name in missing))
    if parameters["X-Amz-Algorithm"] != ALGORITHM:
        raise _incomplete(f"Unsupported AWS 'algorithm': '{parameters['X-Amz-Algorithm']}'.")
    expires = parameters["X-Amz-Expires"]
    if not (expires.isascii() and expires.isdigit() and len(expires) <= 6 and int(expires) <= LONGEST_PRESIGNED_S):
        raise _incomplete("X-Amz-Expires must be a number of seconds up to 604800.")
    return _checked(
        parameters["X-Amz-Credential"],
        parameters["X-Amz-SignedHeaders"],
        parameters["X-Amz-Signature"],
        parameters["X-Amz-Date"],
        int(expires),
    )


def expected(request: HttpRequest, signed: SignatureV4, secret: str) -> str:
    """The hex signature that the holder of `secret` would have made for this very request."""
    canonical = "\n".join((
        request.method,
        quote(_without_dots(request.path), safe="/~"),
        _canonical_query(request.query),
        *(f"{name}:{_folded(request, name)}" for name in signed.signed_headers),
        "",
        ";".join(signed.signed_headers),
        hashlib.sha256(request.body).hexdigest(),
    ))  # fmt: skip
    to_sign = "\n".join((ALGORITHM, signed.timestamp, signed.scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{secret}".encode()
    for part in (signed.date, signed.region, signed.service, TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, to_sign.encode(), "sha256").hexdigest()


def moment_of(signed: SignatureV4) -> datetime:
    """When it was signed."""
    return datetime.strptime(signed.timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def _checked(credential: str, headers: str, signature: str, timestamp: str, expires_s: int | None) -> SignatureV4:
    parts = credential.rsplit("/", 4)
    if len(parts) != 5 or parts[4] != TERMINATOR:
        raise _incomplete(f"Credential must have exactly 5 slash-delimited elements, got '{credential}'.")
    names = tuple(headers.split(";"))
    if "host" not in names or list(names) != sorted(set(names)):
        raise _incomplete("'Host' must be among the SignedHeaders, which are lower-case and sorted.")
    try:
        datetime.strptime(timestamp, "%Y%m%dT%H%M%SZ")
    except ValueError:
        raise _incomplete(f"Date must be in ISO-8601 'basic format'. Got '{timestamp}'.") from None
    if parts[1] != timestamp[:8]:
        raise _incomplete(f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
                          f"'{parts[1]}' != '{timestamp[:8]}'.")  # fmt: skip
    return SignatureV4(parts[0], parts[1], parts[2], parts[3], names, signature, timestamp, expires_s)


def _header_time(request: HttpRequest) -> str:
    stamp = request.header("x-amz-date")
    if stamp is not None:
        return stamp
    date = request.header("date")
    if date is None:
        raise _incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - 20 ms of imports for a form few clients use

    try:
        return parsedate_to_datetime(date).astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    except ValueError:
        raise _incomplete(f"The Date header is not a date: '{date}'.") from None


def _canonical_query(query: str) -> str:
    pairs = [
        (quote(name, safe="-_.~"), quote(value, safe="-_.~"))
        for name, value in parse_qsl(query, keep_blank_values=True)
        if name != "X-Amz-Signature"
    ]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _folded(request: HttpRequest, name: str) -> str:
    return ",".join(" ".join(value.split()) for value in request.header_values(name))


def _without_dots(path: str) -> str:
    """The path with `.`, `..` and empty segments resolved, as signers normalise it."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            kept = kept[:-1]
        elif segment not in ("", "."):
            kept.append(segment)
    ending = "/" if kept and path.endswith("/") else ""
    return "/" + "/".join(kept) + ending


def _incomplete(message: str) -> Fault:
    return Fault("IncompleteSignature", message)

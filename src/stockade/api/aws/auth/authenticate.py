"""A request and its parameters become the account that signed it, or the Fault that AWS answers.

Order: find the signature, read it whole, find the key, compare in constant time, and only then look at
clock and account, so that an answer says nothing about keys to those who have none.
"""

import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from stockade.api.aws.auth import query_signatures, signature_v4
from stockade.api.aws.request import HttpRequest
from stockade.api.aws.wire.faults import Fault
from stockade.model.account import AccessKey, Account

WINDOW = timedelta(minutes=15)

FindKey: TypeAlias = Callable[[str], tuple[Account, AccessKey] | None]


@dataclass(frozen=True, slots=True)
class AuthRules:
    """What the operator allows.

    anyone: with `[api] auth = "any"` (loopback only), who is meant when the key is unknown or the
    signature wrong; None demands true signatures. era_2009: versions 0 and 1 also from other machines.
    """

    anyone: Callable[[], Account | None] | None = None
    era_2009: bool = False


@dataclass(frozen=True, slots=True)
class Identified:
    """Who signed. `region` is the one in the signature's scope, if it has one."""

    account: Account
    key: AccessKey | None
    region: str | None = None


class Authenticator:
    """Verifies requests against the keys that `find_key` knows."""

    def __init__(self, find_key: FindKey, now: Callable[[], datetime], rules: AuthRules) -> None:
        self._find_key = find_key
        self._now = now
        self._rules = rules

    def identify(self, request: HttpRequest, parameters: Mapping[str, str], sts: bool) -> Identified:
        """Raises Fault. `parameters` are query and form together; `sts` chooses that service's codes."""
        authorization = request.header("authorization")
        if authorization is not None and authorization.startswith(signature_v4.ALGORITHM):
            return self._version_4(request, signature_v4.from_header(request, authorization), sts)
        if "X-Amz-Algorithm" in parameters:
            return self._version_4(request, signature_v4.from_query(parameters), sts)
        if authorization is not None:
            raise Fault("IncompleteSignature", "Unsupported AWS 'algorithm' in the Authorization header.")
        if "Signature" in parameters:
            return self._in_query(request, parameters)
        if self._rules.anyone is not None and request.loopback:
            return self._anyone(None)
        raise Fault("MissingAuthenticationToken", "Request is missing Authentication Token", 403)

    def _version_4(self, request: HttpRequest, signed: signature_v4.SignatureV4, sts: bool) -> Identified:
        def expected(key: AccessKey) -> Iterable[str]:
            return (signature_v4.expected(request, signed, key.secret),)

        refusal = _mismatch() if sts else _not_validated()
        account, key = self._proven(request, signed.key_id, signed.signature, expected, refusal, sts)
        if key is not None:
            moment = signature_v4.moment_of(signed)
            lasts = WINDOW if signed.expires_s is None else timedelta(seconds=signed.expires_s)
            self._within(moment - WINDOW, moment + lasts)
        return Identified(account, key, signed.region)

    def _in_query(self, request: HttpRequest, parameters: Mapping[str, str]) -> Identified:
        key_id = parameters.get("AWSAccessKeyId")
        if not key_id:
            raise Fault("MissingParameter", "The request must contain the parameter AWSAccessKeyId")
        version = parameters.get("SignatureVersion", "0")
        modern = parameters.get("Version", "") >= "2010"

        def expected(key: AccessKey) -> Iterable[str]:
            match version:
                case "0":
                    return (query_signatures.version_0(parameters, key.secret),)
                case "1":
                    return (query_signatures.version_1(parameters, key.secret),)
                case _:
                    return query_signatures.version_2(request, parameters, key.secret)

        if version not in {"0", "1", "2"} or (version != "2" and not self._old_signatures_allowed(request)):
            raise Fault("InvalidParameterValue", f"Value ({version}) for parameter SignatureVersion is invalid.")
        first, last = _query_times(parameters)
        refusal = _mismatch() if modern else _not_validated()
        account, found = self._proven(request, key_id, parameters["Signature"], expected, refusal, False)
        if found is not None:
            self._within(first, last)
        return Identified(account, found)

    def _old_signatures_allowed(self, request: HttpRequest) -> bool:
        return request.loopback or self._rules.era_2009

    def _proven(
        self,
        request: HttpRequest,
        key_id: str,
        given: str,
        expected: Callable[[AccessKey], Iterable[str]],
        refusal: Fault,
        sts: bool,
    ) -> tuple[Account, AccessKey | None]:
        """The key's account when the signature is its key's; the key is None when nothing was proven."""
        found = self._find_key(key_id)
        lenient = self._rules.anyone is not None and request.loopback
        if found is None:
            if lenient:
                return self._anyone(None).account, None
            raise _unknown_token() if sts else _not_validated()
        account, key = found
        matches = [hmac.compare_digest(given.encode(), one.encode()) for one in expected(key)]
        if not any(matches):
            if lenient:
                return account, None
            raise refusal
        if account.disabled:
            raise Fault("Blocked", "Your account is currently blocked.", 403)
        return account, key

    def _anyone(self, region: str | None) -> Identified:
        account = self._rules.anyone() if self._rules.anyone is not None else None
        if account is None:
            raise _not_validated()
        return Identified(account, None, region)

    def _within(self, first: datetime, last: datetime) -> None:
        if not first <= self._now() <= last:
            raise Fault("RequestExpired", "Request has expired.")


def _query_times(parameters: Mapping[str, str]) -> tuple[datetime, datetime]:
    """From when till when the request is good."""
    stamp, expires = parameters.get("Timestamp"), parameters.get("Expires")
    if stamp is not None and expires is not None:
        raise Fault("InvalidParameterCombination", "The parameter Timestamp cannot be used with the parameter Expires")
    if stamp is not None:
        moment = _moment("Timestamp", stamp)
        return moment - WINDOW, moment + WINDOW
    if expires is not None:
        return datetime.min.replace(tzinfo=UTC), _moment("Expires", expires)
    raise Fault("MissingParameter", "The request must contain the parameter Timestamp or Expires")


def _moment(name: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        return min(max(moment, _EARLIEST), _LATEST)  # so that adding the window cannot overflow
    except (ValueError, OverflowError):
        raise Fault("InvalidParameterValue", f"Value ({text}) for parameter {name} is invalid.") from None


_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)


def _not_validated() -> Fault:
    return Fault("AuthFailure", "AWS was not able to validate the provided access credentials", 401)


def _unknown_token() -> Fault:
    return Fault("InvalidClientTokenId", "The security token included in the request is invalid.", 403)


def _mismatch() -> Fault:
    return Fault(
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
        "Access Key and signing method. Consult the service documentation for details.",
        403,
    )

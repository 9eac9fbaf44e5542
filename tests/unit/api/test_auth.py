"""Signatures: published vectors, botocore's signers as the oracle, and what must be refused."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode, urlsplit

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from stockade.api.aws.auth import query_signatures
from stockade.api.aws.auth.authenticate import Authenticator, AuthRules, Identified
from stockade.api.aws.request import HttpRequest
from stockade.api.aws.wire.faults import Fault
from stockade.api.aws.wire.query import parse_form, single_valued
from stockade.model.account import AccessKey, Account, Platform
from stockade.model.ids import AccessKeyId, AccountId

GUIDE_SECRET = "DMADSSfPfdaDjbK+RRUhS/aDrjsiZadgAUm8gRU2"
GUIDE = {
    "Action": "DescribeImages",
    "AWSAccessKeyId": "10QMXFEV71ZS32XQFTR2",
    "Timestamp": "2006-12-08T07:48:03Z",
    "SignatureVersion": "1",
    "Version": "2007-01-03",
}
KEY, SECRET = "SKEXAMPLE", "se/cr+et"
ACCOUNT = Account(AccountId("123456789012"), "mary", Platform.VPC)
URL = "http://127.0.0.1:8773/"
STRICT = AuthRules()
FORM = {"Action": "DescribeImages", "Version": "2016-11-15", "Filter.1.Name": "name", "Filter.1.Value.1": "a b+c~*é"}


def authenticator(now: datetime | None = None, account: Account = ACCOUNT, rules: AuthRules = STRICT) -> Authenticator:
    key = AccessKey(AccessKeyId(KEY), account.id, SECRET)
    return Authenticator(lambda id: (account, key) if id == KEY else None, lambda: now or datetime.now(UTC), rules)


def as_received(signed: AWSRequest, loopback: bool = True) -> HttpRequest:
    """The request as our server would read it off the wire."""
    prepared = signed.prepare()
    split = urlsplit(prepared.url)
    headers = [
        (name.lower(), value if isinstance(value, str) else value.decode()) for name, value in prepared.headers.items()
    ]
    if not any(name == "host" for name, _ in headers):
        headers.append(("host", split.netloc))
    body = prepared.body or b""
    return HttpRequest(
        prepared.method, split.path or "/", split.query, tuple(headers),
        body if isinstance(body, bytes) else body.encode(), loopback,
    )  # fmt: skip


def identify(request: HttpRequest, by: Authenticator, sts: bool = False) -> Identified:
    pairs = parse_form(request.query) + parse_form(request.body.decode())
    return by.identify(request, single_valued(pairs), sts)


def signed_v4(region: str = "us-east-1", service: str = "ec2", secret: str = SECRET, url: str = URL) -> HttpRequest:
    request = AWSRequest(
        "POST", url, data=urlencode(FORM), headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    botocore.auth.SigV4Auth(Credentials(KEY, secret), service, region).add_auth(request)
    return as_received(request)


def presigned_v4(expires: int = 60) -> HttpRequest:
    request = AWSRequest("GET", URL, params=FORM)
    botocore.auth.SigV4QueryAuth(Credentials(KEY, SECRET), "ec2", "us-east-1", expires).add_auth(request)
    return as_received(request)


def signed_v2(url: str = URL, method: str = "POST", stamp: str | None = None) -> HttpRequest:
    stamp = stamp or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    parameters = FORM | {
        "AWSAccessKeyId": KEY, "SignatureVersion": "2", "SignatureMethod": "HmacSHA256", "Timestamp": stamp,
    }  # fmt: skip
    split = urlsplit(url)
    signer = botocore.auth.SigV2Auth(Credentials(KEY, SECRET))
    request = AWSRequest(method, url, data=parameters)
    parameters["Signature"] = signer.calc_signature(request, parameters)[1]
    text = urlencode(parameters)
    headers = (("host", split.netloc), ("content-type", "application/x-www-form-urlencoded"))
    if method == "GET":
        return HttpRequest("GET", split.path or "/", text, headers)
    return HttpRequest("POST", split.path or "/", "", headers, text.encode())


def signed_old(version: str, loopback: bool, sign: Callable[[dict[str, str], str], str]) -> HttpRequest:
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    parameters = {"Action": "DescribeImages", "Version": "2007-08-29", "AWSAccessKeyId": KEY, "Timestamp": stamp,
                  "SignatureVersion": version}  # fmt: skip
    parameters["Signature"] = sign(parameters, SECRET)
    return HttpRequest("GET", "/", urlencode(parameters), (("host", "127.0.0.1"),), loopback=loopback)


def test_version_1_gives_the_guides_published_signature() -> None:
    assert query_signatures.version_1(GUIDE, GUIDE_SECRET) == "GjH3941IBe6qsgQu+k7FpCJjpnc="
    older = GUIDE | {"Version": "2006-10-01"}
    assert query_signatures.version_1(older, GUIDE_SECRET) == "69DSJs1z+0wWJmdB77+Lm0N0Trs="


def test_version_0_gives_the_guides_signature() -> None:
    assert query_signatures.version_0(GUIDE, GUIDE_SECRET) == "ppKG0UgNLiANzBcaBNYoB7qjQuI="


@pytest.mark.parametrize(("region", "service"), [("us-east-1", "ec2"), ("0", "127"), ("undefined-5", "ec2")])
def test_version_4_is_proven_for_whatever_scope_it_names(region: str, service: str) -> None:
    found = identify(signed_v4(region, service), authenticator())
    assert found.account is ACCOUNT
    assert found.region == region


def test_version_4_signs_paths_and_their_odd_characters() -> None:
    assert identify(signed_v4(url="http://127.0.0.1:8773/services/Cloud//x%20y/"), authenticator()).key is not None


def test_version_4_presigned_is_proven() -> None:
    assert identify(presigned_v4(), authenticator()).account is ACCOUNT


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("signed_as", [URL, "http://127.0.0.1/"])
def test_version_2_is_proven_with_and_without_the_port(method: str, signed_as: str) -> None:
    request = signed_v2(signed_as, method)
    received = replace(request, headers=(("host", "127.0.0.1:8773"),))
    assert identify(received, authenticator()).account is ACCOUNT


def test_version_2_is_proven_with_a_slash_that_one_side_has() -> None:
    request = replace(signed_v2("http://127.0.0.1:8773/services/Cloud/"), path="/services/Cloud")
    assert identify(request, authenticator()).account is ACCOUNT


@pytest.mark.parametrize(("version", "sign"), [("0", query_signatures.version_0), ("1", query_signatures.version_1)])
def test_old_versions_are_taken_on_loopback_only(version: str, sign: Callable[[dict[str, str], str], str]) -> None:
    assert identify(signed_old(version, True, sign), authenticator()).account is ACCOUNT
    with pytest.raises(Fault) as caught:
        identify(signed_old(version, False, sign), authenticator())
    assert caught.value.code == "InvalidParameterValue"
    assert identify(signed_old(version, False, sign), authenticator(rules=AuthRules(era_2009=True))).key is not None


def test_a_changed_parameter_is_refused() -> None:
    request = signed_v4()
    changed = replace(request, body=request.body.replace(b"DescribeImages", b"TerminateInstances"))
    with pytest.raises(Fault) as caught:
        identify(changed, authenticator())
    assert (caught.value.code, caught.value.status) == ("AuthFailure", 401)
    assert caught.value.message == "AWS was not able to validate the provided access credentials"


def test_an_added_query_parameter_is_refused() -> None:
    with pytest.raises(Fault):
        identify(replace(signed_v4(), query="DryRun=true"), authenticator())


def test_sts_says_signature_does_not_match() -> None:
    with pytest.raises(Fault) as caught:
        identify(signed_v4(service="sts", secret="wrong"), authenticator(), sts=True)
    assert (caught.value.code, caught.value.status) == ("SignatureDoesNotMatch", 403)


def test_an_unknown_key_is_refused() -> None:
    request = signed_v4()
    nobody = Authenticator(lambda id: None, lambda: datetime.now(UTC), AuthRules())
    with pytest.raises(Fault) as ec2:
        identify(request, nobody)
    with pytest.raises(Fault) as sts:
        identify(request, nobody, sts=True)
    assert (ec2.value.code, sts.value.code) == ("AuthFailure", "InvalidClientTokenId")


@pytest.mark.parametrize("late", [timedelta(minutes=16), timedelta(minutes=-16)])
def test_a_request_is_good_for_fifteen_minutes_either_way(late: timedelta) -> None:
    for request in (signed_v4(), signed_v2()):
        with pytest.raises(Fault) as caught:
            identify(request, authenticator(datetime.now(UTC) + late))
        assert caught.value.code == "RequestExpired"


def test_a_presigned_request_dies_at_its_own_time() -> None:
    request = presigned_v4(expires=60)
    assert identify(request, authenticator(datetime.now(UTC) + timedelta(seconds=50))).key is not None
    with pytest.raises(Fault) as caught:
        identify(request, authenticator(datetime.now(UTC) + timedelta(seconds=70)))
    assert caught.value.code == "RequestExpired"


def test_no_signature_at_all_is_a_missing_token() -> None:
    with pytest.raises(Fault) as caught:
        identify(
            HttpRequest("GET", "/", "Action=DescribeVpcs", (("host", "localhost"),), loopback=True), authenticator()
        )
    assert caught.value.code == "MissingAuthenticationToken"


@pytest.mark.parametrize(
    "authorization",
    [
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request",
        "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=0",
        "AWS4-HMAC-SHA256 Credential=a/20261122/r/ec2/aws4_request, SignedHeaders=date, Signature=0",
        "AWS4-HMAC-SHA256 Credential=a/20200101/r/ec2/aws4_request, SignedHeaders=host, Signature=0",
        "Basic dXNlcjpwYXNz",
    ],
)
def test_half_a_signature_is_incomplete(authorization: str) -> None:
    headers = (("host", "localhost"), ("authorization", authorization), ("x-amz-date", "20261122T093000Z"))
    with pytest.raises(Fault) as caught:
        identify(HttpRequest("GET", "/", "", headers), authenticator())
    assert caught.value.code == "IncompleteSignature"


def test_a_date_that_is_none_is_incomplete() -> None:
    request = signed_v4()
    headers = tuple((n, "yesterday" if n == "x-amz-date" else v) for n, v in request.headers)
    with pytest.raises(Fault) as caught:
        identify(replace(request, headers=headers), authenticator())
    assert caught.value.code == "IncompleteSignature"


def test_a_disabled_account_is_told_so_only_with_a_true_signature() -> None:
    disabled = authenticator(account=replace(ACCOUNT, disabled=True))
    with pytest.raises(Fault) as proven:
        identify(signed_v4(), disabled)
    with pytest.raises(Fault) as guessed:
        identify(signed_v4(secret="wrong"), disabled)
    assert (proven.value.code, guessed.value.code) == ("Blocked", "AuthFailure")


def test_any_signature_is_taken_where_the_operator_says_so_and_only_on_loopback() -> None:
    lenient = authenticator(rules=AuthRules(anyone=lambda: ACCOUNT))
    request = signed_v4(secret="wrong")
    assert identify(request, lenient).account is ACCOUNT
    with pytest.raises(Fault):
        identify(replace(request, loopback=False), lenient)


def test_two_times_are_refused() -> None:
    query = urlencode({"AWSAccessKeyId": KEY, "SignatureVersion": "2", "Signature": "x", "Timestamp": "2026-01-01",
                       "Expires": "2026-01-01"})  # fmt: skip
    with pytest.raises(Fault) as caught:
        identify(HttpRequest("GET", "/", query, (("host", "localhost"),)), authenticator())
    assert caught.value.code == "InvalidParameterCombination"


@pytest.mark.parametrize("stamp", ["soon", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", ""])
def test_a_time_that_cannot_be_is_refused_in_words(stamp: str) -> None:
    with pytest.raises(Fault) as caught:
        identify(signed_v2(stamp=stamp or " "), authenticator())
    assert caught.value.code in {"InvalidParameterValue", "RequestExpired"}

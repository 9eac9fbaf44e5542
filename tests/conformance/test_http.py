"""The port itself: what any client, browser or scanner may send it."""

import asyncio
import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from serving import ControlPlane, control_plane
from stockade import __version__
from stockade.api.http import FrontSettings
from stockade.model.account import Platform
from stockade.service.accounts import CreatedAccount
from stockade.service.cell import CellSettings

DESCRIBE = {"Action": "DescribeRegions", "Version": "2016-11-15"}


def signed(
    plane: ControlPlane, who: CreatedAccount, form: dict[str, str], path: str = "/", region: str = "us-east-1"
) -> tuple[str, dict[str, str]]:
    body = urlencode(form)
    request = AWSRequest(
        "POST", plane.url + path, data=body, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    SigV4Auth(Credentials(who.key.id, who.key.secret), "ec2", region).add_auth(request)
    return body, dict(request.headers.items())


def post(plane: ControlPlane, path: str, body: str, headers: dict[str, str]) -> tuple[int, dict[str, str], str]:
    with closing(http.client.HTTPConnection("127.0.0.1", plane.port, timeout=10)) as connection:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()


def get(plane: ControlPlane, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
    with closing(http.client.HTTPConnection("127.0.0.1", plane.port, timeout=10)) as connection:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()


def raw(plane: ControlPlane, data: bytes, half_close: bool = False) -> bytes:
    """What the server says to these bytes until it closes."""
    with socket.create_connection(("127.0.0.1", plane.port), timeout=10) as connection:
        connection.sendall(data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        parts: list[bytes] = []
        while part := connection.recv(65536):
            parts.append(part)
        return b"".join(parts)


def code_of(document: str) -> str:
    return ElementTree.fromstring(document).findtext(".//Code", "")


def test_any_path_is_ec2s_and_the_namespace_echoes_the_version(plane: ControlPlane, mary: CreatedAccount) -> None:
    form = DESCRIBE | {"Version": "2014-10-01"}
    for path in ("/", "/services/Cloud", "/services/Cloud/"):
        status, headers, document = post(plane, path, *signed(plane, mary, form, path))
        assert status == 200
        assert 'xmlns="http://ec2.amazonaws.com/doc/2014-10-01/"' in document
        assert headers["x-stockade"] == __version__
        request_id = ElementTree.fromstring(document)[0]
        assert request_id.text == headers["x-amzn-requestid"]


def test_a_region_is_the_scopes_and_must_be_served(plane: ControlPlane, mary: CreatedAccount) -> None:
    status, _, document = post(plane, "/", *signed(plane, mary, DESCRIBE, region="eu-west-1"))
    assert (status, code_of(document)) == (400, "InvalidParameterValue")
    assert "eu-west-1" in document
    assert post(plane, "/", *signed(plane, mary, DESCRIBE, region="0"))[0] == 200


@pytest.mark.parametrize("path", ["/region/eu-west-1/", "/services/Cloud/region/eu-west-1"])
def test_a_region_may_stand_in_the_path(path: str) -> None:
    settings = CellSettings(regions={"us-east-1": ("us-east-1a",), "eu-west-1": ("eu-west-1a", "eu-west-1b")})
    zones = {"Action": "DescribeAvailabilityZones", "Version": "2008-02-01"}
    with control_plane(settings=settings) as plane:
        who = plane.account(Platform.CLASSIC)
        _, _, document = post(plane, path, *signed(plane, who, zones, path, region="localhost"))
    assert "eu-west-1b" in document


def test_a_name_of_localhost_names_the_region() -> None:
    settings = CellSettings(regions={"us-east-1": ("us-east-1a",), "eu-west-1": ("eu-west-1a",)})
    zones = {"Action": "DescribeAvailabilityZones", "Version": "2016-11-15"}
    with control_plane(settings=settings) as plane:
        who = plane.account(Platform.VPC)
        request = AWSRequest("POST", f"http://ec2.eu-west-1.localhost:{plane.port}/", data=urlencode(zones))
        SigV4Auth(Credentials(who.key.id, who.key.secret), "ec2", "localhost").add_auth(request)
        headers = dict(request.headers.items()) | {"Host": f"ec2.eu-west-1.localhost:{plane.port}"}
        assert "eu-west-1a" in post(plane, "/", urlencode(zones), headers)[2]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8773"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/_stockade/health", "/services/Cloud"])
def test_pages_and_rebound_names_are_refused_on_every_path(plane: ControlPlane, headers: Any, path: str) -> None:
    status, answered, _ = get(plane, path, **headers)
    assert status == 403
    assert "x-amzn-requestid" in answered
    assert not any(name.lower().startswith("access-control") for name in answered)


def test_our_own_pages_may_call_our_own_paths(plane: ControlPlane) -> None:
    own = f"http://127.0.0.1:{plane.port}"
    assert get(plane, "/_stockade/health", Origin=own, Sec_Fetch_Site="same-origin")[0] == 200
    assert get(plane, "/", Origin=own)[0] == 403


def test_further_names_are_allowed_by_a_setting() -> None:
    with control_plane(front=FrontSettings(hosts=frozenset({"ec2.lan"}))) as plane:
        assert get(plane, "/_stockade/health", Host="ec2.lan:8773")[0] == 200
        assert get(plane, "/_stockade/health", Host="other.lan")[0] == 403


def test_two_hosts_are_one_too_many(plane: ControlPlane) -> None:
    said = raw(plane, b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
    assert said.startswith((b"HTTP/1.1 400", b"HTTP/1.1 403"))


@pytest.mark.parametrize(
    "data",
    [
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nAction=Desc",
        b"POST / HTTP/1.1\r\nHost: loc",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nAction",
    ],
)
def test_half_a_request_gets_a_clean_400(plane: ControlPlane, data: bytes) -> None:
    head, _, document = raw(plane, data, half_close=True).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert b"x-amzn-requestid" in head
    assert code_of(document.decode()) == "MalformedHttpRequest"


def test_what_is_not_http_gets_a_clean_400(plane: ControlPlane) -> None:
    head, _, document = raw(plane, b"\x16\x03\x01\x02\x00 not http\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert code_of(document.decode()) == "MalformedHttpRequest"


def test_a_body_that_does_not_come_is_given_up() -> None:
    with control_plane(front=FrontSettings(body_timeout_s=0.2)) as plane:
        said = raw(plane, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nAction=")
    assert b"400" in said.split(b"\r\n")[0]
    assert code_of(said.partition(b"\r\n\r\n")[2].decode()) == "RequestTimeout"


def test_a_client_that_only_listens_after_asking_is_answered(plane: ControlPlane) -> None:
    said = raw(plane, b"GET /?Action=DescribeRegions HTTP/1.1\r\nHost: localhost\r\n\r\n", half_close=True)
    assert said.startswith(b"HTTP/1.1 403")
    assert code_of(said.partition(b"\r\n\r\n")[2].decode()) == "MissingAuthenticationToken"


def test_a_client_that_leaves_is_no_error(plane: ControlPlane) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", plane.port)) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n")
    assert get(plane, "/_stockade/health/live")[0] == 200


def test_a_request_that_is_too_long_is_refused(plane: ControlPlane) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", plane.port, timeout=10)) as connection:
        # Announced and not sent: the answer does not wait for it, and sending on would race with the closing.
        connection.putrequest("POST", "/")
        connection.putheader("Content-Type", "application/x-www-form-urlencoded")
        connection.putheader("Content-Length", str(1024 * 1024 + 1))
        connection.endheaders()
        answer = connection.getresponse()
        assert (answer.status, code_of(answer.read().decode())) == (413, "RequestEntityTooLarge")


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({}, "MissingAction"),
        ({"Action": "DescribeRegions"}, "MissingParameter"),
        ({"Action": "DescribeRegions", "Version": "2031-01-01"}, "NoSuchVersion"),
        ({"Action": "DescribeRegions", "Version": "latest"}, "NoSuchVersion"),
        ({"Action": "MakeCoffee", "Version": "2016-11-15"}, "InvalidAction"),
        ({"Action": "CreateTags", "Version": "2008-02-01"}, "InvalidAction"),
        ({"Action": "CreateTransitGateway", "Version": "2016-11-15"}, "UnsupportedOperation"),
        ({"Action": "DescribeRegions", "Version": "2016-11-15", "Nonsense": "1"}, "UnknownParameter"),
    ],
)
def test_what_cannot_be_asked_is_named(plane: ControlPlane, mary: CreatedAccount, form: Any, code: str) -> None:
    _, _, document = post(plane, "/", *signed(plane, mary, form))
    assert code_of(document) == code


def test_soap_and_json_are_told_apart(plane: ControlPlane) -> None:
    for kind in ("text/xml", "application/x-amz-json-1.1"):
        status, _, document = post(plane, "/", "<Envelope/>", {"Content-Type": kind})
        assert (status, code_of(document)) == (400, "UnsupportedProtocol")


def test_a_caller_may_say_how_long_to_wait(plane: ControlPlane, mary: CreatedAccount) -> None:
    form = {"Action": "CreateSecurityGroup", "Version": "2016-11-15", "GroupName": "w", "GroupDescription": "x"}
    body, headers = signed(plane, mary, form)
    status, answered, _ = post(plane, "/", body, headers | {"x-stockade-wait": "off"})
    assert status == 200
    assert int(answered["x-stockade-revision"]) > 0
    body, headers = signed(plane, mary, DESCRIBE)
    assert code_of(post(plane, "/", body, headers | {"x-stockade-wait": "soon"})[2]) == "InvalidParameterValue"


def test_health_is_told_in_every_form(plane: ControlPlane) -> None:
    status, headers, text = get(plane, "/_stockade/health")
    assert status == 200
    assert json.loads(text)["services"] == {"ec2": "running", "sts": "running"}
    assert headers["x-stockade"] == __version__
    assert json.loads(get(plane, "/_localstack/health")[2])["services"]["ec2"] == "running"
    assert get(plane, "/_stockade/health/live")[0] == 200
    assert get(plane, "/_stockade/health/ready")[0] == 200
    assert get(plane, "/_stockade/nothing")[0] == 404
    assert "stockade_enforcing 0" in get(plane, "/_stockade/metrics")[2]


@pytest.fixture
def admin(plane: ControlPlane) -> Iterator[CreatedAccount]:
    yield plane.inside(plane.world.services.accounts.ensure_admin())


def as_admin(plane: ControlPlane, who: CreatedAccount, document: Any) -> tuple[int, Any]:
    body = json.dumps(document)
    url = f"{plane.url}/_stockade/accounts"
    request = AWSRequest("POST", url, data=body, headers={"Content-Type": "application/json"})
    SigV4Auth(Credentials(who.key.id, who.key.secret), "ec2", "us-east-1").add_auth(request)
    status, _, text = post(plane, urlsplit(url).path, body, dict(request.headers.items()))
    return status, json.loads(text)


def test_an_administrator_makes_accounts(plane: ControlPlane, admin: CreatedAccount) -> None:
    status, made = as_admin(plane, admin, {"name": "mary", "id": "598916040194", "platform": "classic"})
    assert status == 201
    assert (made["account_id"], made["platform"]) == ("598916040194", "classic")
    assert plane.world.services.accounts.find_key(made["access_key_id"]) is not None
    assert made["secret_access_key"]


def test_nobody_else_makes_accounts(plane: ControlPlane, mary: CreatedAccount) -> None:
    status, said = as_admin(plane, mary, {"name": "x"})
    assert (status, said["error"]["code"]) == (403, "UnauthorizedOperation")
    status, _, text = post(plane, "/_stockade/accounts", "{}", {"Content-Type": "application/json"})
    assert (status, json.loads(text)["error"]["code"]) == (403, "MissingAuthenticationToken")


@pytest.mark.parametrize("document", [[], {"nonsense": "1"}, {"id": 7}, {"id": "12"}, {"platform": "moon"}])
def test_accounts_that_cannot_be_are_refused(plane: ControlPlane, admin: CreatedAccount, document: Any) -> None:
    assert as_admin(plane, admin, document)[0] == 400


def test_a_call_costs_milliseconds_not_a_delayed_acknowledgement(plane: ControlPlane) -> None:
    async def forty() -> float:
        loop = asyncio.get_running_loop()
        reader, writer = await asyncio.open_connection("127.0.0.1", plane.port)
        before = loop.time()
        for _ in range(40):
            writer.write(b"GET /?Action=DescribeRegions HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            await reader.readexactly(length)
        writer.close()
        await writer.wait_closed()
        return (loop.time() - before) / 40

    assert asyncio.run(forty()) < 0.03

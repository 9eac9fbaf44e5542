"""/_stockade/attachments and /_stockade/cut: the operator's alone, and what they say when something is wrong."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from serving import ControlPlane, control_plane
from stockade.model.account import Platform
from stockade.service.accounts import CreatedAccount
from stockade.service.caller import Caller
from stockade.service.instances import LaunchRequest
from stockade.service.security_groups import GroupRef

DEVICE = {"device": "veth7", "mac": "02:AA:00:00:00:07", "addresses": ["172.30.0.7", "fd00:30::7"]}


class Plane:
    """A control plane with its operator and an account that has a group."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.admin = plane.inside(plane.world.services.accounts.ensure_admin())
        self.tenant = plane.account(Platform.VPC)
        self.caller = Caller(self.tenant.account, "us-east-1")
        made = plane.inside(plane.world.services.groups.create(self.caller, "web", "test"))
        self.group = made.id

    def ask(
        self, who: CreatedAccount, method: str, path: str, document: Any = None, query: str = ""
    ) -> tuple[int, dict[str, Any]]:
        url = f"{self.plane.url}/_stockade/{path}{query}"
        body = b"" if document is None else json.dumps(document).encode()
        request = AWSRequest(method, url, data=body)
        SigV4Auth(Credentials(who.key.id, who.key.secret), "ec2", "us-east-1").add_auth(request)
        sent = urllib.request.Request(url, data=body or None, headers=dict(request.headers), method=method)
        try:
            with urllib.request.urlopen(sent, timeout=10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as err:
            with err:
                return err.code, json.loads(err.read())


@pytest.fixture(scope="module")
def plane() -> Iterator[Plane]:
    with control_plane() as running:
        yield Plane(running)


def test_a_device_is_attached_listed_asked_about_and_let_go(plane: Plane) -> None:
    status, made = plane.ask(plane.admin, "POST", "attachments", {**DEVICE, "groups": [plane.group]})
    assert status == 201, made
    assert (made["device"], made["mac"], made["addresses"]) == ("veth7", "02:aa:00:00:00:07", DEVICE["addresses"])
    assert (made["account_id"], made["enforced"]) == (plane.tenant.account.id, True)
    assert made["groups"] == [{"group_id": plane.group, "group_name": "web"}]
    listed = plane.ask(plane.admin, "GET", "attachments")[1]["attachments"]
    assert [one["interface_id"] for one in listed] == [made["interface_id"]]

    question = {"source": "veth7", "destination": "198.51.100.7", "traffic": "tcp/80"}
    status, answer = plane.ask(plane.tenant, "POST", "explain", question)
    assert (status, answer["verdict"], answer["source"]["device"]) == (200, "pass", "veth7")
    status, again = plane.ask(plane.admin, "POST", "attachments", {**DEVICE, "groups": [plane.group]})
    assert (status, again["error"]["code"]) == (400, "InvalidParameterValue")

    before = plane.plane.world.cell.resources.interfaces[made["interface_id"]].cuts
    status, cut = plane.ask(plane.tenant, "POST", "cut", {"target": "web"})
    assert (status, cut["interfaces"], cut["enforced"]) == (200, [made["interface_id"]], True)
    assert plane.ask(plane.admin, "POST", "cut", {"target": "veth7"})[1]["interfaces"] == [made["interface_id"]]
    assert plane.ask(plane.admin, "POST", "cut", {"target": plane.group})[0] == 200
    assert plane.plane.world.cell.resources.interfaces[made["interface_id"]].cuts == before + 3

    status, gone = plane.ask(plane.admin, "DELETE", "attachments", query="?target=veth7")
    assert (status, gone["interface_id"]) == (200, made["interface_id"])
    assert plane.ask(plane.admin, "GET", "attachments")[1]["attachments"] == []
    status, missing = plane.ask(plane.admin, "DELETE", "attachments", query="?target=veth7")
    assert (status, missing["error"]["code"]) == (400, "InvalidParameterValue")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_devices_are_the_operators_alone(plane: Plane, method: str) -> None:
    document = {**DEVICE, "groups": [plane.group]} if method == "POST" else None
    query = "?target=veth7" if method == "DELETE" else ""
    status, refused = plane.ask(plane.tenant, method, "attachments", document, query)
    assert (status, refused["error"]["code"]) == (403, "UnauthorizedOperation")


@pytest.mark.parametrize(
    "wrong",
    [
        {"groups": []},
        {"groups": ["nosuch"]},
        {"groups": "web"},
        {"mac": "01:00:5e:00:00:01"},
        {"mac": ""},
        {"addresses": []},
        {"addresses": ["127.0.0.1"]},
        {"addresses": ["here"]},
        {"device": "no/such"},
        {"device": "a-name-that-is-too-long"},
        {"colour": "red"},
    ],
)
def test_a_device_that_cannot_be_is_refused(plane: Plane, wrong: dict[str, Any]) -> None:
    status, refused = plane.ask(plane.admin, "POST", "attachments", {**DEVICE, "groups": [plane.group], **wrong})
    assert status == 400, refused
    assert plane.ask(plane.admin, "GET", "attachments")[1]["attachments"] == []


def test_nobody_cuts_what_is_anothers_or_nothings(plane: Plane) -> None:
    stranger = plane.plane.account(Platform.VPC)
    for who, target in ((stranger, plane.group), (plane.tenant, "nosuch"), (plane.tenant, "198.51.100.7")):
        status, refused = plane.ask(who, "POST", "cut", {"target": target})
        assert (status, refused["error"]["code"]) == (400, "InvalidParameterValue"), target


def test_an_instance_is_cut_by_name(plane: Plane) -> None:
    request = LaunchRequest("ami-eca54085", groups=(GroupRef(id=plane.group),))
    made = plane.plane.inside(plane.plane.world.services.instances.run(plane.caller, request)).instances[0].instance
    assert plane.ask(plane.tenant, "POST", "cut", {"target": made.id})[1]["interfaces"] == [made.interface]

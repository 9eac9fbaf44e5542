"""GET /_stockade/flows: who sees what, filters, and a stream that resumes."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from serving import HOST, ControlPlane, control_plane
from stockade.model.account import Platform
from stockade.model.flow import DropReason, FlowEvent, Gate, Packet
from stockade.model.rule import Direction
from stockade.service.accounts import CreatedAccount
from stockade.service.caller import Caller
from stockade.service.instances import LaunchRequest

OUTSIDE = IPv4Address("203.0.113.9")


class Office:
    """An account with one instance, and traffic to it."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.who = plane.account(Platform.VPC)
        self.caller = Caller(self.who.account, "us-east-1")
        made = plane.inside(plane.world.services.instances.run(self.caller, LaunchRequest("ami-eca54085")))
        self.instance = made.instances[0].instance
        resources = plane.world.cell.resources
        self.interface = resources.interfaces[self.instance.interface]
        (group,) = resources.groups_of(self.who.account.id)
        self.ingress = next(rule for rule in group.rules if rule.direction is Direction.INGRESS)

    def happened(self, port: int, passed: bool) -> None:
        """A packet from outside came to the instance."""
        packet = Packet(OUTSIDE, self.interface.addresses[0], 6, port, 40000)
        reason = DropReason.NONE if passed else DropReason.NO_INGRESS_RULE
        vpc = self.plane.world.cell.resources.vpcs[self.interface.vpc].number
        rules = (0, self.ingress.number if passed else 0)
        event = FlowEvent(datetime.now(UTC), vpc, packet, passed, Gate.INGRESS, reason, rules)

        async def told() -> None:
            self.plane.world.feed.flow_log.add(HOST, [event], 0)

        self.plane.inside(told())


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    with control_plane() as running:
        yield running


@pytest.fixture
def office(plane: ControlPlane) -> Office:
    return Office(plane)


def ask(
    connection: http.client.HTTPConnection, who: CreatedAccount, query: str = "", **headers: str
) -> http.client.HTTPResponse:
    path = f"/_stockade/flows{query}"
    request = AWSRequest("GET", f"http://127.0.0.1:{connection.port}{path}")
    SigV4Auth(Credentials(who.key.id, who.key.secret), "ec2", "us-east-1").add_auth(request)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("GET", path, headers={**dict(request.headers.items()), **named})
    return connection.getresponse()


def lines(plane: ControlPlane, who: CreatedAccount, query: str = "") -> list[Any]:
    with closing(http.client.HTTPConnection("127.0.0.1", plane.port, timeout=10)) as connection:
        answer = ask(connection, who, query)
        assert answer.status == 200
        return [json.loads(line) for line in answer]


def test_a_flow_names_whom_it_met_and_what_decided(office: Office) -> None:
    office.happened(80, passed=True)
    office.happened(22, passed=False)
    accepted, rejected = lines(office.plane, office.who)
    assert accepted["verdict"] == "ACCEPT"
    assert accepted["rules"]["ingress"]["rule_id"] == office.ingress.id
    assert accepted["why"] == f"ingress: {office.ingress.id} of default"
    assert (rejected["verdict"], rejected["why"]) == ("REJECT", "ingress: no match in default")
    assert rejected["source"] == {
        "address": str(OUTSIDE), "name": None, "instance_id": None, "interface_id": None,
    }  # fmt: skip
    assert rejected["destination"]["instance_id"] == office.instance.id
    assert rejected["account_id"] == office.who.account.id


@pytest.mark.parametrize(
    ("query", "ports"),
    [
        ("?verdict=reject", [22]),
        ("?verdict=accept", [80]),
        ("?port=tcp%2F1-79", [22]),
        ("?port=udp", []),
        ("?from=203.0.113.0%2F24", [80, 22]),
        ("?from=198.51.100.0%2F24", []),
        ("?group=default", [80, 22]),
        ("?last=1", [22]),
        ("?since=60", [80, 22]),
        ("?to=203.0.113.9", []),
    ],
)
def test_filters(office: Office, query: str, ports: list[int]) -> None:
    office.happened(80, passed=True)
    office.happened(22, passed=False)
    assert [flow["destination_port"] for flow in lines(office.plane, office.who, query)] == ports


def test_a_rule_filters_by_the_beginning_of_its_id_also_after_it_was_revoked(office: Office) -> None:
    office.happened(80, passed=True)
    assert len(lines(office.plane, office.who, f"?rule={office.ingress.id[:14]}")) == 1
    assert lines(office.plane, office.who, "?rule=sgr-ffff") == []


def test_nobody_sees_anothers_flows_but_an_administrator(office: Office, plane: ControlPlane) -> None:
    office.happened(80, passed=True)
    assert lines(plane, plane.account(Platform.VPC)) == []
    admin = plane.inside(plane.world.services.accounts.ensure_admin())
    assert len(lines(plane, admin)) == 1
    with closing(http.client.HTTPConnection("127.0.0.1", plane.port, timeout=10)) as connection:
        connection.request("GET", "/_stockade/flows")
        assert connection.getresponse().status == 403


def test_what_cannot_be_asked_is_refused(office: Office) -> None:
    for query in ("?verdict=maybe", "?last=x", "?colour=red", "?group=nosuch", "?port=tcp%2F99999"):
        with closing(http.client.HTTPConnection("127.0.0.1", office.plane.port, timeout=10)) as connection:
            assert ask(connection, office.who, query).status == 400


def events(answer: http.client.HTTPResponse, count: int) -> list[dict[str, str]]:
    """The next so many events of a stream."""
    found: list[dict[str, str]] = []
    fields: dict[str, str] = {}
    while len(found) < count:
        line = answer.readline().decode().rstrip("\n")
        name, colon, value = line.partition(": ")
        if not line and fields:
            found.append(fields)
            fields = {}
        elif name and colon:
            fields[name] = value
    return found


def test_a_stream_of_events_goes_on_and_resumes_after_the_last_one_seen(office: Office) -> None:
    office.happened(80, passed=True)
    with closing(http.client.HTTPConnection("127.0.0.1", office.plane.port, timeout=10)) as connection:
        answer = ask(connection, office.who, accept="text/event-stream")
        assert answer.getheader("content-type", "").startswith("text/event-stream")
        (first,) = events(answer, 1)
        office.happened(22, passed=False)
        (second,) = events(answer, 1)
        assert json.loads(second["data"])["destination_port"] == 22
    office.happened(443, passed=False)
    with closing(http.client.HTTPConnection("127.0.0.1", office.plane.port, timeout=10)) as connection:
        answer = ask(connection, office.who, accept="text/event-stream", last_event_id=first["id"])
        assert [json.loads(one["data"])["destination_port"] for one in events(answer, 2)] == [22, 443]
    with closing(http.client.HTTPConnection("127.0.0.1", office.plane.port, timeout=10)) as connection:
        answer = ask(connection, office.who, accept="text/event-stream", last_event_id="another-1")
        assert len(events(answer, 3)) == 3

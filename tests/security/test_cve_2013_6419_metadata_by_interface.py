"""Nova and Neutron, CVE-2013-6419: the metadata of an instance was chosen by a device id that the instance itself
could set in a header.

Who asks is told by where the question comes from and by nothing in it: two tenants with equal private addresses, every
header forged, tokens of the other, odd paths and hosts. Each hears about itself, or nothing.
"""

from http import HTTPStatus
from ipaddress import IPv4Address, IPv4Network

import pytest

from stockade.instances.network.items import Subject
from stockade.instances.network.metadata import DEFAULT_OPTIONS, Options, Request, respond
from stockade.instances.network.names import Names
from stockade.instances.network.services import Services
from stockade.instances.network.tokens import make_token
from stockade.model.change import Revision
from stockade.model.host_view import Frame, HostView, apply_frame
from stockade.model.ids import HostId, NetworkInterfaceId
from unit.instances.subjects import instance, interface

FIRST, SECOND, THIRD = (IPv4Address(f"100.64.0.{number}") for number in (1, 2, 3))
SECRET, NOW = b"s" * 32, 1_000_000.0
MINE, THEIRS = "i-01000001", "i-01000002"
FORGED = (
    *("x-instance-id", "x-instance-id-signature", "x-tenant-id", "x-neutron-port-id", "x-neutron-network-id"),
    *("x-forwarded-for", "x-forwarded-host", "x-real-ip", "forwarded", "via", "client-ip", "x-client-ip"),
    *("x-originating-ip", "x-remote-addr", "true-client-ip", "host", "x-aws-ec2-instance-id", "x-nova-device-id"),
)


def services() -> Services:
    """Two tenants whose instances have the same private address."""
    where = {NetworkInterfaceId("eni-01000001"): FIRST, NetworkInterfaceId("eni-01000002"): SECOND}
    made = Services(names=Names(), public_pool=IPv4Network("198.18.0.0/16"), service_address=where.get)
    items = (interface(1), interface(2, vpc=2, addresses=interface(1).addresses), instance(1), instance(2))
    made.view_changed(apply_frame(HostView(HostId("h")), Frame(Revision(1), put=items)))
    return made


def subject(source: IPv4Address) -> Subject:
    found = services().subject_of(source)
    assert found is not None
    return found


def asked(source: IPv4Address, headers: dict[str, str], options: Options = DEFAULT_OPTIONS) -> tuple[HTTPStatus, bytes]:
    request = Request("GET", "/latest/meta-data/instance-id", headers)
    answer = respond(request, services().subject_of(source), options, SECRET, NOW)
    return answer.status, answer.body


@pytest.mark.parametrize("name", FORGED)
@pytest.mark.parametrize("value", [THEIRS, "10.0.0.1", str(SECOND), "eni-01000002", "for=100.64.0.2"])
def test_no_header_says_who_asks(name: str, value: str) -> None:
    assert asked(FIRST, {name: value}) == (HTTPStatus.OK, MINE.encode())


def test_all_headers_together_do_not_either() -> None:
    assert asked(FIRST, dict.fromkeys(FORGED, THEIRS)) == (HTTPStatus.OK, MINE.encode())
    assert asked(SECOND, dict.fromkeys(FORGED, MINE)) == (HTTPStatus.OK, THEIRS.encode())


def test_a_token_is_good_where_it_was_given() -> None:
    token = make_token(SECRET, subject(SECOND).instance.id, int(NOW) + 60)
    header = {"x-aws-ec2-metadata-token": token}
    required = Options(tokens_required=True)
    assert asked(SECOND, header, required) == (HTTPStatus.OK, THEIRS.encode())
    assert asked(FIRST, header, required)[0] is HTTPStatus.UNAUTHORIZED
    assert asked(FIRST, header)[0] is HTTPStatus.UNAUTHORIZED


def test_who_comes_from_nowhere_hears_nothing() -> None:
    assert services().subject_of(THIRD) is None
    status, body = asked(THIRD, {"x-instance-id": MINE})
    assert status is HTTPStatus.FORBIDDEN
    assert MINE.encode() not in body


@pytest.mark.parametrize(
    "path",
    [
        f"/latest/meta-data/../../{THEIRS}",
        f"/latest/meta-data/instance-id?instance={THEIRS}",
        f"//{THEIRS}/latest/meta-data/instance-id",
        f"/latest/meta-data/network/interfaces/macs/{interface(2).mac}/security-group-ids",
    ],
)
def test_no_path_leads_to_the_other(path: str) -> None:
    answer = respond(Request("GET", path, {}), subject(FIRST), DEFAULT_OPTIONS, SECRET, NOW)
    assert THEIRS.encode() not in answer.body
    assert answer.status in (HTTPStatus.OK, HTTPStatus.NOT_FOUND)

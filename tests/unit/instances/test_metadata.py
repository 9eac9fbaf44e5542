import asyncio
import contextlib
import json
import socket
from dataclasses import replace
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade.instances.network.items import Subject, items_of, read_item
from stockade.instances.network.metadata import (
    DEFAULT_OPTIONS,
    Answer,
    MetadataServer,
    Options,
    Request,
    respond,
)
from stockade.instances.network.tokens import check_token, make_token
from stockade.model.addresses import mac_of
from unit.instances.subjects import GROUP, instance, interface, subject

SECRET, NOW = b"s" * 32, 1_000_000.0
TTL = "x-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "x-aws-ec2-metadata-token"
REQUIRED = Options(tokens_required=True)


def get(path: str, options: Options = DEFAULT_OPTIONS, who: Subject | None = None, **headers: str) -> Answer:
    request = Request("GET", path, {name.replace("_", "-"): value for name, value in headers.items()})
    return respond(request, who or subject(), options, SECRET, NOW)


def put_token(path: str = "/latest/api/token", **headers: str) -> Answer:
    request = Request("PUT", path, {name.replace("_", "-"): value for name, value in headers.items()})
    return respond(request, subject(), DEFAULT_OPTIONS, SECRET, NOW)


def ttl(value: str) -> dict[str, str]:
    return {TTL.replace("-", "_"): value}


def token(value: str) -> dict[str, str]:
    return {TOKEN.replace("-", "_"): value}


@pytest.mark.parametrize(
    ("item", "value"),
    [
        ("instance-id", b"i-01000001"),
        ("ami-id", b"ami-eca54085"),
        ("local-ipv4", b"10.0.0.1"),
        ("public-ipv4", b"198.18.0.1"),
        ("hostname", b"ip-10-0-0-1.stockade.internal"),
        ("local-hostname", b"ip-10-0-0-1.stockade.internal"),
        ("public-hostname", b"ec2-198-18-0-1.compute-1.stockade.internal"),
        ("security-groups", b"default"),
        ("placement/availability-zone", b"us-east-1a"),
        ("public-keys/0/openssh-key", b"ssh-ed25519 AAAA mine"),
        ("public-keys/", b"0=mine"),
        ("public-keys/0/", b"openssh-key"),
        ("instance-type", b"m1.small"),
        ("reservation-id", b"r-01000001"),
        ("ami-launch-index", b"0"),
        ("mac", b"02:5c:00:00:00:01"),
        ("network/interfaces/macs/", b"02:5c:00:00:00:01/"),
        ("network/interfaces/macs/02:5c:00:00:00:01/security-group-ids", GROUP.encode()),
    ],
)
def test_items_an_instance_reads_about_itself(item: str, value: bytes) -> None:
    answer = get(f"/latest/meta-data/{item}")
    assert (answer.status, answer.body) == (HTTPStatus.OK, value)


def test_directories_list_their_entries_with_a_slash_for_those_that_go_on() -> None:
    entries = get("/latest/meta-data/").body.decode().split("\n")
    assert {"instance-id", "placement/", "public-keys/", "network/"} <= set(entries)
    assert get("/latest").body.decode().split("\n") == ["dynamic/", "meta-data/", "user-data"]


def test_versions_are_listed_and_dated_ones_serve_the_same() -> None:
    assert get("/").body.decode().split("\n")[0] == "1.0"
    assert get("/2009-04-04/meta-data/instance-id").body == b"i-01000001"


def test_an_unknown_item_or_version_is_not_found() -> None:
    assert get("/latest/meta-data/nosuch").status is HTTPStatus.NOT_FOUND
    assert get("/1999-01-01/meta-data/").status is HTTPStatus.NOT_FOUND


def test_user_data_comes_as_it_was_given() -> None:
    who = subject(instance=instance(user_data=b"\x1f\x8b\0bytes"))
    answer = get("/latest/user-data", who=who)
    assert (answer.body, answer.kind) == (b"\x1f\x8b\0bytes", "application/octet-stream")


def test_an_instance_without_key_user_data_or_public_address_has_no_such_items() -> None:
    who = subject(instance=instance(public_key=None, user_data=None), interface=interface(public=None))
    for path in ("meta-data/public-keys/", "user-data", "meta-data/public-ipv4", "meta-data/public-hostname"):
        assert get(f"/latest/{path}", who=who).status is HTTPStatus.NOT_FOUND


def test_group_names_follow_the_groups() -> None:
    assert get("/latest/meta-data/security-groups", who=subject(group_names={GROUP: "web"})).body == b"web"


def test_group_names_are_those_of_the_launch_while_a_name_is_not_known() -> None:
    assert get("/latest/meta-data/security-groups", who=subject(group_names={})).body == b"default"


def test_the_identity_document_names_account_and_address() -> None:
    document = json.loads(get("/latest/dynamic/instance-identity/document").body)
    assert (document["accountId"], document["privateIp"]) == ("111122223333", "10.0.0.1")


def test_every_item_is_listed_by_the_directory_it_is_in() -> None:
    who = subject()
    for path in items_of(who):
        folder, _, name = path.rpartition("/")
        listing = read_item(who, folder)
        assert listing is not None
        assert name in listing.decode().split("\n")


def test_a_stranger_is_told_nothing() -> None:
    request = Request("GET", "/latest/meta-data/", {})
    assert respond(request, None, DEFAULT_OPTIONS, SECRET, NOW).status is HTTPStatus.FORBIDDEN


def test_a_token_opens_what_requires_one() -> None:
    made = put_token(**ttl("60"))
    assert made.status is HTTPStatus.OK
    assert made.headers == ((TTL, "60"),)
    path = "/latest/meta-data/instance-id"
    assert get(path, REQUIRED).status is HTTPStatus.UNAUTHORIZED
    assert get(path, REQUIRED, **token(made.body.decode())).body == b"i-01000001"


def test_a_token_of_another_instance_is_refused_even_where_none_is_required() -> None:
    made = put_token(**ttl("60")).body.decode()
    answer = get("/latest/meta-data/", who=subject(2), **token(made))
    assert answer.status is HTTPStatus.UNAUTHORIZED


def test_a_token_ends_when_its_time_is_over() -> None:
    made = make_token(SECRET, "i-1", int(NOW) + 60)
    assert check_token(SECRET, "i-1", made, NOW + 59)
    assert not check_token(SECRET, "i-1", made, NOW + 60)


@given(st.text(max_size=80))
def test_no_guess_is_a_token(guess: str) -> None:
    assert not check_token(SECRET, "i-1", guess, NOW)


@pytest.mark.parametrize("asked", ["0", "21601", "-1", "", "x", "1.5", "999999999999"])
def test_a_token_must_be_asked_for_a_time_between_a_second_and_six_hours(asked: str) -> None:
    assert put_token(**ttl(asked)).status is HTTPStatus.BAD_REQUEST


def test_a_token_without_a_time_is_refused() -> None:
    assert put_token().status is HTTPStatus.BAD_REQUEST


def test_a_token_is_not_given_to_whoever_was_forwarded() -> None:
    assert put_token(**ttl("60"), x_forwarded_for="192.0.2.1").status is HTTPStatus.FORBIDDEN


def test_a_token_is_not_given_below_a_dated_version() -> None:
    assert put_token("/2009-04-04/api/token", **ttl("60")).status is HTTPStatus.FORBIDDEN


def test_only_the_answer_with_a_token_may_not_travel_far() -> None:
    assert put_token(**ttl("60")).hop_limit == 1
    assert get("/latest/meta-data/").hop_limit is None


def test_other_methods_are_not_allowed() -> None:
    for method in ("POST", "DELETE"):
        answer = respond(Request(method, "/latest/", {}), subject(), DEFAULT_OPTIONS, SECRET, NOW)
        assert answer.status is HTTPStatus.METHOD_NOT_ALLOWED


async def exchange(*requests: bytes) -> bytes:
    """What a server that takes every asker for instance 1 answers, the connection closed by us."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    asked: list[IPv4Address] = []

    def subject_of(source: IPv4Address) -> Subject:
        asked.append(source)
        return subject()

    server = MetadataServer(subject_of)
    await server.serve(listening)
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    for request in requests:
        writer.write(request)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    await server.close()
    assert set(asked) <= {IPv4Address("127.0.0.1")}
    return answer


def test_ipv6_addresses_are_items_where_there_are_any() -> None:
    six = (IPv6Address("fd00:1::1"), IPv6Address("fd00:1::2"))
    found = items_of(replace(subject(), interface=interface(addresses=(IPv4Address("10.0.0.1"), *six))))
    assert found["meta-data/ipv6"] == "fd00:1::1"
    assert found[f"meta-data/network/interfaces/macs/{mac_of(1)}/ipv6s"] == "fd00:1::1\nfd00:1::2"
    assert not any("ipv6" in name for name in items_of(subject()))


async def by_ipv6(options: Options) -> bytes:
    listening = socket.socket(socket.AF_INET6)
    listening.bind(("::1", 0))
    where = listening.getsockname()
    server = MetadataServer(lambda _source: subject(), options)
    await server.serve(listening)
    reader, writer = await asyncio.open_connection(where[0], where[1])
    writer.write(b"PUT /latest/api/token HTTP/1.0\r\n" + TTL.encode() + b": 60\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    await server.close()
    return answer


async def test_the_ipv6_endpoint_is_off_unless_it_is_switched_on() -> None:
    assert (await by_ipv6(Options())).startswith(b"HTTP/1.1 403")
    assert (await by_ipv6(Options(ipv6=True))).startswith(b"HTTP/1.1 200")


async def test_one_connection_carries_several_questions() -> None:
    one = b"GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: x\r\n\r\n"
    assert (await exchange(one, one)).count(b"200 OK") == 2


async def test_an_old_client_gets_one_answer() -> None:
    one = b"GET /latest/meta-data/instance-id HTTP/1.0\r\n\r\n"
    assert (await exchange(one)).endswith(b"\r\n\r\ni-01000001")


async def test_a_token_by_wire() -> None:
    request = b"PUT /latest/api/token HTTP/1.1\r\nHost: x\r\n" + TTL.encode() + b": 60\r\n\r\n"
    answer = await exchange(request)
    assert b"200 OK" in answer
    assert b"Connection: close" in answer


async def test_a_head_request_has_no_body() -> None:
    answer = await exchange(b"HEAD /latest/meta-data/instance-id HTTP/1.0\r\n\r\n")
    assert b"Content-Length: 10" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"NONSENSE\r\n\r\n",
        b"GET latest HTTP/1.1\r\n\r\n",
        b"GET / SMTP\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nx : y\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: " + b"y" * 20000 + b"\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_refused(request_bytes: bytes) -> None:
    assert (await exchange(request_bytes)).startswith(b"HTTP/1.1 400")


async def test_a_request_with_a_body_ends_the_connection() -> None:
    smuggled = b"GET /latest/ HTTP/1.1\r\nContent-Length: 30\r\n\r\nGET /latest/ HTTP/1.1\r\n\r\n"
    assert (await exchange(smuggled)).count(b"200 OK") == 1


async def test_half_a_request_gets_no_answer() -> None:
    assert await exchange(b"GET /latest/ HT") == b""


async def test_one_instance_that_holds_connections_open_does_not_keep_others_from_being_served() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    where = listening.getsockname()
    server = MetadataServer(lambda _source: subject())
    await server.serve(listening)
    held = [await asyncio.open_connection(*where) for _ in range(40)]
    refused = [reader for reader, _ in held[-8:]]
    assert [await asyncio.wait_for(reader.read(), 5) for reader in refused] == [b""] * 8

    reader, writer = await asyncio.open_connection(*where, local_addr=("127.0.0.2", 0))
    writer.write(b"GET /latest/meta-data/instance-id HTTP/1.0\r\n\r\n")
    assert b"200 OK" in await asyncio.wait_for(reader.read(), 5)

    for _, one in [*held, (reader, writer)]:
        one.close()
        with contextlib.suppress(ConnectionError):
            await one.wait_closed()
    await server.close()

"""Endpoints, keys, signatures, and what the general options do."""

import base64
import hashlib
import hmac
import io
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from stockade.cli.ec2.answer import AnswerUnreadable, read_answer
from stockade.cli.ec2.connection import ServiceProblem, parse_response
from stockade.cli.ec2.endpoint import is_amazon, parse_endpoint, region_path
from stockade.cli.ec2.signature import sign

NOTHING = "<securityGroupInfo/>"


def test_every_request_carries_a_signature_that_verifies(service, tool: Callable) -> None:
    service.will_answer("CreateSecurityGroup", "<return>true</return>")
    tool("ec2-add-group", "web/ssh ~x", "-d", "Mary's group: ünïcode + plus & more")
    request = service.requests[0]
    signature = request.fields.pop("Signature")
    query = "&".join(
        f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in sorted(request.fields.items())
    )
    text = f"POST\n{request.host}\n{request.path}\n{query}"
    digest = hmac.new(b"a secret", text.encode(), hashlib.sha256).digest()
    assert signature == base64.b64encode(digest).decode()
    assert request.fields["SignatureMethod"] == "HmacSHA256"
    assert request.fields["SignatureVersion"] == "2"


def test_signature_of_a_known_request() -> None:
    # botocore's SigV2 gives the same for this key, host and path.
    fields = {"Action": "DescribeImages", "Version": "2007-01-03", "SignatureVersion": "2"}
    text = b"POST\nec2.example\n/\nAction=DescribeImages&SignatureVersion=2&Version=2007-01-03"
    expected = base64.b64encode(hmac.new(b"s", text, hashlib.sha256).digest()).decode()
    assert sign("s", "POST", "EC2.example", "", fields) == expected


@pytest.mark.parametrize(
    ("variables", "winner"),
    [
        (("AWS_ENDPOINT_URL_EC2", "EC2_URL", "AWS_ENDPOINT_URL"), "AWS_ENDPOINT_URL_EC2"),
        (("EC2_URL", "AWS_ENDPOINT_URL"), "EC2_URL"),
        (("AWS_ENDPOINT_URL",), "AWS_ENDPOINT_URL"),
    ],
)
def test_the_most_special_endpoint_wins(service, environment, tool, variables, winner) -> None:
    environment.delenv("AWS_ENDPOINT_URL_EC2")
    for name in variables:
        environment.setenv(name, service.url + "/" + name)
    service.will_answer("DescribeSecurityGroups", NOTHING)
    assert tool("ec2dgrp").status == 0
    assert service.requests[0].path == "/" + winner


def test_an_option_beats_every_variable(service, environment, tool: Callable) -> None:
    environment.setenv("AWS_ENDPOINT_URL_EC2", "http://127.0.0.1:1/")
    service.will_answer("DescribeSecurityGroups", NOTHING)
    assert tool("ec2dgrp", "-U", service.url + "/services/Cloud").status == 0
    assert service.requests[0].path == "/services/Cloud"


def test_without_an_endpoint_nothing_is_called(environment, tool: Callable) -> None:
    environment.delenv("AWS_ENDPOINT_URL_EC2")
    done = tool("ec2dgrp")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("No endpoint: this tool never calls Amazon by itself. Run eval")


@pytest.mark.parametrize(
    "host", ["ec2.amazonaws.com", "EC2.us-east-1.Amazonaws.com.", "ec2.cn-north-1.amazonaws.com.cn"]
)
def test_amazons_hosts_are_refused(environment, tool: Callable, host: str) -> None:
    done = tool("ec2dgrp", "-U", f"https://{host}/")
    assert done.status == 1
    assert done.err.startswith("Refusing to call ")
    assert is_amazon(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "notamazonaws.com", "amazonaws.com.example", "ec2.us-east-1.localhost"])
def test_other_hosts_are_not_amazons(host: str) -> None:
    assert not is_amazon(host)


@pytest.mark.parametrize(
    ("words", "variables", "path"),
    [
        (["--region", "eu-west-1"], {}, "/region/eu-west-1/"),
        ([], {"EC2_REGION": "eu-west-1"}, "/region/eu-west-1/"),
        ([], {"AWS_DEFAULT_REGION": "us-east-1"}, "/"),
        (["--region", "us-east-1"], {"EC2_REGION": "eu-west-1"}, "/region/us-east-1/"),
    ],
)
def test_region_is_a_path_of_the_endpoint(service, environment, tool, words, variables, path) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    service.will_answer("DescribeSecurityGroups", NOTHING)
    assert tool("ec2dgrp", *words).status == 0
    assert service.requests[0].path == path


def test_a_region_in_the_path_is_replaced() -> None:
    assert region_path("/services/Cloud/region/a/", "b") == "/services/Cloud/region/b/"


def test_urls_are_taken_apart() -> None:
    endpoint = parse_endpoint("https://[::1]:8773/services/Cloud?x=1")
    assert (endpoint.tls, endpoint.host, endpoint.port) == (True, "::1", 8773)
    assert (endpoint.authority, endpoint.path) == ("[::1]:8773", "/services/Cloud")


@pytest.mark.parametrize("url", ["127.0.0.1:8773", "ftp://x/", "http://", "http://x:port/"])
def test_a_url_that_is_none_is_said(tool: Callable, url: str) -> None:
    assert tool("ec2dgrp", "-U", url).err == f"Not an http or https URL: '{url}' (-h for usage)\n"


@pytest.mark.parametrize(
    "names",
    [
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        ("AWS_ACCESS_KEY", "AWS_SECRET_KEY"),
        ("EC2_ACCESS_KEY", "EC2_SECRET_KEY"),
    ],
)
def test_keys_come_in_pairs(service, environment, tool: Callable, names: tuple[str, str]) -> None:
    environment.delenv("AWS_SECRET_ACCESS_KEY")
    environment.setenv(names[0], "KEY")
    environment.setenv(names[1], "secret")
    service.will_answer("DescribeSecurityGroups", NOTHING)
    assert tool("ec2dgrp").status == 0
    assert service.requests[0].fields["AWSAccessKeyId"] == "KEY"


def test_key_options_beat_variables_and_carry_a_token(service, tool: Callable) -> None:
    service.will_answer("DescribeSecurityGroups", NOTHING)
    tool("ec2dgrp", "-OOPTION", "-W", "s", "-T", "token")
    assert service.requests[0].fields["AWSAccessKeyId"] == "OPTION"
    assert service.requests[0].fields["SecurityToken"] == "token"


def test_a_profile_names_a_section_of_the_shared_file(service, environment, tool: Callable, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text("[mary]\naws_access_key_id = MARY\naws_secret_access_key = s\n")
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.setenv("AWS_PROFILE", "mary")
    environment.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    service.will_answer("DescribeSecurityGroups", NOTHING)
    assert tool("ec2dgrp").status == 0
    assert service.requests[0].fields["AWSAccessKeyId"] == "MARY"


def test_without_keys_it_says_how(environment, tool: Callable) -> None:
    environment.delenv("AWS_ACCESS_KEY_ID")
    assert tool("ec2dgrp").err.startswith("No access key: give -O and -W, or set AWS_ACCESS_KEY_ID")


@pytest.mark.parametrize("words", [["-K", "key.pem"], ["-Ccert.pem"]])
def test_soap_options_are_refused_plainly(service, tool: Callable, words: list[str]) -> None:
    assert tool("ec2dgrp", *words).err.startswith("Signing SOAP with -K and -C is not supported yet")
    assert service.requests == []


def test_refusals_carry_the_side_and_print_nothing_on_standard_output(service, tool: Callable) -> None:
    service.will_refuse("InvalidGroup.NotFound", "The security group 'nosuch' does not exist")
    done = tool("ec2-describe-group", "nosuch", "-H")
    assert (done.status, done.out) == (1, "")
    assert done.err == "Client.InvalidGroup.NotFound: The security group 'nosuch' does not exist\n"


def test_failures_of_the_service_are_the_servers(service, tool: Callable) -> None:
    service.will_refuse("InternalError", "An internal error has occurred", 500)
    assert tool("ec2dgrp").err == "Server.InternalError: An internal error has occurred\n"


@pytest.mark.parametrize("document", ["not xml", "", "<html><body>no</body></html>"])
def test_other_answers_show_their_status(service, tool: Callable, document: str) -> None:
    service.answers.append((403, document))
    assert tool("ec2dgrp").err == "Server returned error code = 403\n"


def test_nobody_there(tool: Callable) -> None:
    with socket.socket() as taken:  # bound, never listening: a connection is refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert tool("ec2dgrp", "-U", url).err == f"Unable to connect to host: '{url}'\n"


def test_headings_stand_before_the_first_record_of_a_kind(service, tool: Callable) -> None:
    items = "".join(f"<item><keyName>{name}</keyName><keyFingerprint>f</keyFingerprint></item>" for name in "ab")
    service.will_answer("DescribeKeyPairs", f"<keySet>{items}</keySet>")
    assert tool("ec2dkey", "-H").records == [
        ["Type", "Name", "Fingerprint"],
        ["KEYPAIR", "a", "f"],
        ["KEYPAIR", "b", "f"],
    ]


def test_empty_fields_can_be_shown(service, tool: Callable) -> None:
    service.will_answer("AuthorizeSecurityGroupIngress", "<return>true</return>")
    done = tool("ec2auth", "web", "-p", "80", "--show-empty-fields")
    assert done.records[0] == ["GROUP", "(nil)", "web"]


def test_verbose_shows_the_exchange_without_the_signature(service, tool: Callable) -> None:
    service.will_answer("DeleteSecurityGroup", "<return>true</return>")
    out = tool("ec2delgrp", "web", "-v").out
    assert "Action=DeleteSecurityGroup" in out
    assert "return>true</" in out
    assert "Signature=" not in out


def test_debug_shows_where_an_error_came_from(service, tool: Callable) -> None:
    service.will_refuse("InvalidGroup.NotFound", "x")
    assert "Traceback" in tool("ec2delgrp", "web", "--debug").err


def test_default_arguments_stand_first(service, environment, tool: Callable) -> None:
    environment.setenv("EC2_DEFAULT_ARGS", "-H --api-version '2009-11-30'")
    service.will_answer("DescribeKeyPairs", "<keySet/>")
    assert tool("ec2dkey").status == 0
    assert service.requests[0].fields["Version"] == "2009-11-30"


def test_a_version_of_another_time_is_refused(tool: Callable) -> None:
    expected = "Invalid argument for option '--api-version VERSION': '2016-11-15' (-h for usage)\n"
    assert tool("ec2dkey", "--api-version", "2016-11-15").err == expected


def test_a_dash_is_read_from_standard_input(service, environment, tool: Callable) -> None:
    environment.setattr("sys.stdin", io.StringIO("i-1\ni-2\n"))
    service.will_answer("TerminateInstances", "<instancesSet/>")
    tool("ec2kill", "-")
    assert [service.requests[0].fields[f"InstanceId.{number}"] for number in (1, 2)] == ["i-1", "i-2"]


def test_help_is_no_error(tool: Callable) -> None:
    done = tool("ec2-authorize", "-h")
    assert (done.status, done.err) == (0, "")
    assert "-o, --source-group GROUP" in done.out


def test_chunked_answers_are_joined() -> None:
    received = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    assert parse_response(received) == (200, b"abcde")


@pytest.mark.parametrize(
    "received",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
        b"SSH-2.0-dropbear\r\n",
        b"",
    ],
)
def test_answers_that_end_early_are_no_answers(received: bytes) -> None:
    with pytest.raises(ServiceProblem):
        parse_response(received)


def test_document_types_are_refused() -> None:
    with pytest.raises(AnswerUnreadable):
        read_answer(b"<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>")

"""Answers become documents that botocore reads back equal."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import botocore.session
from botocore.parsers import EC2QueryParser

from stockade.api.aws.wire import classic
from stockade.api.aws.wire.service_model import ServiceModel
from stockade.api.aws.wire.xml import ModelWriters, ec2_document, text_of

WIRE = Path(__file__).parents[3] / "src" / "stockade" / "api" / "aws" / "wire"
EC2 = ServiceModel((WIRE / "ec2_model.json.gz").read_bytes())
BOTOCORE = botocore.session.get_session().get_service_model("ec2", "2016-11-15")


def read_back(action: str, value: dict[str, Any]) -> dict[str, Any]:
    found = EC2.action(action)
    assert found is not None
    assert found.output is not None
    document = ec2_document(
        action, "http://ec2.amazonaws.com/doc/2016-11-15/", ModelWriters(EC2).writer(found.output), value, "r"
    )
    response = {"body": document.encode(), "headers": {}, "status_code": 200}
    parsed: dict[str, Any] = EC2QueryParser().parse(response, BOTOCORE.operation_model(action).output_shape)
    del parsed["ResponseMetadata"]
    return parsed


def test_the_model_has_botocores_actions() -> None:
    assert EC2.actions() == frozenset(BOTOCORE.operation_names)


def test_every_shape_of_the_model_can_be_looked_at_and_written() -> None:
    writers = ModelWriters(EC2)
    for name in EC2.actions():
        found = EC2.action(name)
        assert found is not None
        for shape in (found.input, found.output):
            if shape is not None:
                writers.writer(shape)


def test_groups_read_back_as_they_were_said() -> None:
    value = {
        "SecurityGroups": [
            {
                "OwnerId": "123456789012",
                "GroupName": 'a <b> & "c"',
                "Description": "tab\there, line\r\nend",
                "IpPermissions": [
                    {
                        "IpProtocol": "tcp",
                        "FromPort": 0,
                        "ToPort": 65535,
                        "UserIdGroupPairs": [{"UserId": "1", "GroupId": "sg-1"}],
                        "IpRanges": [],
                        "Ipv6Ranges": [],
                        "PrefixListIds": [],
                    }
                ],
                "Tags": [],
            }
        ],
        "NextToken": "t",
    }
    assert read_back("DescribeSecurityGroups", value) == value


def test_what_is_absent_is_not_written() -> None:
    assert read_back("DescribeVpcs", {"Vpcs": [{"VpcId": "vpc-1", "CidrBlock": None}]}) == {
        "Vpcs": [{"VpcId": "vpc-1"}]
    }


def test_times_have_three_zeros_and_truth_is_spelled_small() -> None:
    launched = datetime(2026, 11, 22, 9, 30, 1, 250000, tzinfo=UTC)
    value = {"Instances": [{"LaunchTime": launched, "EbsOptimized": False}]}
    found = EC2.action("RunInstances")
    assert found is not None
    assert found.output is not None
    parts: list[str] = []
    ModelWriters(EC2).writer(found.output)(parts.append, value)
    text = "".join(parts)
    assert "<launchTime>2026-11-22T09:30:01.000Z</launchTime>" in text
    assert "<ebsOptimized>false</ebsOptimized>" in text


def test_what_xml_cannot_hold_becomes_a_replacement_character() -> None:
    assert text_of("a\x00b\ud800c") == "a\ufffdb\ufffdc"


RESERVATION = {
    "ReservationId": "r-1",
    "OwnerId": "123456789012",
    "Groups": [{"GroupId": "sg-1", "GroupName": "default"}],
    "Instances": [
        {
            "InstanceId": "i-1",
            "State": {"Code": 0, "Name": "pending"},
            "PublicDnsName": "",
            "PrivateDnsName": "",
            "AmiLaunchIndex": 0,
            "ProductCodes": [],
            "InstanceType": "m1.small",
            "LaunchTime": datetime(2026, 1, 1, tzinfo=UTC),
            "Placement": {"AvailabilityZone": "us-east-1a", "Tenancy": "default"},
            "PrivateIpAddress": "10.0.0.4",
            "Tags": [{"Key": "Name", "Value": "x"}],
        }
    ],
}


def classic_text(version: str, action: str, value: dict[str, Any]) -> str:
    parts: list[str] = []
    classic.ClassicWriters(version).writer(action)(parts.append, value)
    return "".join(parts)


def test_a_classic_version_shows_what_it_had_and_nothing_newer() -> None:
    text = classic_text("2008-02-01", "RunInstances", RESERVATION)
    assert "<groupSet><item><groupId>default</groupId></item></groupSet>" in text
    assert "<dnsName/>" in text
    assert "<placement><availabilityZone>us-east-1a</availabilityZone></placement>" in text
    assert "sg-1" not in text
    assert "privateIpAddress" not in text
    assert "tag" not in text.lower()


def test_elements_appear_with_the_version_that_brought_them() -> None:
    assert "launchTime" not in classic_text("2007-03-01", "RunInstances", RESERVATION)
    assert "launchTime" in classic_text("2007-08-29", "RunInstances", RESERVATION)
    assert "placement" not in classic_text("2007-08-29", "RunInstances", RESERVATION)
    assert "privateIpAddress" in classic_text("2009-11-30", "RunInstances", RESERVATION)


def test_terminate_said_shutdown_state_until_2009_10_31() -> None:
    state = {"Code": 32, "Name": "shutting-down"}
    change = {"TerminatingInstances": [{"InstanceId": "i-1", "CurrentState": state, "PreviousState": state}]}
    assert "<shutdownState>" in classic_text("2009-08-15", "TerminateInstances", change)
    assert "<currentState>" in classic_text("2009-10-31", "TerminateInstances", change)


def test_actions_without_a_shape_answer_true() -> None:
    assert classic_text("2008-02-01", "CreateSecurityGroup", {"GroupId": "sg-1"}) == "<return>true</return>"

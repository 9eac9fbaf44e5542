"""Instance, image, key, zone and region tools."""

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

OWNER = "598916040194"
LAUNCHED = "2008-02-11T13:02:12.000Z"
PENDING = "<instanceState><code>0</code><name>pending</name></instanceState>"
RUNNING = "<instanceState><code>16</code><name>running</name></instanceState>"
NAMES = (
    "<privateDnsName>ip-10-0-0-11.stockade.internal</privateDnsName>"
    "<dnsName>ec2-198-18-0-11.compute-1.stockade.internal</dnsName>"
)


def instance_item(number: int, state: str = PENDING, names: str = "<privateDnsName/><dnsName/>", more: str = "") -> str:
    return (
        f"<item><instanceId>i-0000000{number}</instanceId><imageId>ami-fba54092</imageId>{state}{names}<reason/>"
        f"<amiLaunchIndex>{number}</amiLaunchIndex><productCodes/><instanceType>m1.small</instanceType>"
        f"<launchTime>{LAUNCHED}</launchTime><placement><availabilityZone>us-east-1c</availabilityZone></placement>"
        f"{more}</item>"
    )


def reservation(*items: str, groups: tuple[str, ...] = ("apache",)) -> str:
    named = "".join(f"<item><groupId>{group}</groupId></item>" for group in groups)
    return (
        f"<reservationId>r-1a2b3c4d</reservationId><ownerId>{OWNER}</ownerId>"
        f"<groupSet>{named}</groupSet><instancesSet>{''.join(items)}</instancesSet>"
    )


def test_run_prints_pending_instances_in_launch_order(service, tool: Callable) -> None:
    service.will_answer("RunInstances", reservation(instance_item(1), instance_item(0)))
    done = tool("ec2run", "ami-fba54092", "-n", "2", "-g", "apache")
    tail = ["m1.small", "2008-02-11T13:02:12+0000", "us-east-1c"]
    assert done.records == [
        ["RESERVATION", "r-1a2b3c4d", OWNER, "apache"],
        ["INSTANCE", "i-00000000", "ami-fba54092", "", "", "pending", "", "0", "", *tail],
        ["INSTANCE", "i-00000001", "ami-fba54092", "", "", "pending", "", "1", "", *tail],
    ]
    fields = service.requests[0].fields
    assert (fields["MinCount"], fields["MaxCount"], fields["SecurityGroup.1"]) == ("2", "2", "apache")
    assert fields["Version"] == "2008-02-01"


def test_run_sends_every_option(service, tool: Callable, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"#!/bin/sh\n")
    service.will_answer("RunInstances", reservation(groups=("a", "b")))
    words = "-n 1-3 -g a -g b -k paul -t m1.large -z us-east-1a --kernel aki-1 --ramdisk ari-1 -b sdb=ephemeral0"
    done = tool("ec2-run-instances", "ami-1", *words.split(), "-f", str(data), "--addressing", "direct")
    assert done.records == [["RESERVATION", "r-1a2b3c4d", OWNER, "a, b"]]
    fields = service.requests[0].fields
    expected = {
        "MinCount": "1",
        "MaxCount": "3",
        "SecurityGroup.2": "b",
        "KeyName": "paul",
        "InstanceType": "m1.large",
        "Placement.AvailabilityZone": "us-east-1a",
        "KernelId": "aki-1",
        "RamdiskId": "ari-1",
        "AddressingType": "direct",
        "BlockDeviceMapping.1.DeviceName": "sdb",
        "BlockDeviceMapping.1.VirtualName": "ephemeral0",
        "UserData": base64.b64encode(b"#!/bin/sh\n").decode(),
    }
    assert {name: fields[name] for name in expected} == expected


def test_describe_prints_names_once_it_runs(service, tool: Callable) -> None:
    service.will_answer(
        "DescribeInstances",
        f"<reservationSet><item>{reservation(instance_item(0, RUNNING, NAMES))}</item></reservationSet>",
    )
    done = tool("ec2din", "i-00000000")
    assert done.records[1][3:6] == [
        "ec2-198-18-0-11.compute-1.stockade.internal",
        "ip-10-0-0-11.stockade.internal",
        "running",
    ]
    assert service.requests[0].fields["InstanceId.1"] == "i-00000000"


@pytest.mark.parametrize(
    ("version", "count", "last"),
    [
        ("2006-06-26", 8, "0"),
        ("2007-08-29", 11, "2008-02-11T13:02:12+0000"),
        ("2008-02-01", 14, "ari-1"),
        ("2008-12-01", 15, "windows"),
        ("2009-11-30", 21, "instance-store"),
    ],
)
def test_records_grow_with_the_version(service, tool: Callable, version: str, count: int, last: str) -> None:
    more = (
        "<kernelId>aki-1</kernelId><ramdiskId>ari-1</ramdiskId><platform>windows</platform>"
        "<monitoring><state>enabled</state></monitoring><ipAddress>198.18.0.11</ipAddress>"
        "<privateIpAddress>10.0.0.11</privateIpAddress><rootDeviceType>instance-store</rootDeviceType>"
    )
    answer = f"<reservationSet><item>{reservation(instance_item(0, RUNNING, NAMES, more))}</item></reservationSet>"
    service.will_answer("DescribeInstances", answer, version)
    record = tool("ec2din", "--api-version", version).records[1]
    assert (len(record), record[-1]) == (count, last)


@pytest.mark.parametrize("element", ["shutdownState", "currentState"])
def test_terminate_prints_state_before_and_after(service, tool: Callable, element: str) -> None:
    item = (
        f"<item><instanceId>i-1</instanceId><{element}><code>32</code><name>shutting-down</name></{element}>"
        "<previousState><code>16</code><name>running</name></previousState></item>"
    )
    service.will_answer("TerminateInstances", f"<instancesSet>{item}</instancesSet>")
    assert tool("ec2kill", "i-1").records == [["INSTANCE", "i-1", "running", "shutting-down"]]


def test_terminate_wants_an_instance(tool: Callable) -> None:
    assert tool("ec2-terminate-instances").err == "Required parameter 'INSTANCE' missing (-h for usage)\n"


def test_a_count_that_is_no_number_is_refused(tool: Callable) -> None:
    expected = "Invalid argument for option '-n, --instance-count MIN[-MAX]': 'many' (-h for usage)\n"
    assert tool("ec2run", "ami-1", "-n", "many").err == expected


def test_add_keypair_prints_the_private_key_as_it_came(service, tool: Callable) -> None:
    material = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----"
    service.will_answer(
        "CreateKeyPair",
        f"<keyName>paul</keyName><keyFingerprint>00:ab</keyFingerprint><keyMaterial>{material}</keyMaterial>",
    )
    assert tool("ec2-add-keypair", "paul").out == f"KEYPAIR\tpaul\t00:ab\n{material}\n"


def test_key_pairs_are_listed_and_deleted(service, tool: Callable) -> None:
    item = "<item><keyName>paul</keyName><keyFingerprint>00:ab</keyFingerprint></item>"
    service.will_answer("DescribeKeyPairs", f"<keySet>{item}</keySet>")
    service.will_answer("DeleteKeyPair", "<return>true</return>")
    assert tool("ec2dkey").records == [["KEYPAIR", "paul", "00:ab"]]
    assert tool("ec2delkey", "paul").records == [["KEYPAIR", "paul"]]


IMAGE = (
    "<item><imageId>ami-eca54085</imageId><imageLocation>stockade/micro</imageLocation>"
    f"<imageState>available</imageState><imageOwnerId>{OWNER}</imageOwnerId><isPublic>true</isPublic>"
    "<architecture>i386</architecture><imageType>machine</imageType></item>"
)
IMAGE_RECORD = ["IMAGE", "ami-eca54085", "stockade/micro", OWNER, "available", "public", "", "i386", "machine"]


def test_all_images_are_one_call(service, tool: Callable) -> None:
    service.will_answer("DescribeImages", f"<imagesSet>{IMAGE}</imagesSet>")
    assert tool("ec2dim", "-a").records == [IMAGE_RECORD]
    assert "Owner.1" not in service.requests[0].fields


def test_images_without_arguments_are_ones_own_and_those_given(service, tool: Callable) -> None:
    service.will_answer("DescribeImages", f"<imagesSet>{IMAGE}</imagesSet>")
    service.will_answer("DescribeImages", f"<imagesSet>{IMAGE}</imagesSet>")
    assert tool("ec2-describe-images").records == [IMAGE_RECORD]
    assert service.requests[0].fields["Owner.1"] == "self"
    assert service.requests[1].fields["ExecutableBy.1"] == "self"


def test_a_newer_operation_uses_the_first_version_that_has_it(service, tool: Callable) -> None:
    item = "<item><regionName>us-east-1</regionName><regionEndpoint>127.0.0.1:8773</regionEndpoint></item>"
    service.will_answer("DescribeRegions", f"<regionInfo>{item}</regionInfo>", "2008-12-01")
    assert tool("ec2dre").records == [["REGION", "us-east-1", "127.0.0.1:8773"]]
    assert service.requests[0].fields["Version"] == "2008-12-01"


@pytest.mark.parametrize(("version", "region"), [("2008-02-01", []), ("2008-12-01", ["us-east-1"])])
def test_zones_name_their_region_from_2008_12(service, tool: Callable, version: str, region: list[str]) -> None:
    item = (
        "<item><zoneName>us-east-1a</zoneName><zoneState>available</zoneState><regionName>us-east-1</regionName></item>"
    )
    service.will_answer("DescribeAvailabilityZones", f"<availabilityZoneInfo>{item}</availabilityZoneInfo>", version)
    expected = [["AVAILABILITYZONE", "us-east-1a", "available", *region]]
    assert tool("ec2daz", "--api-version", version).records == expected

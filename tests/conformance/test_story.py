"""The same story as the walk-throughs, told by boto3 on both platforms, and by the aws command line."""

import base64
import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from conformance.conftest import client
from serving import ControlPlane
from stockade.service.accounts import CreatedAccount

MICRO = "ami-eca54085"
WEB = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}


def until_gone(ec2: Any, **group: str) -> None:
    """Deletes a group as soon as its last instance has given its interface back."""
    deadline = time.monotonic() + 10
    while True:
        try:
            ec2.delete_security_group(**group)
            return
        except ClientError as error:
            assert error.response["Error"]["Code"] in {"DependencyViolation", "InvalidGroup.InUse"}
            assert time.monotonic() < deadline


def ingress(ec2: Any, **group: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ec2.describe_security_groups(**group)["SecurityGroups"][0]["IpPermissions"]
    return found


def test_a_vpc_account_makes_opens_runs_closes_and_deletes(ec2: Any) -> None:
    group = ec2.create_security_group(GroupName="web", Description="web servers")["GroupId"]
    made = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[WEB])["SecurityGroupRules"]
    assert [(rule["IpProtocol"], rule["FromPort"], rule["CidrIpv4"]) for rule in made] == [("tcp", 80, "0.0.0.0/0")]

    launch = ec2.run_instances(
        ImageId=MICRO,
        MinCount=2,
        MaxCount=2,
        SecurityGroupIds=[group],
        InstanceType="t3.micro",
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "web"}]}],
    )
    ids = [instance["InstanceId"] for instance in launch["Instances"]]
    assert [instance["AmiLaunchIndex"] for instance in launch["Instances"]] == [0, 1]
    assert {instance["State"]["Name"] for instance in launch["Instances"]} == {"pending"}

    ec2.get_waiter("instance_running").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    (reservation,) = ec2.describe_instances(InstanceIds=ids)["Reservations"]
    for instance in reservation["Instances"]:
        assert instance["SecurityGroups"] == [{"GroupId": group, "GroupName": "web"}]
        assert instance["PublicDnsName"].startswith("ec2-198-18-")
        assert instance["Tags"] == [{"Key": "Name", "Value": "web"}]

    with pytest.raises(ClientError, match="DependencyViolation"):
        ec2.delete_security_group(GroupId=group)
    revoked = ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[WEB])
    assert [rule["SecurityGroupRuleId"] for rule in revoked["RevokedSecurityGroupRules"]] == [
        made[0]["SecurityGroupRuleId"]
    ]
    assert ingress(ec2, GroupIds=[group]) == []
    assert {c["CurrentState"]["Name"] for c in ec2.terminate_instances(InstanceIds=ids)["TerminatingInstances"]} == {
        "shutting-down"
    }
    ec2.get_waiter("instance_terminated").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    until_gone(ec2, GroupId=group)


def test_a_classic_account_names_its_groups(classic: Any, albert: CreatedAccount) -> None:
    owner = albert.account.id
    classic.create_security_group(GroupName="apache", Description="Mary's Apache group")
    classic.authorize_security_group_ingress(
        GroupName="apache", IpProtocol="tcp", FromPort=80, ToPort=80, CidrIp="0.0.0.0/0"
    )
    classic.create_security_group(GroupName="appserver", Description="Mary's app server")
    classic.authorize_security_group_ingress(
        GroupName="appserver", SourceSecurityGroupName="apache", SourceSecurityGroupOwnerId=owner
    )
    shown = ingress(classic, GroupNames=["appserver"])
    assert [(p["IpProtocol"], p["FromPort"], p["ToPort"]) for p in shown] == [
        ("tcp", 1, 65535),
        ("udp", 1, 65535),
        ("icmp", -1, -1),
    ]
    assert {pair["GroupName"] for p in shown for pair in p["UserIdGroupPairs"]} == {"apache"}
    group = classic.describe_security_groups(GroupNames=["apache"])["SecurityGroups"][0]
    assert "VpcId" not in group
    assert group["IpPermissionsEgress"] == []

    launch = classic.run_instances(ImageId=MICRO, MinCount=1, MaxCount=1, SecurityGroups=["apache"])
    assert [group["GroupName"] for group in launch["Groups"]] == ["apache"]
    ids = [launch["Instances"][0]["InstanceId"]]
    classic.get_waiter("instance_running").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    (instance,) = classic.describe_instances(InstanceIds=ids)["Reservations"][0]["Instances"]
    assert "VpcId" not in instance
    assert instance["PrivateIpAddress"].startswith("10.")
    with pytest.raises(ClientError, match="active instances using security group 'apache'"):
        classic.delete_security_group(GroupName="apache")
    classic.terminate_instances(InstanceIds=ids)
    classic.get_waiter("instance_terminated").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    deadline = time.monotonic() + 10
    while "active instances" in in_use(classic, "apache") and time.monotonic() < deadline:
        pass
    assert in_use(classic, "apache") == f"Group {owner}:apache is used by groups: {owner}:appserver"
    until_gone(classic, GroupName="appserver")
    until_gone(classic, GroupName="apache")


def in_use(ec2: Any, name: str) -> str:
    with pytest.raises(ClientError) as caught:
        ec2.delete_security_group(GroupName=name)
    assert caught.value.response["Error"]["Code"] == "InvalidGroup.InUse"
    return str(caught.value.response["Error"]["Message"])


def test_a_default_group_lets_its_own_members_in(ec2: Any, classic: Any) -> None:
    (vpc,) = ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"]
    assert [(p["IpProtocol"], p["UserIdGroupPairs"][0]["GroupId"]) for p in vpc["IpPermissions"]] == [
        ("-1", vpc["GroupId"])
    ]
    assert [p["IpRanges"] for p in vpc["IpPermissionsEgress"]] == [[{"CidrIp": "0.0.0.0/0"}]]
    (old,) = classic.describe_security_groups()["SecurityGroups"]
    assert (old["GroupName"], old["Description"]) == ("default", "default group")
    assert [p["IpProtocol"] for p in old["IpPermissions"]] == ["tcp", "udp", "icmp"]


def test_key_pairs_are_made_imported_shown_and_deleted(ec2: Any) -> None:
    made = ec2.create_key_pair(KeyName="made", TagSpecifications=[{"ResourceType": "key-pair", "Tags": [
        {"Key": "a", "Value": "b"}]}])  # fmt: skip
    assert made["KeyMaterial"].startswith("-----BEGIN")
    assert made["Tags"] == [{"Key": "a", "Value": "b"}]
    public = ec2.describe_key_pairs(KeyNames=["made"], IncludePublicKey=True)["KeyPairs"][0]["PublicKey"]
    ec2.import_key_pair(KeyName="again", PublicKeyMaterial=public.encode())
    named = [pair["KeyName"] for pair in ec2.describe_key_pairs()["KeyPairs"]]
    assert named == ["again", "made"]
    (found,) = ec2.describe_key_pairs(Filters=[{"Name": "key-name", "Values": ["ag*"]}])["KeyPairs"]
    assert ec2.delete_key_pair(KeyPairId=found["KeyPairId"])["KeyPairId"] == found["KeyPairId"]
    ec2.delete_key_pair(KeyName="made")
    ec2.delete_key_pair(KeyName="never was")
    assert ec2.describe_key_pairs()["KeyPairs"] == []


def test_tags_are_made_and_found(ec2: Any) -> None:
    group = ec2.create_security_group(GroupName="tagged", Description="x")["GroupId"]
    ec2.create_tags(Resources=[group], Tags=[{"Key": "tier", "Value": "web"}, {"Key": "empty", "Value": ""}])
    assert ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [group]}])["Tags"] == [
        {"Key": "empty", "ResourceId": group, "ResourceType": "security-group", "Value": ""},
        {"Key": "tier", "ResourceId": group, "ResourceType": "security-group", "Value": "web"},
    ]
    by_tag = ec2.describe_security_groups(Filters=[{"Name": "tag:tier", "Values": ["w?b"]}])["SecurityGroups"]
    assert [found["GroupId"] for found in by_tag] == [group]


def test_the_places_of_a_region_are_described(ec2: Any) -> None:
    (vpc,) = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    assert vpc["CidrBlock"] == "172.31.0.0/16"
    subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}])["Subnets"]
    zones = ec2.describe_availability_zones()["AvailabilityZones"]
    assert [s["AvailabilityZone"] for s in subnets] == [z["ZoneName"] for z in zones]
    assert [z["ZoneId"] for z in zones] == ["use1-az1", "use1-az2", "use1-az3"]
    assert [region["RegionName"] for region in ec2.describe_regions()["Regions"]] == ["us-east-1"]


def test_a_classic_account_has_no_vpc(classic: Any) -> None:
    assert classic.describe_vpcs()["Vpcs"] == []
    assert classic.describe_subnets()["Subnets"] == []


def test_images_of_the_walk_throughs_are_there(ec2: Any) -> None:
    ids = ["ami-eca54085", "ami-fba54092", "ami-e3a5408a", "ami-f1a54098"]
    images = ec2.describe_images(ImageIds=ids)["Images"]
    assert {image["ImageId"] for image in images} == set(ids)
    assert ec2.describe_images(Owners=["self"])["Images"] == []
    assert len(ec2.describe_images(ExecutableUsers=["all"])["Images"]) >= len(ids)


def test_a_launch_takes_zone_subnet_user_data_and_token(ec2: Any) -> None:
    subnet = ec2.describe_subnets()["Subnets"][1]
    asked = {
        "ImageId": MICRO,
        "MinCount": 1,
        "MaxCount": 1,
        "SubnetId": subnet["SubnetId"],
        "UserData": "#!/bin/sh\necho hello",
        "ClientToken": "once",
        "Placement": {"AvailabilityZone": subnet["AvailabilityZone"]},
    }
    first = ec2.run_instances(**asked)
    again = ec2.run_instances(**asked)
    assert first["ReservationId"] == again["ReservationId"]
    assert first["Instances"][0]["SubnetId"] == subnet["SubnetId"]
    with pytest.raises(ClientError, match="IdempotentParameterMismatch"):
        ec2.run_instances(**(asked | {"InstanceType": "m1.large"}))
    ec2.terminate_instances(InstanceIds=[first["Instances"][0]["InstanceId"]])


def test_user_data_arrives_as_it_was_sent(plane: ControlPlane, ec2: Any) -> None:
    launch = ec2.run_instances(ImageId=MICRO, MinCount=1, MaxCount=1, UserData="\x00\x01 data")
    stored = plane.world.cell.resources.instances[launch["Instances"][0]["InstanceId"]]
    assert stored.user_data == b"\x00\x01 data"
    assert base64.b64encode(stored.user_data) == b"AAEgZGF0YQ=="


def test_instances_are_found_by_filters(ec2: Any) -> None:
    group = ec2.create_security_group(GroupName="filtered", Description="x")["GroupId"]
    one = ec2.run_instances(ImageId=MICRO, MinCount=1, MaxCount=1, SecurityGroupIds=[group])
    two = ec2.run_instances(ImageId=MICRO, MinCount=2, MaxCount=2)
    mine, others = one["Instances"][0]["InstanceId"], [i["InstanceId"] for i in two["Instances"]]
    ec2.create_tags(Resources=[mine], Tags=[{"Key": "Name", "Value": "chosen"}])
    ec2.get_waiter("instance_running").wait(InstanceIds=[mine, *others], WaiterConfig={"Delay": 1, "MaxAttempts": 9})

    def found(name: str, *values: str) -> set[str]:
        answer = ec2.describe_instances(Filters=[{"Name": name, "Values": list(values)}])
        return {i["InstanceId"] for r in answer["Reservations"] for i in r["Instances"]}

    assert found("instance.group-id", group) == {mine}
    assert found("instance.group-name", "filtered") == {mine}
    assert found("tag:Name", "chosen") == {mine}
    assert found("tag-key", "Name") == {mine}
    assert found("instance-state-name", "running") == {mine, *others}
    assert found("instance-state-name", "stopped", "terminated") == set()
    assert found("launch-index", "1") == {others[1]}
    assert found("reservation-id", two["ReservationId"]) == set(others)
    assert found("instance-id", others[0], "i-00000000") == {others[0]}


def test_long_answers_come_in_pages(ec2: Any) -> None:
    made = {ec2.create_security_group(GroupName=f"g{n}", Description="x")["GroupId"] for n in range(12)}
    seen: list[str] = []
    for page in ec2.get_paginator("describe_security_groups").paginate(PaginationConfig={"PageSize": 5}):
        assert len(page["SecurityGroups"]) <= 5
        seen += [group["GroupId"] for group in page["SecurityGroups"]]
    assert len(seen) == len(set(seen)) == 13
    assert made <= set(seen)


def test_egress_is_opened_and_closed(ec2: Any) -> None:
    group = ec2.create_security_group(GroupName="egress", Description="x")["GroupId"]
    everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.revoke_security_group_egress(GroupId=group, IpPermissions=[everything])
    to_self = {"IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "UserIdGroupPairs": [{"GroupId": group}]}
    made = ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[to_self])["SecurityGroupRules"][0]
    assert made["IsEgress"] is True
    assert made["ReferencedGroupInfo"]["GroupId"] == group
    by_id = ec2.revoke_security_group_egress(GroupId=group, SecurityGroupRuleIds=[made["SecurityGroupRuleId"]])
    assert by_id["RevokedSecurityGroupRules"][0]["ReferencedGroupId"] == group
    ec2.delete_security_group(GroupId=group)


def test_descriptions_and_canonical_blocks_are_shown(ec2: Any) -> None:
    group = ec2.create_security_group(GroupName="blocks", Description="x")["GroupId"]
    permission = {
        "IpProtocol": "6",
        "FromPort": 22,
        "ToPort": 22,
        "IpRanges": [{"CidrIp": "100.68.0.18/18", "Description": "office"}],
        "Ipv6Ranges": [{"CidrIpv6": "2001:DB8::1/32"}],
    }
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])
    (shown,) = ingress(ec2, GroupIds=[group])
    assert shown["IpProtocol"] == "tcp"
    assert shown["IpRanges"] == [{"CidrIp": "100.68.0.0/18", "Description": "office"}]
    assert shown["Ipv6Ranges"] == [{"CidrIpv6": "2001:db8::/32"}]


def test_sts_says_who_asks(plane: ControlPlane, mary: CreatedAccount) -> None:
    said = client(plane, mary, "sts").get_caller_identity()
    assert said["Account"] == mary.account.id
    assert said["Arn"] == f"arn:aws:iam::{mary.account.id}:root"


@pytest.mark.slow
def test_the_aws_command_line_tells_the_story(aws: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    def ec2(*words: str) -> Any:
        done = aws("ec2", *words, "--output", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    group = ec2("create-security-group", "--group-name", "cli", "--description", "by the command line")["GroupId"]
    opened = ("--group-id", group, "--protocol", "tcp", "--port", "22", "--cidr", "192.168.1.130/32")
    assert ec2("authorize-security-group-ingress", *opened)["Return"] is True
    again = aws("ec2", "authorize-security-group-ingress", *opened)
    assert again.returncode != 0
    assert "(InvalidPermission.Duplicate)" in again.stderr
    launch = ec2("run-instances", "--image-id", MICRO, "--security-group-ids", group, "--user-data", "x")
    (instance,) = [i["InstanceId"] for i in launch["Instances"]]
    ec2("wait", "instance-running", "--instance-ids", instance)
    shown = ec2("describe-instances", "--instance-ids", instance)["Reservations"][0]["Instances"][0]
    assert shown["State"]["Name"] == "running"
    ec2("revoke-security-group-ingress", *opened)
    ec2("terminate-instances", "--instance-ids", instance)
    ec2("wait", "instance-terminated", "--instance-ids", instance)
    ec2("delete-security-group", "--group-id", group)
    identity = aws("sts", "get-caller-identity", "--output", "text", "--query", "Account")
    assert identity.returncode == 0

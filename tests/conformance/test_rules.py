"""Rules and tags by the calls that came with their ids, as boto3 sees them."""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from conformance.conftest import client
from serving import ControlPlane, control_plane
from stockade.model.account import Platform
from stockade.policy.budget import KERNEL, Capacity
from stockade.service.cell import CellSettings

MICRO = "ami-eca54085"


def code_of(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


def tcp(port: int, *blocks: str) -> dict[str, Any]:
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": block} for block in blocks]}


@pytest.fixture
def web(ec2: Any) -> str:
    return str(ec2.create_security_group(GroupName="web", Description="d")["GroupId"])


@pytest.fixture
def rules(ec2: Any, web: str) -> list[str]:
    """Ids of two ingress rules, the first tagged as the call's are."""
    made = ec2.authorize_security_group_ingress(
        GroupId=web,
        IpPermissions=[tcp(80, "0.0.0.0/0", "10.0.0.0/8")],
        TagSpecifications=[{"ResourceType": "security-group-rule", "Tags": [{"Key": "tier", "Value": "web"}]}],
    )["SecurityGroupRules"]
    return [rule["SecurityGroupRuleId"] for rule in made]


def described(ec2: Any, *ids: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ec2.describe_security_group_rules(SecurityGroupRuleIds=list(ids))[
        "SecurityGroupRules"
    ]
    return found


def test_rules_are_found_by_group_by_id_and_by_tag(ec2: Any, web: str, rules: list[str]) -> None:
    def by(name: str, value: str, **more: Any) -> list[str]:
        answer = ec2.describe_security_group_rules(Filters=[{"Name": name, "Values": [value]}], **more)
        return [rule["SecurityGroupRuleId"] for rule in answer["SecurityGroupRules"]]

    assert set(by("group-id", web)) > set(rules)
    assert set(by("group-id", web[:-1] + "*")) > set(rules)
    assert by("security-group-rule-id", rules[1]) == [rules[1]]
    assert sorted(by("tag:tier", "w*")) == sorted(rules)
    (one,) = described(ec2, rules[1])
    assert (one["CidrIpv4"], one["GroupId"], one["IsEgress"]) == ("10.0.0.0/8", web, False)
    assert one["Tags"] == [{"Key": "tier", "Value": "web"}]
    assert by("group-id", "sg-00000000") == []
    assert code_of(ec2.describe_security_group_rules, SecurityGroupRuleIds=["sgr-00000000"]) == (
        "InvalidSecurityGroupRuleId.NotFound"
    )
    seen: list[str] = []
    for page in ec2.get_paginator("describe_security_group_rules").paginate(PaginationConfig={"PageSize": 5}):
        seen += [rule["SecurityGroupRuleId"] for rule in page["SecurityGroupRules"]]
    assert len(seen) == len(set(seen)) == 5  # two here, egress of two groups, ingress of the default one


def test_a_rule_is_modified_under_its_id(ec2: Any, web: str, rules: list[str]) -> None:
    asked = {"IpProtocol": "TCP", "FromPort": 443, "ToPort": 444, "ReferencedGroupId": web, "Description": "self"}
    changes = [{"SecurityGroupRuleId": rules[0], "SecurityGroupRule": asked}]
    assert ec2.modify_security_group_rules(GroupId=web, SecurityGroupRules=changes)["Return"]
    (one,) = described(ec2, rules[0])
    assert (one["FromPort"], one["ToPort"], one["Description"]) == (443, 444, "self")
    assert one["ReferencedGroupInfo"]["GroupId"] == web
    assert one["Tags"] == [{"Key": "tier", "Value": "web"}]
    for wrong, code in (
        ({**asked, "CidrIpv4": "0.0.0.0/0"}, "InvalidParameterCombination"),
        ({"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80}, "MissingParameter"),
        ({"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "CidrIpv4": "10.0.0.0/8"}, "InvalidPermission.Duplicate"),
        ({"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "CidrIpv6": "10.0.0.0/8"}, "InvalidParameterValue"),
    ):
        bad = [{"SecurityGroupRuleId": rules[0], "SecurityGroupRule": wrong}]
        assert code_of(ec2.modify_security_group_rules, GroupId=web, SecurityGroupRules=bad) == code
    assert described(ec2, rules[0]) == [one]


def test_descriptions_come_and_go(ec2: Any, web: str, rules: list[str]) -> None:
    by_rule = tcp(80) | {"IpRanges": [{"CidrIp": "10.0.0.0/8", "Description": "inside"}]}
    assert ec2.update_security_group_rule_descriptions_ingress(GroupId=web, IpPermissions=[by_rule])["Return"]
    assert described(ec2, rules[1])[0]["Description"] == "inside"
    by_id = [{"SecurityGroupRuleId": rules[1]}]
    ec2.update_security_group_rule_descriptions_ingress(GroupId=web, SecurityGroupRuleDescriptions=by_id)
    assert "Description" not in described(ec2, rules[1])[0]
    everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "out"}]}
    update_egress = ec2.update_security_group_rule_descriptions_egress
    update_egress(GroupId=web, IpPermissions=[everything])
    assert code_of(update_egress, GroupId=web, IpPermissions=[tcp(9, "0.0.0.0/0")]) == "InvalidPermission.NotFound"
    ported = everything | {"FromPort": 0, "ToPort": 0}
    assert code_of(update_egress, GroupId=web, IpPermissions=[ported]) == "InvalidParameterValue"
    assert code_of(update_egress, GroupId=web) == "MissingParameter"


def test_tags_are_deleted_by_key_by_value_and_all(ec2: Any, web: str) -> None:
    def left() -> dict[str, str]:
        found = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [web]}])["Tags"]
        return {tag["Key"]: tag["Value"] for tag in found}

    ec2.create_tags(Resources=[web], Tags=[{"Key": key, "Value": key * 2} for key in "abcd"])
    ec2.delete_tags(Resources=[web], Tags=[{"Key": "a"}, {"Key": "b", "Value": "bb"}, {"Key": "c", "Value": ""}])
    assert left() == {"c": "cc", "d": "dd"}
    ec2.delete_tags(Resources=[web])
    assert left() == {}
    assert code_of(ec2.delete_tags, Resources=["sg-00000000"], Tags=[{"Key": "a"}]) == "InvalidGroup.NotFound"


def test_the_groups_of_a_vpc(ec2: Any, web: str) -> None:
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    found = ec2.get_security_groups_for_vpc(VpcId=vpc)["SecurityGroupForVpcs"]
    assert {one["GroupName"] for one in found} == {"default", "web"}
    named = ec2.get_security_groups_for_vpc(VpcId=vpc, Filters=[{"Name": "group-name", "Values": ["web"]}])
    assert [one["GroupId"] for one in named["SecurityGroupForVpcs"]] == [web]
    assert code_of(ec2.get_security_groups_for_vpc, VpcId="vpc-00000000") == "InvalidVpcID.NotFound"


@pytest.fixture(scope="module")
def small() -> Iterator[ControlPlane]:
    """Hosts whose kernels have room for four prefixes in one policy."""
    with control_plane(settings=CellSettings(capacity=Capacity(KERNEL.tables._replace(prefixes=8)))) as running:
        yield running


def test_what_no_host_could_hold_is_refused_by_its_own_name(small: ControlPlane) -> None:
    ec2 = client(small, small.account(Platform.VPC))
    group = ec2.create_security_group(GroupName="web", Description="d")["GroupId"]
    ec2.run_instances(ImageId=MICRO, MinCount=1, MaxCount=1, SecurityGroupIds=[group])
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(80, "10.0.0.0/8", "10.1.0.0/16")])
    with pytest.raises(ClientError, match="needs 5 entries of the table prefixes, which has room for 4") as caught:
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(80, "10.2.0.0/16", "10.3.0.0/16")])
    assert caught.value.response["Error"]["Code"] == "StockadeCapacityExceeded"
    (shown,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    assert len(shown["IpRanges"]) == 2

"""Neutron, CVE-2022-3277: listing the groups of a made-up project created its default group, outside every quota.

No read writes: after every action that reads, from accounts new and old, from keys nobody has, with ids nobody made
up yet, the store holds the same records at the same revision.
"""

from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from conformance.conftest import client
from serving import ControlPlane, control_plane
from stockade.api.aws.auth.authenticate import AuthRules
from stockade.api.aws.registry import built
from stockade.model.account import Account, Platform

READS = sorted(name for name in built(sts=False) if name.startswith(("Describe", "Get")))
REQUIRED = {
    "DescribeInstanceAttribute": {"InstanceId": "i-0123456789abcdef0", "Attribute": "groupSet"},
    "DescribeNetworkInterfaceAttribute": {"NetworkInterfaceId": "eni-0123456789abcdef0"},
    "DescribeStaleSecurityGroups": {"VpcId": "vpc-0123456789abcdef0"},
    "DescribeInstanceCreditSpecifications": {"InstanceIds": ["i-0123456789abcdef0"]},
    "DescribeVpcAttribute": {"VpcId": "vpc-0123456789abcdef0", "Attribute": "enableDnsSupport"},
    "GetManagedPrefixListEntries": {"PrefixListId": "pl-0123456789abcdef0"},
    "DescribeSecurityGroupReferences": {"GroupId": ["sg-0123456789abcdef0"]},
    "GetSecurityGroupsForVpc": {"VpcId": "vpc-0123456789abcdef0"},
}


def contents(plane: ControlPlane) -> tuple[int, frozenset[str]]:
    held = plane.world.cache.resources
    return held.revision, frozenset(map(str, held.all_keys()))


def all_reads(ec2: Any) -> None:
    for name in READS:
        try:
            ec2._make_api_call(name, REQUIRED.get(name, {}))
        except ClientError as error:
            assert error.response["Error"]["Code"] != "InternalError"


@pytest.mark.parametrize("platform", list(Platform))
def test_reading_everything_as_a_new_account_writes_nothing(plane: ControlPlane, platform: Platform) -> None:
    ec2 = client(plane, plane.account(platform))
    before = contents(plane)
    all_reads(ec2)
    assert contents(plane) == before


@pytest.mark.parametrize(
    ("call", "given"),
    [
        ("describe_security_groups", {"GroupNames": ["default", "made-up"]}),
        ("describe_security_groups", {"GroupIds": ["sg-0123456789abcdef0"]}),
        ("describe_security_groups", {"Filters": [{"Name": "owner-id", "Values": ["000000000001"]}]}),
        ("describe_vpcs", {"VpcIds": ["vpc-0123456789abcdef0"]}),
        ("describe_instances", {"InstanceIds": ["i-0123456789abcdef0"]}),
        ("describe_key_pairs", {"KeyNames": ["made-up"]}),
        ("describe_tags", {"Filters": [{"Name": "resource-id", "Values": ["sg-0123456789abcdef0"]}]}),
    ],
)
def test_asking_for_what_was_never_made_makes_nothing(plane: ControlPlane, mary: Any, call: str, given: Any) -> None:
    before = contents(plane)
    try:
        getattr(mary, call)(**given)
    except ClientError as error:
        assert error.response["Error"]["Code"].endswith(".NotFound")
    assert contents(plane) == before


def stranger(url: str, key: str) -> Any:
    return boto3.client(
        "ec2",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key="anything",
        config=Config(retries={"max_attempts": 0}),
    )


def test_a_made_up_project_stays_made_up(plane: ControlPlane) -> None:
    before = contents(plane)
    for number in range(20):
        with pytest.raises(ClientError):
            stranger(plane.url, f"MADEUP{number:014d}").describe_security_groups()
    assert contents(plane) == before


def test_even_where_anybody_is_let_in() -> None:
    """`auth = "any"`: an unknown key is the first account, and still no reason to make another."""
    first: list[Account] = []
    with control_plane(auth=AuthRules(anyone=lambda: first[0])) as open_plane:
        first.append(open_plane.account(Platform.VPC).account)
        before = contents(open_plane)
        for number in range(5):
            all_reads(stranger(open_plane.url, f"MADEUP{number:014d}"))
        assert contents(open_plane) == before

"""State on disk, and many callers at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from conformance.conftest import client
from serving import ControlPlane, control_plane
from stockade.model.account import Platform
from stockade.service.accounts import CreatedAccount
from stockade.store.sqlite.store import SqliteStore

RULE = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}


def test_what_was_made_is_there_after_a_restart(tmp_path: Path) -> None:
    def store() -> Any:
        return SqliteStore.open(tmp_path / "state.db")

    with control_plane(store) as plane:
        who = plane.account(Platform.VPC)
        ec2 = client(plane, who)
        group = ec2.create_security_group(GroupName="web", Description="x")["GroupId"]
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[RULE])
        launched = ec2.run_instances(ImageId="ami-eca54085", MinCount=1, MaxCount=1, SecurityGroupIds=[group])
        before = ec2.describe_security_groups()["SecurityGroups"]
    with control_plane(store) as plane:
        ec2 = client(plane, who)
        assert ec2.describe_security_groups()["SecurityGroups"] == before
        (reservation,) = ec2.describe_instances()["Reservations"]
        assert reservation["ReservationId"] == launched["ReservationId"]


def test_one_of_many_equal_calls_wins(plane: ControlPlane, mary: CreatedAccount, ec2: Any) -> None:
    group = ec2.create_security_group(GroupName="raced", Description="x")["GroupId"]

    def authorize(_: int) -> str:
        try:
            ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[RULE])
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "OK"

    with ThreadPoolExecutor(10) as pool:
        said = sorted(pool.map(authorize, range(20)))
    assert said == ["InvalidPermission.Duplicate"] * 19 + ["OK"]


def test_twenty_launches_at_once_get_twenty_addresses(ec2: Any) -> None:
    def launch(_: int) -> Any:
        return ec2.run_instances(ImageId="ami-eca54085", MinCount=1, MaxCount=1)["Instances"][0]["PrivateIpAddress"]

    with ThreadPoolExecutor(10) as pool:
        addresses = list(pool.map(launch, range(20)))
    assert len(set(addresses)) == 20


def test_rules_carry_tags(ec2: Any) -> None:
    group = ec2.create_security_group(GroupName="ruled", Description="x")["GroupId"]
    tags = [{"Key": "why", "Value": "web"}]
    made = ec2.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[RULE],
        TagSpecifications=[{"ResourceType": "security-group-rule", "Tags": tags}],
    )["SecurityGroupRules"][0]
    assert made["Tags"] == tags
    (found,) = ec2.describe_tags(Filters=[{"Name": "resource-type", "Values": ["security-group-rule"]}])["Tags"]
    assert found["ResourceId"] == made["SecurityGroupRuleId"]

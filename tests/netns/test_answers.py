"""What the answers say is what real packets meet: explain, flows and counts against a daemon that enforces."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from netns.site import MICRO, TestSite, build_micro, until

pytestmark = [pytest.mark.root, pytest.mark.alone]


@pytest.fixture(scope="module")
def running() -> Iterator[TestSite]:
    build_micro()
    made = TestSite()
    try:
        made.up()
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def instance(running: TestSite) -> dict[str, Any]:
    """In group web, which lets everybody in on port 22 alone."""
    ec2 = running.client()
    group = ec2.create_security_group(GroupName="web", Description="test")["GroupId"]
    everybody = [{"CidrIp": "0.0.0.0/0"}]
    ssh = [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": everybody}]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=ssh)
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "web1"}]}]
    [made] = ec2.run_instances(ImageId=MICRO, MinCount=1, MaxCount=1, SecurityGroupIds=[group], TagSpecifications=tags)[
        "Instances"
    ]

    def described() -> Any:
        told = ec2.describe_instances(InstanceIds=[made["InstanceId"]])["Reservations"][0]["Instances"][0]
        return told if told["State"]["Name"] == "running" else None

    found: dict[str, Any] = until(described)
    return found


def flows(site: TestSite, *filters: str) -> list[dict[str, Any]]:
    told = site.stockade("flows", "-o", "json", *filters)
    assert told.returncode == 0, told.stderr
    return [json.loads(line) for line in told.stdout.splitlines()]


def test_explain_flows_and_packets_agree(running: TestSite, instance: dict[str, Any]) -> None:
    address = instance["PublicIpAddress"]
    until(lambda: running.opens(address, 22))
    assert not running.opens(address, 80, within_s=0.3)
    assert running.stockade("explain", "198.51.100.7", "web1", "tcp/22").returncode == 0
    blocked = running.stockade("explain", "198.51.100.7", "web1", "tcp/80", "--json")
    assert blocked.returncode == 1
    assert json.loads(blocked.stdout)["reason"] == "NO_INGRESS_RULE"

    [rejected, *_] = until(lambda: flows(running, "--reject", "--to", "web1", "--port", "tcp/80"))
    assert rejected["destination"]["instance_id"] == instance["InstanceId"]
    assert rejected["why"] == "ingress: no match in web"
    [accepted, *_] = flows(running, "--accept", "--to", "web1", "--port", "tcp/22", "--group", "web")
    rule = accepted["rules"]["ingress"]["rule_id"]
    assert accepted["why"] == f"ingress: {rule} of web"
    assert flows(running, "--rule", rule)
    assert not flows(running, "--from", "web1")
    [line, *_] = running.stockade("flows", "-o", "aws", "--reject", "--to", "web1").stdout.splitlines()
    assert line.split()[3:4] == [rejected["source"]["address"]]
    assert line.split()[12:] == ["REJECT", "OK"]
    assert len(line.split()) == 14


def test_a_group_counts_what_its_rules_let_through(running: TestSite, instance: dict[str, Any]) -> None:
    def ssh() -> dict[str, Any]:
        told = json.loads(running.stockade("group", "web", "--json").stdout)
        assert [member["name"] for member in told["members"]] == ["web1"]
        found: dict[str, Any] = next(rule for rule in told["rules"] if rule["traffic"] == "tcp/22")
        return found

    until(lambda: running.opens(instance["PublicIpAddress"], 22))
    before = until(lambda: seen if (seen := ssh())["packets"] >= 3 else None)
    assert before["bytes"] >= 3 * 40
    assert before["last_hit"] is not None
    running.opens(instance["PublicIpAddress"], 22)
    assert until(lambda: seen if (seen := ssh())["packets"] > before["packets"] else None)

"""Answers over IPv6: names, prefix lists, protocols, and packets that do as was said."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from netns.site import TestSite, build_micro, until

pytestmark = [pytest.mark.root, pytest.mark.alone]


class Six:
    """A site whose default network has IPv6: web1 in web, app1 in default, and a prefix list of partners."""

    def __init__(self, site: TestSite) -> None:
        self.site = site
        ec2 = site.client()
        [vpc] = ec2.describe_vpcs()["Vpcs"]
        ec2.associate_vpc_cidr_block(VpcId=vpc["VpcId"], AmazonProvidedIpv6CidrBlock=True)
        [vpc] = ec2.describe_vpcs()["Vpcs"]
        block = vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"]
        for number, subnet in enumerate(ec2.describe_subnets()["Subnets"]):
            part = block.replace("00::/56", f"0{number}::/64")
            ec2.associate_subnet_cidr_block(SubnetId=subnet["SubnetId"], Ipv6CidrBlock=part)
        self.partners = ec2.create_managed_prefix_list(
            PrefixListName="partners", AddressFamily="IPv6", MaxEntries=3, Entries=[{"Cidr": "2001:db8:7::/48"}]
        )["PrefixList"]["PrefixListId"]
        self.web = ec2.create_security_group(GroupName="web", Description="test")["GroupId"]
        everybody = [{"CidrIpv6": "::/0"}]
        permissions = [
            {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "Ipv6Ranges": everybody},
            {"IpProtocol": "icmpv6", "FromPort": 128, "ToPort": -1, "Ipv6Ranges": everybody},
            {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "PrefixListIds": [{"PrefixListId": self.partners}]},
        ]
        ec2.authorize_security_group_ingress(GroupId=self.web, IpPermissions=permissions)
        for name, group in (("web1", "web"), ("app1", "default")):
            assert site.stockade("run", "-g", group, "--name", name).returncode == 0
        self.address: dict[str, str] = {}
        for reservation in ec2.describe_instances()["Reservations"]:
            for made in reservation["Instances"]:
                [name] = [tag["Value"] for tag in made["Tags"] if tag["Key"] == "Name"]
                self.address[name] = made["NetworkInterfaces"][0]["Ipv6Addresses"][0]["Ipv6Address"]

    def probed(self, source: str, destination: str, traffic: str) -> tuple[int, dict[str, Any]]:
        """An instance followed by /6 is meant by its IPv6 address."""
        sides = [self.address[side[:-2]] if side.endswith("/6") else side for side in (source, destination)]
        told = self.site.stockade("explain", *sides, traffic, "--probe", "--json")
        assert told.stdout, told.stderr
        return told.returncode, json.loads(told.stdout)


@pytest.fixture(scope="module")
def six() -> Iterator[Six]:
    build_micro()
    made = TestSite()
    try:
        made.up()
        yield Six(made)
    finally:
        made.end()


@pytest.mark.parametrize(
    ("source", "destination", "traffic", "code"),
    [
        ("app1/6", "web1/6", "tcp/22", 0),
        ("app1", "web1/6", "tcp/80", 1),
        ("app1", "web1/6", "icmpv6/128", 0),
        ("app1", "web1", "icmpv6/128", 0),
        ("web1", "app1/6", "icmpv6/128", 1),
        ("app1/6", "web1/6", "50", 1),
        ("app1", "web1/6", "all", 1),
        ("2001:db8:7::9", "web1/6", "tcp/443", 0),
        ("2001:db8:8::9", "web1/6", "tcp/443", 1),
        ("2001:db8:8::9", "web1/6", "tcp/22", 0),
        ("partners", "web1", "tcp/443", 0),
        ("partners", "web1", "tcp/444", 1),
        ("::/0", "web1", "tcp/22", 0),
    ],
)
def test_packets_do_as_the_rules_say_over_ipv6(
    six: Six, source: str, destination: str, traffic: str, code: int
) -> None:
    returned, answer = six.probed(source, destination, traffic)
    assert (returned, answer["probe"]["agrees"]) == (code, True), answer["probe"]
    assert ":" in answer["probe"]["packets"][0]["source"]


def test_the_command_that_would_help_is_right_for_ipv6_and_prefix_lists(six: Six) -> None:
    _, blocked = six.probed("2001:db8:8::9", "web1/6", "tcp/443")
    assert blocked["to_allow"]["command"] == (
        f"aws ec2 authorize-security-group-ingress --group-id {six.web} --ip-permissions"
        " 'IpProtocol=tcp,FromPort=443,ToPort=443,Ipv6Ranges=[{CidrIpv6=2001:db8:8::9/128}]'"
    )
    _, blocked = six.probed("partners", "web1", "tcp/444")
    assert blocked["to_allow"]["command"].endswith(f"PrefixListIds=[{{PrefixListId={six.partners}}}]'")
    near = blocked["hops"][-1]["rules"]
    [listed] = [rule for rule in near if "prefix_list_id" in rule["peer"]]
    assert (listed["peer"]["prefix_list_name"], listed["lacks"]) == ("partners", ["port"])


def test_flows_and_matrix_speak_of_ipv6(six: Six) -> None:
    six.probed("2001:db8:8::9", "web1/6", "tcp/22")
    six.probed("2001:db8:8::9", "web1/6", "tcp/25")

    def told(*filters: str) -> list[dict[str, Any]]:
        lines = six.site.stockade("flows", "-o", "json", "--from", "2001:db8:8::/48", *filters).stdout.splitlines()
        return [json.loads(line) for line in lines]

    [accepted, *_] = until(lambda: told("--accept", "--port", "tcp/22", "--group", "web"))
    assert accepted["destination"]["address"] == six.address["web1"]
    assert accepted["why"].endswith("of web")
    [rejected, *_] = until(lambda: told("--reject", "--port", "tcp/25", "--to", six.address["web1"]))
    assert rejected["why"] == "ingress: no match in web"
    [line, *_] = six.site.stockade(
        "flows", "--format", "${type} ${srcaddr} ${dstaddr} ${action}", "--port", "tcp/25"
    ).stdout.splitlines()
    assert line == f"IPv6 2001:db8:8::9 {six.address['web1']} REJECT"
    rows = six.site.stockade("matrix", "--no-headers").stdout.splitlines()
    world6 = next(row for row in rows if row.startswith("::/0"))
    assert world6.split() == ["::/0", "-", "tcp/22", "icmpv6/128"]


def test_a_test_file_knows_ipv6_and_icmpv6(six: Six) -> None:
    policy = six.site.base / "six.yaml"
    policy.write_text(
        """
version: 1
names: { world6: "::/0" }
tests:
  - from: world6
    accept: ["web1:tcp/22", "web1:icmpv6/128"]
    deny: ["web1:tcp/80", "app1:all"]
  - from: partners
    accept: ["web1:tcp/443"]
"""
    )
    told = six.site.stockade("test", str(policy), "--mode", "both", "--json")
    assert told.returncode == 0, told.stdout + told.stderr
    [file] = json.loads(told.stdout)["files"]
    assert {result["by"] for result in file["results"]} == {"both"}

"""IPv6 from the API to packets: a network that gets a block, instances that get addresses, rules over IPv6."""

import http.client
import socket
from collections.abc import Callable, Iterator
from typing import Any

import dns.message
import dns.query
import dns.reversename
import pytest

from netns.site import MICRO, TestSite, build_micro, until
from stockade.linux.namespaces import in_netns

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

RESOLVER, METADATA = "fd00:ec2::253", "fd00:ec2::254"


@pytest.fixture
def site() -> Iterator[TestSite]:
    build_micro()
    made = TestSite()
    try:
        made.up()
        yield made
    finally:
        made.end()


def banner(address: str, within_s: float = 1.0) -> bytes:
    """What an SSH server there says first; nothing when there is silence."""
    with socket.socket(socket.AF_INET6) as tried:
        tried.settimeout(within_s)
        try:
            tried.connect((address, 22))
            return tried.recv(64)
        except TimeoutError:
            return b""


def first_banner(address: str) -> bytes:
    """As `banner`, where the server may not be up yet."""
    try:
        return banner(address)
    except ConnectionRefusedError:
        return b""


def answers(name: str, kind: str) -> list[str]:
    reply = dns.query.udp(dns.message.make_query(name, kind), RESOLVER, 5)
    return [record.to_text() for group in reply.answer for record in group]


def metadata(host: str, item: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(host, 80, timeout=5)
    try:
        connection.request("GET", f"/latest/meta-data/{item}")
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
    finally:
        connection.close()


def test_instances_meet_over_ipv6_as_their_rules_say(site: TestSite) -> None:
    ec2 = site.client()
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    block = ec2.associate_vpc_cidr_block(VpcId=vpc, AmazonProvidedIpv6CidrBlock=True)["Ipv6CidrBlockAssociation"]
    subnet = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"][0]["SubnetId"]
    ec2.associate_subnet_cidr_block(SubnetId=subnet, Ipv6CidrBlock=block["Ipv6CidrBlock"].replace("/56", "/64"))

    group = ec2.create_security_group(GroupName="six", Description="six", VpcId=vpc)["GroupId"]
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
    members = [ssh | {"UserIdGroupPairs": [{"GroupId": group}]}]
    anybody = [ssh | {"Ipv6Ranges": [{"CidrIpv6": "::/0"}]}]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=members)
    made = ec2.run_instances(
        ImageId=MICRO, MinCount=2, MaxCount=2, SubnetId=subnet, SecurityGroupIds=[group], Ipv6AddressCount=1
    )["Instances"]
    ids = [one["InstanceId"] for one in made]

    def running() -> list[dict[str, Any]]:
        told = [
            one
            for each in ec2.describe_instances(InstanceIds=ids)["Reservations"]
            for one in each["Instances"]
            if one["State"]["Name"] == "running"
        ]
        return told if len(told) == 2 else []

    one, two = until(running)
    first, second = one["Ipv6Address"], two["Ipv6Address"]
    with site.network_of(one["InstanceId"]) as space:

        def inside(function: Callable[[], Any]) -> Any:
            return in_netns(space, function)

        assert until(lambda: inside(lambda: first_banner(second))).startswith(b"SSH-2.0")
        name = two["PrivateDnsName"] + "."
        assert inside(lambda: answers(name, "AAAA")) == [second]
        assert inside(lambda: answers(name, "A")) == [two["PrivateIpAddress"]]
        assert inside(lambda: answers(dns.reversename.from_address(second).to_text(), "PTR")) == [name]
        assert inside(lambda: metadata("169.254.169.254", "ipv6")) == (200, first)
        assert inside(lambda: metadata(METADATA, "ipv6"))[0] == 403  # HttpProtocolIpv6 is off unless asked for

        assert site.inside(lambda: banner(second)) == b""
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=anybody)
        assert site.inside(lambda: banner(second)).startswith(b"SSH-2.0")

        ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[*members, *anybody])
        assert inside(lambda: banner(second)) == b""
        assert site.inside(lambda: banner(second)) == b""

"""Requests and the documents that answer them, version by version, on file.

One sequence of calls for each version, on an account of its own, in a world whose clock stands still and
whose ids come in order. `./dev golden` rewrites the files; they are reviewed like code.
"""

import hashlib
import itertools
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

import pytest

from serving import HOST, World
from stockade.api.aws.auth.authenticate import AuthRules
from stockade.api.aws.request import HttpRequest
from stockade.model.account import Account, Platform
from stockade.model.instance import InstanceStatus, Observed

FILES = Path(__file__).parent / "wire"
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
OWNER = "598916040194"
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f mary"

CLASSIC = (
    "Action=CreateSecurityGroup&GroupName=apache&GroupDescription=Mary's+Apache+group",
    "Action=AuthorizeSecurityGroupIngress&GroupName=apache&IpProtocol=tcp&FromPort=80&ToPort=80&CidrIp=0.0.0.0/0",
    "Action=CreateSecurityGroup&GroupName=appserver&GroupDescription=Mary's+app+server",
    f"Action=AuthorizeSecurityGroupIngress&GroupName=appserver&SourceSecurityGroupName=apache&SourceSecurityGroupOwnerId={OWNER}",
    "Action=DescribeSecurityGroups",
    "Action=RunInstances&ImageId=ami-fba54092&MinCount=2&MaxCount=2&SecurityGroup.1=apache&AddressingType=public",
    "running",
    "Action=DescribeInstances",
    "Action=DescribeImages&ImageId.1=ami-eca54085",
    "Action=DescribeKeyPairs",
    "Action=DescribeAvailabilityZones",
    "Action=DescribeRegions",
    "Action=TerminateInstances&InstanceId.1={instance}",
    "Action=DeleteSecurityGroup&GroupName=apache",
    "Action=RevokeSecurityGroupIngress&GroupName=apache&IpProtocol=tcp&FromPort=80&ToPort=80&CidrIp=0.0.0.0/0",
    "Action=DescribeSecurityGroups&GroupName.1=nosuch",
    "Action=CreateTags&ResourceId.1={instance}&Tag.1.Key=Name&Tag.1.Value=web",
)
MODERN = (
    "Action=CreateSecurityGroup&GroupName=web&GroupDescription=web+servers"
    "&TagSpecification.1.ResourceType=security-group&TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.1.Value=b",
    "Action=AuthorizeSecurityGroupIngress&GroupName=web&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=80"
    "&IpPermissions.1.ToPort=80&IpPermissions.1.IpRanges.1.CidrIp=0.0.0.0/0"
    "&IpPermissions.1.IpRanges.1.Description=everybody",
    "Action=DescribeSecurityGroups&GroupName.1=web",
    "Action=RunInstances&ImageId=ami-fba54092&MinCount=1&MaxCount=1&SecurityGroup.1=web&InstanceType=t3.micro"
    f"&UserData={b64encode(b'hello').decode()}&TagSpecification.1.ResourceType=instance"
    "&TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=web",
    "running",
    "Action=DescribeInstances&Filter.1.Name=tag:Name&Filter.1.Value.1=w*",
    "Action=DescribeTags",
    "Action=DescribeInstanceStatus",
    "Action=DescribeNetworkInterfaces",
    "Action=DescribeSecurityGroupRules&MaxResults=5",
    "Action=CreateManagedPrefixList&PrefixListName=office&AddressFamily=IPv4&MaxEntries=3"
    "&Entry.1.Cidr=198.51.100.0/24&Entry.1.Description=hq",
    "Action=AssociateVpcCidrBlock&VpcId={vpc}&AmazonProvidedIpv6CidrBlock=true",
    "Action=DescribeVpcs",
    "Action=DescribeSubnets",
    "Action=DescribeAccountAttributes",
    "Action=DescribeAvailabilityZones",
    "Action=DescribeKeyPairs&IncludePublicKey=true",
    "Action=RevokeSecurityGroupIngress&GroupName=web&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=81"
    "&IpPermissions.1.ToPort=81&IpPermissions.1.IpRanges.1.CidrIp=0.0.0.0/0",
    "Action=TerminateInstances&InstanceId.1={instance}",
    "Action=DeleteSecurityGroup&GroupName=web",
    "Action=DescribeInstances&DryRun=true",
)


def ids_in_order() -> Callable[[int], str]:
    """Hex digits that look random and are the same each time."""
    numbers = itertools.count()
    return lambda digits: hashlib.sha256(str(next(numbers)).encode()).hexdigest()[:digits]


async def exchanges(platform: Platform, version: str, calls: tuple[str, ...]) -> str:
    """The calls and their answers as one text."""
    whom: list[Account] = []
    rules = AuthRules(anyone=lambda: whom[0])
    world = await World.open(auth=rules, now=lambda: NOON, random_hex=ids_in_order())
    created = await world.services.accounts.create("mary", OWNER, platform, public_key=PUBLIC_KEY)
    whom.append(created.account)
    numbers = itertools.count(1)
    gateway = world.gateway_with(lambda: f"00000000-0000-0000-0000-{next(numbers):012d}")
    stream = world.feed.connect(HOST)
    lines: list[str] = []
    for call in calls:
        instances = list(world.cell.resources.instances)
        if call == "running":
            for instance in instances:
                await stream.report(InstanceStatus(instance, Observed.RUNNING))
            continue
        vpc = next((vpc.id for vpc in world.cell.resources.vpcs.values() if not vpc.is_classic), "")
        form = call.format(instance=instances[0] if instances else "", vpc=vpc)
        query = f"{form}&{urlencode({'Version': version})}"
        request = HttpRequest(
            "GET", "/", query, (("host", "127.0.0.1:8773"), ("x-stockade-wait", "off")), loopback=True
        )
        answer = await gateway.answer(request)
        lines += [f"> {query}", f"< {answer.status}", answer.document.decode().replace("><", ">\n<"), ""]
    await world.close()
    return "\n".join(lines)


@pytest.mark.parametrize(
    "version", ["2006-06-26", "2007-08-29", "2008-02-01", "2008-12-01", "2009-11-30", "2016-11-15"]
)
async def test_a_classic_account_is_answered_as_each_version_was(
    version: str, golden: Callable[[Path, str], None]
) -> None:
    golden(FILES / f"classic-{version}.txt", await exchanges(Platform.CLASSIC, version, CLASSIC))


async def test_a_vpc_account_is_answered_as_today(golden: Callable[[Path, str], None]) -> None:
    golden(FILES / "vpc-2016-11-15.txt", await exchanges(Platform.VPC, "2016-11-15", MODERN))

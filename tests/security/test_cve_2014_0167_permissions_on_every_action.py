"""Nova's EC2 API, CVE-2014-0167: role policy was not enforced on adding, removing and destroying rules.

Every action that is built, whichever resource it is told: nobody without a good signature gets an answer from it, and
a tenant who names what is another's is told that it is not there. None of it writes a single record.
"""

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import botocore.session
import pytest
from botocore.exceptions import ClientError

from conformance.conftest import client
from security.engines import launch, make_group
from serving import ControlPlane
from stockade.api.aws.registry import built
from stockade.model.account import Platform
from stockade.model.change import Revision
from stockade.model.ids import SecurityGroupId

ACTIONS = sorted(built(sts=False))
WEB = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
PERMISSIONS = {"IpPermissions": [WEB]}
DESCRIBED = [
    {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "x"}]}
]
LAUNCH = {"ImageId": "ami-eca54085", "MinCount": 1, "MaxCount": 1}
CHANGED = {
    "SecurityGroupRuleId": "sgr-0123456789abcdef0",
    "SecurityGroupRule": {"IpProtocol": "-1", "CidrIpv4": "10.0.0.0/8"},
}
OWN_INSTANCE, OWN_INTERFACE, OWN_GROUP = "<instance>", "<interface>", "<group>"
BESIDE: Mapping[str, Mapping[str, Any]] = {
    "AssociateSubnetCidrBlock": {"Ipv6CidrBlock": "fd00:5c::/64"},
    "AssociateVpcCidrBlock": {"AmazonProvidedIpv6CidrBlock": True},
    "AuthorizeSecurityGroupEgress": PERMISSIONS,
    "AuthorizeSecurityGroupIngress": PERMISSIONS,
    "CreateSecurityGroup": {"GroupName": "mine", "Description": "-"},
    "CreateSubnet": {"CidrBlock": "172.31.240.0/24"},
    "CreateTags": {"Tags": [{"Key": "owner", "Value": "mallory"}]},
    "DeleteTags": {"Tags": [{"Key": "owner"}]},
    "DescribeInstanceAttribute": {"Attribute": "groupSet"},
    "DescribeNetworkInterfaceAttribute": {"Attribute": "groupSet"},
    "DescribeVpcAttribute": {"Attribute": "enableDnsSupport"},
    "ModifyInstanceAttribute": {"Groups": [OWN_GROUP], "InstanceId": OWN_INSTANCE},
    "ModifyManagedPrefixList": {"AddEntries": [{"Cidr": "10.0.0.0/8"}], "CurrentVersion": 1},
    "ModifyNetworkInterfaceAttribute": {"Groups": [OWN_GROUP], "NetworkInterfaceId": OWN_INTERFACE},
    "ModifySecurityGroupRules": {"SecurityGroupRules": [CHANGED]},
    "RevokeSecurityGroupEgress": PERMISSIONS,
    "RevokeSecurityGroupIngress": PERMISSIONS,
    "RunInstances": LAUNCH,
    "UpdateSecurityGroupRuleDescriptionsEgress": {"IpPermissions": DESCRIBED},
    "UpdateSecurityGroupRuleDescriptionsIngress": {"IpPermissions": DESCRIBED},
}
"""What else an action needs before it looks at what it is told."""

NAMES = {
    *("GroupId", "GroupIds", "GroupName", "GroupNames", "SecurityGroupIds", "SecurityGroups", "Groups"),
    *("InstanceId", "InstanceIds", "NetworkInterfaceId", "NetworkInterfaceIds", "SecurityGroupRuleIds"),
    *("KeyName", "KeyNames", "KeyPairId", "KeyPairIds", "VpcId", "VpcIds", "SubnetId", "SubnetIds", "Resources"),
    *("PrefixListId", "PrefixListIds"),
}
NAMING_ANEW = {("CreateKeyPair", "KeyName"), ("ImportKeyPair", "KeyName"), ("CreateSecurityGroup", "GroupName")}
LISTS = {("DescribeSecurityGroupReferences", "GroupId")}  # a list whatever its name says


@pytest.fixture(scope="module")
def owned(plane: ControlPlane) -> Mapping[str, str]:
    """What the victim has: by the last word of a parameter's name, an id or a name."""
    victim = client(plane, plane.account(Platform.VPC))
    group = make_group(victim, "theirs", WEB)
    interface = launch(victim, group)
    instance = victim.describe_instances()["Reservations"][0]["Instances"][0]
    key = victim.create_key_pair(KeyName="theirs")
    rule = plane.world.cache.resources.groups[SecurityGroupId(group)].rules[-1]
    return {
        "Group": group,
        "SecurityGroup": group,
        "Instance": instance["InstanceId"],
        "NetworkInterface": interface,
        "SecurityGroupRule": rule.id,
        "KeyPair": key["KeyPairId"],
        "Vpc": instance["VpcId"],
        "Subnet": instance["SubnetId"],
        "Resource": group,
        "PrefixList": "pl-0123456789abcdef0",
    }


@dataclass(frozen=True, slots=True)
class Intruder:
    """Another tenant, with an instance and a group of its own."""

    ec2: Any
    own: Mapping[str, str]

    def filled(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """With what is its own in the places left for it."""
        swap = self.own.get
        return {
            name: [swap(each, each) for each in value] if isinstance(value, list) and name == "Groups"
            else swap(value, value) if isinstance(value, str) else value
            for name, value in asked.items()
        }  # fmt: skip


@pytest.fixture(scope="module")
def intruder(plane: ControlPlane) -> Intruder:
    ec2 = client(plane, plane.account(Platform.VPC))
    group = make_group(ec2, "own")
    interface = launch(ec2, group)
    instance = ec2.describe_instances()["Reservations"][0]["Instances"][0]["InstanceId"]
    return Intruder(ec2, {OWN_GROUP: group, OWN_INTERFACE: interface, OWN_INSTANCE: instance})


def theirs(parameter: str, owned: Mapping[str, str]) -> Any:
    """The victim's, as this parameter is spelled."""
    if parameter in ("KeyName", "GroupName"):
        return "theirs"
    if parameter in ("KeyNames", "GroupNames", "SecurityGroups"):
        return ["theirs"]
    kind = parameter.removesuffix("s").removesuffix("Id")
    return [owned[kind]] if parameter.endswith("s") else owned[kind]


def cases() -> Iterator[tuple[str, str]]:
    for name in ACTIONS:
        yield from (
            (name, one) for one in sorted(built(sts=False)[name].reads & NAMES) if (name, one) not in NAMING_ANEW
        )


def revision(plane: ControlPlane) -> Revision:
    return plane.world.cache.resources.revision


@pytest.mark.parametrize(("name", "parameter"), list(cases()))
def test_what_is_anothers_is_not_there(
    plane: ControlPlane, intruder: Intruder, owned: Mapping[str, str], name: str, parameter: str
) -> None:
    before = revision(plane)
    there = theirs(parameter, owned)
    asked = intruder.filled(BESIDE.get(name, {})) | {parameter: [there] if (name, parameter) in LISTS else there}
    if parameter == "SecurityGroupRuleIds" and name.startswith("Revoke"):
        asked = {"GroupId": intruder.own[OWN_GROUP], parameter: asked[parameter]}
    code = ""
    try:
        answer = intruder.ec2._make_api_call(name, asked)
        assert "theirs" not in json.dumps(answer, default=str)
        assert (name.startswith("Delete") and parameter.startswith("Key")) or is_empty(answer)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        assert code.endswith(".NotFound"), code
    assert revision(plane) == before, code


def is_empty(answer: Mapping[str, Any]) -> bool:
    """A question about nobody's has an answer without a word: EC2 deletes what is not there, and lists it."""
    return all(not value for name, value in answer.items() if name != "ResponseMetadata")


def version() -> str:
    found = botocore.session.get_session().get_service_model("ec2").api_version
    return str(found)


def ask(plane: ControlPlane, form: Mapping[str, str]) -> tuple[int, str]:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    with closing(http.client.HTTPConnection("127.0.0.1", plane.port, timeout=10)) as connection:
        connection.request("POST", "/", urlencode(form), headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


@pytest.mark.parametrize("name", ACTIONS)
def test_without_a_good_signature_no_action_answers(plane: ControlPlane, owned: Mapping[str, str], name: str) -> None:
    before = revision(plane)
    bare = {"Action": name, "Version": version(), "GroupId": owned["Group"], "InstanceId.1": owned["Instance"]}
    key = next(iter(plane.world.cache.resources.access_keys.values())).id
    forged = bare | {"AWSAccessKeyId": key, "SignatureVersion": "2", "SignatureMethod": "HmacSHA256"}
    forged |= {"Timestamp": plane.world.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"), "Signature": "AAAA"}
    assert ask(plane, bare)[0] in (401, 403)
    status, document = ask(plane, forged)
    assert status in (401, 403), document
    assert owned["Instance"] not in document
    assert revision(plane) == before


@pytest.mark.parametrize("path", ["/_stockade/accounts", "/_stockade/flows", "/_stockade/group?group=theirs"])
def test_nor_does_the_other_door(plane: ControlPlane, path: str) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", plane.port, timeout=10)) as connection:
        connection.request("GET", path)
        assert connection.getresponse().status in (401, 403)


@pytest.mark.parametrize("path", ["accounts", "explain", "matrix", "test"])
def test_nor_does_it_take_a_body(plane: ControlPlane, path: str) -> None:
    before = revision(plane)
    with closing(http.client.HTTPConnection("127.0.0.1", plane.port, timeout=10)) as connection:
        connection.request("POST", f"/_stockade/{path}", "{}", {"Content-Type": "application/json"})
        assert connection.getresponse().status in (401, 403)
    assert revision(plane) == before

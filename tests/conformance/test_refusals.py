"""What is wrong is refused with AWS's code and text, and nothing else changes."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from conformance.conftest import client
from serving import ControlPlane
from stockade.service.accounts import CreatedAccount

MICRO = "ami-eca54085"
ABSENT_GROUP = "sg-01234567890abcdef"


def refusal(call: Callable[..., Any], **given: Any) -> tuple[str, str]:
    """Code and text of the error that the call must end with."""
    with pytest.raises(ClientError) as caught:
        call(**given)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


@pytest.fixture
def group(ec2: Any) -> str:
    made = ec2.create_security_group(GroupName="target", Description="x")
    return str(made["GroupId"])


def rule(**changed: Any) -> dict[str, Any]:
    return {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]} | changed


@pytest.mark.parametrize(
    ("permission", "code", "text"),
    [
        (rule(IpRanges=[{"CidrIp": "10.0.0.300/8"}]), "InvalidParameterValue", "CIDR block 10.0.0.300/8 is malformed"),
        (rule(IpRanges=[{"CidrIp": "10.0.0.1"}]), "InvalidParameterValue", "CIDR block 10.0.0.1 is malformed"),
        (rule(IpRanges=[{"CidrIp": "::/0"}]), "InvalidParameterValue", "CIDR block ::/0 is malformed"),
        (rule(ToPort=70000), "InvalidParameterValue", "TCP/UDP port (70000) out of range"),
        (rule(FromPort=90), "InvalidParameterValue", "Invalid TCP/UDP port range (90:80)"),
        (rule(IpProtocol="tpc"), "InvalidParameterValue", "Invalid value 'tpc' for IP protocol. Unknown protocol."),
        (rule(IpProtocol="300"), "InvalidParameterValue", "Invalid value '300' for IP protocol. Unknown protocol."),
        (rule(IpProtocol="icmp", FromPort=8, ToPort=400), "InvalidParameterValue", "ICMP code (400) out of range"),
        (
            {"IpProtocol": "tcp", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
            "InvalidParameterValue",
            "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.",
        ),
        (
            rule(IpRanges=[], PrefixListIds=[{"PrefixListId": "pl-01234567"}]),
            "InvalidPrefixListID.NotFound",
            "The prefix list ID 'pl-01234567' does not exist",
        ),
        (
            rule(IpRanges=[], UserIdGroupPairs=[{"GroupId": ABSENT_GROUP}]),
            "InvalidGroup.NotFound",
            f"The security group '{ABSENT_GROUP}' does not exist",
        ),
        (
            rule(IpRanges=[], UserIdGroupPairs=[{"UserId": "12", "GroupName": "x"}]),
            "InvalidUserID.Malformed",
            'Invalid user id: "12"',
        ),
        (
            rule(IpRanges=[{"CidrIp": "0.0.0.0/0", "Description": "naïve"}]),
            "InvalidParameterValue",
            "Invalid rule description.",
        ),
    ],
)
def test_a_rule_that_cannot_be_changes_nothing(ec2: Any, group: str, permission: Any, code: str, text: str) -> None:
    before = ec2.describe_security_groups()["SecurityGroups"]
    good = rule(FromPort=443, ToPort=443)
    said = refusal(ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=[good, permission])
    assert said[0] == code
    assert said[1].startswith(text)
    assert ec2.describe_security_groups()["SecurityGroups"] == before


def test_an_equal_rule_is_a_duplicate_however_it_is_spelled(ec2: Any, group: str) -> None:
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule(IpRanges=[{"CidrIp": "100.68.0.0/18"}])])
    code, text = refusal(
        ec2.authorize_security_group_ingress,
        GroupId=group,
        IpPermissions=[rule(IpProtocol="TCP", IpRanges=[{"CidrIp": "100.68.0.18/18"}])],
    )
    assert code == "InvalidPermission.Duplicate"
    assert text == ('the specified rule "peer: 100.68.0.0/18, TCP, from port: 80, to port: 80, ALLOW" already exists')


def test_groups_that_cannot_be_found_made_or_deleted(ec2: Any, group: str) -> None:
    default = ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"][0]["GroupId"]
    assert refusal(ec2.delete_security_group, GroupId=ABSENT_GROUP) == (
        "InvalidGroup.NotFound",
        f"The security group '{ABSENT_GROUP}' does not exist",
    )
    assert refusal(ec2.describe_security_groups, GroupIds=["sg-nonsense"]) == (
        "InvalidGroupId.Malformed",
        'Invalid id: "sg-nonsense" (expecting "sg-...")',
    )
    assert refusal(ec2.delete_security_group, GroupId=default) == (
        "CannotDelete",
        f'the specified group: "{default}" name: "default" cannot be deleted by a user',
    )
    assert refusal(ec2.create_security_group, GroupName="target", Description="x")[0] == "InvalidGroup.Duplicate"
    assert refusal(ec2.create_security_group, GroupName="default", Description="x")[0] == "InvalidGroup.Reserved"
    assert refusal(ec2.create_security_group, GroupName="sg-mine", Description="x") == (
        "InvalidParameterValue",
        "Value (sg-mine) for parameter GroupName is invalid. Group names may not be in the format sg-*.",
    )
    assert refusal(ec2.create_security_group, GroupName="x", Description="Mary's")[0] == "InvalidParameterValue"
    assert refusal(ec2.create_security_group, GroupName="x", Description="x", VpcId="vpc-01234567")[0] == (
        "InvalidVpcID.NotFound"
    )


def test_a_group_in_use_stays(ec2: Any, group: str) -> None:
    launch = ec2.run_instances(ImageId=MICRO, MinCount=1, MaxCount=1, SecurityGroupIds=[group])
    interface = launch["Instances"][0]["NetworkInterfaces"][0]["NetworkInterfaceId"]
    assert refusal(ec2.delete_security_group, GroupId=group) == (
        "DependencyViolation",
        f"resource {group} has a dependent object: {interface}",
    )
    assert len(ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]) == 1
    ec2.terminate_instances(InstanceIds=[launch["Instances"][0]["InstanceId"]])


@pytest.mark.parametrize(
    ("changed", "code", "text"),
    [
        ({"ImageId": "ami-00000000"}, "InvalidAMIID.NotFound", "The image id '[ami-00000000]' does not exist"),
        ({"ImageId": "nonsense"}, "InvalidAMIID.Malformed", 'Invalid id: "nonsense" (expecting "ami-...")'),
        ({"KeyName": "nokey"}, "InvalidKeyPair.NotFound", "The key pair 'nokey' does not exist"),
        ({"SecurityGroupIds": [ABSENT_GROUP]}, "InvalidGroup.NotFound", f"The security group '{ABSENT_GROUP}'"),
        ({"SubnetId": "subnet-01234567"}, "InvalidSubnetID.NotFound", "The subnet ID 'subnet-01234567'"),
        ({"Placement": {"AvailabilityZone": "us-east-1q"}}, "InvalidParameterValue", "Invalid availability zone: ["),
        ({"MinCount": 3}, "InvalidParameterCombination", ""),
        ({"MinCount": 0}, "InvalidParameterValue", "Value (0) for parameter minCount is invalid."),
        ({"MinCount": 1001, "MaxCount": 1001}, "InstanceLimitExceeded", "Your quota allows for "),
        ({"DryRun": True}, "DryRunOperation", "Request would have succeeded, but DryRun flag is set."),
        ({"Ipv6AddressCount": 1}, "InvalidParameterCombination", "The subnet has no IPv6 CIDR block"),
        ({"NetworkInterfaces": [{"DeviceIndex": 0}] * 2}, "UnsupportedOperation", "Instances with several network"),
        (
            {"NetworkInterfaces": [{"DeviceIndex": 1}]},
            "UnsupportedOperation",
            "The parameter NetworkInterface.DeviceInd",
        ),
        ({"MetadataOptions": {"HttpTokens": "required"}}, "UnsupportedOperation", "The parameter MetadataOptions"),
        ({"DisableApiTermination": True}, "UnsupportedOperation", "The parameter DisableApiTermination"),
        ({"UserData": "x" * 20000}, "InvalidParameterValue", "User data is limited to 16384 bytes"),
        (
            {"TagSpecifications": [{"ResourceType": "spaceship", "Tags": [{"Key": "a", "Value": "b"}]}]},
            "InvalidParameterValue",
            "'spaceship' is not a valid taggable resource type for this operation.",
        ),
    ],
)
def test_a_launch_that_cannot_be_starts_nothing(ec2: Any, changed: dict[str, Any], code: str, text: str) -> None:
    said = refusal(ec2.run_instances, **({"ImageId": MICRO, "MinCount": 1, "MaxCount": 1} | changed))
    assert said[0] == code
    assert said[1].startswith(text)
    assert ec2.describe_instances()["Reservations"] == []


def test_instances_that_are_not_the_callers_do_not_exist(plane: ControlPlane, ec2: Any, classic: Any) -> None:
    theirs = ec2.run_instances(ImageId=MICRO, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    for call in (classic.describe_instances, classic.terminate_instances):
        assert refusal(call, InstanceIds=[theirs]) == (
            "InvalidInstanceID.NotFound",
            f"The instance ID '{theirs}' does not exist",
        )
    assert refusal(ec2.describe_instances, InstanceIds=["i-xyz"]) == (
        "InvalidInstanceID.Malformed",
        'Invalid id: "i-xyz"',
    )
    ec2.terminate_instances(InstanceIds=[theirs])


def test_keys_and_tags_that_cannot_be(ec2: Any) -> None:
    ec2.create_key_pair(KeyName="once")
    assert refusal(ec2.create_key_pair, KeyName="once") == (
        "InvalidKeyPair.Duplicate",
        "The keypair 'once' already exists.",
    )
    assert refusal(ec2.describe_key_pairs, KeyNames=["never"])[0] == "InvalidKeyPair.NotFound"
    assert refusal(ec2.import_key_pair, KeyName="bad", PublicKeyMaterial=b"hello")[0] == "InvalidKey.Format"
    assert refusal(ec2.create_tags, Resources=[ABSENT_GROUP], Tags=[{"Key": "a", "Value": "b"}])[0] == (
        "InvalidGroup.NotFound"
    )
    twice = [{"Key": "a", "Value": "b"}, {"Key": "a", "Value": "c"}]
    assert refusal(ec2.create_tags, Resources=[ABSENT_GROUP], Tags=twice)[0] == "InvalidParameterValue"


def test_questions_that_cannot_be_answered(ec2: Any) -> None:
    unknown = [{"Name": "favourite-colour", "Values": ["blue"]}]
    for call in (ec2.describe_instances, ec2.describe_security_groups, ec2.describe_vpcs, ec2.describe_images):
        assert refusal(call, Filters=unknown) == (
            "InvalidParameterValue",
            "The filter 'favourite-colour' is invalid",
        )
    assert refusal(ec2.describe_instances, MaxResults=3)[0] == "InvalidParameterValue"
    assert refusal(ec2.describe_security_groups, NextToken="nonsense")[0] == "InvalidParameterValue"
    assert refusal(ec2.describe_instances, MaxResults=5, InstanceIds=["i-01234567"])[0] == "InvalidParameterCombination"


def test_an_action_that_is_not_built_names_itself(ec2: Any) -> None:
    assert refusal(ec2.create_transit_gateway) == (
        "UnsupportedOperation",
        "The action CreateTransitGateway is not built in Stockade.",
    )


def test_classic_says_it_in_its_own_words(classic: Any) -> None:
    flat = {"GroupName": "default", "IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "0.0.0.0/0"}
    classic.authorize_security_group_ingress(**flat)
    authorize = classic.authorize_security_group_ingress
    assert refusal(authorize, **flat) == (
        "InvalidPermission.Duplicate",
        "The permission '0.0.0.0/0-1-22-22' has already been authorized on the specified group",
    )
    assert refusal(authorize, **(flat | {"IpProtocol": "tpc"})) == (
        "InvalidPermission.Malformed",
        'Unsupported IP protocol "tpc"  - supported: [tcp, udp, icmp]',
    )
    assert refusal(authorize, **(flat | {"ToPort": 70000})) == (
        "InvalidPermission.Malformed",
        "TCP/UDP port (70000) out of range",
    )
    assert refusal(authorize, **(flat | {"CidrIp": "1.2.3"}))[0] == "InvalidPermission.Malformed"
    both = flat | {"SourceSecurityGroupName": "default"}
    assert refusal(authorize, **both)[0] == "InvalidParameterCombination"
    assert refusal(classic.delete_security_group, GroupName="default") == (
        "InvalidGroup.Reserved",
        "The security group 'default' is reserved",
    )
    assert refusal(classic.delete_security_group, GroupName="nosuch") == (
        "InvalidGroup.NotFound",
        "The security group 'nosuch' does not exist",
    )
    group = classic.describe_security_groups()["SecurityGroups"][0]["GroupId"]
    assert refusal(classic.authorize_security_group_egress, GroupId=group, IpPermissions=[rule()])[0] == (
        "InvalidParameterValue"
    )


def test_classic_revokes_what_is_not_there_without_a_word(classic: Any) -> None:
    answer = classic.revoke_security_group_ingress(
        GroupName="default", IpProtocol="tcp", FromPort=2222, ToPort=2222, CidrIp="0.0.0.0/0"
    )
    assert answer["Return"] is True


def test_a_wrong_secret_is_told_nothing(plane: ControlPlane, mary: CreatedAccount, ec2: Any) -> None:
    liar = client(plane, mary, secret="wrong")
    assert refusal(liar.create_security_group, GroupName="liar", Description="x") == (
        "AuthFailure",
        "AWS was not able to validate the provided access credentials",
    )
    assert [g["GroupName"] for g in ec2.describe_security_groups()["SecurityGroups"]] == ["default"]
    assert refusal(client(plane, mary, "sts", secret="wrong").get_caller_identity)[0] == "SignatureDoesNotMatch"

"""Form parameters become the nested dict that the model describes, or AWS's fault."""

from pathlib import Path

import pytest

from stockade.api.aws.wire.faults import Fault
from stockade.api.aws.wire.query import decode, parse_form, single_valued
from stockade.api.aws.wire.service_model import ServiceModel

WIRE = Path(__file__).parents[3] / "src" / "stockade" / "api" / "aws" / "wire"
EC2 = ServiceModel((WIRE / "ec2_model.json.gz").read_bytes())


def decoded(action: str, form: str) -> dict[str, object]:
    found = EC2.action(action)
    assert found is not None
    return decode(EC2, found.input, single_valued(parse_form(form)))


def test_a_permission_nests_and_its_lists_follow_their_numbers() -> None:
    form = (
        "Action=AuthorizeSecurityGroupIngress&Version=2016-11-15&GroupId=sg-1"
        "&IpPermissions.2.IpProtocol=udp&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=80"
        "&IpPermissions.1.ToPort=80&IpPermissions.1.IpRanges.10.CidrIp=10.0.0.0%2F8"
        "&IpPermissions.1.IpRanges.2.CidrIp=0.0.0.0%2F0&IpPermissions.1.Groups.1.GroupId=sg-2"
    )
    assert decoded("AuthorizeSecurityGroupIngress", form) == {
        "GroupId": "sg-1",
        "IpPermissions": [
            {
                "IpProtocol": "tcp",
                "FromPort": 80,
                "ToPort": 80,
                "IpRanges": [{"CidrIp": "0.0.0.0/0"}, {"CidrIp": "10.0.0.0/8"}],
                "UserIdGroupPairs": [{"GroupId": "sg-2"}],
            },
            {"IpProtocol": "udp"},
        ],
    }


def test_the_flat_form_of_2006_is_the_same_action() -> None:
    form = "GroupName=web&IpProtocol=tcp&FromPort=22&ToPort=22&CidrIp=192.168.1.130/32"
    assert decoded("AuthorizeSecurityGroupIngress", form)["FromPort"] == 22


def test_signature_parameters_are_not_the_actions() -> None:
    form = "Action=DescribeVpcs&Version=2016-11-15&AWSAccessKeyId=x&Signature=y&Timestamp=z&X-Amz-Date=now"
    assert decoded("DescribeVpcs", form) == {}


def test_plus_and_percent_are_decoded() -> None:
    form = "GroupName=a+b&GroupDescription=Mary%27s+%C3%A9"
    assert decoded("CreateSecurityGroup", form) == {"GroupName": "a b", "Description": "Mary's é"}


@pytest.mark.parametrize(
    ("action", "form", "code", "text"),
    [
        ("DescribeVpcs", "Nonsense=1", "UnknownParameter", "The parameter Nonsense is not recognized"),
        ("DescribeVpcs", "VpcId.one=1", "UnknownParameter", "The parameter VpcId.one is not recognized"),
        ("DescribeVpcs", "VpcId=vpc-1", "UnknownParameter", "The parameter VpcId is not recognized"),
        ("DescribeVpcs", "VpcId.1.Deep=1", "UnknownParameter", "The parameter VpcId.1.Deep is not recognized"),
        ("DescribeVpcs", "MaxResults=many", "InvalidParameterValue", "Value (many) for parameter MaxResults"),
        ("DescribeVpcs", "DryRun=perhaps", "InvalidParameterValue", "Value (perhaps) for parameter DryRun"),
        ("CreateSecurityGroup", "GroupName=x", "MissingParameter", "must contain the parameter GroupDescription"),
        ("RunInstances", "ImageId=ami-1&MaxCount=1", "MissingParameter", "must contain the parameter MinCount"),
        ("ImportKeyPair", "KeyName=k&PublicKeyMaterial=***", "InvalidParameterValue", "PublicKeyMaterial"),
        ("DescribeVpcs", "Filter.1=x&Filter.1.Name=y", "UnknownParameter", "Filter.1"),
        ("DescribeVpcs", "a.b.c.d.e.f.g.h.i.j.k.l.m=1", "UnknownParameter", "not recognized"),
    ],
)
def test_what_does_not_fit_is_refused_with_awss_code(action: str, form: str, code: str, text: str) -> None:
    with pytest.raises(Fault) as caught:
        decoded(action, form)
    assert caught.value.code == code
    assert text in caught.value.message


def test_a_name_may_stand_once() -> None:
    with pytest.raises(Fault, match="GroupName"):
        single_valued(parse_form("GroupName=mine&GroupName=yours"))


def test_what_is_not_utf8_is_refused() -> None:
    with pytest.raises(Fault) as caught:
        parse_form("GroupName=%ff%fe")
    assert caught.value.code == "MalformedQueryString"

"""What clients read on the way: attributes, status, and what there is none of."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from serving import ControlPlane
from stockade.model.ids import InstanceId
from stockade.model.instance import InstanceStatus, Observed
from stockade.model.resources import put

MICRO = "ami-eca54085"


def code_of(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


@pytest.fixture
def running(ec2: Any) -> str:
    launch = ec2.run_instances(ImageId=MICRO, MinCount=1, MaxCount=1, InstanceType="t3.micro", UserData="hello")
    id = launch["Instances"][0]["InstanceId"]
    ec2.get_waiter("instance_running").wait(InstanceIds=[id], WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    return str(id)


def test_the_status_of_instances(plane: ControlPlane, ec2: Any, running: str) -> None:
    ec2.get_waiter("instance_status_ok").wait(InstanceIds=[running], WaiterConfig={"Delay": 1, "MaxAttempts": 5})
    (shown,) = ec2.describe_instance_status()["InstanceStatuses"]
    assert (shown["InstanceId"], shown["InstanceState"]["Name"]) == (running, "running")
    assert shown["InstanceStatus"] == {"Status": "ok", "Details": [{"Name": "reachability", "Status": "passed"}]}
    impaired = InstanceStatus(InstanceId(running), Observed.IMPAIRED, "its device is gone")
    plane.inside(plane.world.cache.commit([], [put(impaired)]))
    bad = [{"Name": "instance-status.status", "Values": ["impaired"]}]
    assert [one["InstanceId"] for one in ec2.describe_instance_status(Filters=bad)["InstanceStatuses"]] == [running]
    ec2.terminate_instances(InstanceIds=[running])
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[running], WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    assert ec2.describe_instance_status()["InstanceStatuses"] == []
    (gone,) = ec2.describe_instance_status(IncludeAllInstances=True)["InstanceStatuses"]
    assert gone["InstanceStatus"]["Status"] == "not-applicable"


def test_attributes_of_an_instance(ec2: Any, running: str) -> None:
    def attribute(name: str) -> dict[str, Any]:
        answer: dict[str, Any] = ec2.describe_instance_attribute(InstanceId=running, Attribute=name)
        return answer

    assert attribute("instanceType")["InstanceType"] == {"Value": "t3.micro"}
    assert attribute("userData")["UserData"] == {"Value": "aGVsbG8="}
    assert attribute("disableApiTermination")["DisableApiTermination"] == {"Value": False}
    assert [group["GroupName"] for group in attribute("groupSet")["Groups"]] == ["default"]
    ec2.modify_instance_attribute(InstanceId=running, SourceDestCheck={"Value": False})
    assert attribute("sourceDestCheck")["SourceDestCheck"] == {"Value": False}
    assert code_of(ec2.describe_instance_attribute, InstanceId=running, Attribute="x") == "InvalidParameterValue"
    assert code_of(ec2.describe_instance_attribute, InstanceId="i-00000000", Attribute="groupSet") == (
        "InvalidInstanceID.NotFound"
    )
    credits = ec2.describe_instance_credit_specifications(InstanceIds=[running])["InstanceCreditSpecifications"]
    assert credits == [{"InstanceId": running, "CpuCredits": "standard"}]


def test_attributes_of_the_account_and_its_vpc(ec2: Any, classic: Any) -> None:
    def attributes(client: Any, *names: str) -> dict[str, list[str]]:
        found = client.describe_account_attributes(AttributeNames=list(names))["AccountAttributes"]
        return {one["AttributeName"]: [value["AttributeValue"] for value in one["AttributeValues"]] for one in found}

    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    assert attributes(ec2, "supported-platforms", "default-vpc") == {
        "supported-platforms": ["VPC"],
        "default-vpc": [vpc],
    }
    assert attributes(classic)["supported-platforms"] == ["EC2"]
    assert attributes(classic)["default-vpc"] == ["none"]
    assert attributes(ec2)["vpc-max-security-groups-per-interface"] == ["5"]
    assert code_of(ec2.describe_account_attributes, AttributeNames=["x"]) == "InvalidParameterValue"
    names = ec2.describe_vpc_attribute(VpcId=vpc, Attribute="enableDnsHostnames")
    assert names["EnableDnsHostnames"] == {"Value": True}
    assert code_of(ec2.describe_vpc_attribute, VpcId="vpc-00000000", Attribute="enableDnsSupport") == (
        "InvalidVpcID.NotFound"
    )


def test_what_there_is_none_of(ec2: Any, running: str) -> None:
    assert ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [running]}])["Volumes"] == []
    assert code_of(ec2.describe_volumes, VolumeIds=["vol-00000000"]) == "InvalidVolume.NotFound"
    assert ec2.describe_addresses()["Addresses"] == []
    assert code_of(ec2.describe_addresses, PublicIps=["198.18.0.4"]) == "InvalidAddress.NotFound"
    assert ec2.describe_iam_instance_profile_associations()["IamInstanceProfileAssociations"] == []
    (default,) = ec2.describe_security_groups()["SecurityGroups"]
    assert ec2.describe_security_group_references(GroupId=[default["GroupId"]])["SecurityGroupReferenceSet"] == []
    assert ec2.describe_stale_security_groups(VpcId=default["VpcId"])["StaleSecurityGroupSet"] == []
    assert code_of(ec2.describe_security_group_references, GroupId=["sg-00000000"]) == "InvalidGroup.NotFound"
    assert code_of(ec2.describe_stale_security_groups, VpcId="vpc-00000000") == "InvalidVpcID.NotFound"

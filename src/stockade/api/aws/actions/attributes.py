"""One attribute of an instance, a VPC or the account, and the status of instances."""

from base64 import b64encode
from typing import Any

from stockade.api.aws.actions.filters import Table, keep, member
from stockade.api.aws.actions.instance_members import state_of
from stockade.api.aws.actions.pages import page, refuse_with
from stockade.api.aws.actions.vpcs import zone_id
from stockade.api.aws.registry import Asked, action
from stockade.api.aws.wire.faults import Fault
from stockade.model.instance import InstanceState
from stockade.service.instances import InstanceDescription

_STATUS_FILTERS: Table = {
    "availability-zone": member("AvailabilityZone"),
    "availability-zone-id": member("AvailabilityZoneId"),
    "instance-state-code": member("InstanceState", "Code"),
    "instance-state-name": member("InstanceState", "Name"),
    "instance-status.reachability": member("InstanceStatus", "Details", "Status"),
    "instance-status.status": member("InstanceStatus", "Status"),
    "system-status.reachability": member("SystemStatus", "Details", "Status"),
    "system-status.status": member("SystemStatus", "Status"),
}


@action(
    "DescribeInstanceStatus",
    reads=("InstanceIds", "IncludeAllInstances", "Filters", "MaxResults", "NextToken"),
    inert=("IncludeManagedResources",),
)
async def describe_instance_status(asked: Asked) -> dict[str, Any]:
    given = asked.input
    refuse_with(given, "InstanceIds", "instancesSet")
    found = [
        _status(one, asked.caller.region)
        for reservation in await asked.services.instances.describe(asked.caller, given.get("InstanceIds", ()))
        for one in reservation.instances
        if one.state is InstanceState.RUNNING or given.get("IncludeAllInstances")
    ]
    return page(keep(found, given.get("Filters"), _STATUS_FILTERS), given, "InstanceId", "InstanceStatuses")


def _status(one: InstanceDescription, region: str) -> dict[str, Any]:
    """`impaired` is what the host says of an instance that runs and reaches nothing."""
    status, reachability = "not-applicable", None
    if one.state is InstanceState.RUNNING:
        status, reachability = ("impaired", "failed") if one.reason else ("ok", "passed")
    details = [{"Name": "reachability", "Status": reachability}] if reachability else []
    return {
        "InstanceId": one.instance.id,
        "InstanceState": state_of(one.state),
        "AvailabilityZone": one.instance.zone,
        "AvailabilityZoneId": zone_id(one.instance.zone, region),
        "Events": [],
        "InstanceStatus": {"Status": status, "Details": details},
        "SystemStatus": {"Status": status, "Details": details},
    }


@action("DescribeInstanceAttribute", reads=("InstanceId", "Attribute"))
async def describe_instance_attribute(asked: Asked) -> dict[str, Any]:
    id, attribute = asked.input["InstanceId"], asked.input["Attribute"]
    (reservation,) = await asked.services.instances.describe(asked.caller, [id])
    shown = _attributes(reservation.instances[0])
    if attribute not in shown:
        raise Fault("InvalidParameterValue", f"Value ({attribute}) for parameter attribute is invalid.")
    return {"InstanceId": id, **shown[attribute]}


def _attributes(one: InstanceDescription) -> dict[str, dict[str, Any]]:
    """What can be asked for, each with its member. What nobody can set is as EC2 has it for such an instance."""
    data = one.instance.user_data
    check = one.interface.source_dest_check if one.interface else True
    return {
        "instanceType": {"InstanceType": {"Value": one.instance.type}},
        "kernel": {"KernelId": {}},
        "ramdisk": {"RamdiskId": {}},
        "userData": {"UserData": {"Value": b64encode(data).decode()} if data else {}},
        "disableApiTermination": {"DisableApiTermination": {"Value": False}},
        "disableApiStop": {"DisableApiStop": {"Value": False}},
        "instanceInitiatedShutdownBehavior": {"InstanceInitiatedShutdownBehavior": {"Value": "terminate"}},
        "rootDeviceName": {"RootDeviceName": {}},
        "blockDeviceMapping": {"BlockDeviceMappings": []},
        "productCodes": {"ProductCodes": []},
        "sourceDestCheck": {"SourceDestCheck": {"Value": check}},
        "groupSet": {"Groups": [{"GroupId": group.id, "GroupName": group.name} for group in one.groups]},
        "ebsOptimized": {"EbsOptimized": {"Value": False}},
        "sriovNetSupport": {"SriovNetSupport": {}},
        "enaSupport": {"EnaSupport": {"Value": False}},
        "enclaveOptions": {"EnclaveOptions": {"Enabled": False}},
    }


@action("DescribeInstanceCreditSpecifications", reads=("InstanceIds", "Filters", "MaxResults", "NextToken"))
async def describe_instance_credit_specifications(asked: Asked) -> dict[str, Any]:
    """Only types of the T families have credits; here they are never bought."""
    given = asked.input
    found = [
        {"InstanceId": one.instance.id, "CpuCredits": "standard"}
        for reservation in await asked.services.instances.describe(asked.caller, given.get("InstanceIds", ()))
        for one in reservation.instances
        if one.instance.type.startswith("t") and one.state is not InstanceState.TERMINATED
    ]
    kept = keep(found, given.get("Filters"), {"instance-id": member("InstanceId")})
    return page(kept, given, "InstanceId", "InstanceCreditSpecifications")


@action("DescribeVpcAttribute", reads=("VpcId", "Attribute"))
async def describe_vpc_attribute(asked: Asked) -> dict[str, Any]:
    """Every VPC has the resolver and names for its instances."""
    (vpc,) = await asked.services.vpcs.describe(asked.caller, [asked.input["VpcId"]])
    values = {
        "enableDnsSupport": ("EnableDnsSupport", True),
        "enableDnsHostnames": ("EnableDnsHostnames", True),
        "enableNetworkAddressUsageMetrics": ("EnableNetworkAddressUsageMetrics", False),
    }
    attribute = asked.input["Attribute"]
    if attribute not in values:
        raise Fault("InvalidParameterValue", f"Value ({attribute}) for parameter attribute is invalid.")
    name, value = values[attribute]
    return {"VpcId": vpc.id, name: {"Value": value}}


@action("DescribeAccountAttributes", reads=("AttributeNames",))
async def describe_account_attributes(asked: Asked) -> dict[str, Any]:
    limits = asked.services.vpcs.quotas
    vpcs = [vpc.id for vpc in await asked.services.vpcs.describe(asked.caller) if vpc.is_default]
    values = {
        "supported-platforms": "EC2" if asked.classic else "VPC",
        "default-vpc": vpcs[0] if vpcs else "none",
        "max-instances": str(limits.instances),
        "vpc-max-security-groups-per-interface": str(limits.groups_per_interface),
        "max-elastic-ips": "0",
        "vpc-max-elastic-ips": "0",
    }
    wanted = asked.input.get("AttributeNames") or list(values)
    for name in wanted:
        if name not in values:
            raise Fault("InvalidParameterValue", f"Value ({name}) for parameter attributeName is invalid.")
    return {
        "AccountAttributes": [
            {"AttributeName": name, "AttributeValues": [{"AttributeValue": values[name]}]} for name in wanted
        ]
    }

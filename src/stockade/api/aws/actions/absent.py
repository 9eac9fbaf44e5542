"""What cannot exist here, answered as EC2 answers for whoever has none of it.

Every call that would make such a thing is refused (architecture C8), so these answers are true.
"""

from typing import Any

from stockade.api.aws.registry import Asked, action
from stockade.api.aws.wire.faults import Fault


@action("DescribeVolumes", reads=("VolumeIds", "Filters"), inert=("MaxResults", "NextToken", "IncludeManagedResources"))
async def describe_volumes(asked: Asked) -> dict[str, Any]:
    """Instances have a local disk that goes with them."""
    _refuse_named(asked, "VolumeIds", "InvalidVolume.NotFound", "The volume '{}' does not exist.")
    return {"Volumes": []}


@action("DescribeAddresses", reads=("PublicIps", "AllocationIds", "Filters"))
async def describe_addresses(asked: Asked) -> dict[str, Any]:
    """Public addresses come with the instance; none is held apart from one."""
    _refuse_named(asked, "PublicIps", "InvalidAddress.NotFound", "Address '{}' not found.")
    _refuse_named(asked, "AllocationIds", "InvalidAllocationID.NotFound", "The allocation ID '{}' does not exist")
    return {"Addresses": []}


@action(
    "DescribeIamInstanceProfileAssociations", reads=("AssociationIds", "Filters"), inert=("MaxResults", "NextToken")
)
async def describe_iam_instance_profile_associations(asked: Asked) -> dict[str, Any]:
    said = "An invalid association-id of '{}' was given"
    _refuse_named(asked, "AssociationIds", "InvalidAssociationID.NotFound", said)
    return {"IamInstanceProfileAssociations": []}


@action("DescribeSecurityGroupReferences", reads=("GroupId",))
async def describe_security_group_references(asked: Asked) -> dict[str, Any]:
    """VPCs are not peered, so no foreign one refers to a group."""
    await asked.services.groups.describe(asked.caller, asked.input["GroupId"])
    return {"SecurityGroupReferenceSet": []}


@action("DescribeStaleSecurityGroups", reads=("VpcId",), inert=("MaxResults", "NextToken"))
async def describe_stale_security_groups(asked: Asked) -> dict[str, Any]:
    """A group that another rule names cannot be deleted, so no rule is ever stale."""
    asked.services.groups.vpc_of(asked.caller, asked.input["VpcId"])
    return {"StaleSecurityGroupSet": []}


def _refuse_named(asked: Asked, parameter: str, code: str, text: str) -> None:
    for name in asked.input.get(parameter, ()):
        raise Fault(code, text.format(name))

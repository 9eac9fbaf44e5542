"""CreateSecurityGroup, DeleteSecurityGroup, DescribeSecurityGroups."""

from typing import Any

from stockade.api.aws.actions import tags
from stockade.api.aws.actions.filters import Table, Values, keep, member
from stockade.api.aws.actions.pages import page
from stockade.api.aws.actions.permissions import described_rules, group_ref, permissions_of
from stockade.api.aws.registry import Asked, action
from stockade.model.rule import Direction
from stockade.model.security_group import SecurityGroup


def _permission_filters(prefix: str, permissions: str) -> dict[str, Values]:
    return {
        f"{prefix}.cidr": member(permissions, "IpRanges", "CidrIp"),
        f"{prefix}.ipv6-cidr": member(permissions, "Ipv6Ranges", "CidrIpv6"),
        f"{prefix}.from-port": member(permissions, "FromPort"),
        f"{prefix}.to-port": member(permissions, "ToPort"),
        f"{prefix}.protocol": member(permissions, "IpProtocol"),
        f"{prefix}.group-id": member(permissions, "UserIdGroupPairs", "GroupId"),
        f"{prefix}.group-name": member(permissions, "UserIdGroupPairs", "PeerName"),
        f"{prefix}.user-id": member(permissions, "UserIdGroupPairs", "UserId"),
        f"{prefix}.prefix-list-id": member(permissions, "PrefixListIds", "PrefixListId"),
    }


_FILTERS: Table = {
    "description": member("Description"),
    "group-id": member("GroupId"),
    "group-name": member("GroupName"),
    "owner-id": member("OwnerId"),
    "vpc-id": member("VpcId"),
    **_permission_filters("ip-permission", "IpPermissions"),
    **_permission_filters("egress.ip-permission", "IpPermissionsEgress"),
}


@action("CreateSecurityGroup", reads=("GroupName", "Description", "VpcId", "TagSpecifications"))
async def create_security_group(asked: Asked) -> dict[str, Any]:
    given, services = asked.input, asked.services
    wanted = tags.specified(asked, "security-group")
    group = await services.groups.create(asked.caller, given["GroupName"], given["Description"], given.get("VpcId"))
    if wanted:
        await services.tags.create(asked.caller, [group.id], wanted)
    return {"GroupId": group.id, "Tags": tags.shown(wanted), "SecurityGroupArn": arn_of(asked, group)}


@action("DeleteSecurityGroup", reads=("GroupId", "GroupName"))
async def delete_security_group(asked: Asked) -> dict[str, Any]:
    group = await asked.services.groups.delete(asked.caller, group_ref(asked.input))
    return {"Return": True, "GroupId": group.id}


@action("DescribeSecurityGroups", reads=("GroupIds", "GroupNames", "Filters", "MaxResults", "NextToken"))
async def describe_security_groups(asked: Asked) -> dict[str, Any]:
    given = asked.input
    groups = await asked.services.groups.describe(asked.caller, given.get("GroupIds", ()), given.get("GroupNames", ()))
    kept = keep((_shown(asked, group) for group in groups), given.get("Filters"), _FILTERS)
    return page(kept, given, "GroupId", "SecurityGroups")


def arn_of(asked: Asked, group: SecurityGroup) -> str:
    """The group's ARN."""
    return f"arn:aws:ec2:{asked.caller.region}:{group.account}:security-group/{group.id}"


def _shown(asked: Asked, group: SecurityGroup) -> dict[str, Any]:
    groups = asked.services.groups
    classic = groups.is_classic(group)
    # AWS names peer groups for classic groups only; the versions of 2006 to 2009 have nothing but names.
    named = classic or asked.classic_version
    ingress = permissions_of(described_rules(group, Direction.INGRESS), groups.peer_name)
    egress = permissions_of(described_rules(group, Direction.EGRESS), groups.peer_name)
    for permission in (*ingress, *egress):
        for pair in permission["UserIdGroupPairs"]:
            pair["PeerName"] = pair["GroupName"]
            if not named:
                del pair["GroupName"]
    return {
        "OwnerId": group.account,
        "GroupId": group.id,
        "GroupName": group.name,
        "Description": group.description,
        "VpcId": None if classic else group.vpc,
        "IpPermissions": ingress,
        "IpPermissionsEgress": egress,
        "Tags": tags.shown(asked.services.tags.of(group.id)),
        "SecurityGroupArn": arn_of(asked, group),
    }


_FOR_VPC_FILTERS: Table = {
    "description": member("Description"),
    "group-id": member("GroupId"),
    "group-name": member("GroupName"),
    "owner-id": member("OwnerId"),
    "primary-vpc-id": member("PrimaryVpcId"),
}


@action("GetSecurityGroupsForVpc", reads=("VpcId", "Filters", "MaxResults", "NextToken"))
async def get_security_groups_for_vpc(asked: Asked) -> dict[str, Any]:
    given = asked.input
    vpc = asked.services.groups.vpc_of(asked.caller, given["VpcId"])
    items = (
        {
            "GroupId": group.id,
            "GroupName": group.name,
            "Description": group.description,
            "OwnerId": group.account,
            "PrimaryVpcId": group.vpc,
            "Tags": tags.shown(asked.services.tags.of(group.id)),
        }
        for group in await asked.services.groups.describe(asked.caller)
        if group.vpc == vpc.id
    )
    return page(keep(items, given.get("Filters"), _FOR_VPC_FILTERS), given, "GroupId", "SecurityGroupForVpcs")

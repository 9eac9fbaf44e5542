"""DescribeVpcs, DescribeSubnets, DescribeAvailabilityZones, DescribeRegions."""

import re
from typing import Any

from stockade.api.aws.actions import ipv6_blocks, tags
from stockade.api.aws.actions.filters import Table, keep, member
from stockade.api.aws.actions.pages import page, refuse_with
from stockade.api.aws.registry import Asked, action
from stockade.model.vpc import Vpc
from stockade.service.vpcs import SubnetDescription

_VPC_FILTERS: Table = {
    "ipv6-cidr-block-association.association-id": member("Ipv6CidrBlockAssociationSet", "AssociationId"),
    "ipv6-cidr-block-association.ipv6-cidr-block": member("Ipv6CidrBlockAssociationSet", "Ipv6CidrBlock"),
    "ipv6-cidr-block-association.state": member("Ipv6CidrBlockAssociationSet", "Ipv6CidrBlockState", "State"),
    "cidr": member("CidrBlock"),
    "cidr-block-association.cidr-block": member("CidrBlockAssociationSet", "CidrBlock"),
    "is-default": member("IsDefault"),
    "isDefault": member("IsDefault"),
    "owner-id": member("OwnerId"),
    "state": member("State"),
    "vpc-id": member("VpcId"),
}
_SUBNET_FILTERS: Table = {
    "ipv6-cidr-block-association.association-id": member("Ipv6CidrBlockAssociationSet", "AssociationId"),
    "ipv6-cidr-block-association.ipv6-cidr-block": member("Ipv6CidrBlockAssociationSet", "Ipv6CidrBlock"),
    "ipv6-cidr-block-association.state": member("Ipv6CidrBlockAssociationSet", "Ipv6CidrBlockState", "State"),
    "availability-zone": member("AvailabilityZone"),
    "availabilityZone": member("AvailabilityZone"),
    "availability-zone-id": member("AvailabilityZoneId"),
    "available-ip-address-count": member("AvailableIpAddressCount"),
    "cidr": member("CidrBlock"),
    "cidr-block": member("CidrBlock"),
    "cidrBlock": member("CidrBlock"),
    "default-for-az": member("DefaultForAz"),
    "defaultForAz": member("DefaultForAz"),
    "map-public-ip-on-launch": member("MapPublicIpOnLaunch"),
    "owner-id": member("OwnerId"),
    "state": member("State"),
    "subnet-arn": member("SubnetArn"),
    "subnet-id": member("SubnetId"),
    "vpc-id": member("VpcId"),
}
_ZONE_FILTERS: Table = {
    "group-name": member("GroupName"),
    "opt-in-status": member("OptInStatus"),
    "region-name": member("RegionName"),
    "state": member("State"),
    "zone-id": member("ZoneId"),
    "zone-name": member("ZoneName"),
    "zone-type": member("ZoneType"),
}
_REGION_FILTERS: Table = {
    "endpoint": member("Endpoint"),
    "opt-in-status": member("OptInStatus"),
    "region-name": member("RegionName"),
}


@action("DescribeVpcs", reads=("VpcIds", "Filters", "MaxResults", "NextToken"))
async def describe_vpcs(asked: Asked) -> dict[str, Any]:
    given = asked.input
    refuse_with(given, "VpcIds", "vpcSet")
    found = await asked.services.vpcs.describe(asked.caller, given.get("VpcIds", ()))
    return page(keep((vpc_of(asked, vpc) for vpc in found), given.get("Filters"), _VPC_FILTERS), given, "VpcId", "Vpcs")


@action("DescribeSubnets", reads=("SubnetIds", "Filters", "MaxResults", "NextToken"))
async def describe_subnets(asked: Asked) -> dict[str, Any]:
    given = asked.input
    refuse_with(given, "SubnetIds", "subnetSet")
    found = await asked.services.vpcs.subnets(asked.caller, given.get("SubnetIds", ()))
    kept = keep((subnet_of(asked, one) for one in found), given.get("Filters"), _SUBNET_FILTERS)
    return page(kept, given, "SubnetId", "Subnets")


@action("DescribeAvailabilityZones", reads=("ZoneNames", "ZoneIds", "Filters"), inert=("AllAvailabilityZones",))
async def describe_availability_zones(asked: Asked) -> dict[str, Any]:
    given = asked.input
    found = await asked.services.vpcs.zones(asked.caller, given.get("ZoneNames", ()))
    zones = [
        {
            "ZoneName": zone.name,
            "State": "available",
            "RegionName": zone.region,
            "ZoneId": zone_id(zone.name, zone.region),
            "GroupName": zone.region,
            "NetworkBorderGroup": zone.region,
            "ZoneType": "availability-zone",
            "OptInStatus": "opt-in-not-required",
            "Messages": [],
        }
        for zone in found
        if not given.get("ZoneIds") or zone_id(zone.name, zone.region) in given["ZoneIds"]
    ]
    return {"AvailabilityZones": keep(zones, given.get("Filters"), _ZONE_FILTERS)}


@action("DescribeRegions", reads=("RegionNames", "Filters"), inert=("AllRegions",))
async def describe_regions(asked: Asked) -> dict[str, Any]:
    given = asked.input
    found = await asked.services.vpcs.regions(asked.caller, given.get("RegionNames", ()))
    port = asked.authority.rpartition(":")[2]
    suffix = f":{port}" if port.isdigit() else ""
    regions = [
        {
            "RegionName": name,
            "Endpoint": f"ec2.{name}.localhost{suffix}",
            "OptInStatus": "opt-in-not-required",
        }
        for name in found
    ]
    return {"Regions": keep(regions, given.get("Filters"), _REGION_FILTERS)}


def zone_id(zone: str, region: str) -> str:
    """use1-az2 for us-east-1b: the region's short form and the zone's place in the alphabet."""
    area, *way, number = region.split("-")
    letter = zone[len(region) :]
    place = ord(letter[0]) - ord("a") + 1 if re.fullmatch("[a-z]", letter) else 1
    return f"{area}{''.join(word[0] for word in way)}{number}-az{place}"


def vpc_of(asked: Asked, vpc: Vpc) -> dict[str, Any]:
    """The members of Vpc."""
    association = f"vpc-cidr-assoc-{vpc.id.partition('-')[2]}"
    return {
        "VpcId": vpc.id,
        "OwnerId": vpc.account,
        "State": "available",
        "CidrBlock": str(vpc.cidr),
        "CidrBlockAssociationSet": [
            {"AssociationId": association, "CidrBlock": str(vpc.cidr), "CidrBlockState": {"State": "associated"}}
        ],
        "Ipv6CidrBlockAssociationSet": [ipv6_blocks.of_vpc(vpc.id, vpc.ipv6, vpc.region)] if vpc.ipv6 else [],
        "DhcpOptionsId": "default",
        "InstanceTenancy": "default",
        "IsDefault": vpc.is_default,
        "Tags": tags.shown(asked.services.tags.of(vpc.id)),
    }


def subnet_of(asked: Asked, one: SubnetDescription) -> dict[str, Any]:
    """The members of Subnet."""
    subnet = one.subnet
    region = asked.caller.region
    return {
        "SubnetId": subnet.id,
        "SubnetArn": f"arn:aws:ec2:{region}:{subnet.account}:subnet/{subnet.id}",
        "OwnerId": subnet.account,
        "VpcId": subnet.vpc,
        "State": "available",
        "CidrBlock": str(subnet.cidr),
        "Ipv6CidrBlockAssociationSet": [ipv6_blocks.of_subnet(subnet.id, subnet.ipv6)] if subnet.ipv6 else [],
        "AssignIpv6AddressOnCreation": subnet.ipv6 is not None,
        "AvailabilityZone": subnet.zone,
        "AvailabilityZoneId": zone_id(subnet.zone, region),
        "AvailableIpAddressCount": one.available,
        "DefaultForAz": subnet.is_default,
        "MapPublicIpOnLaunch": subnet.is_default,
        "Tags": tags.shown(asked.services.tags.of(subnet.id)),
    }

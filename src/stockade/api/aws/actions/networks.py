"""CreateVpc, DeleteVpc, CreateSubnet, DeleteSubnet."""

from typing import Any

from stockade.api.aws.actions import tags
from stockade.api.aws.actions.vpcs import subnet_of, vpc_of, zone_id
from stockade.api.aws.registry import Asked, action
from stockade.api.aws.wire.faults import Fault


@action("CreateVpc", reads=("CidrBlock", "AmazonProvidedIpv6CidrBlock", "InstanceTenancy", "TagSpecifications"))
async def create_vpc(asked: Asked) -> dict[str, Any]:
    given = asked.input
    if not given.get("CidrBlock"):
        raise Fault("MissingParameter", "The request must contain the parameter cidrBlock")
    if given.get("InstanceTenancy", "default") != "default":
        raise Fault("UnsupportedOperation", "Dedicated tenancy is not supported by Stockade.")
    ipv6 = bool(given.get("AmazonProvidedIpv6CidrBlock"))
    wanted = tags.specified(asked, "vpc")
    made = await asked.services.networks.create_vpc(asked.caller, given["CidrBlock"], ipv6, wanted)
    return {"Vpc": vpc_of(asked, made)}


@action("DeleteVpc", reads=("VpcId",))
async def delete_vpc(asked: Asked) -> dict[str, Any]:
    await asked.services.networks.delete_vpc(asked.caller, asked.input["VpcId"])
    return {}


@action(
    "CreateSubnet",
    reads=("VpcId", "CidrBlock", "AvailabilityZone", "AvailabilityZoneId", "Ipv6CidrBlock", "TagSpecifications"),
)
async def create_subnet(asked: Asked) -> dict[str, Any]:
    given = asked.input
    if not given.get("CidrBlock"):
        raise Fault("MissingParameter", "The request must contain the parameter cidrBlock")
    made = await asked.services.networks.create_subnet(
        asked.caller,
        given["VpcId"],
        given["CidrBlock"],
        await _zone(asked),
        given.get("Ipv6CidrBlock"),
        tags.specified(asked, "subnet"),
    )
    (shown,) = await asked.services.vpcs.subnets(asked.caller, [made.id])
    return {"Subnet": subnet_of(asked, shown)}


@action("DeleteSubnet", reads=("SubnetId",))
async def delete_subnet(asked: Asked) -> dict[str, Any]:
    await asked.services.networks.delete_subnet(asked.caller, asked.input["SubnetId"])
    return {}


async def _zone(asked: Asked) -> str | None:
    """The zone by its name or its id; None: any."""
    name, id = asked.input.get("AvailabilityZone"), asked.input.get("AvailabilityZoneId")
    if name and id:
        raise Fault("InvalidParameterCombination", "Specify either AvailabilityZone or AvailabilityZoneId, not both.")
    if not id:
        return name or None
    for zone in await asked.services.vpcs.zones(asked.caller):
        if zone_id(zone.name, zone.region) == id:
            return zone.name
    raise Fault("InvalidParameterValue", f"Value ({id}) for parameter availabilityZoneId is invalid.")

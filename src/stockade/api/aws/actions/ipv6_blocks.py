"""Associate and disassociate the IPv6 blocks of VPCs and subnets, and how they are shown."""

from ipaddress import IPv6Network
from typing import Any

from stockade.api.aws.registry import Asked, action
from stockade.api.aws.wire.faults import Fault
from stockade.service.ipv6 import association_id


@action("AssociateVpcCidrBlock", reads=("VpcId", "AmazonProvidedIpv6CidrBlock"))
async def associate_vpc_cidr_block(asked: Asked) -> dict[str, Any]:
    if not asked.input.get("AmazonProvidedIpv6CidrBlock"):
        raise Fault("MissingParameter", "The request must contain the parameter AmazonProvidedIpv6CidrBlock")
    vpc = await asked.services.vpcs.associate_ipv6(asked.caller, asked.input["VpcId"])
    assert vpc.ipv6 is not None
    return {"VpcId": vpc.id, "Ipv6CidrBlockAssociation": of_vpc(vpc.id, vpc.ipv6, asked.caller.region, "associating")}


@action("DisassociateVpcCidrBlock", reads=("AssociationId",))
async def disassociate_vpc_cidr_block(asked: Asked) -> dict[str, Any]:
    vpc, block = await asked.services.vpcs.disassociate_ipv6(asked.caller, asked.input["AssociationId"])
    shown = of_vpc(vpc.id, block, asked.caller.region, "disassociating")
    return {"VpcId": vpc.id, "Ipv6CidrBlockAssociation": shown}


@action("AssociateSubnetCidrBlock", reads=("SubnetId", "Ipv6CidrBlock"))
async def associate_subnet_cidr_block(asked: Asked) -> dict[str, Any]:
    block = asked.input.get("Ipv6CidrBlock")
    if not block:
        raise Fault("MissingParameter", "The request must contain the parameter Ipv6CidrBlock")
    subnet = await asked.services.vpcs.associate_subnet_ipv6(asked.caller, asked.input["SubnetId"], block)
    assert subnet.ipv6 is not None
    return {"SubnetId": subnet.id, "Ipv6CidrBlockAssociation": of_subnet(subnet.id, subnet.ipv6, "associating")}


@action("DisassociateSubnetCidrBlock", reads=("AssociationId",))
async def disassociate_subnet_cidr_block(asked: Asked) -> dict[str, Any]:
    subnet, block = await asked.services.vpcs.disassociate_subnet_ipv6(asked.caller, asked.input["AssociationId"])
    return {"SubnetId": subnet.id, "Ipv6CidrBlockAssociation": of_subnet(subnet.id, block, "disassociating")}


def of_vpc(vpc: str, block: IPv6Network, region: str, state: str = "associated") -> dict[str, Any]:
    """The members of VpcIpv6CidrBlockAssociation."""
    shown = of_subnet(vpc, block, state)
    return shown | {"NetworkBorderGroup": region, "Ipv6Pool": "Amazon", "IpSource": "amazon"}


def of_subnet(subnet: str, block: IPv6Network, state: str = "associated") -> dict[str, Any]:
    """The members of SubnetIpv6CidrBlockAssociation."""
    return {
        "AssociationId": association_id(subnet, block),
        "Ipv6CidrBlock": str(block),
        "Ipv6CidrBlockState": {"State": state},
        "Ipv6AddressAttribute": "public",
        "IpSource": "amazon",
    }

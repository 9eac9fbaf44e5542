"""VPCs and subnets of one's own: what they start with, what keeps them, what may not be."""

import pytest

from stockade.model import keys
from stockade.model.addresses import parse_cidr
from stockade.model.errors import (
    AddressesExhausted,
    BlockAssociated,
    NetworkInUse,
    NetworkKept,
    ParameterInvalid,
    QuotaExceeded,
    SubnetConflict,
    SubnetNotFound,
    VpcNotFound,
    ZoneNotFound,
)
from stockade.model.rule import CidrPeer, Direction
from stockade.model.vpc import Subnet, Vpc
from stockade.service import network_interfaces
from stockade.service.caller import Caller
from stockade.service.cell import Cell
from stockade.service.instances import Instances, LaunchRequest
from stockade.service.networks import Networks
from stockade.service.security_groups import GroupRef, SecurityGroups
from stockade.service.vpcs import Vpcs

MICRO = "ami-eca54085"


@pytest.fixture
async def vpc(cell: Cell, vera: Caller) -> Vpc:
    return await Networks(cell).create_vpc(vera, "10.1.2.3/16", True, {"Name": "mine"})


@pytest.fixture
async def subnet(cell: Cell, vera: Caller, vpc: Vpc) -> Subnet:
    return await Networks(cell).create_subnet(vera, vpc.id, "10.1.0.0/28", "us-east-1b", None, {})


async def test_a_vpc_starts_with_its_default_group_open_over_both_families(cell: Cell, vera: Caller, vpc: Vpc) -> None:
    assert (str(vpc.cidr), vpc.is_default, vpc.ipv6 is not None) == ("10.1.0.0/16", False, True)
    default = SecurityGroups(cell).find(vera, GroupRef(name="default", vpc=vpc.id))
    out = [rule.peer for rule in default.rules if rule.direction is Direction.EGRESS]
    assert out == [CidrPeer(parse_cidr("0.0.0.0/0")), CidrPeer(parse_cidr("::/0"))]
    assert vpc in await Vpcs(cell).describe(vera)
    assert cell.resources.tags[vpc.id].tags == {"Name": "mine"}


async def test_a_launch_into_it_is_in_its_default_group_and_has_no_public_address(
    cell: Cell, vera: Caller, vpc: Vpc, subnet: Subnet
) -> None:
    (one,) = (await Instances(cell).run(vera, LaunchRequest(MICRO, subnet=subnet.id))).instances
    assert one.interface is not None
    assert (one.interface.vpc, one.interface.public, one.instance.zone) == (vpc.id, None, "us-east-1b")
    assert one.interface.addresses[0] in subnet.cidr
    assert [cell.resources.groups[group.id].vpc for group in one.groups] == [vpc.id]
    with pytest.raises(AddressesExhausted):
        await Instances(cell).run(vera, LaunchRequest(MICRO, subnet=subnet.id, min_count=11, max_count=11))


async def test_what_is_in_it_keeps_it(cell: Cell, vera: Caller, vpc: Vpc, subnet: Subnet) -> None:
    networks = Networks(cell)
    (one,) = (await Instances(cell).run(vera, LaunchRequest(MICRO, subnet=subnet.id))).instances
    assert one.interface is not None
    with pytest.raises(NetworkInUse) as caught:
        await networks.delete_subnet(vera, subnet.id)
    assert caught.value.by == (one.interface.id,)
    await cell.ledger.commit([], network_interfaces.deleted(one.interface))
    with pytest.raises(NetworkInUse):
        await networks.delete_vpc(vera, vpc.id)
    await networks.delete_subnet(vera, subnet.id)
    group = await SecurityGroups(cell).create(vera, "web", "d", vpc.id)
    with pytest.raises(NetworkInUse) as caught:
        await networks.delete_vpc(vera, vpc.id)
    assert caught.value.by == (group.id,)
    await SecurityGroups(cell).delete(vera, GroupRef(id=group.id))
    await networks.delete_vpc(vera, vpc.id)
    left = [key for key in cell.resources.all_keys() if vpc.id in key or cell.resources.claims.get(key) == vpc.id]
    assert [key for key in left if keys.kind_of(key) != "uniq" or "/ip/" not in key] == []
    assert not any(group.vpc == vpc.id for group in cell.resources.groups.values())


async def test_the_default_network_is_kept(cell: Cell, vera: Caller) -> None:
    (default,) = await Vpcs(cell).describe(vera)
    with pytest.raises(NetworkKept):
        await Networks(cell).delete_vpc(vera, default.id)
    with pytest.raises(NetworkKept):
        await Networks(cell).delete_subnet(vera, (await Vpcs(cell).subnets(vera))[0].subnet.id)


@pytest.mark.parametrize("cidr", ["10.0.0.0/15", "10.0.0.0/29", "10.0.0.0", "x/16", "198.18.4.0/24", "127.0.0.0/16"])
async def test_what_cannot_be_a_vpc(cell: Cell, vera: Caller, cidr: str) -> None:
    with pytest.raises(ParameterInvalid):
        await Networks(cell).create_vpc(vera, cidr, False, {})
    assert len(await Vpcs(cell).describe(vera)) == 1


async def test_what_cannot_be_a_subnet(cell: Cell, vera: Caller, mary: Caller, vpc: Vpc, subnet: Subnet) -> None:
    create = Networks(cell).create_subnet
    with pytest.raises(SubnetConflict):
        await create(vera, vpc.id, "10.1.0.0/24", None, None, {})
    with pytest.raises(ParameterInvalid):
        await create(vera, vpc.id, "10.2.0.0/24", None, None, {})
    with pytest.raises(ZoneNotFound):
        await create(vera, vpc.id, "10.1.1.0/24", "us-east-1z", None, {})
    with pytest.raises(VpcNotFound):
        await create(mary, vpc.id, "10.1.1.0/24", None, None, {})
    with pytest.raises(SubnetNotFound):
        await Networks(cell).delete_subnet(mary, subnet.id)
    assert vpc.ipv6 is not None
    inner = str(next(vpc.ipv6.subnets(new_prefix=64)))
    six = await create(vera, vpc.id, "10.1.1.0/24", None, inner, {})
    assert str(six.ipv6) == inner
    with pytest.raises(BlockAssociated):
        await create(vera, vpc.id, "10.1.2.0/24", None, inner, {})


async def test_there_are_only_so_many(cell: Cell, vera: Caller) -> None:
    for number in range(4):
        await Networks(cell).create_vpc(vera, f"10.{number}.0.0/16", False, {})
    with pytest.raises(QuotaExceeded):
        await Networks(cell).create_vpc(vera, "10.9.0.0/16", False, {})

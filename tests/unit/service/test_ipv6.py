"""IPv6: from the pool to the VPC, its subnets and what is launched there; what the groups' rules become."""

from ipaddress import IPv6Address, IPv6Network

import pytest

from stockade.model.account import Platform
from stockade.model.addresses import parse_cidr
from stockade.model.errors import AddressesExhausted, BlockAssociated, ParameterInvalid, ParametersConflict
from stockade.model.rule import CidrPeer, Direction
from stockade.model.vpc import Subnet, Vpc
from stockade.service import network_interfaces
from stockade.service.accounts import Accounts
from stockade.service.caller import Caller
from stockade.service.cell import Cell, CellSettings
from stockade.service.instances import Instances, LaunchRequest
from stockade.service.ipv6 import association_id
from stockade.service.rules import RuleRequest, Rules
from stockade.service.security_groups import GroupRef, SecurityGroups
from stockade.service.vpcs import Vpcs

OUT = Direction.EGRESS
MICRO = "ami-eca54085"


def egress_blocks(cell: Cell, caller: Caller, name: str) -> list[str]:
    group = SecurityGroups(cell).find(caller, GroupRef(name=name))
    return [str(r.peer.cidr) for r in group.rules if r.direction is OUT and isinstance(r.peer, CidrPeer)]


async def default_vpc(cell: Cell, caller: Caller) -> Vpc:
    (vpc,) = await Vpcs(cell).describe(caller)
    return vpc


@pytest.fixture
async def six(cell: Cell, vera: Caller) -> Subnet:
    """A subnet of the default VPC with a /64."""
    vpcs = Vpcs(cell)
    vpc = await vpcs.associate_ipv6(vera, (await default_vpc(cell, vera)).id)
    assert vpc.ipv6 is not None
    subnet = (await vpcs.subnets(vera))[0].subnet
    return await vpcs.associate_subnet_ipv6(vera, subnet.id, str(next(vpc.ipv6.subnets(new_prefix=64))))


@pytest.fixture
async def wim(cell: Cell) -> Caller:
    """Another VPC account."""
    return Caller((await Accounts(cell).create("wim", "444444444444", Platform.VPC)).account, "us-east-1")


async def test_a_vpc_gets_a_block_of_the_pool_and_untouched_groups_open_to_it(cell: Cell, vera: Caller) -> None:
    groups = SecurityGroups(cell)
    for name in ("new", "shut"):
        await groups.create(vera, name, "d")
    everything = RuleRequest(-1, None, None, parse_cidr("0.0.0.0/0"))
    await Rules(cell).revoke(vera, GroupRef(name="shut"), OUT, [everything])
    vpc = await Vpcs(cell).associate_ipv6(vera, (await default_vpc(cell, vera)).id)
    assert vpc.ipv6 is not None
    assert vpc.ipv6.prefixlen == 56
    assert vpc.ipv6.subnet_of(cell.settings.ipv6_pool)
    assert egress_blocks(cell, vera, "default") == egress_blocks(cell, vera, "new") == ["0.0.0.0/0", "::/0"]
    assert egress_blocks(cell, vera, "shut") == []
    await groups.create(vera, "later", "d")
    assert egress_blocks(cell, vera, "later") == ["0.0.0.0/0", "::/0"]
    with pytest.raises(BlockAssociated):
        await Vpcs(cell).associate_ipv6(vera, vpc.id)


@pytest.mark.usefixtures("six")
async def test_two_vpcs_never_share_a_block(cell: Cell, vera: Caller, wim: Caller) -> None:
    theirs = await Vpcs(cell).associate_ipv6(wim, (await default_vpc(cell, wim)).id)
    mine = await default_vpc(cell, vera)
    assert theirs.ipv6 is not None and mine.ipv6 is not None
    assert not theirs.ipv6.overlaps(mine.ipv6)


async def test_a_launch_into_the_subnet_gets_one_address_that_nobody_had(cell: Cell, vera: Caller, six: Subnet) -> None:
    assert six.ipv6 is not None
    seen: set[IPv6Address] = set()
    for _ in range(3):
        await Instances(cell).run(vera, LaunchRequest(MICRO, subnet=six.id, max_count=2))
    for interface in cell.resources.interfaces_in(six.vpc):
        first, second = interface.addresses
        assert first.version == 4
        assert isinstance(second, IPv6Address) and second in six.ipv6
        assert cell.resources.owner_of(six.vpc, second) == interface
        seen.add(second)
    assert len(seen) == 6


async def test_addresses_may_be_counted_or_chosen(cell: Cell, vera: Caller, six: Subnet) -> None:
    assert six.ipv6 is not None
    run = Instances(cell).run
    chosen = IPv6Address(int(six.ipv6.network_address) + 0xBEEF)
    await run(vera, LaunchRequest(MICRO, subnet=six.id, ipv6_count=3))
    await run(vera, LaunchRequest(MICRO, subnet=six.id, ipv6_count=0))
    await run(vera, LaunchRequest(MICRO, subnet=six.id, ipv6=(chosen,)))
    counts = [len(interface.addresses) for interface in cell.resources.interfaces_in(six.vpc)]
    assert counts == [4, 1, 2]
    outside = IPv6Address("2001:db8::1")
    for bad in (chosen, outside, six.ipv6.network_address):
        with pytest.raises(ParameterInvalid):
            await run(vera, LaunchRequest(MICRO, subnet=six.id, ipv6=(bad,)))
    with pytest.raises(ParametersConflict):
        await run(vera, LaunchRequest(MICRO, subnet=six.id, ipv6=(outside,), max_count=2))
    other = (await Vpcs(cell).subnets(vera))[1].subnet
    with pytest.raises(ParametersConflict):
        await run(vera, LaunchRequest(MICRO, subnet=other.id, ipv6_count=1))


async def test_a_subnets_block_is_of_its_vpc_and_its_own(cell: Cell, vera: Caller, six: Subnet) -> None:
    vpcs = Vpcs(cell)
    assert six.ipv6 is not None
    other = (await vpcs.subnets(vera))[1].subnet
    for bad in ("2001:db8::/64", f"{six.ipv6.network_address}/60", "nonsense", "10.0.0.0/8"):
        with pytest.raises(ParameterInvalid):
            await vpcs.associate_subnet_ipv6(vera, other.id, bad)
    for taken in (other.id, six.id):
        with pytest.raises(BlockAssociated):
            await vpcs.associate_subnet_ipv6(vera, taken, str(six.ipv6))


async def test_blocks_go_back_from_the_inside_out(cell: Cell, vera: Caller, six: Subnet) -> None:
    vpcs = Vpcs(cell)
    vpc = await default_vpc(cell, vera)
    assert vpc.ipv6 is not None and six.ipv6 is not None
    outer, inner = association_id(vpc.id, vpc.ipv6), association_id(six.id, six.ipv6)
    await Instances(cell).run(vera, LaunchRequest(MICRO, subnet=six.id))
    with pytest.raises(BlockAssociated):
        await vpcs.disassociate_ipv6(vera, outer)
    with pytest.raises(BlockAssociated):
        await vpcs.disassociate_subnet_ipv6(vera, inner)
    for interface in cell.resources.interfaces_in(six.vpc):
        await cell.ledger.commit([], network_interfaces.deleted(interface))
    after, block = await vpcs.disassociate_subnet_ipv6(vera, inner)
    assert (after.ipv6, block) == (None, six.ipv6)
    assert (await vpcs.disassociate_ipv6(vera, outer))[0].ipv6 is None
    assert (await vpcs.associate_ipv6(vera, vpc.id)).ipv6 == vpc.ipv6


class TestASmallPool:
    @pytest.fixture
    def settings(self) -> CellSettings:
        return CellSettings(ipv6_pool=IPv6Network("fd5c:ec2::/56"))

    async def test_it_runs_out(self, cell: Cell, vera: Caller, wim: Caller) -> None:
        await Vpcs(cell).associate_ipv6(vera, (await default_vpc(cell, vera)).id)
        with pytest.raises(AddressesExhausted):
            await Vpcs(cell).associate_ipv6(wim, (await default_vpc(cell, wim)).id)

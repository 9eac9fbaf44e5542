"""Groups: what may be made, named and deleted."""

import asyncio

import pytest

from stockade.model.addresses import EVERYWHERE_V4
from stockade.model.errors import (
    GroupDuplicate,
    GroupInUse,
    GroupNameInvalid,
    GroupNotFound,
    GroupReserved,
    IdMalformed,
    QuotaExceeded,
    VpcNotFound,
)
from stockade.model.rule import CidrPeer, Direction, GroupPeer
from stockade.service.caller import Caller
from stockade.service.cell import Cell, CellSettings, Quotas
from stockade.service.instances import Instances, LaunchRequest
from stockade.service.rules import Rules, whole_group
from stockade.service.security_groups import GroupRef, SecurityGroups


async def test_a_classic_default_group_lets_its_own_members_in(cell: Cell, albert: Caller) -> None:
    (group,) = await SecurityGroups(cell).describe(albert)
    assert (group.name, group.description) == ("default", "default group")
    assert [(r.protocol, r.from_port, r.to_port) for r in group.rules] == [(6, 1, 65535), (17, 1, 65535), (1, -1, -1)]
    assert {rule.peer for rule in group.rules} == {GroupPeer(group.id, albert.account.id)}


async def test_a_vpc_default_group_lets_its_own_members_in_and_everything_out(cell: Cell, vera: Caller) -> None:
    (group,) = await SecurityGroups(cell).describe(vera)
    ingress, egress = group.rules
    assert (ingress.direction, ingress.protocol, ingress.peer) == (
        Direction.INGRESS,
        -1,
        GroupPeer(group.id, vera.account.id),
    )
    assert (egress.direction, egress.protocol, egress.peer) == (Direction.EGRESS, -1, CidrPeer(EVERYWHERE_V4))


async def test_a_new_classic_group_shows_no_rules_but_lets_everything_out(cell: Cell, albert: Caller) -> None:
    groups = SecurityGroups(cell)
    made = await groups.create(albert, "apache", "Mary's Apache group")
    assert made.rules == ()
    stored = groups.find(albert, GroupRef(name="apache"))
    assert [(rule.direction, rule.peer) for rule in stored.rules] == [(Direction.EGRESS, CidrPeer(EVERYWHERE_V4))]
    assert len(made.id) == len("sg-") + 8


async def test_a_new_vpc_group_shows_its_open_egress(cell: Cell, vera: Caller) -> None:
    made = await SecurityGroups(cell).create(vera, "web", "web servers")
    assert [rule.direction for rule in made.rules] == [Direction.EGRESS]
    assert len(made.id) == len("sg-") + 17


async def test_two_classic_accounts_may_use_one_name(cell: Cell, albert: Caller, mary: Caller) -> None:
    groups = SecurityGroups(cell)
    one, other = await groups.create(albert, "apache", "a"), await groups.create(mary, "apache", "b")
    assert groups.find(albert, GroupRef(name="apache")).id == one.id
    assert groups.find(mary, GroupRef(name="apache")).id == other.id


async def test_a_name_is_taken_once_and_case_counts_only_on_classic(cell: Cell, albert: Caller, vera: Caller) -> None:
    groups = SecurityGroups(cell)
    await groups.create(albert, "apache", "a")
    await groups.create(albert, "Apache", "a")
    await groups.create(vera, "apache", "a")
    with pytest.raises(GroupDuplicate):
        await groups.create(albert, "apache ", "a")
    with pytest.raises(GroupDuplicate):
        await groups.create(vera, "APACHE", "a")


async def test_of_twenty_creations_at_once_one_succeeds(cell: Cell, vera: Caller) -> None:
    groups = SecurityGroups(cell)
    outcomes = await asyncio.gather(*(groups.create(vera, "web", "w") for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(outcome, GroupDuplicate) for outcome in outcomes) == 19


@pytest.mark.parametrize("name", ["", "sg-12345678", "x" * 256, "tab\there", "Mary's"])
async def test_a_vpc_refuses_names_outside_its_alphabet(cell: Cell, vera: Caller, name: str) -> None:
    with pytest.raises(GroupNameInvalid):
        await SecurityGroups(cell).create(vera, name, "d")


async def test_default_is_reserved(cell: Cell, albert: Caller, vera: Caller) -> None:
    groups = SecurityGroups(cell)
    for caller in (albert, vera):
        with pytest.raises(GroupReserved):
            await groups.create(caller, "default", "d")
        with pytest.raises(GroupReserved) as caught:
            await groups.delete(caller, GroupRef(name="default"))
        assert caught.value.group is not None


async def test_deleting_frees_the_name(cell: Cell, albert: Caller) -> None:
    groups = SecurityGroups(cell)
    await groups.create(albert, "apache", "a")
    await groups.delete(albert, GroupRef(name="apache"))
    with pytest.raises(GroupNotFound):
        groups.find(albert, GroupRef(name="apache"))
    await groups.create(albert, "apache", "again")


async def test_a_group_with_instances_stays(cell: Cell, albert: Caller) -> None:
    groups = SecurityGroups(cell)
    await groups.create(albert, "apache", "a")
    await Instances(cell).run(albert, LaunchRequest("ami-fba54092", groups=(GroupRef(name="apache"),)))
    with pytest.raises(GroupInUse) as caught:
        await groups.delete(albert, GroupRef(name="apache"))
    assert len(caught.value.interfaces) == 1
    assert caught.value.groups == ()


async def test_a_group_that_another_names_stays_until_the_rule_goes(cell: Cell, albert: Caller, vera: Caller) -> None:
    groups, rules = SecurityGroups(cell), Rules(cell)
    for caller, name in ((albert, "111111111111:app"), (vera, None)):
        web, app = await groups.create(caller, "web", "w"), await groups.create(caller, "app", "a")
        grant = whole_group(GroupRef(name="web"), classic=caller is albert)
        await rules.authorize(caller, GroupRef(name="app"), Direction.INGRESS, grant)
        with pytest.raises(GroupInUse) as caught:
            await groups.delete(caller, GroupRef(id=web.id))
        assert caught.value.groups == (name or app.id,)
        await rules.revoke(caller, GroupRef(name="app"), Direction.INGRESS, grant[:2])
        with pytest.raises(GroupInUse):
            await groups.delete(caller, GroupRef(id=web.id))
        await rules.revoke(caller, GroupRef(name="app"), Direction.INGRESS, grant[2:])
        await groups.delete(caller, GroupRef(id=web.id))


async def test_a_group_that_only_names_itself_or_others_can_go(cell: Cell, albert: Caller) -> None:
    groups, rules = SecurityGroups(cell), Rules(cell)
    for name in ("web", "app"):
        await groups.create(albert, name, "d")
    for peer in ("web", "app"):
        await rules.authorize(albert, GroupRef(name="web"), Direction.INGRESS, whole_group(GroupRef(name=peer), True))
    await groups.delete(albert, GroupRef(name="web"))
    await groups.delete(albert, GroupRef(name="app"))


async def test_describe_names_the_first_that_is_missing(cell: Cell, albert: Caller, mary: Caller) -> None:
    groups = SecurityGroups(cell)
    with pytest.raises(GroupNotFound) as caught:
        await groups.describe(albert, names=["default", "nosuch"])
    assert caught.value.name == "nosuch"
    foreign = groups.find(mary, GroupRef(name="default"))
    with pytest.raises(GroupNotFound):
        await groups.describe(albert, ids=[foreign.id])
    with pytest.raises(IdMalformed):
        await groups.describe(albert, ids=["sg-XYZ"])


async def test_a_vpc_of_another_account_is_not_found(cell: Cell, albert: Caller, vera: Caller) -> None:
    network = cell.resources.default_vpc(vera.account.id, "us-east-1")
    assert network is not None
    with pytest.raises(VpcNotFound):
        await SecurityGroups(cell).create(albert, "x", "d", network.id)


class TestQuota:
    @pytest.fixture
    def settings(self) -> CellSettings:
        return CellSettings(quotas=Quotas(groups=2))

    async def test_counts_the_default_group(self, cell: Cell, vera: Caller) -> None:
        groups = SecurityGroups(cell)
        await groups.create(vera, "one", "d")
        with pytest.raises(QuotaExceeded):
            await groups.create(vera, "two", "d")

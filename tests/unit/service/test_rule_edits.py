"""Rules under ids that stay: modified, described, and what a change of their meaning does to their numbers."""

import pytest

from stockade.model.addresses import parse_cidr
from stockade.model.errors import (
    EgressNotAllowed,
    PortRangeInvalid,
    QuotaExceeded,
    ResourceNotFound,
    RuleDuplicate,
    RuleNotFound,
)
from stockade.model.rule import CidrPeer, Direction, GroupPeer, Rule
from stockade.service.caller import Caller
from stockade.service.cell import Cell, CellSettings, Quotas
from stockade.service.rule_edits import RuleEdits
from stockade.service.rules import RuleRequest, Rules
from stockade.service.security_groups import GroupRef, SecurityGroups

IN, OUT = Direction.INGRESS, Direction.EGRESS
WEB = GroupRef(name="web")


def tcp(port: int, peer: str | GroupRef = "0.0.0.0/0", description: str | None = None) -> RuleRequest:
    return RuleRequest(6, port, port, parse_cidr(peer) if isinstance(peer, str) else peer, description)


@pytest.fixture
async def two(cell: Cell, vera: Caller) -> list[Rule]:
    """Two ingress rules of the group web."""
    await SecurityGroups(cell).create(vera, "web", "d")
    return await Rules(cell).authorize(vera, WEB, IN, [tcp(80), tcp(443, description="tls")])


def rule(cell: Cell, caller: Caller, id: str) -> Rule:
    return next(one for one in SecurityGroups(cell).find(caller, WEB).rules if one.id == id)


class TestModify:
    async def test_a_rule_keeps_its_id_and_gets_a_new_number(self, cell: Cell, vera: Caller, two: list[Rule]) -> None:
        await RuleEdits(cell).modify(vera, WEB, {two[0].id: tcp(8080, WEB, "inside")})
        after = rule(cell, vera, two[0].id)
        group = SecurityGroups(cell).find(vera, WEB)
        assert (after.from_port, after.peer, after.description) == (
            8080,
            GroupPeer(group.id, vera.account.id),
            "inside",
        )
        assert (after.direction, after.number > two[1].number) == (IN, True)
        assert rule(cell, vera, two[1].id) == two[1]

    async def test_a_new_description_leaves_the_number(self, cell: Cell, vera: Caller, two: list[Rule]) -> None:
        await RuleEdits(cell).modify(vera, WEB, {two[0].id: tcp(80, description="plain")})
        after = rule(cell, vera, two[0].id)
        assert (after.number, after.description) == (two[0].number, "plain")

    async def test_two_rules_may_change_places_at_once(self, cell: Cell, vera: Caller, two: list[Rule]) -> None:
        await RuleEdits(cell).modify(vera, WEB, {two[0].id: tcp(443), two[1].id: tcp(80)})
        assert [rule(cell, vera, one.id).from_port for one in two] == [443, 80]

    async def test_it_is_all_or_nothing(self, cell: Cell, vera: Caller, two: list[Rule]) -> None:
        edits, before = RuleEdits(cell), SecurityGroups(cell).find(vera, WEB)
        first, second = two[0].id, two[1].id
        for changes in (
            {first: tcp(81), second: tcp(81)},
            {first: tcp(443)},
            {first: tcp(81), second: tcp(70000)},
            {first: tcp(81), "sgr-" + "0" * 17: tcp(82)},
        ):
            with pytest.raises((RuleDuplicate, PortRangeInvalid, ResourceNotFound)):
                await edits.modify(vera, WEB, changes)
        assert SecurityGroups(cell).find(vera, WEB) == before

    async def test_the_egress_rule_of_a_classic_group_is_not_there(self, cell: Cell, albert: Caller) -> None:
        await SecurityGroups(cell).create(albert, "web", "d")
        (hidden,) = SecurityGroups(cell).find(albert, WEB).rules
        with pytest.raises(ResourceNotFound):
            await RuleEdits(cell).modify(albert, WEB, {hidden.id: tcp(80)})
        assert await RuleEdits(cell).describe(albert, groups=[SecurityGroups(cell).find(albert, WEB).id]) == []


class TestASmallQuota:
    @pytest.fixture
    def settings(self) -> CellSettings:
        return CellSettings(quotas=Quotas(rules_per_group=2))

    async def test_moving_to_the_other_family_counts(self, cell: Cell, vera: Caller, two: list[Rule]) -> None:
        await Rules(cell).authorize(vera, WEB, IN, [tcp(80, "::/0"), tcp(443, "::/0")])
        with pytest.raises(QuotaExceeded):
            await RuleEdits(cell).modify(vera, WEB, {two[0].id: tcp(81, "::/0")})
        await RuleEdits(cell).modify(vera, WEB, {two[0].id: tcp(81)})


class TestDescriptions:
    async def test_they_are_set_and_removed_by_rule_and_by_id(self, cell: Cell, vera: Caller, two: list[Rule]) -> None:
        edits = RuleEdits(cell)
        await edits.describe_as(vera, WEB, IN, [tcp(80, description="http"), tcp(443)])
        assert [rule(cell, vera, one.id).description for one in two] == ["http", None]
        await edits.describe_by_id(vera, WEB, IN, {two[0].id: None, two[1].id: "https"})
        assert [rule(cell, vera, one.id).description for one in two] == [None, "https"]
        assert [rule(cell, vera, one.id).number for one in two] == [one.number for one in two]

    async def test_what_is_not_there_is_not_described(
        self, cell: Cell, vera: Caller, albert: Caller, two: list[Rule]
    ) -> None:
        edits, before = RuleEdits(cell), SecurityGroups(cell).find(vera, WEB)
        with pytest.raises(RuleNotFound):
            await edits.describe_as(vera, WEB, IN, [tcp(80, description="http"), tcp(81)])
        with pytest.raises(ResourceNotFound):
            await edits.describe_by_id(vera, WEB, OUT, {two[0].id: "x"})
        assert SecurityGroups(cell).find(vera, WEB) == before
        await SecurityGroups(cell).create(albert, "web", "d")
        with pytest.raises(EgressNotAllowed):
            await edits.describe_by_id(albert, WEB, OUT, {two[0].id: "x"})


async def test_rules_are_described_with_their_groups(cell: Cell, vera: Caller, mary: Caller, two: list[Rule]) -> None:
    edits, group = RuleEdits(cell), SecurityGroups(cell).find(vera, WEB)
    found = await edits.describe(vera, groups=[group.id])
    assert [(one.id, owner.name) for one, owner in found][1:] == [(one.id, "web") for one in two]
    assert found[0][0].peer == CidrPeer(parse_cidr("0.0.0.0/0"))
    assert len(await edits.describe(vera)) == len(found) + 2  # the default group's
    assert [one.id for one, _ in await edits.describe(vera, [two[1].id])] == [two[1].id]
    with pytest.raises(ResourceNotFound):
        await edits.describe(mary, [two[1].id])

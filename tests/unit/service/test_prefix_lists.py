"""Managed prefix lists: versions, what weighs on quotas, what keeps one from being deleted."""

from dataclasses import replace

import pytest

from stockade.model import keys
from stockade.model.addresses import parse_cidr
from stockade.model.errors import (
    ParameterInvalid,
    ParametersConflict,
    PrefixListInUse,
    PrefixListVersionMismatch,
    QuotaExceeded,
    ResourceNotFound,
    TokenReused,
)
from stockade.model.prefix_list import ListEntry, PrefixList
from stockade.model.rule import Direction, PrefixListPeer
from stockade.service.caller import Caller
from stockade.service.cell import Cell, CellSettings, Quotas
from stockade.service.prefix_lists import ListChange, PrefixLists
from stockade.service.rules import ListRef, RuleRequest, Rules
from stockade.service.security_groups import GroupRef, SecurityGroups

IN = Direction.INGRESS
WEB = GroupRef(name="web")


def entries(*blocks: str) -> tuple[ListEntry, ...]:
    return tuple(ListEntry(parse_cidr(block)) for block in blocks)


def tcp(port: int, prefix_list: PrefixList) -> RuleRequest:
    return RuleRequest(6, port, port, ListRef(prefix_list.id))


@pytest.fixture
async def office(cell: Cell, vera: Caller) -> PrefixList:
    await SecurityGroups(cell).create(vera, "web", "d")
    return await PrefixLists(cell).create(vera, "office", 4, 10, entries("198.51.100.0/24", "192.0.2.7/32"))


class TestALife:
    async def test_it_starts_at_version_one_in_order(self, cell: Cell, vera: Caller, office: PrefixList) -> None:
        assert (office.version, office.modified, office.id[:3]) == (1, False, "pl-")
        assert office.cidrs == (parse_cidr("192.0.2.7/32"), parse_cidr("198.51.100.0/24"))
        assert await PrefixLists(cell).describe(vera) == [office]

    async def test_entries_make_a_version_and_old_ones_stay_readable(
        self, cell: Cell, vera: Caller, office: PrefixList
    ) -> None:
        lists = PrefixLists(cell)
        change = ListChange(add=entries("203.0.113.0/24"), remove=(parse_cidr("192.0.2.7/32"),), current_version=1)
        after = await lists.modify(vera, office.id, change)
        assert (after.version, after.cidrs) == (2, (parse_cidr("198.51.100.0/24"), parse_cidr("203.0.113.0/24")))
        assert await lists.entries(vera, office.id) == after.entries
        assert await lists.entries(vera, office.id, 1) == office.entries
        with pytest.raises(ParameterInvalid):
            await lists.entries(vera, office.id, 3)

    async def test_a_name_or_a_size_makes_no_version(self, cell: Cell, vera: Caller, office: PrefixList) -> None:
        after = await PrefixLists(cell).modify(vera, office.id, ListChange(name="hq", max_entries=20))
        assert after == replace(office, name="hq", max_entries=20, modified=True)

    async def test_an_older_version_than_the_newest_is_not_modified(
        self, cell: Cell, vera: Caller, office: PrefixList
    ) -> None:
        lists = PrefixLists(cell)
        await lists.modify(vera, office.id, ListChange(add=entries("203.0.113.0/24"), current_version=1))
        with pytest.raises(PrefixListVersionMismatch):
            await lists.modify(vera, office.id, ListChange(add=entries("203.0.114.0/24"), current_version=1))
        assert lists.find(vera, office.id).version == 2

    @pytest.mark.parametrize(
        "change",
        [
            ListChange(add=entries("192.0.2.7/32")),
            ListChange(add=entries("203.0.113.0/24", "203.0.113.0/24")),
            ListChange(add=entries("2001:db8::/32")),
            ListChange(remove=(parse_cidr("203.0.113.0/24"),)),
            ListChange(max_entries=1),
            ListChange(max_entries=1001),
            ListChange(name="com.amazonaws.x"),
            ListChange(add=entries(*(f"203.0.113.{n}/32" for n in range(9)))),
            ListChange(add=entries("203.0.113.0/24"), max_entries=20),
            ListChange(),
        ],
    )
    async def test_what_is_wrong_changes_nothing(
        self, cell: Cell, vera: Caller, office: PrefixList, change: ListChange
    ) -> None:
        with pytest.raises((ParameterInvalid, ParametersConflict, QuotaExceeded)):
            await PrefixLists(cell).modify(vera, office.id, change)
        assert PrefixLists(cell).find(vera, office.id) == office

    async def test_it_is_nobody_elses(self, cell: Cell, mary: Caller, office: PrefixList) -> None:
        with pytest.raises(ResourceNotFound):
            await PrefixLists(cell).describe(mary, [office.id])

    async def test_the_same_token_makes_it_once(self, cell: Cell, vera: Caller) -> None:
        lists = PrefixLists(cell)
        made = await lists.create(vera, "office", 4, 10, client_token="once")
        assert await lists.create(vera, "office", 4, 10, client_token="once") == made
        with pytest.raises(TokenReused):
            await lists.create(vera, "other", 4, 10, client_token="once")
        await lists.delete(vera, made.id)
        assert (await lists.create(vera, "other", 4, 10, client_token="once")).id != made.id

    async def test_it_goes_with_all_its_versions_and_tags(self, cell: Cell, vera: Caller, office: PrefixList) -> None:
        lists = PrefixLists(cell)
        await lists.modify(vera, office.id, ListChange(add=entries("203.0.113.0/24")))
        await lists.delete(vera, office.id)
        assert not [key for key in cell.resources.all_keys() if office.id in key]


@pytest.mark.usefixtures("office")
class TestInRules:
    async def test_a_rule_names_it_and_keeps_it(self, cell: Cell, vera: Caller, office: PrefixList) -> None:
        (rule,) = await Rules(cell).authorize(vera, WEB, IN, [tcp(80, office)])
        assert rule.peer == PrefixListPeer(office.id)
        with pytest.raises(PrefixListInUse) as caught:
            await PrefixLists(cell).delete(vera, office.id)
        assert caught.value.groups == (SecurityGroups(cell).find(vera, WEB).id,)
        await Rules(cell).revoke(vera, WEB, IN, [tcp(80, office)])
        await PrefixLists(cell).delete(vera, office.id)

    async def test_deleting_the_group_lets_it_go(self, cell: Cell, vera: Caller, office: PrefixList) -> None:
        await Rules(cell).authorize(vera, WEB, IN, [tcp(80, office)])
        await SecurityGroups(cell).delete(vera, WEB)
        await PrefixLists(cell).delete(vera, office.id)
        assert not [key for key in cell.resources.all_keys() if keys.kind_of(key) == "ref"]

    async def test_it_weighs_its_most_entries_in_both_families(
        self, cell: Cell, vera: Caller, office: PrefixList
    ) -> None:
        rules = Rules(cell)
        await rules.authorize(vera, WEB, IN, [tcp(port, office) for port in range(5)])
        await rules.authorize(vera, WEB, IN, [RuleRequest(6, port, port, parse_cidr("::/0")) for port in range(10)])
        for refused in (tcp(5, office), RuleRequest(6, 11, 11, parse_cidr("::/0"))):
            with pytest.raises(QuotaExceeded):
                await rules.authorize(vera, WEB, IN, [refused])
        with pytest.raises(QuotaExceeded):
            await PrefixLists(cell).modify(vera, office.id, ListChange(max_entries=11))
        await rules.authorize(vera, WEB, Direction.EGRESS, [tcp(5, office)])

    async def test_classic_groups_do_not_name_it(self, cell: Cell, albert: Caller, office: PrefixList) -> None:
        await SecurityGroups(cell).create(albert, "web", "d")
        with pytest.raises(ParameterInvalid):
            await Rules(cell).authorize(albert, WEB, IN, [tcp(80, office)])

    async def test_a_list_that_is_not_there_is_not_named(self, cell: Cell, vera: Caller) -> None:
        with pytest.raises(ResourceNotFound):
            await Rules(cell).authorize(vera, WEB, IN, [RuleRequest(6, 80, 80, ListRef("pl-" + "0" * 17))])


class TestFewVersions:
    @pytest.fixture
    def settings(self) -> CellSettings:
        return CellSettings(quotas=Quotas(prefix_list_versions=3, prefix_lists=1))

    async def test_the_oldest_goes(self, cell: Cell, vera: Caller, office: PrefixList) -> None:
        for number in range(4):
            await PrefixLists(cell).modify(vera, office.id, ListChange(add=entries(f"203.0.113.{number}/32")))
        assert cell.resources.versions_of(office.id) == [3, 4, 5]

    async def test_there_are_only_so_many_lists(self, cell: Cell, vera: Caller, office: PrefixList) -> None:
        with pytest.raises(QuotaExceeded):
            await PrefixLists(cell).create(vera, "second", 6, 1)

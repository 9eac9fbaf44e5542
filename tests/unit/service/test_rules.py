"""Rules: duplicates, quotas, what revoke says about what is not there."""

import asyncio
from collections.abc import Sequence

import pytest

from stockade.model.addresses import parse_cidr
from stockade.model.errors import (
    CidrMalformed,
    EgressNotAllowed,
    GroupNotFound,
    PortRangeInvalid,
    ProtocolUnknown,
    QuotaExceeded,
    ResourceNotFound,
    RuleDuplicate,
    RuleNotFound,
)
from stockade.model.ids import HostId, VpcId
from stockade.model.resources import put
from stockade.model.rule import CidrPeer, Direction, GroupPeer, Rule
from stockade.model.vpc import Vpc
from stockade.service.call import calling
from stockade.service.caller import Caller
from stockade.service.cell import Cell
from stockade.service.rules import RuleRequest, Rules, whole_group
from stockade.service.security_groups import GroupRef, SecurityGroups

IN, OUT = Direction.INGRESS, Direction.EGRESS
WEB = GroupRef(name="web")


def tcp(port: int, peer: str | GroupRef = "0.0.0.0/0") -> RuleRequest:
    return RuleRequest(6, port, port, parse_cidr(peer) if isinstance(peer, str) else peer)


async def ingress(cell: Cell, caller: Caller, name: str) -> Sequence[Rule]:
    (group,) = await SecurityGroups(cell).describe(caller, names=[name])
    return [rule for rule in group.rules if rule.direction is IN]


@pytest.fixture
async def web(cell: Cell, albert: Caller, vera: Caller) -> None:
    for caller in (albert, vera):
        await SecurityGroups(cell).create(caller, "web", "web servers")


@pytest.fixture
async def side(cell: Cell, vera: Caller, web: None) -> GroupRef:
    """A group in a VPC that is not the default one."""
    await cell.ledger.commit(
        [], [put(Vpc(VpcId("vpc-01000000"), 900, vera.account.id, "us-east-1", cell.settings.default_vpc))]
    )
    group = await SecurityGroups(cell).create(vera, "side", "d", "vpc-01000000")
    return GroupRef(id=group.id)


@pytest.mark.usefixtures("web")
class TestAuthorize:
    async def test_gives_each_rule_an_id_and_a_number(self, cell: Cell, albert: Caller) -> None:
        made = await Rules(cell).authorize(albert, WEB, IN, [tcp(80), tcp(443)])
        assert [rule.from_port for rule in made] == [80, 443]
        assert len({rule.id for rule in made}) == len({rule.number for rule in made}) == 2
        assert await ingress(cell, albert, "web") == made

    async def test_refuses_the_same_rule_in_another_spelling(self, cell: Cell, vera: Caller) -> None:
        await Rules(cell).authorize(vera, WEB, IN, [tcp(22, "100.68.0.0/18")])
        with pytest.raises(RuleDuplicate) as caught:
            await Rules(cell).authorize(vera, WEB, IN, [tcp(22, "100.68.0.18/18")])
        assert caught.value.peer == "100.68.0.0/18"
        assert caught.value.protocol == "tcp"

    async def test_keeps_rules_that_overlap(self, cell: Cell, vera: Caller) -> None:
        await Rules(cell).authorize(
            vera, WEB, IN, [tcp(22), tcp(22, "1.2.3.4/32"), RuleRequest(6, 20, 30, parse_cidr("0.0.0.0/0"))]
        )
        assert len(await ingress(cell, vera, "web")) == 3

    async def test_is_all_or_nothing(self, cell: Cell, vera: Caller) -> None:
        rules = Rules(cell)
        await rules.authorize(vera, WEB, IN, [tcp(80)])
        for bad in ([tcp(81), tcp(80)], [tcp(82), tcp(82)], [tcp(83), tcp(70000)], [tcp(84, GroupRef(name="nosuch"))]):
            with pytest.raises((RuleDuplicate, PortRangeInvalid, GroupNotFound)):
                await rules.authorize(vera, WEB, IN, bad)
        assert [rule.from_port for rule in await ingress(cell, vera, "web")] == [80]

    async def test_of_twenty_equal_ones_at_once_one_succeeds(self, cell: Cell, vera: Caller) -> None:
        tries = (Rules(cell).authorize(vera, WEB, IN, [tcp(80)]) for _ in range(20))
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(isinstance(outcome, RuleDuplicate) for outcome in outcomes) == 19
        assert len(await ingress(cell, vera, "web")) == 1

    async def test_of_twenty_different_ones_at_once_all_succeed(self, cell: Cell, vera: Caller) -> None:
        await asyncio.gather(*(Rules(cell).authorize(vera, WEB, IN, [tcp(port)]) for port in range(20)))
        assert {rule.from_port for rule in await ingress(cell, vera, "web")} == set(range(20))

    async def test_on_classic_knows_no_egress(self, cell: Cell, albert: Caller) -> None:
        with pytest.raises(EgressNotAllowed):
            await Rules(cell).authorize(albert, WEB, OUT, [tcp(80)])

    async def test_on_classic_spells_out_all_protocols(self, cell: Cell, albert: Caller) -> None:
        await Rules(cell).authorize(albert, WEB, IN, [RuleRequest(-1, None, None, WEB)])
        shown = [(r.protocol, r.from_port, r.to_port) for r in await ingress(cell, albert, "web")]
        assert shown == [(6, 1, 65535), (17, 1, 65535), (1, -1, -1)]
        with pytest.raises(RuleDuplicate):
            await Rules(cell).authorize(albert, WEB, IN, whole_group(WEB, classic=True))

    async def test_on_classic_takes_tcp_udp_icmp_and_ipv4_only(self, cell: Cell, albert: Caller) -> None:
        with pytest.raises(ProtocolUnknown):
            await Rules(cell).authorize(albert, WEB, IN, [RuleRequest(47, None, None, parse_cidr("0.0.0.0/0"))])
        with pytest.raises(CidrMalformed):
            await Rules(cell).authorize(albert, WEB, IN, [tcp(80, "::/0")])

    async def test_names_a_group_of_another_classic_account(self, cell: Cell, albert: Caller, mary: Caller) -> None:
        theirs = await SecurityGroups(cell).create(mary, "apache", "d")
        (rule,) = await Rules(cell).authorize(
            albert, WEB, IN, [tcp(80, GroupRef(name="apache", account="222222222222"))]
        )
        assert rule.peer == GroupPeer(theirs.id, mary.account.id)
        with pytest.raises(GroupNotFound):
            await Rules(cell).authorize(albert, WEB, IN, [tcp(80, GroupRef(name="apache"))])
        with pytest.raises(GroupNotFound):
            await Rules(cell).authorize(albert, WEB, IN, [tcp(80, GroupRef(id=theirs.id, account="111111111111"))])

    async def test_does_not_name_a_group_of_another_vpc(self, cell: Cell, vera: Caller, side: GroupRef) -> None:
        with pytest.raises(GroupNotFound):
            await Rules(cell).authorize(vera, WEB, IN, [tcp(80, side)])

    async def test_counts_sixty_per_direction_and_family_with_groups_in_both(self, cell: Cell, vera: Caller) -> None:
        rules = Rules(cell)
        await rules.authorize(vera, WEB, IN, [tcp(port) for port in range(59)])
        await rules.authorize(vera, WEB, IN, [tcp(port, "::/0") for port in range(59)])
        await rules.authorize(vera, WEB, IN, [tcp(60, WEB)])
        for request in (tcp(99), tcp(99, "::/0"), tcp(99, WEB)):
            with pytest.raises(QuotaExceeded):
                await rules.authorize(vera, WEB, IN, [request])
        await rules.authorize(vera, WEB, OUT, [tcp(99)])

    async def test_on_classic_counts_a_hundred(self, cell: Cell, albert: Caller) -> None:
        await Rules(cell).authorize(albert, WEB, IN, [tcp(port) for port in range(100)])
        with pytest.raises(QuotaExceeded) as caught:
            await Rules(cell).authorize(albert, WEB, IN, [tcp(100)])
        assert (caught.value.limit, caught.value.have, caught.value.asked) == (100, 100, 1)

    async def test_waits_for_enforcement_and_says_who_lags(self, cell: Cell, vera: Caller, waits) -> None:  # type: ignore[no-untyped-def]
        waits.asked.clear()
        waits.lagging = (HostId("host-1"),)
        with calling() as call:
            await Rules(cell).authorize(vera, WEB, IN, [tcp(80)])
        assert waits.asked == [(call.revision, 5.0)]
        assert call.lagging == ("host-1",)
        with calling(wait_s=0) as call:
            await Rules(cell).authorize(vera, WEB, IN, [tcp(81)])
        assert len(waits.asked) == 1
        assert call.revision == cell.resources.revision


@pytest.mark.usefixtures("web")
class TestRevoke:
    async def test_removes_exact_matches_whatever_their_description(self, cell: Cell, vera: Caller) -> None:
        rules = Rules(cell)
        await rules.authorize(vera, WEB, IN, [RuleRequest(6, 20, 30, parse_cidr("0.0.0.0/0"), "described")])
        assert (await rules.revoke(vera, WEB, IN, [tcp(22)])).removed == ()
        gone = await rules.revoke(vera, WEB, IN, [RuleRequest(6, 20, 30, parse_cidr("0.0.0.0/0"))])
        assert [rule.description for rule in gone.removed] == ["described"]
        assert await ingress(cell, vera, "web") == []

    async def test_of_what_is_absent_succeeds_on_classic_and_in_the_default_vpc(
        self, cell: Cell, albert: Caller, vera: Caller
    ) -> None:
        for caller in (albert, vera):
            await Rules(cell).authorize(caller, WEB, IN, [tcp(80)])
            revoked = await Rules(cell).revoke(caller, WEB, IN, [tcp(2222), tcp(80)])
            assert revoked.unknown == (tcp(2222),)
            assert [rule.from_port for rule in revoked.removed] == [80]

    async def test_of_what_is_absent_fails_in_any_other_vpc(self, cell: Cell, vera: Caller, side: GroupRef) -> None:
        await Rules(cell).authorize(vera, side, IN, [tcp(80)])
        with pytest.raises(RuleNotFound):
            await Rules(cell).revoke(vera, side, IN, [tcp(80), tcp(2222)])
        assert len(SecurityGroups(cell).find(vera, side).rules) == 2

    async def test_by_id(self, cell: Cell, vera: Caller) -> None:
        first, second = await Rules(cell).authorize(vera, WEB, IN, [tcp(80), tcp(81)])
        assert (await Rules(cell).revoke_by_id(vera, WEB, IN, [first.id])).removed == (first,)
        with pytest.raises(ResourceNotFound):
            await Rules(cell).revoke_by_id(vera, WEB, IN, [second.id, first.id])
        assert await ingress(cell, vera, "web") == [second]

    async def test_may_close_egress_in_a_vpc(self, cell: Cell, vera: Caller) -> None:
        gone = await Rules(cell).revoke(vera, WEB, OUT, [RuleRequest(-1, None, None, parse_cidr("0.0.0.0/0"))])
        assert [rule.peer for rule in gone.removed] == [CidrPeer(parse_cidr("0.0.0.0/0"))]

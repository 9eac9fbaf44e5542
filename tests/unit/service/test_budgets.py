"""A change that a host could not hold is refused whole; what is accepted can be loaded beside what was."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime
from itertools import count
from random import Random

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from stockade.feed.views import view_of
from stockade.model.account import Platform
from stockade.model.addresses import parse_cidr
from stockade.model.change import Revision
from stockade.model.errors import CapacityExceeded, ParameterInvalid, QuotaExceeded, RuleDuplicate
from stockade.model.host_view import Frame, HostView, apply_frame
from stockade.model.ids import HostId
from stockade.model.prefix_list import ListEntry
from stockade.model.rule import Direction
from stockade.policy.budget import Capacity, Cost, cost_of, shortage
from stockade.policy.compile import compile_host
from stockade.service import network_interfaces
from stockade.service.accounts import Accounts
from stockade.service.caller import Caller
from stockade.service.cell import Cell, CellSettings
from stockade.service.enforcement import NoEnforcement
from stockade.service.images import Images
from stockade.service.instances import Instances, LaunchRequest
from stockade.service.membership import Interfaces
from stockade.service.prefix_lists import ListChange, PrefixLists
from stockade.service.rules import ListRef, RuleRequest, Rules
from stockade.service.security_groups import GroupRef, SecurityGroups
from stockade.service.vpcs import Vpcs
from stockade.store.cache import Cache
from stockade.store.memory import MemoryStore

IN = Direction.INGRESS
MICRO = "ami-eca54085"
HERE = HostId("host-1")
PLENTY = Cost(*([1_000_000] * 9))


def tcp(port: int, peer: str) -> RuleRequest:
    return RuleRequest(6, port, port, parse_cidr(peer))


class TestARefusal:
    @pytest.fixture
    def settings(self) -> CellSettings:
        return CellSettings(capacity=Capacity(PLENTY._replace(prefixes=40, endpoints=6)))

    async def test_names_the_table_and_changes_nothing(self, cell: Cell, vera: Caller) -> None:
        await SecurityGroups(cell).create(vera, "web", "d")
        web = GroupRef(name="web")
        await Instances(cell).run(vera, LaunchRequest(MICRO, groups=(web,)))
        rules = Rules(cell)
        # Of the 20 prefixes one is the egress rule's.
        await rules.authorize(vera, web, IN, [tcp(80, f"10.0.{n}.0/24") for n in range(19)])
        before, revision = SecurityGroups(cell).find(vera, web), cell.resources.revision
        with pytest.raises(CapacityExceeded) as caught:
            await rules.authorize(vera, web, IN, [tcp(80, "10.1.0.0/24")])
        assert (caught.value.table, caught.value.need, caught.value.room) == ("prefixes", 21, 20)
        assert (SecurityGroups(cell).find(vera, web), cell.resources.revision) == (before, revision)
        await rules.revoke(vera, web, IN, [tcp(80, "10.0.3.0/24")])
        await rules.authorize(vera, web, IN, [tcp(80, "10.1.0.0/24")])

    async def test_is_not_for_groups_that_nobody_is_in(self, cell: Cell, vera: Caller) -> None:
        await SecurityGroups(cell).create(vera, "web", "d")
        await Rules(cell).authorize(vera, GroupRef(name="web"), IN, [tcp(80, f"10.0.{n}.0/24") for n in range(50)])
        with pytest.raises(CapacityExceeded):
            await Instances(cell).run(vera, LaunchRequest(MICRO, groups=(GroupRef(name="web"),)))
        await Instances(cell).run(vera, LaunchRequest(MICRO))

    async def test_of_a_launch_starts_nothing(self, cell: Cell, vera: Caller) -> None:
        await Instances(cell).run(vera, LaunchRequest(MICRO, max_count=2))
        with pytest.raises(CapacityExceeded) as caught:
            await Instances(cell).run(vera, LaunchRequest(MICRO, max_count=2))
        assert (caught.value.table, caught.value.need) == ("endpoints", 4)
        await Instances(cell).run(vera, LaunchRequest(MICRO))
        assert len(cell.resources.interfaces) == 3

    async def test_of_new_groups_or_a_longer_list_keeps_the_old(self, cell: Cell, vera: Caller) -> None:
        groups, lists = SecurityGroups(cell), PrefixLists(cell)
        wide = (await groups.create(vera, "wide", "d")).id
        web = (await groups.create(vera, "web", "d")).id
        office = await lists.create(vera, "office", 4, 30, [ListEntry(parse_cidr("10.0.0.0/8"))])
        await Rules(cell).authorize(vera, GroupRef(id=wide), IN, [tcp(80, f"10.0.{n}.0/24") for n in range(50)])
        await Rules(cell).authorize(vera, GroupRef(id=web), IN, [RuleRequest(6, 80, 80, ListRef(office.id))])
        await Instances(cell).run(vera, LaunchRequest(MICRO, groups=(GroupRef(id=web),)))
        (interface,) = cell.resources.interfaces.values()
        with pytest.raises(CapacityExceeded):
            await Interfaces(cell).set_groups(vera, interface.id, [web, wide])
        more = tuple(ListEntry(parse_cidr(f"192.0.2.{n}/32")) for n in range(29))
        with pytest.raises(CapacityExceeded):
            await lists.modify(vera, office.id, ListChange(add=more))
        assert list(cell.resources.interfaces.values()) == [interface]
        assert lists.find(vera, office.id) == office
        await lists.modify(vera, office.id, ListChange(add=more[:18]))


def host_view(cell: Cell) -> HostView:
    items = tuple(view_of(cell.resources, HERE).values())
    return apply_frame(HostView(HERE), Frame(Revision(1), items, whole=True))


class World:
    """A few groups, lists and interfaces, changed at random under small tables."""

    def __init__(self, cell: Cell, caller: Caller, chance: Random) -> None:
        self.cell = cell
        self.caller = caller
        self.chance = chance
        self.groups: list[str] = []
        self.lists: list[str] = []
        self.refused = 0

    async def prepare(self) -> None:
        for number in range(4):
            self.groups.append((await SecurityGroups(self.cell).create(self.caller, f"g{number}", "d")).id)
        for family in (4, 6):
            self.lists.append((await PrefixLists(self.cell).create(self.caller, "list", family, 5)).id)

    def request(self) -> RuleRequest:
        protocol = self.chance.choice([6, 6, 17, -1, 50])
        low = self.chance.randrange(5)
        ports = (low, low + self.chance.randrange(3)) if protocol in (6, 17) else (None, None)
        block = parse_cidr(f"10.{self.chance.randrange(2)}.0.0/{self.chance.choice([8, 16, 24])}")
        peers = [block, GroupRef(id=self.chance.choice(self.groups)), ListRef(self.chance.choice(self.lists))]
        return RuleRequest(protocol, *ports, self.chance.choice(peers))

    def step(self) -> Awaitable[object]:
        chance, cell, caller = self.chance, self.cell, self.caller
        some = chance.sample(self.groups, chance.randint(1, 3))
        interfaces = list(cell.resources.interfaces)
        kind = chance.randrange(6)
        if kind == 0 or not interfaces:
            return Instances(cell).run(caller, LaunchRequest(MICRO, groups=tuple(GroupRef(id=id) for id in some)))
        if kind == 1:
            return Interfaces(cell).set_groups(caller, chance.choice(interfaces), some)
        if kind == 2:
            id = chance.choice(self.lists)
            present = PrefixLists(cell).find(caller, id)
            block = "10.{}.{}.0/24" if present.family == 4 else "2001:db8:{}:{}::/64"
            entry = ListEntry(parse_cidr(block.format(chance.randrange(2), chance.randrange(3))))
            has = entry.cidr in present.cidrs
            change = ListChange(remove=(entry.cidr,)) if has else ListChange(add=(entry,))
            return PrefixLists(cell).modify(caller, id, change)
        if kind == 3:
            return self.revoke(some[0])
        if kind == 4:
            gone = cell.resources.interfaces[chance.choice(interfaces)]
            return cell.ledger.commit([], network_interfaces.deleted(gone))
        return Rules(cell).authorize(caller, GroupRef(id=some[0]), chance.choice(list(Direction)), [self.request()])

    async def revoke(self, id: str) -> None:
        group = SecurityGroups(self.cell).find(self.caller, GroupRef(id=id))
        if group.rules:
            rule = self.chance.choice(group.rules)
            await Rules(self.cell).revoke_by_id(self.caller, GroupRef(id=id), rule.direction, [rule.id])


@contextlib.asynccontextmanager
async def fresh_cell(settings: CellSettings) -> AsyncIterator[tuple[Cell, Caller]]:
    """A cell in memory with one VPC account."""
    store = MemoryStore()
    cache = await Cache.open(store)
    numbers = count(1)
    now = datetime(2026, 11, 22, tzinfo=UTC)
    cell = Cell(cache, NoEnforcement(), settings, HERE, lambda: now, lambda digits: f"{next(numbers):0{digits}x}")
    await Images(cell).seed()
    await Vpcs(cell).ensure()
    created = await Accounts(cell).create("vera", "333333333333", Platform.VPC)
    yield cell, Caller(created.account, "us-east-1")
    await cache.close()
    await store.close()


SMALL = Capacity(Cost(8, 30, 120, 60, 24, 16, 12, 12, 12), inline=1)


async def play(chance: Random, steps: int) -> World:
    """So many random changes; after each, what stands could be loaded twice over."""
    async with fresh_cell(CellSettings(capacity=SMALL)) as (cell, caller):
        world = World(cell, caller, chance)
        await world.prepare()
        for _ in range(steps):
            try:
                await world.step()
            except CapacityExceeded:
                world.refused += 1
            except (QuotaExceeded, RuleDuplicate, ParameterInvalid):
                pass
            need = cost_of(compile_host(host_view(cell)), SMALL.inline)
            for host in cell.budgets.hosts.values():
                groups = [cell.resources.groups[id] for id in host.of_group]
                assert host.rules in (None, sum(len(group.rules) for group in groups))
            assert shortage(need, SMALL.room()) is None, need
        return world


@given(st.randoms(use_true_random=False))
@effort(max_examples=25, deadline=None)
def test_whatever_is_accepted_can_be_loaded(chance: Random) -> None:
    asyncio.run(play(chance, 40))


def test_such_histories_do_come_to_the_edge() -> None:
    refused = [asyncio.run(play(Random(seed), 80)).refused for seed in range(4)]
    assert 5 < sum(refused) < 200, refused

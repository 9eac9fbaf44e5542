"""What happens without a call, and what is there again after a restart."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from stockade.model.ids import HostId
from stockade.model.instance import InstanceState, InstanceStatus, Observed
from stockade.model.resources import put
from stockade.model.rule import Direction
from stockade.service.accounts import Accounts
from stockade.service.caller import Caller
from stockade.service.cell import Cell, CellSettings
from stockade.service.enforcement import NoEnforcement
from stockade.service.instances import Instances, LaunchRequest
from stockade.service.rules import Rules, whole_group
from stockade.service.security_groups import GroupRef, SecurityGroups
from stockade.service.tags import Tags
from stockade.service.upkeep import SHOWN_FOR, Upkeep
from stockade.store.cache import Cache
from stockade.store.sqlite.store import SqliteStore


async def test_a_terminated_instance_is_shown_for_an_hour_and_then_forgotten(cell: Cell, albert: Caller) -> None:
    instances, upkeep = Instances(cell), Upkeep(cell)
    request = LaunchRequest("ami-eca54085", client_token="once", tags={"Name": "one"})
    (each,) = (await instances.run(albert, request)).instances
    await cell.ledger.commit([], [put(InstanceStatus(each.instance.id, Observed.GONE, "it ended"))])
    await upkeep.reap([each.instance.id])
    now = cell.now()
    cell.now = lambda: now + SHOWN_FOR
    await upkeep.forget()
    ((shown,),) = [r.instances for r in await instances.describe(albert)]
    assert (shown.state, shown.reason) == (InstanceState.TERMINATED, "it ended")
    cell.now = lambda: now + SHOWN_FOR + timedelta(seconds=1)
    await upkeep.forget()
    assert await instances.describe(albert) == []
    assert await Tags(cell).describe(albert) == []
    assert cell.resources.statuses == {}
    assert not any("token" in key for key in cell.resources.claims)


async def test_an_instance_that_ended_while_nobody_looked_is_seen_to_at_the_start(cell: Cell, albert: Caller) -> None:
    (each,) = (await Instances(cell).run(albert, LaunchRequest("ami-eca54085"))).instances
    await cell.ledger.commit([], [put(InstanceStatus(each.instance.id, Observed.GONE))])
    upkeep = Upkeep(cell)
    await upkeep.start()
    async with asyncio.timeout(5):
        while cell.resources.interfaces:
            await asyncio.sleep(0)
    await upkeep.close()
    assert cell.resources.instances[each.instance.id].terminated_at == cell.now()


async def test_a_failure_is_told_and_the_next_round_tries_again(
    cell: Cell, albert: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (each,) = (await Instances(cell).run(albert, LaunchRequest("ami-eca54085"))).instances
    upkeep = Upkeep(cell)
    await upkeep.start()
    real, failed = cell.write, asyncio.Event()

    async def full_disk(*args: object, **kwargs: object) -> None:
        failed.set()
        raise OSError("no space left on device")

    monkeypatch.setattr(cell, "write", full_disk)
    await cell.ledger.commit([], [put(InstanceStatus(each.instance.id, Observed.GONE))])
    await asyncio.wait_for(failed.wait(), 5)
    monkeypatch.setattr(cell, "write", real)
    await cell.ledger.commit([], [put(InstanceStatus(each.instance.id, Observed.GONE, "again"))])
    async with asyncio.timeout(5):
        while cell.resources.interfaces:
            await asyncio.sleep(0)
    await upkeep.close()
    assert {record.message for record in caplog.records} == {"upkeep_failed"}


async def test_everything_is_there_again_after_a_restart(tmp_path: Path, cell: Cell) -> None:
    async def opened() -> tuple[SqliteStore, Cache, Cell, Upkeep]:
        store = await SqliteStore.open(tmp_path / "state.db")
        cache = await Cache.open(store)
        made = Cell(cache, NoEnforcement(), CellSettings(), HostId("host-1"), cell.now, cell.random_hex)
        upkeep = Upkeep(made)
        await upkeep.start()
        return store, cache, made, upkeep

    store, cache, first, upkeep = await opened()
    created = await Accounts(first).create("albert")
    caller = Caller(created.account, "us-east-1")
    await SecurityGroups(first).create(caller, "apache", "d")
    grant = whole_group(GroupRef(name="default"), classic=False)
    (rule, *_) = await Rules(first).authorize(caller, GroupRef(name="apache"), Direction.INGRESS, grant)
    before = await Instances(first).run(caller, LaunchRequest("ami-eca54085", 2, 2, user_data=b"\x00\xff"))
    for each in (upkeep, cache, store):
        await each.close()

    store, cache, second, upkeep = await opened()
    assert Accounts(second).find_key(created.key.id) == (created.account, created.key)
    assert await Instances(second).describe(caller) == [before]
    assert rule in SecurityGroups(second).find(caller, GroupRef(name="apache")).rules
    after = await Instances(second).run(caller, LaunchRequest("ami-eca54085"))
    *old, new = (each.interface for each in (*before.instances, *after.instances) if each.interface)
    assert all(each.number < new.number and each.addresses < new.addresses for each in old)
    for each in (upkeep, cache, store):
        await each.close()

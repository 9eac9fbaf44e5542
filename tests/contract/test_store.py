"""One suite over every store: what store/contract.py promises."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stockade.model.change import Revision
from stockade.store.contract import (
    AtRevision,
    Batch,
    Compacted,
    Delete,
    Empty,
    Event,
    Exists,
    GuardFailed,
    Put,
    Store,
)
from stockade.store.memory import MemoryStore
from stockade.store.sqlite.file import Database, StoreBusy, StoreTooNew
from stockade.store.sqlite.store import SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else await SqliteStore.open(tmp_path / "state.db")
    yield made
    await made.close()


async def take(store: Store, after: int, count: int) -> list[Batch]:
    """The first `count` batches after a revision."""
    found: list[Batch] = []
    watch = store.watch(Revision(after))
    async for batch in watch:
        found.append(batch)
        if len(found) == count:
            break
    await watch.aclose()  # type: ignore[attr-defined]
    return found


async def test_an_empty_store_is_at_revision_zero(store: Store) -> None:
    assert await store.load() == (0, [])
    assert await store.tip() == 0


async def test_each_transaction_has_the_next_revision_and_load_shows_it(store: Store) -> None:
    assert await store.txn([], [Put("b", b"1"), Put("a", b"2")]) == 1
    assert await store.txn([], [Put("b", b"3")]) == 2
    revision, records = await store.load()
    assert revision == await store.tip() == 2
    assert [(r.key, r.value, r.revision) for r in records] == [("a", b"2", 1), ("b", b"3", 2)]


async def test_a_transaction_without_ops_checks_its_guards_and_changes_nothing(store: Store) -> None:
    await store.txn([], [Put("a", b"1")])
    assert await store.txn([Exists("a")], []) == 1
    with pytest.raises(GuardFailed):
        await store.txn([Exists("b")], [])
    assert await store.tip() == 1


async def test_guard_on_revision_sees_every_edit_and_absence(store: Store) -> None:
    await store.txn([AtRevision("a", Revision(0))], [Put("a", b"1")])
    with pytest.raises(GuardFailed) as caught:
        await store.txn([AtRevision("a", Revision(0))], [Put("a", b"2")])
    assert caught.value.guard == AtRevision("a", Revision(0))
    await store.txn([AtRevision("a", Revision(1))], [Put("a", b"2")])
    with pytest.raises(GuardFailed):
        await store.txn([AtRevision("a", Revision(1))], [Delete("a")])
    await store.txn([AtRevision("a", Revision(2))], [Delete("a")])
    assert await store.txn([AtRevision("a", Revision(0))], [Put("a", b"3")]) == 4


async def test_guard_on_existence_does_not_mind_edits(store: Store) -> None:
    await store.txn([], [Put("a", b"1")])
    await store.txn([], [Put("a", b"2")])
    assert await store.txn([Exists("a")], [Put("b", b"1")]) == 3


async def test_guard_on_emptiness_is_about_the_whole_prefix_and_no_more(store: Store) -> None:
    await store.txn([], [Put("mem/sg-1/eni-1", b""), Put("mem/sg-10/eni-1", b"")])
    assert await store.txn([Empty("mem/sg-2/")], [Put("x", b"")]) == 2
    with pytest.raises(GuardFailed):
        await store.txn([Empty("mem/sg-1/")], [Put("x", b"")])
    await store.txn([], [Delete("mem/sg-1/eni-1")])
    assert await store.txn([Empty("mem/sg-1/")], [Put("x", b"")]) == 4


async def test_a_failed_guard_writes_nothing_at_all(store: Store) -> None:
    with pytest.raises(GuardFailed):
        await store.txn([Empty("a"), Exists("nosuch")], [Put("a", b"1"), Put("b", b"1")])
    assert await store.load() == (0, [])


async def test_of_many_at_once_exactly_one_wins_a_guarded_key(store: Store) -> None:
    tries = [store.txn([AtRevision("name", Revision(0))], [Put("name", b"%d" % n)]) for n in range(50)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(outcome, GuardFailed) for outcome in outcomes) == 49
    assert await store.tip() == 1


async def test_watch_gives_whole_batches_in_order_from_any_revision(store: Store) -> None:
    await store.txn([], [Put("a", b"1"), Put("b", b"1")])
    await store.txn([], [Delete("a"), Delete("never-there")])
    await store.txn([], [Put("c", b"1")])
    all_of_it = [
        Batch(Revision(1), (Event("a", b"1"), Event("b", b"1"))),
        Batch(Revision(2), (Event("a", None), Event("never-there", None))),
        Batch(Revision(3), (Event("c", b"1"),)),
    ]
    assert await take(store, 0, 3) == all_of_it
    assert await take(store, 2, 1) == all_of_it[2:]


async def test_a_watcher_that_starts_amid_writes_misses_and_repeats_nothing(store: Store) -> None:
    async def write() -> None:
        for n in range(200):
            await store.txn([], [Put("k", b"%d" % n)])

    writing = asyncio.create_task(write())
    while await store.tip() < 20:
        await asyncio.sleep(0)
    batches = await asyncio.wait_for(take(store, 10, 190), 20)
    await writing
    assert [batch.revision for batch in batches] == list(range(11, 201))


async def test_a_watcher_sees_a_transaction_no_later_than_its_writer(store: Store) -> None:
    watch = store.watch(Revision(0))
    first = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    await store.txn([], [Put("a", b"1")])
    assert (await asyncio.wait_for(first, 5)).revision == 1
    await watch.aclose()  # type: ignore[attr-defined]


async def test_compacted_history_is_refused_and_values_stay(store: Store) -> None:
    for n in range(4):
        await store.txn([], [Put("a", b"%d" % n)])
    await store.compact(Revision(2))
    with pytest.raises(Compacted):
        await take(store, 1, 1)
    assert [batch.revision for batch in await take(store, 2, 2)] == [3, 4]
    assert (await store.load())[1][0].value == b"3"


async def test_closing_ends_the_watch(store: Store) -> None:
    await store.txn([], [Put("a", b"1")])
    watch = store.watch(Revision(0))
    assert (await anext(watch)).revision == 1
    waiting = asyncio.ensure_future(anext(watch, None))
    await asyncio.sleep(0)
    await store.close()
    assert await asyncio.wait_for(waiting, 5) is None


async def test_sqlite_keeps_values_history_and_epoch_over_a_restart(tmp_path: Path) -> None:
    first = await SqliteStore.open(tmp_path / "state.db")
    await first.txn([], [Put("a", b"1")])
    await first.txn([], [Put("a", b"2")])
    await first.close()
    second = await SqliteStore.open(tmp_path / "state.db")
    assert second.epoch == first.epoch
    assert (await second.load())[1][0].value == b"2"
    assert [batch.revision for batch in await take(second, 0, 2)] == [1, 2]
    assert await second.txn([], [Put("a", b"3")]) == 3
    await second.close()


async def test_sqlite_state_has_one_owner(tmp_path: Path) -> None:
    first = await SqliteStore.open(tmp_path / "state.db")
    with pytest.raises(StoreBusy):
        await SqliteStore.open(tmp_path / "state.db")
    await first.close()
    await (await SqliteStore.open(tmp_path / "state.db")).close()


async def test_sqlite_refuses_the_state_of_a_later_release(tmp_path: Path) -> None:
    await (await SqliteStore.open(tmp_path / "state.db")).close()
    database = Database(tmp_path / "state.db")
    database._db.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(StoreTooNew):
        await SqliteStore.open(tmp_path / "state.db")


WRITER = """
import asyncio, sys
from pathlib import Path
from stockade.store.contract import Put
from stockade.store.sqlite.store import SqliteStore

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]))
    for n in range(1_000_000):
        await store.txn([], [Put(f"k/{n}", b"x"), Put("last", b"%d" % n)])
        print(n, flush=True)

asyncio.run(main())
"""


async def test_sqlite_loses_no_acknowledged_transaction_when_killed(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "state.db")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert writer.stdout is not None
    for line in writer.stdout:
        if int(line) >= 100:
            break
    writer.kill()
    acknowledged = max([100, *(int(line) for line in writer.stdout if line.endswith("\n"))])
    writer.wait()
    writer.stdout.close()
    store = await SqliteStore.open(tmp_path / "state.db")
    revision, records = await store.load()
    values = {record.key: record.value for record in records}
    last = int(values["last"])
    assert last >= acknowledged
    assert revision == last + 1
    assert all(f"k/{n}" in values for n in range(last + 1))
    await store.close()

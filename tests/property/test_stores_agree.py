"""Random transactions: both stores and a dict agree on outcomes, values, revisions and history."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from stockade.model.change import Revision
from stockade.store.contract import AtRevision, Delete, Empty, Exists, Guard, GuardFailed, Op, Put, Record, Store
from stockade.store.memory import MemoryStore
from stockade.store.sqlite.store import SqliteStore

names = st.sampled_from(["a", "a/1", "a/2", "ab", "b/1"])
guards = st.one_of(
    st.builds(AtRevision, names, st.integers(0, 6)),
    st.builds(Exists, names),
    st.builds(Empty, st.sampled_from(["a/", "b/"])),
)
ops = st.one_of(st.builds(Put, names, st.binary(max_size=3)), st.builds(Delete, names))
transactions = st.lists(
    st.tuples(st.lists(guards, max_size=2), st.lists(ops, max_size=3, unique_by=lambda op: op.key)), max_size=12
)
Outcome = Revision | Guard
State = tuple[list[Outcome], tuple[Revision, Sequence[Record]], list[object]]


async def run(store: Store, history: list[tuple[list[Guard], list[Op]]]) -> State:
    outcomes: list[Outcome] = []
    for guards, ops in history:
        try:
            outcomes.append(await store.txn(guards, ops))
        except GuardFailed as err:
            outcomes.append(err.guard)
    loaded = await store.load()
    batches: list[object] = []
    await store.txn([], [Put("end", b"")])
    watch = store.watch(Revision(0))
    async for batch in watch:
        batches.append(batch)
        if batch.revision == loaded[0] + 1:
            break
    await watch.aclose()  # type: ignore[attr-defined]
    await store.close()
    return outcomes, loaded, batches


def expected(history: list[tuple[list[Guard], list[Op]]]) -> tuple[list[Outcome], tuple[Revision, list[Record]]]:
    """The contract said the slow, obvious way."""
    records: dict[str, Record] = {}
    tip = Revision(0)
    outcomes: list[Outcome] = []

    def holds(guard: Guard) -> bool:
        match guard:
            case AtRevision(key, revision):
                return (records[key].revision if key in records else 0) == revision
            case Exists(key):
                return key in records
            case Empty(prefix):
                return not [key for key in records if key.startswith(prefix)]

    for guards, ops in history:
        failed = next((guard for guard in guards if not holds(guard)), None)
        if failed is not None:
            outcomes.append(failed)
            continue
        tip = Revision(tip + bool(ops))
        for op in ops:
            records.pop(op.key, None)
            if isinstance(op, Put):
                records[op.key] = Record(op.key, op.value, tip)
        outcomes.append(tip)
    return outcomes, (tip, [records[key] for key in sorted(records)])


@given(transactions)
@settings(max_examples=60, deadline=None)
def test_both_stores_do_what_the_contract_says(history: list[tuple[list[Guard], list[Op]]]) -> None:
    async def both() -> tuple[State, State]:
        with tempfile.TemporaryDirectory() as place:
            sqlite = await SqliteStore.open(Path(place) / "state.db")
            return await run(MemoryStore(), history), await run(sqlite, history)

    memory, sqlite = asyncio.run(both())
    assert memory == sqlite
    assert (memory[0], memory[1]) == expected(history)

"""The cache: what was written is seen at once, and what another wrote is seen in order."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from stockade.model import keys
from stockade.model.change import Revision
from stockade.model.ids import VpcId
from stockade.model.resources import Change, Edit, put
from stockade.model.vpc import Vpc
from stockade.store import cache as module
from stockade.store.cache import Cache
from stockade.store.contract import AtRevision, GuardFailed, Store
from stockade.store.memory import MemoryStore
from stockade.store.sqlite.store import SqliteStore
from stockade.store.subscription import StoreClosed


def vpc(n: int, number: int = 1) -> Vpc:
    return Vpc(VpcId(f"vpc-{n}"), number, None, "us-east-1", IPv4Network("10.0.0.0/8"))


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else await SqliteStore.open(tmp_path / "state.db")
    yield made
    await made.close()


@pytest.fixture
async def cache(store: Store) -> AsyncIterator[Cache]:
    made = await Cache.open(store)
    yield made
    await made.close()


async def test_a_commit_is_seen_before_it_returns(cache: Cache) -> None:
    revision = await cache.commit([], [put(vpc(1)), Change(keys.document("uniq", "a"), "b")])
    assert cache.resources.revision == revision == 1
    assert cache.resources.vpcs == {"vpc-1": vpc(1)}
    assert cache.resources.claims == {keys.document("uniq", "a"): "b"}
    assert cache.resources.revision_of(put(vpc(1)).key) == 1


async def test_a_failed_guard_changes_nothing_here_either(cache: Cache) -> None:
    with pytest.raises(GuardFailed):
        await cache.commit([AtRevision(put(vpc(1)).key, Revision(9))], [put(vpc(1))])
    assert cache.resources.vpcs == {}


async def test_two_caches_of_one_store_see_the_same(store: Store, cache: Cache) -> None:
    other = await Cache.open(store)
    await other.commit([], [put(vpc(1))])
    await cache.refresh()
    assert cache.resources.vpcs == other.resources.vpcs == {"vpc-1": vpc(1)}
    await cache.commit([], [Change(put(vpc(1)).key, None)])
    await other.refresh()
    assert other.resources.vpcs == {}
    await other.close()


async def test_followers_hear_every_transaction_in_order_with_what_was_there_before(cache: Cache) -> None:
    heard: list[tuple[Revision, Sequence[Edit]]] = []
    unfollow = cache.follow(lambda revision, edits: heard.append((revision, edits)))
    await asyncio.gather(*(cache.commit([], [put(vpc(1, number))]) for number in range(1, 6)))
    unfollow()
    await cache.commit([], [put(vpc(2))])
    assert [revision for revision, _ in heard] == [1, 2, 3, 4, 5]
    olds = [edits[0].old for _, edits in heard]
    news = [edits[0].new for _, edits in heard]
    assert olds == [None, *news[:-1]]


async def test_what_is_there_at_the_start_is_loaded(store: Store, cache: Cache) -> None:
    await cache.commit([], [put(vpc(1)), put(vpc(2))])
    await cache.commit([], [put(vpc(1, 7))])
    again = await Cache.open(store)
    assert again.resources.vpcs == cache.resources.vpcs
    for n in (1, 2):
        key = put(vpc(n)).key
        assert again.resources.revision_of(key) == cache.resources.revision_of(key)
    await again.close()


async def test_history_is_cut_as_it_grows(store: Store, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HISTORY", 5)
    for number in range(1, 30):
        await cache.commit([], [put(vpc(1, number))])
    kept = [batch.revision async for batch in _until(store, Revision(24), Revision(29))]
    assert kept == [25, 26, 27, 28, 29]
    assert cache.resources.vpcs["vpc-1"].number == 29  # type: ignore[index]


async def test_a_closed_store_fails_commits_instead_of_leaving_them_waiting(store: Store, cache: Cache) -> None:
    await store.close()
    with pytest.raises(StoreClosed):
        await asyncio.wait_for(cache.commit([], [put(vpc(1))]), 5)


async def _until(store: Store, after: Revision, last: Revision):  # type: ignore[no-untyped-def]
    watch = store.watch(after)
    async for batch in watch:
        yield batch
        if batch.revision == last:
            break
    await watch.aclose()  # type: ignore[attr-defined]

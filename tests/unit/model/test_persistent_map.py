"""A persistent map is a mapping, an earlier version stays what it was, and a comparison finds what changed."""

from collections.abc import Mapping
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade.model.persistent_map import PersistentMap, changed_keys

SMALL = st.dictionaries(st.integers(0, 12), st.integers(0, 2))


def differing(before: Mapping[int, int], after: Mapping[int, int]) -> list[int]:
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


@given(SMALL, SMALL, st.lists(st.integers(0, 12)))
def test_a_next_version_has_the_changes_and_the_earlier_one_has_not(
    entries: dict[int, int], put: dict[int, int], removed: list[int]
) -> None:
    before = PersistentMap(entries)
    after = before.changed(put, removed)
    expected = {key: value for key, value in entries.items() if key not in removed} | put
    assert before == entries
    assert after == expected
    assert (len(after), list(after), dict(after.items())) == (len(expected), list(expected), expected)
    assert list(after.values()) == list(expected.values())
    assert sorted(changed_keys(before, after)) == differing(entries, expected)


@given(SMALL, SMALL)
def test_any_two_mappings_can_be_compared(one: dict[int, int], other: dict[int, int]) -> None:
    for before in (one, PersistentMap(one)):
        for after in (other, PersistentMap(other)):
            assert sorted(changed_keys(before, after)) == differing(one, other)


@pytest.mark.parametrize("seed", range(8))
def test_it_stays_right_while_it_grows_through_all_its_forms(seed: int) -> None:
    chance = Random(seed)
    versions: list[tuple[PersistentMap[str, int], dict[str, int]]] = [(PersistentMap(), {})]
    for _ in range(12):
        table, plain = versions[-1]
        put = {f"eni-{chance.randrange(3000)}": chance.randrange(3) for _ in range(chance.choice((1, 3, 300, 900)))}
        removed = chance.sample(sorted(plain), min(len(plain), chance.choice((0, 1, 200))))
        versions.append((table.changed(put, removed), {k: v for k, v in plain.items() if k not in removed} | put))
    for table, plain in versions:
        assert table == plain
        assert len(table) == len(plain)
        other, other_plain = chance.choice(versions)
        keys = plain.keys() | other_plain.keys()
        found = list(changed_keys(table, other))
        assert len(found) == len(set(found))
        assert set(found) == {key for key in keys if plain.get(key) != other_plain.get(key)}


class Counting(str):
    """A key that tells how often it was hashed."""

    hashed = 0

    def __hash__(self) -> int:
        Counting.hashed += 1
        return super().__hash__()


def test_a_small_change_looks_at_little_of_a_large_map() -> None:
    before = PersistentMap({Counting(f"{number}"): number for number in range(20_000)})
    key = Counting("777")
    Counting.hashed = 0
    after = before.changed({key: -1})
    assert list(changed_keys(before, after)) == ["777"]
    assert Counting.hashed < 10
    shared = sum(one is other for one, other in zip(before._parts, after._parts, strict=True))
    assert shared == len(before._parts) - 1


def test_what_is_missing_is_missing_and_can_be_removed() -> None:
    table = PersistentMap({"a": 1})
    assert "b" not in table
    assert table.get("b") is None
    assert table.changed({}, ["b"]) == {"a": 1}
    assert repr(table) == "PersistentMap({'a': 1})"

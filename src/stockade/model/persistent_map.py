"""A mapping that never changes, whose next version costs little and shares what did not change.

    before = PersistentMap(entries)
    after = before.changed({key: value}, removed=[other])
    set(changed_keys(before, after)) == {key, other}

Entries lie in parts, by the hash of their key: of n entries about 2 √n parts. A change copies the parts it touches
and the list of parts; a comparison passes over the parts that both versions share. So both cost √n, whatever
happened before, and versions may be read by any number of threads.
"""

from collections.abc import Hashable, ItemsView, Iterable, Iterator, Mapping, ValuesView
from itertools import chain, compress, count, islice
from operator import is_not
from typing import Any, TypeVar, overload

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
T = TypeVar("T")

_UNDIVIDED = 256
"""Up to so many entries are one part: copying them is quicker than dividing them."""

_MISSING = object()


class PersistentMap(Mapping[K, V]):
    """Equal to any mapping with equal entries. Up to 256 entries keep the order in which they came."""

    __slots__ = ("_mask", "_parts", "_size")

    def __init__(self, entries: Mapping[K, V] | Iterable[tuple[K, V]] = ()) -> None:
        self._parts: list[dict[K, V]] = [dict(entries)]
        self._mask = 0
        self._size = len(self._parts[0])
        self._divide()

    def changed(self, put: Mapping[K, V], removed: Iterable[K] = ()) -> "PersistentMap[K, V]":
        """The next version: first without `removed`, of which any may be missing, then with `put`.

        The same object when there is nothing to do.
        """
        removed = list(removed)
        if not put and not removed:
            return self
        if not self._size:
            return PersistentMap(put)
        next_version: PersistentMap[K, V] = PersistentMap()
        parts, mask = list(self._parts), self._mask
        copied: set[int] = set()
        size = self._size

        def own(place: int) -> dict[K, V]:
            if place not in copied:
                copied.add(place)
                parts[place] = parts[place].copy()
            return parts[place]

        for key in removed:
            place = hash(key) & mask
            if key in parts[place]:
                del own(place)[key]
                size -= 1
        for key, value in put.items():
            part = own(hash(key) & mask)
            size -= len(part)
            part[key] = value
            size += len(part)
        next_version._parts, next_version._mask, next_version._size = parts, mask, size
        next_version._divide()
        return next_version

    def __getitem__(self, key: K) -> V:
        return self._parts[hash(key) & self._mask][key]

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, /, default: V | T) -> V | T: ...
    def get(self, key: K, default: object = None) -> object:
        return self._parts[hash(key) & self._mask].get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._parts[hash(key) & self._mask]

    def __iter__(self) -> Iterator[K]:
        return chain.from_iterable(self._parts)

    def __len__(self) -> int:
        return self._size

    def items(self) -> ItemsView[K, V]:
        return _Items(self)

    def values(self) -> ValuesView[V]:
        return _Values(self)

    def __repr__(self) -> str:
        return f"PersistentMap({dict(self.items())!r})"

    def _divide(self) -> None:
        """Into more parts when they have grown."""
        many = len(self._parts)
        if self._size <= max(_UNDIVIDED, many * many // 4):
            return
        while self._size > many * many // 4:
            many *= 2
        parts: list[dict[K, V]] = [{} for _ in range(many)]
        mask = many - 1
        for part in self._parts:
            for key, value in part.items():
                parts[hash(key) & mask][key] = value
        self._parts, self._mask = parts, mask


class _Items(ItemsView[K, V]):
    """Part by part: no key is hashed."""

    _mapping: PersistentMap[K, V]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return chain.from_iterable(part.items() for part in self._mapping._parts)


class _Values(ValuesView[V]):
    """The same."""

    _mapping: PersistentMap[Any, V]

    def __iter__(self) -> Iterator[V]:
        return chain.from_iterable(part.values() for part in self._mapping._parts)


def changed_keys(before: Mapping[K, V], after: Mapping[K, V]) -> Iterator[K]:
    """The keys, each once, that only one of them has or that have another value. Nothing when they are the same object.

    Between versions of one PersistentMap it costs as much as what changed, and √n.
    """
    if before is after:
        return
    if isinstance(before, PersistentMap) and isinstance(after, PersistentMap) and before._mask == after._mask:
        for place in compress(count(), map(is_not, before._parts, after._parts)):
            yield from _changed_in_part(before._parts[place], after._parts[place])
    else:
        yield from _changed_in_part(before, after)


def _changed_in_part(old: Mapping[K, V], new: Mapping[K, V]) -> Iterator[K]:
    """A copy keeps the order of what it was copied from, so most entries are found side by side, without a hash."""
    side_by_side = 0
    entries = iter(new.items())
    beside = next(entries, None)
    for key, value in old.items():
        if beside is not None and beside[0] is key:
            other: object = beside[1]
            side_by_side += 1
            beside = next(entries, None)
        else:
            other = new.get(key, _MISSING)
        if other is not value and other != value:
            yield key
    for key in islice(new, side_by_side, None):
        if key not in old:
            yield key

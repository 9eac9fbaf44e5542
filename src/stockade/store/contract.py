"""What every store promises: ordered keys, guarded transactions, every change once and in order.

Values are plain JSON bytes; what they mean is codec.py's business. Keys are ASCII, below stk/1/<cell>/.
One conformance suite (tests/contract/) runs over every implementation.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from stockade.model.change import Revision
from stockade.model.resources import Change, Edit, Resources


@dataclass(frozen=True, slots=True)
class AtRevision:
    """The key was last modified at this revision; 0: the key is absent."""

    key: str
    revision: Revision


@dataclass(frozen=True, slots=True)
class Exists:
    """The key is there; edits of it do not conflict."""

    key: str


@dataclass(frozen=True, slots=True)
class Empty:
    """No key begins with this prefix."""

    prefix: str


Guard: TypeAlias = AtRevision | Exists | Empty


@dataclass(frozen=True, slots=True)
class Put:
    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Delete:
    key: str


Op: TypeAlias = Put | Delete


@dataclass(frozen=True, slots=True)
class Record:
    """A key as stored; `revision` is when it was last modified."""

    key: str
    value: bytes
    revision: Revision


@dataclass(frozen=True, slots=True)
class Event:
    """One key's change; `value` None: deleted."""

    key: str
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Batch:
    """All that one transaction changed. Watchers see whole batches, in order of revision."""

    revision: Revision
    events: tuple[Event, ...]


class GuardFailed(Exception):
    """A guard did not hold; nothing was written."""

    def __init__(self, guard: Guard) -> None:
        super().__init__(f"guard failed: {guard}")
        self.guard = guard


class Compacted(Exception):
    """The history asked for is gone: load again."""


class Store(Protocol):
    """Desired and observed state with a total order of changes."""

    @property
    def epoch(self) -> str:
        """Changes when the history does: at initialisation, restore, migration."""

    async def load(self) -> tuple[Revision, Sequence[Record]]:
        """Everything at one moment, ascending by key."""

    async def txn(self, guards: Sequence[Guard], ops: Sequence[Op]) -> Revision:
        """All or nothing; durable when it returns. Raises GuardFailed. No ops: the present revision."""

    async def tip(self) -> Revision:
        """The newest committed revision."""

    def watch(self, after: Revision) -> AsyncIterator[Batch]:
        """Every batch later than `after`, once, in order, without end. Raises Compacted."""

    async def compact(self, before: Revision) -> None:
        """Forget the history (not the values) up to this revision."""

    async def close(self) -> None:
        """Finish what was accepted, then let go of the file."""


Follower: TypeAlias = Callable[[Revision, Sequence[Edit]], None]
"""Told of every transaction, in order, once `resources` shows it. Must return at once."""


class Ledger(Protocol):
    """A store with everything in memory: read at once, written in whole transactions of model values.

    What services and the feed hold; cache.py is the one there is.
    """

    @property
    def resources(self) -> Resources:
        """Everything, as of the newest revision this process wrote or saw."""

    async def commit(self, guards: Sequence[Guard], changes: Sequence[Change]) -> Revision:
        """One transaction; `resources` shows it before this returns. Raises GuardFailed."""

    async def refresh(self) -> None:
        """Return when `resources` is as new as the store."""

    def follow(self, follower: Follower) -> Callable[[], None]:
        """Be told of all transactions from now on, until the function returned is called."""

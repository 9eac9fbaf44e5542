"""The cell: what every service is built from. Made once by daemon/wiring.py."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from stockade.model.account import Account, Platform
from stockade.model.change import Revision
from stockade.model.ids import CLASSIC_DIGITS, VPC_DIGITS, HostId, RandomHex, mint
from stockade.model.resources import Change, Resources
from stockade.policy.budget import KERNEL, Capacity
from stockade.service.budgets import Budgets
from stockade.service.call import current
from stockade.service.enforcement import Enforcement
from stockade.service.numbers import Numbers
from stockade.store.contract import AtRevision, Guard, GuardFailed, Ledger

TRIES = 5
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Quotas:
    """EC2's defaults."""

    rules_per_group: int = 60  # per direction and family
    classic_rules_per_group: int = 100
    groups: int = 2500
    classic_groups: int = 500
    groups_per_interface: int = 5
    instances: int = 1000
    prefix_lists: int = 100
    prefix_list_entries: int = 1000
    prefix_list_versions: int = 1000
    vpcs: int = 5
    subnets: int = 200


DEFAULT_VPC = IPv4Network("172.31.0.0/16")
CLASSIC = IPv4Network("10.0.0.0/8")
PUBLIC_POOL = IPv4Network("198.18.0.0/16")
IPV6_POOL = IPv6Network("fd5c:ec2::/40")


@dataclass(frozen=True, slots=True)
class CellSettings:
    """What the operator chose. `regions` maps a region's name to its zones."""

    regions: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {"us-east-1": ("us-east-1a", "us-east-1b", "us-east-1c")}
    )
    default_vpc: IPv4Network = DEFAULT_VPC
    classic: IPv4Network = CLASSIC
    public_pool: IPv4Network = PUBLIC_POOL
    ipv6_pool: IPv6Network = IPV6_POOL
    dns_suffix: str = "stockade.internal"
    image_alias: Mapping[str, str] = field(default_factory=dict)
    image_unknown: str = "refuse"  # or "base"
    quotas: Quotas = field(default_factory=Quotas)
    wait_s: float = 5.0
    capacity: Capacity = KERNEL
    """Of a host's kernel."""


@dataclass(frozen=True, slots=True)
class Decision(Generic[T]):
    """What a use case decided: the transaction, and the answer if it is written. No changes: nothing to write."""

    guards: Sequence[Guard]
    changes: Sequence[Change]
    answer: T


class Cell:
    """State, clock, chance, settings and enforcement in one place."""

    def __init__(
        self,
        ledger: Ledger,
        enforcement: Enforcement,
        settings: CellSettings,
        host: HostId,
        now: Callable[[], datetime],
        random_hex: RandomHex,
    ) -> None:
        self.ledger = ledger
        self.enforcement = enforcement
        self.settings = settings
        self.host = host
        self.now = now
        self.random_hex = random_hex
        self.numbers = Numbers(ledger)
        self.budgets = Budgets(ledger, settings.capacity)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def resources(self) -> Resources:
        """Everything, as of the newest revision this process wrote or saw."""
        return self.ledger.resources

    async def write(
        self,
        decide: Callable[[], Decision[T]],
        *,
        on: str,
        numbers: Mapping[str, int] | None = None,
        enforced: bool = True,
    ) -> T:
        """Decide, write, and wait until it is enforced as the current call asks.

        `decide` reads `resources` and is asked again when a guard failed meanwhile. Writers of the same thing
        (`on`) take turns, so only another process can make a guard fail. `numbers` are those it takes at
        most. `enforced` False: it cannot affect a packet, so there is nothing to wait for.
        """
        async with self._turn(on):
            revision, answer = await self._commit(decide, numbers or {})
        if revision is not None:
            call = current()
            call.revision = revision
            wait_s = self.settings.wait_s if call.wait_s is None else call.wait_s
            if enforced and wait_s > 0:
                call.lagging = await self.enforcement.wait(revision, wait_s)
        return answer

    async def _commit(self, decide: Callable[[], Decision[T]], numbers: Mapping[str, int]) -> tuple[Revision | None, T]:
        for attempt in range(TRIES):
            await self.numbers.stock(numbers)
            decision = decide()
            if not decision.changes:
                return None, decision.answer
            try:
                return await self.ledger.commit(decision.guards, decision.changes), decision.answer
            except GuardFailed:
                if attempt == TRIES - 1:
                    raise
                await self.ledger.refresh()
        raise AssertionError("unreachable")

    def _turn(self, on: str) -> asyncio.Lock:
        lock = self._turns.get(on)
        if lock is None:
            lock = self._turns[on] = asyncio.Lock()
        return lock

    def unchanged(self, key: str) -> AtRevision:
        """The guard that the key is as `resources` shows it now (or still absent)."""
        return AtRevision(key, self.resources.revision_of(key))

    def mint(self, prefix: str, account: Account) -> str:
        """A new id in the form of the account's platform."""
        return mint(prefix, CLASSIC_DIGITS if account.platform is Platform.CLASSIC else VPC_DIGITS, self.random_hex)

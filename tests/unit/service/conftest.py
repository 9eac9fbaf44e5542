"""A cell in memory with a clock that stands still, and the accounts that most tests need."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count

import pytest

from stockade.model.account import Platform
from stockade.model.change import Revision
from stockade.model.ids import HostId
from stockade.service.accounts import Accounts
from stockade.service.caller import Caller
from stockade.service.cell import Cell, CellSettings
from stockade.service.images import Images
from stockade.service.vpcs import Vpcs
from stockade.store.cache import Cache
from stockade.store.memory import MemoryStore

NOW = datetime(2007, 8, 29, 12, 0, tzinfo=UTC)
REGION = "us-east-1"


@dataclass
class Waits:
    """Enforcement that notes what it was asked, and lags as it is told."""

    asked: list[tuple[Revision, float]] = field(default_factory=list)
    lagging: tuple[HostId, ...] = ()

    async def wait(self, revision: Revision, timeout_s: float) -> tuple[HostId, ...]:
        self.asked.append((revision, timeout_s))
        return self.lagging


@pytest.fixture
def settings() -> CellSettings:
    return CellSettings()


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
async def cell(settings: CellSettings, waits: Waits) -> AsyncIterator[Cell]:
    store = MemoryStore()
    cache = await Cache.open(store)
    numbers = count(1)
    made = Cell(cache, waits, settings, HostId("host-1"), lambda: NOW, lambda digits: f"{next(numbers):0{digits}x}")
    await Images(made).seed()
    await Vpcs(made).ensure()
    yield made
    await cache.close()
    await store.close()


@pytest.fixture
async def albert(cell: Cell) -> Caller:
    """A classic account."""
    created = await Accounts(cell).create("albert", "111111111111", Platform.CLASSIC)
    return Caller(created.account, REGION)


@pytest.fixture
async def mary(cell: Cell) -> Caller:
    """Another classic account."""
    created = await Accounts(cell).create("mary", "222222222222", Platform.CLASSIC)
    return Caller(created.account, REGION)


@pytest.fixture
async def vera(cell: Cell) -> Caller:
    """A VPC account."""
    created = await Accounts(cell).create("vera", "333333333333", Platform.VPC)
    return Caller(created.account, REGION)

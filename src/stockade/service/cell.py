"""The cell: what every service is built from. Made once by daemon/wiring.py."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Network
from typing import Protocol

from stockade.model.change import Revision
from stockade.model.ids import HostId, RandomHex
from stockade.model.resources import Change, Resources
from stockade.service.enforcement import Enforcement
from stockade.store.contract import Guard


class Ledger(Protocol):
    """The cell's state as services see it: read at once, written in whole transactions. store/cache.py is one."""

    @property
    def resources(self) -> Resources:
        """Everything, as of the newest revision this process wrote or saw."""

    async def commit(self, guards: Sequence[Guard], changes: Sequence[Change]) -> Revision:
        """One transaction; `resources` shows it before this returns. Raises GuardFailed."""

    async def refresh(self) -> None:
        """Return when `resources` is as new as the store."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """EC2's defaults."""

    rules_per_group: int = 60  # per direction and family
    classic_rules_per_group: int = 100
    groups: int = 2500
    classic_groups: int = 500
    groups_per_interface: int = 5
    instances: int = 1000


@dataclass(frozen=True, slots=True)
class CellSettings:
    """What the operator chose. `regions` maps a region's name to its zones."""

    regions: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {"us-east-1": ("us-east-1a", "us-east-1b", "us-east-1c")}
    )
    default_vpc: IPv4Network = IPv4Network("172.31.0.0/16")
    classic: IPv4Network = IPv4Network("10.0.0.0/8")
    public_pool: IPv4Network = IPv4Network("198.18.0.0/16")
    dns_suffix: str = "stockade.internal"
    image_alias: Mapping[str, str] = field(default_factory=dict)
    image_unknown: str = "refuse"  # or "base"
    quotas: Quotas = field(default_factory=Quotas)
    wait_s: float = 5.0


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
    ) -> None: ...

    @property
    def resources(self) -> Resources:
        """Everything, as of the newest revision this process wrote or saw."""

    async def start(self) -> None:
        """What must be there before the first call: the classic networks, the image catalogue."""

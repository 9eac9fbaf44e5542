"""VPCs, subnets, zones and regions: their defaults."""

from collections.abc import Sequence
from dataclasses import dataclass

from stockade.model.vpc import Subnet, Vpc
from stockade.service.caller import Caller
from stockade.service.cell import Cell


@dataclass(frozen=True, slots=True)
class Zone:
    """An availability zone."""

    name: str
    region: str


@dataclass(frozen=True, slots=True)
class SubnetDescription:
    subnet: Subnet
    available: int  # addresses


class Vpcs:
    """Use cases of networks."""

    def __init__(self, cell: Cell) -> None: ...

    async def describe(self, caller: Caller, ids: Sequence[str] = ()) -> list[Vpc]:
        """The caller's VPCs of its region; a classic account has none. Raises VpcNotFound, IdMalformed."""

    async def subnets(self, caller: Caller, ids: Sequence[str] = ()) -> list[SubnetDescription]:
        """Raises SubnetNotFound, IdMalformed."""

    async def zones(self, caller: Caller, names: Sequence[str] = ()) -> list[Zone]:
        """Raises ZoneNotFound."""

    async def regions(self, caller: Caller, names: Sequence[str] = ()) -> list[str]:
        """Raises RegionNotFound."""

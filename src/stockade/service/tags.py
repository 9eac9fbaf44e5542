"""Tags: create, delete, describe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stockade.service.caller import Caller
from stockade.service.cell import Cell


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag as DescribeTags shows it. `kind` is EC2's word: instance, security-group, image, key-pair, ..."""

    resource: str
    kind: str
    key: str
    value: str


class Tags:
    """Use cases of tags."""

    def __init__(self, cell: Cell) -> None: ...

    async def create(self, caller: Caller, resources: Sequence[str], tags: Mapping[str, str]) -> None:
        """Raises ResourceNotFound, ParameterInvalid, QuotaExceeded."""

    async def delete(self, caller: Caller, resources: Sequence[str], tags: Mapping[str, str | None]) -> None:
        """A value of None: whatever it is. No tags: all of them. Raises ResourceNotFound."""

    async def describe(self, caller: Caller) -> list[Tag]:
        """All of the caller's tags, by resource then key."""

    def of(self, resource: str) -> Mapping[str, str]:
        """A resource's tags; empty when it has none."""

"""Small numbers that are never given out twice: of rules, network interfaces and networks.

A block of them is claimed in the store at once and handed out from memory, so that calls do not wait for each
other; what is left of a block when the process ends is lost, which nobody minds.
"""

import asyncio
from collections.abc import Mapping

from stockade.model import keys
from stockade.model.resources import Change
from stockade.store.contract import AtRevision, GuardFailed, Ledger

RULE, INTERFACE, NETWORK = "rule", "interface", "network"
BLOCK = 256


class Numbers:
    """`stock`, then `take` that many before the next await."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._left: dict[str, list[range]] = {RULE: [], INTERFACE: [], NETWORK: []}
        self._claiming = asyncio.Lock()

    async def stock(self, wanted: Mapping[str, int]) -> None:
        """Return when so many of each can be taken at once."""
        while short := [(name, count) for name, count in wanted.items() if self._stock_of(name) < count]:
            async with self._claiming:
                for name, count in short:
                    if self._stock_of(name) < count:
                        await self._claim(name, count)

    def take(self, name: str) -> int:
        """The next number; at least 1."""
        blocks = self._left[name]
        number, rest = blocks[0][0], blocks[0][1:]
        blocks[:1] = [rest] if rest else []
        return number

    def _stock_of(self, name: str) -> int:
        return sum(map(len, self._left[name]))

    async def _claim(self, name: str, count: int) -> None:
        key = keys.counter(name)
        while True:
            resources = self._ledger.resources
            start = int(resources.claims.get(key, "1"))
            end = start + max(count, BLOCK)
            try:
                await self._ledger.commit([AtRevision(key, resources.revision_of(key))], [Change(key, str(end))])
            except GuardFailed:
                await self._ledger.refresh()
                continue
            self._left[name].append(range(start, end))
            return

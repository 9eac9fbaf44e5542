"""What the datapath tells about packets -> up the stream, at a bounded rate.

Above the rate the rest is counted as lost, here and not by chance elsewhere: a flood of refused packets must
cost neither the kernel's buffer nor the control process its memory.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice

from stockade.agent.serial import SerialCalls
from stockade.agent.uplink import Uplink
from stockade.datapath.contract import Datapath, RuleHits
from stockade.model.flow import FlowEvent, RuleCount

HITS_EVERY = 4
"""Turns between two looks at which rules' counts grew."""


class FlowLoop:
    """Drains the datapath's events every `every_s` seconds."""

    def __init__(
        self, datapath: Datapath, calls: SerialCalls, uplink: Uplink, every_s: float = 0.25, most: int = 1000
    ) -> None:
        """`most` events are passed on at each turn."""
        self._datapath = datapath
        self._calls = calls
        self._uplink = uplink
        self._every_s = every_s
        self._most = most
        self._lost_before = 0
        self.lost = 0
        self._hits: Mapping[int, RuleHits] = {}  # as the datapath counts now
        self._told_hits: dict[int, RuleHits] = {}  # as the stream knows
        self._told_stream = 0
        self._turns = 0

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(self._every_s)
            await self.turn()

    async def turn(self) -> None:
        """One drain."""
        events, lost = await self._calls(self._drain)
        self.lost += lost
        if events or lost:
            await self._uplink.flows(events, lost)
        self._turns += 1
        if self._turns % HITS_EVERY == 0 or self._told_stream != self._uplink.streams:
            await self._tell_hits()

    async def _tell_hits(self) -> None:
        """Counts that grew since they were told; all of them to a new stream."""
        is_new = self._told_stream != self._uplink.streams
        if is_new:
            self._told_hits = {}
        grown = {rule: hits for rule, hits in self._hits.items() if self._told_hits.get(rule) != hits}
        counts = tuple(RuleCount(rule, hits.packets, hits.bytes) for rule, hits in grown.items())
        stream = self._uplink.streams
        if (counts or is_new) and await self._uplink.hits(datetime.now(UTC), counts):
            self._told_hits.update(grown)
            self._told_stream = stream

    def _drain(self) -> tuple[tuple[FlowEvent, ...], int]:
        flows = self._datapath.flows()
        events = tuple(islice(flows, self._most))
        dropped = sum(1 for _ in islice(flows, 50 * self._most))
        counters = self._datapath.counters()
        self._hits = counters.rules
        lost, self._lost_before = counters.lost_events - self._lost_before, counters.lost_events
        return events, dropped + max(lost, 0)

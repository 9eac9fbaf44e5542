"""What the datapath tells about packets -> up the stream, at a bounded rate.

Above the rate the rest is counted as lost, here and not by chance elsewhere: a flood of refused packets must
cost neither the kernel's buffer nor the control process its memory.
"""

import asyncio
from itertools import islice

from stockade.agent.serial import SerialCalls
from stockade.agent.uplink import Uplink
from stockade.datapath.contract import Datapath
from stockade.model.flow import FlowEvent


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

    def _drain(self) -> tuple[tuple[FlowEvent, ...], int]:
        flows = self._datapath.flows()
        events = tuple(islice(flows, self._most))
        dropped = sum(1 for _ in islice(flows, 50 * self._most))
        lost_now = self._datapath.counters().lost_events
        lost, self._lost_before = lost_now - self._lost_before, lost_now
        return events, dropped + max(lost, 0)

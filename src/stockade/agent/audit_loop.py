"""What enforces, held against what was applied: every second, for as long as the agent lives.

Somebody on the host may take a filter off a device or write into a map. The datapath finds such drift and puts it
right (Datapath.audit); this loop asks it to, tells of each difference, and counts. What was put right is looked at
again at once: a repair that does not hold is not counted as one.

It runs between other calls of the datapath, never beside one, and nothing waits for it but the next of them: an audit
of large tables stops after a few milliseconds and goes on at the next turn, which then comes sooner. An audit that
fails is told and tried again: enforcement does not depend on it.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from stockade.agent.serial import SerialCalls
from stockade.datapath.contract import Audit, Datapath, Usage
from stockade.model.ids import NetworkInterfaceId

_log = logging.getLogger(__name__)
_EVERY_S, _HURRIED_S = 1.0, 0.15
_LONG_S = 0.002  # an audit that took this long had more to compare
_TOLD = 50  # lines of drift in the log for one audit; the rest is counted


@dataclass(slots=True)
class AuditHealth:
    """`audits`, `drift` and `repaired` count since the agent started; `compared` is the last audit's."""

    audits: int = 0
    compared: int = 0
    drift: int = 0
    repaired: int = 0
    failure: str | None = None
    usage: Mapping[NetworkInterfaceId, Usage] = field(default_factory=dict)


class AuditLoop:
    """Audits every `every_s` seconds. The promise for a repair is ten."""

    def __init__(self, datapath: Datapath, calls: SerialCalls, every_s: float = _EVERY_S) -> None:
        self._datapath = datapath
        self._calls = calls
        self._every_s = every_s
        self._standing: frozenset[str] = frozenset()  # found, and still there when looked at again
        self._took_s = 0.0
        self._used_at = float("-inf")
        self.health = AuditHealth()

    async def run(self) -> None:
        """For ever."""
        while True:
            await self.turn()
            await asyncio.sleep(min(_HURRIED_S, self._every_s) if self._took_s > _LONG_S else self._every_s)

    async def turn(self) -> None:
        """One audit, and one more after a repair."""
        try:
            found = await self._calls(self._timed_audit)
            left = await self._calls(self._datapath.audit) if found.drift else Audit()
            if time.monotonic() - self._used_at >= self._every_s:
                self.health.usage = await self._calls(self._datapath.usage)
                self._used_at = time.monotonic()
        except Exception as err:
            self._note_failure(f"{type(err).__name__}: {err}")
            return
        self.health.failure = None
        self.health.audits += 1
        self.health.compared = found.compared
        self._note_drift(found, frozenset(left.drift))

    def _timed_audit(self) -> Audit:
        """In the datapath's thread, so that waiting for it does not count."""
        began = time.perf_counter()
        found = self._datapath.audit()
        self._took_s = time.perf_counter() - began
        return found

    def _note_drift(self, found: Audit, left: frozenset[str]) -> None:
        """What still stood after the last repair is neither told nor counted a second time."""
        new = [line for line in found.drift if line not in self._standing]
        self.health.drift += len(new)
        self.health.repaired += sum(line not in left for line in found.drift)
        self._standing = left
        for line in new[:_TOLD]:
            _log.warning("drift", extra={"found": line, "repaired": line not in left})
        if len(new) > _TOLD:
            _log.warning("drift", extra={"found": f"and {len(new) - _TOLD} differences more"})

    def _note_failure(self, why: str) -> None:
        if why != self.health.failure:
            _log.error("audit_failed", extra={"why": why})
        self.health.failure = why

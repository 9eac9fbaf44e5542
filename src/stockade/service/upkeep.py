"""What happens without a call: the first start, and the end of instances.

An instance that its host reports gone gives back its addresses, interface and memberships in one transaction;
what was there stays to be described for an hour.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from stockade.model import keys
from stockade.model.change import Revision
from stockade.model.ids import InstanceId
from stockade.model.instance import Instance, InstanceStatus, Observed, Wanted
from stockade.model.resources import Change, Edit, drop, put
from stockade.service import network_interfaces
from stockade.service.cell import Cell, Decision
from stockade.service.images import Images
from stockade.service.vpcs import Vpcs
from stockade.store.contract import Guard

log = logging.getLogger(__name__)

SHOWN_FOR = timedelta(hours=1)
SWEEP_S = 60.0
MOST_AT_ONCE = 50


class Upkeep:
    """`start` before the first call is served; `close` after the last."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._gone: dict[InstanceId, None] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Catalogue and networks are there when it returns; whoever went unnoticed is seen to."""
        await Images(self._cell).seed()
        await Vpcs(self._cell).ensure()
        for status in self._cell.resources.statuses.values():
            self._notice(status)
        self._unfollow = self._cell.ledger.follow(self._told)
        self._task = asyncio.create_task(self._run(), name="upkeep")

    async def close(self) -> None:
        """Stop; what is left is done at the next start."""
        if self._task is not None:
            self._unfollow()
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _told(self, revision: Revision, edits: Sequence[Edit]) -> None:
        for edit in edits:
            if isinstance(edit.new, InstanceStatus):
                self._notice(edit.new)

    def _notice(self, status: InstanceStatus) -> None:
        if status.observed is Observed.GONE:
            self._gone[status.instance] = None
            self._changed.set()

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            try:
                await self._catch_up()
            except Exception:  # the disk may be full: nothing is lost, and the next round tries again
                log.exception("upkeep_failed", extra={"instances": len(self._gone)})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_S):
                    await self._changed.wait()

    async def _catch_up(self) -> None:
        while self._gone:
            some = list(self._gone)[:MOST_AT_ONCE]
            await self.reap(some)
            for id in some:
                del self._gone[id]
        await self.forget()

    async def reap(self, ids: Sequence[InstanceId]) -> None:
        """Take back what these instances held."""

        def decide() -> Decision[None]:
            guards: list[Guard] = []
            changes: list[Change] = []
            for id in ids:
                instance = self._cell.resources.instances.get(id)
                if instance is None or instance.terminated_at is not None:
                    continue
                ended = replace(instance, wanted=Wanted.TERMINATED, terminated_at=self._cell.now())
                changes.append(put(ended))
                guards.append(self._cell.unchanged(changes[-1].key))
                interface = self._cell.resources.interfaces.get(instance.interface)
                if interface is not None:
                    guards.append(self._cell.unchanged(put(interface).key))
                    changes += network_interfaces.deleted(interface)
            return Decision(guards, changes, None)

        await self._cell.write(decide, on="upkeep", enforced=False)

    async def forget(self) -> None:
        """Delete what has been shown long enough."""
        limit = self._cell.now() - SHOWN_FOR

        def old(instance: Instance) -> bool:
            return instance.terminated_at is not None and instance.terminated_at < limit

        def decide() -> Decision[None]:
            resources = self._cell.resources
            changes: list[Change] = []
            for instance in [i for i in resources.instances.values() if old(i)][:MOST_AT_ONCE]:
                changes.append(drop(instance))
                changes += [Change(keys.document(kind, instance.id), None) for kind in ("seen", "tag")]
                token = instance.client_token
                if token:
                    changes.append(Change(keys.client_token(instance.account, instance.region, token), None))
            return Decision([], changes, None)

        await self._cell.write(decide, on="upkeep", enforced=False)

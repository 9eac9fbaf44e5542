"""The life of an agent process: start in order, stop in the reverse order.

    rights, tools, free addresses, free port     nothing made yet: any lack ends here, with exit code 5
    journal                                      from here on everything that is made is written down first
    control process (starts meanwhile)
    datapath: links, programs, services namespace
    restore: the last view enforced again, running instances policed again
    packet proof
    control process serves; loops run; credentials written
    ready

A signal ends it the same way from wherever it is. SIGINT and SIGTERM remove everything from this host, instances
included; SIGUSR1 (`down --keep`) leaves instances running and policed. When a start fails on a host where an
earlier agent's policy is enforced, that policy stays.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from stockade import __version__
from stockade.agent.journal import FileJournal, read_journal
from stockade.agent.status import MOST_EXCEEDED, MOST_IMPAIRED, AuditCounts, HostStatus, Phase, allowances
from stockade.agent.undo import undo
from stockade.agent.view_file import AGENT_FILES
from stockade.daemon import preflight, privileges
from stockade.daemon.attendant import Attendant, Attends
from stockade.daemon.down import own_of
from stockade.daemon.problems import INTERRUPTED, OUR_BUG, Problem
from stockade.daemon.settings import Settings
from stockade.daemon.site import Site, prepare_state, tail
from stockade.daemon.wiring.names import host_devices
from stockade.model.journal import PLACE, HostObject

if TYPE_CHECKING:  # imported when it is needed, while the control process imports what it needs
    from stockade.daemon.wiring.host import Host

Tell = Callable[[str, float], None]
"""A step is done: what, and how many seconds it took."""

_STATUS_EVERY_S = 1.0
_OPEN_WITHIN_S = 20.0


@dataclass(slots=True)
class Ending:
    """How this life is to end."""

    asked: asyncio.Event
    keep: bool = False
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class Build:
    """What is joined. Anything but the default is broken on purpose, to see that it is noticed (demo/faulty.py).

    `fault`: names faulty kernel objects; `between`: stands between the feed and the agent.
    """

    fault: str = ""
    between: Callable[[Attends], Attends] = lambda agent: agent


SOUND = Build()


def live(settings: Settings, tell: Tell, ready: Callable[[], None], build: Build = SOUND) -> int:
    """Be the agent until told to stop; the exit code. Raises Problem when it cannot start."""
    return asyncio.run(_Life(settings, tell, ready, build).live())


class _Life:
    def __init__(self, settings: Settings, tell: Tell, ready: Callable[[], None], build: Build) -> None:
        self._settings = settings
        self._site = Site.to_run(settings)
        self._tell = tell
        self._ready = ready
        self._build = build
        self._ending = Ending(asyncio.Event())
        self._started_at = datetime.now(UTC)
        self._phase = Phase.STARTING
        self._proven_at: datetime | None = None

    async def live(self) -> int:
        self._listen_to_signals()
        async with AsyncExitStack() as stack:
            starting = asyncio.create_task(self._start(stack))
            if not await self._finished_before_stop(starting):
                return INTERRUPTED
            attendant, host = starting.result()
            self._ready()
            code = await self._until_told(attendant, host)
            self._phase = Phase.STOPPING
            return code

    async def _start(self, stack: AsyncExitStack) -> tuple[Attendant, "Host"]:
        settings = self._settings
        began = time.monotonic()
        preflight.check_rights()
        preflight.check_tools()
        preflight.check_cgroups()
        stack.callback(self._vacate, self._site.take())
        preflight.check_names(settings, read_journal(self._site.journal))
        preflight.check_devices(settings)
        preflight.check_addresses(settings, host_devices(settings.site))
        listener = stack.enter_context(preflight.listener(settings))
        user = privileges.control_user(settings.site)
        prepare_state(settings.state_directory, user)

        journal = FileJournal(self._site.journal)
        # Of a view that is kept the host may have been rebooted: devices of others are policed by it again.
        kept = (settings.agent_directory / "view").exists()
        adopted = kept or any(thing.kind not in ("process", PLACE) for thing in journal.present)
        if adopted:
            self._ending.keep = True  # until this start has succeeded
        stack.callback(self._leave, journal)
        journal.making(*(HostObject(PLACE, str(place)) for place in settings.own_places))
        journal.making(*(HostObject("file", str(settings.agent_directory / name)) for name in AGENT_FILES))

        # Exec'ed before our own slow imports: both processes load what they need at the same time.
        attendant = Attendant(settings, self._site, listener, journal=journal, user=user)
        stack.push_async_callback(attendant.stop)

        # Interrupted or not, the thread makes the host whole; only then can it be taken away again.
        making = asyncio.create_task(asyncio.to_thread(_make_host, settings, journal, self._build.fault))
        stack.push_async_callback(self._unmake_host, making)
        host = await asyncio.shield(making)
        self._tell(host.kernel, time.monotonic() - began)

        await host.serve()
        recovered = await host.agent.restore()
        if recovered:
            self._tell(f"{recovered} instance{'s' * (recovered != 1)} found running and policed", 0.0)
        await self._prove(host, journal)

        host.agent.start()
        host.watch_devices()
        attendant.serve(self._build.between(host.agent), lambda: self._status_now(host))
        began = time.monotonic()
        try:
            opened = await asyncio.wait_for(attendant.opened(), _OPEN_WITHIN_S)
        except TimeoutError:
            raise Problem("the control process did not start", why=tail(self._site.log), code=OUR_BUG) from None
        self._tell(f"state opened ({opened})", time.monotonic() - began)
        self._phase = Phase.READY
        self._ending.keep = False
        return attendant, host

    async def _prove(self, host: "Host", journal: FileJournal) -> None:
        if host.skip_proof:
            return
        proof = await host.agent.with_datapath(host.prove, host.agent.view, journal)
        self._proven_at = datetime.now(UTC)
        packets = f"{proof.passed} allowed, {proof.dropped} dropped packet"
        self._tell(f"enforcement proven: {packets}{'s' * (proof.dropped != 1)}", proof.took_ms / 1000)

    async def _until_told(self, attendant: Attendant, host: "Host") -> int:
        tasks = {
            asyncio.create_task(host.agent.watch(), name="loops"),
            asyncio.create_task(self._report_status(attendant, host), name="status"),
            asyncio.create_task(self._ending.asked.wait(), name="told"),
        }
        done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for task in done:
            if task.exception() is not None:
                self._ending.keep = True  # our bug: what is enforced must not end because of it
                task.result()
        return 0

    async def _report_status(self, attendant: Attendant, host: "Host") -> None:
        while True:
            attendant.tell_status(await self._status_now(host))
            await asyncio.sleep(_STATUS_EVERY_S)

    async def _status_now(self, host: "Host") -> HostStatus:
        counters = await host.agent.counters()
        policy, audit, devices = host.agent.policy, host.agent.audit, host.agent.devices
        return HostStatus(
            version=__version__,
            phase=Phase.DEGRADED if policy.failure and self._phase is Phase.READY else self._phase,
            enforcing="kernel",
            started_at=self._started_at,
            proven_at=self._proven_at,
            instances=host.agent.running_instances,
            rejected=sum(counters.drops.values()),
            lost_events=counters.lost_events + host.agent.lost_events,
            enforced_revision=policy.enforced,
            last_apply_ms=policy.last_apply_ms,
            failure=policy.failure,
            drops={reason.name.lower(): count for reason, count in counters.drops.items()},
            audit=AuditCounts(audit.audits, audit.compared, audit.drift, audit.repaired, audit.failure),
            allowances=allowances(audit.usage, counters.endpoint_drops),
            devices=len(devices.policed),
            impaired=dict(sorted(devices.impaired.items())[:MOST_IMPAIRED]),
            link_local_exceeded=dict(host.services.exceeded.most_common(MOST_EXCEEDED)),
        )

    # --- ending ---------------------------------------------------------------------------------------------

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, False)
        loop.add_signal_handler(signal.SIGUSR1, self._stop, True)
        loop.add_signal_handler(signal.SIGHUP, self._stop, False)

    def _stop(self, keep: bool) -> None:
        self._ending.keep = keep
        self._ending.asked.set()

    async def _finished_before_stop(self, starting: "asyncio.Task[Any]") -> bool:
        """Whether the start came to its end; else it is cancelled where it is, and what it made is undone."""
        told = asyncio.create_task(self._ending.asked.wait())
        await asyncio.wait({starting, told}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if starting.done():
            return True
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError, Problem):
            await starting
        return False

    async def _unmake_host(self, making: "asyncio.Task[Host]") -> None:
        await asyncio.wait({making})
        if making.exception() is not None:
            return  # told by whoever waited for it
        host = making.result()
        await host.ignore_devices()
        await host.services.close()
        await host.agent.stop(remove_instances=not self._ending.keep)
        await asyncio.to_thread(host.close, not self._ending.keep)

    def _leave(self, journal: FileJournal) -> None:
        """Last of all: what is still in the journal goes too, unless it is to stay."""
        if not self._ending.keep:
            for failure in undo(journal, journal.present, lambda _thing: None, own_of(self._site)):
                self._tell(f"not removed: {failure.thing.kind} {failure.thing.name}: {failure.why}", 0.0)
        journal.close()

    def _vacate(self, lock: int) -> None:
        """The run directory goes too, when there is nothing left that it tells of."""
        self._site.forget(keep=bool(read_journal(self._site.journal)))
        os.close(lock)


def _make_host(settings: Settings, journal: FileJournal, fault: str) -> "Host":
    from stockade.daemon.wiring.host import make_host  # noqa: PLC0415 - slow to import, see _start

    return make_host(settings, journal, fault)

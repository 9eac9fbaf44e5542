"""Desired instances against observed ones -> calls of the instance driver.

    launch   create ─▶ attach to the datapath ─▶ policy enforced ─▶ start       no packet before policy (I3)
    removal  stop ─▶ detach from the datapath ─▶ destroy

What to do is decided by plan_instances from two values; the loop does it, several instances at a time. After
a restart of the agent the first look at the driver finds every instance again, and none is touched that is
as it should be.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from stockade.agent.policy_loop import PolicyLoop
from stockade.agent.serial import SerialCalls
from stockade.agent.uplink import Uplink
from stockade.datapath.contract import ApplyFailed, Datapath, DeviceName
from stockade.instances.contract import InstanceDriver, InstanceSpec, LaunchFailed
from stockade.model.host_view import HostView, ViewInstance, ViewInterface
from stockade.model.ids import InstanceId, NetworkInterfaceId
from stockade.model.instance import InstanceStatus, Observed

_LOOK_EVERY_S = 1.0
_log = logging.getLogger(__name__)
Hostname = Callable[[ViewInterface], str]


class Do(Enum):
    """What an instance needs."""

    LAUNCH = "launch"
    ADOPT = "adopt"  # it runs already: police its device again
    REMOVE = "remove"
    NOTE_ENDED = "note ended"  # its first process ended by itself
    NOTE_IMPAIRED = "note impaired"  # its device is gone


@dataclass(frozen=True, slots=True)
class Known:
    """What the loop remembers between two looks."""

    adopted: frozenset[InstanceId] = frozenset()  # running with a policed device
    impaired: frozenset[InstanceId] = frozenset()
    finished: frozenset[InstanceId] = frozenset()  # reported gone; never launched again
    busy: frozenset[InstanceId] = frozenset()


def plan_instances(view: HostView, observed: Mapping[InstanceId, InstanceStatus], known: Known) -> dict[InstanceId, Do]:
    """What each instance needs now; those that need nothing are not in the answer."""
    steps = {}
    for instance in view.instances.keys() | observed.keys():
        if instance not in known.busy:
            step = _step_for(instance, view.instances.get(instance), observed.get(instance), known)
            if step is not None:
                steps[instance] = step
    return steps


def _step_for(
    instance: InstanceId, wanted: ViewInstance | None, seen: InstanceStatus | None, known: Known
) -> Do | None:
    if wanted is None or not wanted.running:
        done = seen is None and (wanted is None or instance in known.finished)
        return None if done else Do.REMOVE
    if seen is None:
        return None if instance in known.finished else Do.LAUNCH
    match seen.observed:
        case Observed.GONE:
            return None if instance in known.finished else Do.NOTE_ENDED
        case Observed.IMPAIRED:
            return None if instance in known.impaired else Do.NOTE_IMPAIRED
        case Observed.STARTING:
            return Do.REMOVE  # created by an agent that died before it started it; launched anew afterwards
        case Observed.RUNNING:
            return None if instance in known.adopted else Do.ADOPT


class InstanceLoop:
    """Keeps the driver's instances equal to the view's."""

    def __init__(
        self,
        driver: InstanceDriver,
        *,
        datapath: Datapath,
        calls: SerialCalls,
        policy: PolicyLoop,
        uplink: Uplink,
        hostname: Hostname,
        parallel: int = 8,
        mtu: int = 1500,
    ) -> None:
        """`parallel` bounds launches and removals under way; more only make each of them slower."""
        self._driver = driver
        self._datapath = datapath
        self._calls = calls
        self._policy = policy
        self._uplink = uplink
        self._hostname = hostname
        self._mtu = mtu
        self._threads = ThreadPoolExecutor(max_workers=parallel + 1, thread_name_prefix="instances")
        self._slots = asyncio.Semaphore(parallel)
        self._wake = asyncio.Event()
        self._view: HostView | None = None
        self._known = Known()
        self._endpoints: dict[InstanceId, NetworkInterfaceId] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def view_changed(self, view: HostView) -> None:
        """A newer view is there; before the first one nothing is launched and nothing removed."""
        before, self._view = self._view, view
        # Rules and members are no business of instances: a change of a rule is not a reason to look at them all.
        if before is None or before.instances is not view.instances or before.interfaces is not view.interfaces:
            self._wake.set()

    def look_again(self) -> None:
        """Something on the host changed (a device went): do not wait for the next look."""
        self._wake.set()

    @property
    def running(self) -> int:
        return len(self._known.adopted)

    async def run(self) -> None:
        """Look, plan, do; for ever. Cancelled: what is under way is finished first."""
        try:
            while True:
                await self._pause()
                if self._view is not None:
                    await self._reconcile(self._view)
        finally:
            if self._tasks:
                await asyncio.wait(self._tasks)

    async def adopt_running(self, view: HostView) -> int:
        """At start, before the control process is there: police what runs and is in the restored view."""
        observed = await self._in_thread(self._driver.observe)
        steps = plan_instances(view, observed, self._known)
        for instance, step in steps.items():
            if step is Do.ADOPT:
                await self._adopt(instance, view.instances[instance])
        return self.running

    async def remove_all(self) -> None:
        """Every instance of this driver goes: `stockade down`. Nothing is reported, so the store still wants them."""
        observed = await self._in_thread(self._driver.observe)
        await asyncio.gather(*(self._take_down(instance) for instance in observed))

    def close(self) -> None:
        self._threads.shutdown(wait=True)

    async def _pause(self) -> None:
        try:
            # Not wait_for: before Python 3.12 it loses a cancellation that comes together with what it waits for.
            async with asyncio.timeout(_LOOK_EVERY_S):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def _reconcile(self, view: HostView) -> None:
        # Busy as of before the look: what an operation did after it began must not be judged by a look from before.
        busy = self._known.busy
        observed = await self._in_thread(self._driver.observe)
        known = replace(self._known, busy=self._known.busy | busy)
        for instance, step in plan_instances(view, observed, known).items():
            self._begin(instance, self._work(instance, step, view, observed.get(instance)))
        for instance in self._known.finished - view.instances.keys() - observed.keys():
            self._known = replace(self._known, finished=self._known.finished - {instance})
            self._uplink.forget(instance)

    def _begin(self, instance: InstanceId, work: Coroutine[Any, Any, None]) -> None:
        self._known = _with(self._known, busy={instance})
        task = asyncio.create_task(self._until_done(instance, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _until_done(self, instance: InstanceId, work: Coroutine[Any, Any, None]) -> None:
        try:
            async with self._slots:
                await work
        except Exception:
            # The loop tries again at its next look; an instance in trouble must not stop the others.
            _log.exception("instance_step_failed", extra={"instance": instance})
        finally:
            self._known = replace(self._known, busy=self._known.busy - {instance})
            self._wake.set()

    async def _work(self, instance: InstanceId, step: Do, view: HostView, seen: InstanceStatus | None) -> None:
        match step:
            case Do.LAUNCH:
                await self._launch(view, view.instances[instance])
            case Do.ADOPT:
                await self._adopt(instance, view.instances[instance])
            case Do.REMOVE:
                await self._remove(instance, view.instances.get(instance))
            case Do.NOTE_ENDED:
                await self._end(instance, (seen and seen.reason) or "its first process ended")
            case Do.NOTE_IMPAIRED:
                await self._impair(instance, view.instances[instance], seen)

    async def _launch(self, view: HostView, wanted: ViewInstance) -> None:
        interface = view.interfaces.get(wanted.interface)
        if interface is None:
            return  # its interface comes with a later frame
        await self._uplink.report(InstanceStatus(wanted.id, Observed.STARTING))
        self._endpoints[wanted.id] = interface.id
        try:
            device = await self._in_thread(self._driver.create, self._spec(wanted, interface))
            await self._calls(self._datapath.attach, interface.id, DeviceName(device))
            await self._policy.enforced(view.revision)
            await self._in_thread(self._driver.start, wanted.id)
        except (LaunchFailed, ApplyFailed, OSError) as err:
            _log.warning("launch_failed", extra={"instance": wanted.id, "reason": str(err)})
            await self._end(wanted.id, str(err))
            return
        self._known = _with(self._known, adopted={wanted.id})
        await self._uplink.report(InstanceStatus(wanted.id, Observed.RUNNING))

    async def _adopt(self, instance: InstanceId, wanted: ViewInstance) -> None:
        device = await self._in_thread(self._driver.device, instance)
        self._endpoints[instance] = wanted.interface
        if device is None:
            await self._impair(instance, wanted, None)
            return
        await self._calls(self._datapath.attach, wanted.interface, DeviceName(device))
        self._known = _with(self._known, adopted={instance})
        await self._uplink.report(InstanceStatus(instance, Observed.RUNNING))

    async def _impair(self, instance: InstanceId, wanted: ViewInstance, seen: InstanceStatus | None) -> None:
        """Its device is gone. At once, so that the kernel may give its number to another (D12)."""
        await self._calls(self._datapath.detach, wanted.interface)
        self._known = replace(
            self._known, adopted=self._known.adopted - {instance}, impaired=self._known.impaired | {instance}
        )
        reason = (seen and seen.reason) or "its network device is gone"
        await self._uplink.report(InstanceStatus(instance, Observed.IMPAIRED, reason))

    async def _end(self, instance: InstanceId, reason: str) -> None:
        await self._take_down(instance)
        self._known = _with(self._known, finished={instance})
        await self._uplink.report(InstanceStatus(instance, Observed.GONE, reason))

    async def _remove(self, instance: InstanceId, wanted: ViewInstance | None) -> None:
        if wanted is not None:
            self._endpoints.setdefault(instance, wanted.interface)
        await self._take_down(instance)
        if wanted is None:
            self._uplink.forget(instance)
        elif not wanted.running:
            self._known = _with(self._known, finished={instance})
            await self._uplink.report(InstanceStatus(instance, Observed.GONE))

    async def _take_down(self, instance: InstanceId) -> None:
        await self._in_thread(self._driver.stop, instance)
        endpoint = self._endpoints.pop(instance, None)
        if endpoint is not None:
            await self._calls(self._datapath.detach, endpoint)
        await self._in_thread(self._driver.destroy, instance)
        self._known = replace(
            self._known, adopted=self._known.adopted - {instance}, impaired=self._known.impaired - {instance}
        )

    def _spec(self, wanted: ViewInstance, interface: ViewInterface) -> InstanceSpec:
        address = next((one for one in interface.addresses if isinstance(one, IPv4Address)), None)
        if address is None:
            raise LaunchFailed(f"{interface.id} has no IPv4 address, and an instance needs one")
        return InstanceSpec(
            id=wanted.id,
            interface=interface.id,
            number=interface.number,
            recipe=wanted.recipe,
            mac=interface.mac,
            address=address,
            network=interface.network,
            hostname=self._hostname(interface),
            addresses6=tuple(one for one in interface.addresses if isinstance(one, IPv6Address)),
            mtu=self._mtu,
        )

    async def _in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """Finished even when the waiter is cancelled: half an instance is worse than a late one."""
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._threads, function, *args))


def _with(known: Known, **more: set[InstanceId]) -> Known:
    return replace(known, **{name: getattr(known, name) | extra for name, extra in more.items()})

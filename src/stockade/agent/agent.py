"""The agent: starts, watches and stops the loops of one host.

    stream ─▶ PolicyLoop ─▶ datapath          (policy_loop.py)
                  └─ view ─▶ InstanceLoop ─▶ driver     (instance_loop.py)
    stream ◀─ Uplink ◀─ FlowLoop ◀─ datapath  (flow_loop.py)
            applied view ─▶ DeviceLoop ─▶ datapath  (device_loop.py)
                       AuditLoop ◀▶ datapath  (audit_loop.py)
    stream ◀─▶ Prober ─▶ packets  (probe.py)

Everything it drives is handed in. A stream that ends (the control process died) stops nothing here: the last
policy stays enforced, instances run on, and `attend` is called again with the next stream.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from stockade.agent.audit_loop import AuditHealth, AuditLoop
from stockade.agent.device_loop import DeviceHealth, DeviceLoop, IsOwn
from stockade.agent.flow_loop import FlowLoop
from stockade.agent.instance_loop import Hostname, InstanceLoop
from stockade.agent.policy_loop import Compile, PolicyHealth, PolicyLoop
from stockade.agent.probe import Prober
from stockade.agent.serial import SerialCalls
from stockade.agent.uplink import Uplink
from stockade.agent.view_file import BootFile, ViewFile
from stockade.datapath.contract import Counters, Datapath
from stockade.feed.contract import ViewStream
from stockade.instances.contract import InstanceDriver
from stockade.model.host_view import HostView, ViewInterface
from stockade.model.ids import HostId

P = ParamSpec("P")
T = TypeVar("T")


class Agent:
    """One host's loops, made once per process."""

    def __init__(
        self,
        host: HostId,
        *,
        datapath: Datapath,
        driver: InstanceDriver,
        compile_view: Compile,
        directory: Path,
        hostname: Hostname,
        on_view: Callable[[HostView], None] = lambda _view: None,
        is_own_device: IsOwn = lambda _name: False,
        gateway: str = "",
        boot: str = "",
    ) -> None:
        """`on_view` hears every view before it is applied: names and metadata must be right before a start.

        `gateway` is the device by which packets from outside come in, for probes.
        `directory`, root's alone, keeps the last view; `boot` is the kernel's id of this boot.
        """
        self._datapath = datapath
        self._calls = SerialCalls("datapath")
        self._uplink = Uplink()
        self._kept = ViewFile(directory / "view", host)
        self._boot = BootFile(directory / "boot", boot)
        self._on_view = on_view
        self._devices = DeviceLoop(datapath, self._calls, is_own_device)
        self._policy = PolicyLoop(
            self._kept.load() or HostView(host),
            datapath=datapath,
            calls=self._calls,
            compile_view=compile_view,
            uplink=self._uplink,
            kept=self._kept,
            on_view=self._view_changed,
            on_applied=self._view_applied,
        )
        self._instances = InstanceLoop(
            driver,
            datapath=datapath,
            calls=self._calls,
            policy=self._policy,
            uplink=self._uplink,
            hostname=hostname,
        )
        self._flows = FlowLoop(datapath, self._calls, self._uplink)
        self._audit = AuditLoop(datapath, self._calls)
        self._driver = driver
        self._prober = Prober(self._device_of, gateway)
        self._loops: list[asyncio.Task[None]] = []
        self._told_instances = False

    @property
    def policy(self) -> PolicyHealth:
        return self._policy.health

    @property
    def audit(self) -> AuditHealth:
        return self._audit.health

    @property
    def devices(self) -> DeviceHealth:
        return self._devices.health

    @property
    def view(self) -> HostView:
        return self._policy.view

    @property
    def running_instances(self) -> int:
        return self._instances.running

    @property
    def lost_events(self) -> int:
        return self._flows.lost

    async def with_datapath(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run something that uses the datapath between two changes of it, not beside one."""
        return await self._calls(function, *args, **kwargs)

    async def counters(self) -> Counters:
        return await self._calls(self._datapath.counters)

    async def restore(self) -> int:
        """Enforce what was enforced when the last agent of this host ended, and police its instances again.

        Before any control process is there. After a reboot what is left of instances is cleared away: none runs, and
        the control process asks for them again. Returns how many instances run.
        """
        await self._policy.restore()
        if self._boot.note():
            await self._instances.remove_all()
        return await self._instances.adopt_running(self._policy.view)

    def start(self) -> None:
        """The loops run from here on; without a stream they have little to do."""
        self._loops = [
            asyncio.create_task(self._policy.run(), name="policy"),
            asyncio.create_task(self._instances.run(), name="instances"),
            asyncio.create_task(self._flows.run(), name="flows"),
            asyncio.create_task(self._audit.run(), name="audit"),
            asyncio.create_task(self._devices.run(), name="devices"),
        ]

    async def attend(self, stream: ViewStream) -> None:
        """Follow this stream until it ends."""
        await self._uplink.connect(stream)
        self._told_instances = True
        probing = asyncio.create_task(self._prober.serve(stream, lambda: self._policy.view), name="probes")
        try:
            await self._policy.read(stream.frames())
        finally:
            self._uplink.disconnect()
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)

    async def watch(self) -> None:
        """Return when a loop ended, raising what ended it: a loop never ends of itself."""
        done, _ = await asyncio.wait(self._loops, return_when=asyncio.FIRST_COMPLETED)
        for loop in done:
            loop.result()

    def device_removed(self) -> None:
        """A network device of this host went: see at once whose it was."""
        self._instances.look_again()

    def devices_changed(self) -> None:
        """Devices of this host came or went, maybe one that is to be adopted."""
        self._devices.look_again()

    async def stop(self, remove_instances: bool) -> None:
        """End the loops; `remove_instances` False leaves instances running and policed."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        if remove_instances:
            await self._devices.release()
            await self._instances.remove_all()
            self._kept.remove()
            self._boot.remove()
        self._instances.close()
        self._calls.close()

    def _device_of(self, interface: ViewInterface) -> str | None:
        return interface.device if interface.instance is None else self._driver.device(interface.instance)

    def _view_changed(self, view: HostView) -> None:
        self._on_view(view)
        # A restored view says what to enforce, not what to launch: only the control process asks for that.
        if self._told_instances:
            self._instances.view_changed(view)

    async def _view_applied(self, view: HostView) -> None:
        await self._devices.settle(view)
        if self._told_instances:
            await self._devices.sweep(view)

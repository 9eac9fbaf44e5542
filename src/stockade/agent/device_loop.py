"""Adopted devices: existing devices of the host, policed where they are (architecture D11).

    view: this interface is that device ─▶ policy applied ─▶ device there? ─▶ attach, else impaired
    interface left the view, or device gone ─▶ detach

Policy first, so that a device which carries traffic is never without any. A device that may not be adopted (lo, one
of ours, the host's own way out) is left alone and told of; it holds up nothing else.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stockade.agent.serial import SerialCalls
from stockade.datapath.contract import ApplyFailed, Datapath, DeviceName
from stockade.linux import links
from stockade.linux.links import Link
from stockade.linux.netlink import Netlink
from stockade.model.host_view import HostView
from stockade.model.ids import NetworkInterfaceId

_LOOK_EVERY_S = 1.0
_log = logging.getLogger(__name__)

IsOwn = Callable[[str], bool]
"""Whether a device of this name is one that this site makes."""


@dataclass(frozen=True, slots=True)
class HostDevices:
    """The devices of this host by name, and which of them carry a default route."""

    links: Mapping[str, Link] = field(default_factory=dict)
    ways_out: frozenset[int] = frozenset()

    @classmethod
    def now(cls) -> "HostDevices":
        """Of the network namespace this process is in."""
        with Netlink() as route:
            families = (socket.AF_INET, socket.AF_INET6)
            ways_out = {one.device for family in families for one in links.list_routes(route, family) if one.is_default}
            return cls({link.name: link for link in links.list_links(route)}, frozenset(ways_out))


@dataclass(frozen=True, slots=True)
class Policed:
    """A device as it was when it was attached: one of the same name made anew has another index."""

    device: str
    index: int


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """What to do; `impaired` says of each interface without a device why it has none."""

    detach: tuple[NetworkInterfaceId, ...] = ()
    attach: Mapping[NetworkInterfaceId, Policed] = field(default_factory=dict)
    impaired: Mapping[NetworkInterfaceId, str] = field(default_factory=dict)


def refusal(name: str, host: HostDevices, is_own: IsOwn) -> str | None:
    """Why the device of this name may not be adopted; None when it may, or is not there."""
    link = host.links.get(name)
    if is_own(name):
        return f"{name} is a device that Stockade made"
    if link is None:
        return None
    if link.kind == "loopback":
        return f"{name} is the loopback device"
    if link.index in host.ways_out and link.kind != "veth" and not link.master:
        return f"{name} carries this host's default route: whoever works on this host would be judged with it"
    return None


def plan_devices(
    view: HostView, host: HostDevices, policed: Mapping[NetworkInterfaceId, Policed], is_own: IsOwn
) -> DevicePlan:
    """Of two interfaces that name one device, the older has it."""
    attach: dict[NetworkInterfaceId, Policed] = {}
    impaired: dict[NetworkInterfaceId, str] = {}
    owners: dict[str, NetworkInterfaceId] = {}
    for interface in sorted(view.interfaces.values(), key=lambda one: one.number):
        if interface.device is None:
            continue
        owner = owners.setdefault(interface.device, interface.id)
        link = host.links.get(interface.device)
        refused = refusal(interface.device, host, is_own)
        if owner != interface.id:
            impaired[interface.id] = f"{interface.device} is {owner}'s"
        elif refused is not None:
            impaired[interface.id] = refused
        elif link is None:
            impaired[interface.id] = f"this host has no device {interface.device}"
        else:
            attach[interface.id] = Policed(interface.device, link.index)
    stale = tuple(name for name, had in policed.items() if attach.get(name) != had)
    fresh = {name: wanted for name, wanted in attach.items() if policed.get(name) != wanted}
    return DevicePlan(stale, fresh, impaired)


@dataclass(slots=True)
class DeviceHealth:
    """Adopted devices that are policed, and why the others are not."""

    policed: Mapping[NetworkInterfaceId, Policed] = field(default_factory=dict)
    impaired: Mapping[NetworkInterfaceId, str] = field(default_factory=dict)


class DeviceLoop:
    """Keeps the attached devices equal to the view's."""

    def __init__(
        self,
        datapath: Datapath,
        calls: SerialCalls,
        is_own: IsOwn,
        look: Callable[[], HostDevices] = HostDevices.now,
    ) -> None:
        self._datapath = datapath
        self._calls = calls
        self._is_own = is_own
        self._look = look
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()
        self._view: HostView | None = None
        self._swept = False
        self.health = DeviceHealth()

    def look_again(self) -> None:
        """Devices of the host came or went: do not wait for the next look."""
        self._wake.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._wake.wait()
            self._wake.clear()
            if self._view is not None:
                await self.settle(self._view)

    async def settle(self, view: HostView) -> None:
        """Make it so for this view, whose policy is applied. Whatever fails is told, and tried at the next look."""
        if self._view is not None and self._view is not view and self._view.interfaces is view.interfaces:
            self._view = view  # a change of rules: what it was settled for, or waits for the next look, is the same
            return
        async with self._turn:
            self._view = view
            wanted = any(one.device is not None for one in view.interfaces.values())
            if wanted or self.health.policed:
                try:
                    await self._calls(self._settle, view)
                except (OSError, ApplyFailed) as err:
                    _log.warning("devices_not_seen", extra={"reason": str(err)})

    async def sweep(self, view: HostView) -> None:
        """Once, with the first view of a control process: detach what a former agent attached and nobody names."""
        async with self._turn:
            if self._swept:
                return
            self._swept = True
            try:
                for name in await self._calls(self._datapath.usage):
                    if name not in view.interfaces:
                        await self._calls(self._datapath.detach, name)
            except Exception:
                _log.exception("sweep_failed")

    async def release(self) -> None:
        """Give every device back as it was: `stockade down`."""
        async with self._turn:
            self._view = None
            for name in self.health.policed:
                with contextlib.suppress(OSError, ApplyFailed):
                    await self._calls(self._datapath.detach, name)
            self.health = DeviceHealth()

    def _settle(self, view: HostView) -> None:
        """In the datapath's thread: no device comes or goes unseen between the look and what follows from it."""
        plan = plan_devices(view, self._look(), self.health.policed, self._is_own)
        policed = dict(self.health.policed)
        impaired = dict(plan.impaired)
        for name in plan.detach:
            self._datapath.detach(name)
            del policed[name]
        for name, wanted in plan.attach.items():
            try:
                self._datapath.attach(name, DeviceName(wanted.device))
            except (OSError, ApplyFailed) as err:
                impaired[name] = f"{wanted.device} could not be attached: {err}"
            else:
                policed[name] = wanted
        _tell(impaired, self.health.impaired)
        self.health = DeviceHealth(policed, impaired)


def _tell(impaired: Mapping[NetworkInterfaceId, str], before: Mapping[NetworkInterfaceId, str]) -> None:
    for name, why in impaired.items():
        if before.get(name) != why:
            _log.warning("device_impaired", extra={"interface": name, "reason": why})

"""The agent's half: datapath, compiler, instance driver, services, joined into an Agent.

In the order in which they need each other; whatever was made before something failed is closed again.
"""

import asyncio
import contextlib
import os
import platform
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from stockade.agent.agent import Agent
from stockade.agent.journal import FileJournal
from stockade.daemon.problems import Problem
from stockade.daemon.proof import Proof, prove
from stockade.daemon.settings import Settings
from stockade.daemon.wiring.images import make_images
from stockade.daemon.wiring.names import THIS_HOST, is_own_device, prefix, services_netns
from stockade.datapath.ebpf.datapath import EbpfDatapath
from stockade.datapath.ebpf.features import DatapathUnavailable
from stockade.datapath.ebpf.pins import mount_bpffs
from stockade.datapath.ebpf.settings import EbpfSettings
from stockade.instances.container.driver import ContainerDriver
from stockade.instances.container.runtime import RuntimeFailed, find_runtime
from stockade.instances.network.names import Names
from stockade.instances.network.services import Services, open_inside, open_outside
from stockade.instances.network.upstream import Upstream
from stockade.linux.namespaces import open_netns
from stockade.model.host_view import HostView
from stockade.model.ids import NetworkInterfaceId
from stockade.model.journal import Journal
from stockade.policy.compile import Compiler
from stockade.policy.entries import HostPolicy


@dataclass(slots=True)
class Host:
    """What the agent process holds. `skip_proof`: a build that is broken on purpose is to be caught later."""

    agent: Agent
    datapath: EbpfDatapath
    driver: ContainerDriver
    services: Services
    compile_view: Callable[[HostView], HostPolicy]
    settings: Settings
    kernel: str
    skip_proof: bool = False
    _looking: "asyncio.Task[None] | None" = None

    def prove(self, base: HostView, journal: Journal) -> Proof:
        """In the datapath's thread."""
        return prove(self.datapath, self.compile_view, base, prefix(self.settings.site), journal)

    async def serve(self) -> None:
        """Answer instances' questions for metadata and names, and this host's for names."""
        inside = open_netns(services_netns(self.settings.site))
        try:
            sockets = await asyncio.to_thread(open_inside, inside)
        finally:
            os.close(inside)
        try:
            outside = open_outside(self.settings.resolver)
        except OSError as err:
            raise Problem(
                f"cannot answer names on {', '.join(map(str, self.settings.resolver))}, port 53",
                why=err.strerror or str(err),
                attempt="STOCKADE_NETWORK_RESOLVER=127.0.0.154 stockade up        (any free loopback address)",
            ) from err
        await self.services.start(sockets, outside)

    def watch_devices(self) -> None:
        """From here on a device that vanishes is dead to the datapath at once, and the agent looks whose it was."""
        loop = asyncio.get_running_loop()

        async def look() -> None:
            if await self.agent.with_datapath(self.datapath.devices_gone):
                self.agent.device_removed()
            self.agent.devices_changed()
            loop.add_reader(self.datapath.fileno(), heard)

        def heard() -> None:
            # Not heard again until it was looked into, in the datapath's thread: the news stays readable that long.
            loop.remove_reader(self.datapath.fileno())
            self._looking = loop.create_task(look())

        loop.add_reader(self.datapath.fileno(), heard)

    async def ignore_devices(self) -> None:
        """Before the agent stops."""
        if self._looking is not None:
            await asyncio.gather(self._looking, return_exceptions=True)
        asyncio.get_running_loop().remove_reader(self.datapath.fileno())

    def close(self, remove: bool) -> None:
        """After the agent's loops have ended. `remove`: nothing of the datapath stays."""
        self.driver.close()
        if remove:
            self.datapath.remove()
        else:
            self.datapath.close()


def make_host(settings: Settings, journal: FileJournal, fault: str = "") -> Host:
    """Blocks while programs are loaded. Raises Problem."""
    with ExitStack() as undo:
        datapath = _datapath(settings, journal, fault)
        undo.callback(datapath.close)
        driver = _driver(settings, journal)
        undo.callback(driver.close)
        compiler = Compiler()
        services = _services(settings, datapath)
        agent = Agent(
            THIS_HOST,
            datapath=datapath,
            driver=driver,
            compile_view=compiler,
            directory=settings.agent_directory,
            boot=Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip(),
            hostname=services.hostname,
            on_view=services.view_changed,
            is_own_device=lambda name: is_own_device(settings.site, name),
            gateway=f"{prefix(settings.site)}-gw",
        )
        undo.pop_all()
    release = ".".join(platform.release().split(".")[:2])
    return Host(
        agent,
        datapath,
        driver,
        services,
        compiler,
        settings,
        kernel=f"kernel {release}: BPF programs loaded, tc hooks",
        skip_proof=bool(fault),
    )


def _datapath(settings: Settings, journal: Journal, fault: str) -> EbpfDatapath:
    try:
        mount_bpffs(settings.pins.parent, journal)
        return EbpfDatapath(
            EbpfSettings(
                site=settings.site,
                pins=settings.pins,
                public_pool=settings.public_pool,
                services_namespace=Path(services_netns(settings.site)),
                uplinks=tuple(settings["network.devices"]),
                public_pool6=settings.ipv6_pool,
                allowance=settings["quotas.tracked_flows"],
                strict_icmp_errors=settings["enforce.icmp_errors"] == "strict",
                fault=fault,
            ),
            journal,
        )
    except DatapathUnavailable as err:
        raise Problem(err.missing, attempt=err.remedy, see="stockade doctor") from err


def _driver(settings: Settings, journal: Journal) -> ContainerDriver:
    try:
        runtime = find_runtime(settings.run_directory / "runtime")
    except RuntimeFailed as err:
        raise Problem("no instance could be started", why=str(err), see="stockade doctor") from err
    return ContainerDriver(
        settings.site,
        directory=settings.state_directory / "instances",
        runtime=runtime,
        images=make_images(settings, journal),
        journal=journal,
    )


def _services(settings: Settings, datapath: EbpfDatapath) -> Services:
    def service_address(interface: NetworkInterfaceId) -> IPv4Address | None:
        with contextlib.suppress(LookupError):
            return datapath.service_address(interface)
        return None

    own = [str(address) for address in settings.resolver]
    return Services(
        names=Names(settings["network.dns_suffix"], next(iter(settings["regions"]))),
        public_pool=settings.public_pool,
        service_address=service_address,
        forward=Upstream.of_host(not_these=own),
    )

"""A host in memory: a scripted stream, a driver that keeps instances in a dict, the simulated datapath."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from stockade.agent.agent import Agent
from stockade.datapath.contract import Audit, Usage
from stockade.datapath.simulated.datapath import SimulatedDatapath
from stockade.instances.contract import InstanceSpec, LaunchFailed
from stockade.model.addresses import mac_of
from stockade.model.change import Revision
from stockade.model.flow import FlowEvent, RuleCount
from stockade.model.host_view import Frame, ViewGroup, ViewInstance, ViewInterface, ViewItem
from stockade.model.ids import AccountId, HostId, InstanceId, NetworkInterfaceId, RuleId, SecurityGroupId
from stockade.model.instance import InstanceStatus, Observed
from stockade.model.ports import TCP
from stockade.model.probe import ProbeAnswer, ProbeRequest
from stockade.model.rule import CidrPeer, Direction, Rule
from stockade.policy.compile import Compiler

HOST = HostId("host-1")
ACCOUNT = AccountId("111122223333")
GROUP = SecurityGroupId("sg-01000001")
START = datetime(2026, 1, 1, tzinfo=UTC)


class FakeDriver:
    """The instance contract in a dict. `log` has every call in order; `refuse` makes create fail."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.states: dict[InstanceId, Observed] = {}
        self.devices: dict[InstanceId, str] = {}
        self.refuse: dict[InstanceId, str] = {}
        self._lock = threading.Lock()

    def create(self, spec: InstanceSpec) -> str:
        with self._lock:
            self.log.append(f"create {spec.id}")
            if spec.id in self.refuse:
                raise LaunchFailed(self.refuse[spec.id])
            self.states[spec.id] = Observed.STARTING
            self.devices[spec.id] = f"sk-i{spec.number:x}"
            return self.devices[spec.id]

    def start(self, instance: InstanceId) -> None:
        with self._lock:
            self.log.append(f"start {instance}")
            self.states[instance] = Observed.RUNNING

    def stop(self, instance: InstanceId) -> None:
        with self._lock:
            self.log.append(f"stop {instance}")

    def destroy(self, instance: InstanceId) -> None:
        with self._lock:
            self.log.append(f"destroy {instance}")
            self.states.pop(instance, None)
            self.devices.pop(instance, None)

    def observe(self) -> Mapping[InstanceId, InstanceStatus]:
        with self._lock:
            return {instance: InstanceStatus(instance, state) for instance, state in self.states.items()}

    def device(self, instance: InstanceId) -> str | None:
        return self.devices.get(instance)

    def console(self, instance: InstanceId) -> bytes:
        return b""


class RecordingDatapath(SimulatedDatapath):
    """The simulated datapath, which also writes down what it was asked, into the driver's log."""

    def __init__(self, log: list[str]) -> None:
        super().__init__(START)
        self._log = log
        self.drift: tuple[str, ...] = ()
        self.stubborn: tuple[str, ...] = ()
        self.used: dict[NetworkInterfaceId, Usage] = {}

    def attach(self, endpoint: NetworkInterfaceId, device: object) -> None:  # type: ignore[override]
        self._log.append(f"attach {endpoint}")
        super().attach(endpoint, device)  # type: ignore[arg-type]

    def detach(self, endpoint: NetworkInterfaceId) -> None:
        self._log.append(f"detach {endpoint}")
        super().detach(endpoint)

    def audit(self) -> Audit:
        """What a test planted in `drift`; what it planted in `stubborn`, too, and that stays."""
        found, self.drift = (*self.drift, *self.stubborn), ()
        return Audit(compared=10, drift=found)

    def usage(self) -> Mapping[NetworkInterfaceId, Usage]:
        return self.used


class ScriptedStream:
    """A feed that says what a test puts into it, and writes down what it hears."""

    def __init__(self) -> None:
        self.down: asyncio.Queue[Frame | None] = asyncio.Queue()
        self.acks: list[Revision] = []
        self.failures: list[tuple[Revision, str]] = []
        self.statuses: list[InstanceStatus] = []
        self.events: list[FlowEvent] = []
        self.lost = 0
        self.counts: list[tuple[RuleCount, ...]] = []
        self._heard = asyncio.Condition()

    async def frames(self) -> AsyncIterator[Frame]:
        while (frame := await self.down.get()) is not None:
            yield frame

    async def enforced(self, revision: Revision) -> None:
        self.acks.append(revision)
        await self._tell()

    async def failed(self, revision: Revision, why: str) -> None:
        self.failures.append((revision, why))
        await self._tell()

    async def report(self, status: InstanceStatus) -> None:
        self.statuses.append(status)
        await self._tell()

    async def flows(self, events: tuple[FlowEvent, ...], lost: int) -> None:
        self.events.extend(events)
        self.lost += lost
        await self._tell()

    async def hits(self, at: datetime, counts: tuple[RuleCount, ...]) -> None:
        self.counts.append(counts)
        await self._tell()

    async def probes(self) -> AsyncIterator[ProbeRequest]:
        for request in ():
            yield request

    async def probed(self, answer: ProbeAnswer) -> None:
        raise AssertionError("nothing was asked")

    async def _tell(self) -> None:
        async with self._heard:
            self._heard.notify_all()

    async def until_acked(self, revision: int) -> None:
        async with asyncio.timeout(5), self._heard:
            await self._heard.wait_for(lambda: revision in self.acks)

    async def until_failed(self) -> None:
        async with asyncio.timeout(5), self._heard:
            await self._heard.wait_for(lambda: bool(self.failures))

    async def until_seen(self, instance: InstanceId, observed: Observed) -> InstanceStatus:
        def last() -> InstanceStatus | None:
            return next((one for one in reversed(self.statuses) if one.instance == instance), None)

        async with asyncio.timeout(5), self._heard:
            await self._heard.wait_for(lambda: (seen := last()) is not None and seen.observed is observed)
        found = last()
        assert found is not None
        return found


@dataclass
class FakeHost:
    """An agent on all of it. `attend` begins a stream; `stop` ends everything but the fake kernel and instances."""

    directory: Path
    driver: FakeDriver = field(default_factory=FakeDriver)
    datapath: RecordingDatapath | None = None
    boot: str = "first"

    def __post_init__(self) -> None:
        self.datapath = self.datapath or RecordingDatapath(self.driver.log)
        self.agent = Agent(
            HOST,
            datapath=self.datapath,
            driver=self.driver,
            compile_view=Compiler(),
            directory=self.directory,
            boot=self.boot,
            hostname=lambda interface: f"ip-{interface.number}",
        )
        self.stream = ScriptedStream()
        self._attending: asyncio.Task[None] | None = None

    def attend(self) -> ScriptedStream:
        self.stream = ScriptedStream()
        self._attending = asyncio.create_task(self.agent.attend(self.stream))
        return self.stream

    async def until_the_stream_ends(self) -> None:
        """Raises what ended it."""
        assert self._attending is not None
        await asyncio.wait_for(asyncio.shield(self._attending), 5)

    async def stop(self, remove_instances: bool = False) -> None:
        if self._attending is not None:
            self._attending.cancel()
            await asyncio.gather(self._attending, return_exceptions=True)
        await self.agent.stop(remove_instances)


def group(*ports: int) -> ViewGroup:
    """A group that admits these TCP ports from everywhere."""
    rules = tuple(
        Rule(
            RuleId(f"sgr-{port:08x}"),
            port,
            Direction.INGRESS,
            TCP,
            port,
            port,
            CidrPeer(IPv4Network("0.0.0.0/0")),
        )
        for port in ports
    )
    return ViewGroup(GROUP, "web", rules)


def machine(number: int, running: bool = True) -> tuple[ViewInterface, ViewInstance]:
    """An instance and its interface."""
    instance = InstanceId(f"i-{number:08x}")
    interface = NetworkInterfaceId(f"eni-{number:08x}")
    return (
        ViewInterface(
            id=interface,
            number=number,
            account=ACCOUNT,
            vpc=1,
            classic=False,
            network=IPv4Network("10.0.0.0/24"),
            mac=mac_of(number),
            addresses=(IPv4Address("10.0.0.0") + number,),
            groups=(GROUP,),
            public=IPv4Address("198.18.0.0") + number,
            source_dest_check=True,
            instance=instance,
        ),
        ViewInstance(
            id=instance,
            account=ACCOUNT,
            interface=interface,
            running=running,
            image="ami-1",
            recipe="micro",
            type="m1.small",
            zone="us-east-1a",
            region="us-east-1",
            reservation="r-01000001",
            launch_index=0,
            key_name=None,
            public_key=None,
            user_data=None,
            group_names=("web",),
        ),
    )


def whole(revision: int, *items: ViewItem) -> Frame:
    return Frame(Revision(revision), tuple(items), whole=True)


def change(revision: int, *items: ViewItem, removed: tuple[tuple[str, str], ...] = ()) -> Frame:
    return Frame(Revision(revision), tuple(items), removed)

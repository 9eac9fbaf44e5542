"""A whole control plane on a loopback port, with a host that reports instances and enforces nothing.

For tests that speak to the API as a client does. It runs in a thread of its own, because boto3 and the
command lines block; `ControlPlane.inside` runs a coroutine there.
"""

import asyncio
import secrets
import socket
import threading
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from stockade.api.aws.auth.authenticate import Authenticator, AuthRules
from stockade.api.aws.gateway import Gateway
from stockade.api.aws.registry import Services
from stockade.api.http import FrontDoor, FrontSettings, listen
from stockade.api.native.app import Native, NativeServices
from stockade.api.native.counters import Counters
from stockade.api.native.health import Health
from stockade.feed.contract import ViewStream
from stockade.feed.local import Feed
from stockade.model.account import Platform
from stockade.model.host_view import ViewInstance
from stockade.model.ids import HostId, RandomHex
from stockade.model.instance import InstanceStatus, Observed
from stockade.service.accounts import Accounts, CreatedAccount
from stockade.service.answers import Answers
from stockade.service.cell import Cell, CellSettings
from stockade.service.cuts import Cuts
from stockade.service.devices import Devices
from stockade.service.flows import Flows
from stockade.service.images import Images
from stockade.service.instances import Instances
from stockade.service.key_pairs import KeyPairs
from stockade.service.membership import Interfaces
from stockade.service.networks import Networks
from stockade.service.prefix_lists import PrefixLists
from stockade.service.probing import Probing
from stockade.service.rule_edits import RuleEdits
from stockade.service.rules import Rules
from stockade.service.security_groups import SecurityGroups
from stockade.service.tags import Tags
from stockade.service.upkeep import Upkeep
from stockade.service.usage import Usage
from stockade.service.vpcs import Vpcs
from stockade.store.cache import Cache
from stockade.store.contract import Store
from stockade.store.memory import MemoryStore

T = TypeVar("T")
HOST = HostId("host-test")


def services_of(cell: Cell) -> Services:
    """Every use case on one cell."""
    return Services(
        accounts=Accounts(cell),
        groups=SecurityGroups(cell),
        rules=Rules(cell),
        rule_edits=RuleEdits(cell),
        instances=Instances(cell),
        images=Images(cell),
        key_pairs=KeyPairs(cell),
        tags=Tags(cell),
        vpcs=Vpcs(cell),
        networks=Networks(cell),
        interfaces=Interfaces(cell),
        prefix_lists=PrefixLists(cell),
    )


@dataclass(slots=True)
class Clock:
    """The time now, until it is set."""

    fixed: datetime | None = None

    def now(self) -> datetime:
        return self.fixed or datetime.now(UTC)


class World:
    """Store, cell, services and gateway in the loop that runs, without any port."""

    def __init__(
        self, cell: Cell, cache: Cache, feed: Feed, upkeep: Upkeep, front: FrontSettings, auth: AuthRules
    ) -> None:
        self.cell = cell
        self.feed = feed
        self.cache = cache
        self.upkeep = upkeep
        self.services = services_of(cell)
        self.counters = Counters()
        self.clock = Clock()
        self.health = Health("ready", "none", hosts_ready=1, hosts_known=1)
        self.authenticator = Authenticator(self.services.accounts.find_key, self.clock.now, auth)
        self.gateway = self.gateway_with(lambda: str(uuid.uuid4()))
        self.front = FrontDoor(self.gateway, self._native, self.counters, lambda: str(uuid.uuid4()), front)

    @classmethod
    async def open(
        cls,
        store: Store | None = None,
        settings: CellSettings | None = None,
        front: FrontSettings | None = None,
        auth: AuthRules | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        random_hex: RandomHex = lambda digits: secrets.token_hex(digits)[:digits],
    ) -> "World":
        cache = await Cache.open(store or MemoryStore())
        feed = Feed(cache)
        cell = Cell(
            cache,
            feed,
            settings or CellSettings(),
            HOST,
            now,
            random_hex,
        )
        upkeep = Upkeep(cell)
        await upkeep.start()
        return cls(cell, cache, feed, upkeep, front or FrontSettings(), auth or AuthRules())

    async def close(self) -> None:
        self.feed.close()
        await self.upkeep.close()
        await self.cache.close()

    def gateway_with(self, new_request_id: Callable[[], str]) -> Gateway:
        """A gateway whose request ids are these."""
        regions = frozenset(self.cell.settings.regions)
        return Gateway(self.services, self.authenticator, lambda: regions, new_request_id)

    def _native(self) -> Any:
        accounts, answers, flows = self.services.accounts, Answers(self.cell), Flows(self.cell, self.feed.flow_log)
        usage = Usage(self.cell, self.feed.hit_log)
        services = NativeServices(
            accounts,
            answers,
            flows,
            usage,
            probing=Probing(self.cell, self.feed.probe, self.feed.flow_log),
            devices=Devices(self.cell),
            cuts=Cuts(self.cell),
            host=HOST,
        )
        return Native(services, self.authenticator, lambda: self.health, self.counters).app()


class ReportingHost:
    """A host that says of every instance what was wanted of it, and acknowledges every frame."""

    def __init__(self, stream: ViewStream) -> None:
        self._stream = stream
        self._task = asyncio.create_task(self._run(), name="reporting-host")

    async def _run(self) -> None:
        async for frame in self._stream.frames():
            await self._stream.enforced(frame.revision)
            for item in frame.put:
                if isinstance(item, ViewInstance):
                    seen = Observed.RUNNING if item.running else Observed.GONE
                    await self._stream.report(InstanceStatus(item.id, seen))

    async def close(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


@dataclass(slots=True)
class ControlPlane:
    """What a test holds of the server that runs."""

    url: str
    port: int
    world: World
    loop: asyncio.AbstractEventLoop

    def inside(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def account(self, platform: Platform, **kwargs: Any) -> CreatedAccount:
        """A new account with its key."""
        return self.inside(self.world.services.accounts.create(platform=platform, **kwargs))


@contextmanager
def control_plane(
    store: Callable[[], Awaitable[Store]] | None = None,
    settings: CellSettings | None = None,
    front: FrontSettings | None = None,
    auth: AuthRules | None = None,
) -> Iterator[ControlPlane]:
    """Serves until the block ends; every answer in between is the server's own."""
    ready: Future[ControlPlane] = Future()
    done = threading.Event()

    async def serve() -> None:
        opened = await store() if store is not None else MemoryStore()
        world = await World.open(opened, settings, front, auth)
        host = ReportingHost(world.feed.connect(HOST))
        sock = socket.create_server(("127.0.0.1", 0))
        listening = await listen(world.front, sock)
        port = sock.getsockname()[1]
        ready.set_result(ControlPlane(f"http://127.0.0.1:{port}", port, world, asyncio.get_running_loop()))
        await asyncio.get_running_loop().run_in_executor(None, done.wait)
        await listening.close()
        await host.close()
        await world.close()
        await opened.close()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    thread = threading.Thread(target=run, name="control-plane")
    thread.start()
    try:
        yield ready.result(30)
    finally:
        done.set()
        thread.join(30)

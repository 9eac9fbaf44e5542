"""The control process's half: store, cell, services, feed, front doors."""

import secrets
import socket
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Network
from typing import Any

from stockade.agent.status import HostStatus, Phase
from stockade.api.aws.auth.authenticate import Authenticator, AuthRules
from stockade.api.aws.gateway import Gateway
from stockade.api.aws.registry import Services
from stockade.api.http import FrontDoor, FrontSettings, Listening, listen
from stockade.api.native.app import Native, NativeServices
from stockade.api.native.counters import Counters
from stockade.api.native.health import Health
from stockade.daemon.settings import Settings
from stockade.daemon.wiring.names import THIS_HOST
from stockade.feed import frames
from stockade.feed.local import Feed
from stockade.model.account import Account
from stockade.service.accounts import Accounts, CreatedAccount
from stockade.service.answers import Answers
from stockade.service.cell import Cell, CellSettings, Quotas
from stockade.service.cuts import Cuts
from stockade.service.devices import Devices
from stockade.service.enforcement import Enforcement, NoEnforcement
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
from stockade.store.sqlite.store import SqliteStore


@dataclass(slots=True)
class Control:
    """Everything of the control process, joined. `status`: what the agent said last."""

    settings: Settings
    store: Store
    cache: Cache
    cell: Cell
    feed: Feed
    upkeep: Upkeep
    accounts: Accounts
    front: FrontDoor
    status: HostStatus | None = None
    listening: Listening | None = None

    async def feed_host(self, stream: socket.socket) -> None:
        """Serve this host's agent until it hangs up."""
        await frames.serve(self.feed, THIS_HOST, stream)

    async def listen(self, listener: socket.socket) -> None:
        """Answer requests, from those on that waited in the socket."""
        self.listening = await listen(self.front, listener)

    async def admin(self) -> CreatedAccount:
        """The installation's own account, made at its first start."""
        return await self.accounts.ensure_admin()

    def found(self) -> str:
        """What was in the state, for people."""
        resources = self.cell.resources
        instances = sum(one.terminated_at is None for one in resources.instances.values())
        return f"{_counted(len(resources.groups), 'group')}, {_counted(instances, 'instance')}"

    def health(self) -> Health:
        """What /_stockade/health says."""
        status = self.status
        if status is None:
            return Health("starting", "kernel" if self.settings.enforcing else "none", hosts_known=1)
        ready = status.phase is Phase.READY
        resources = self.cell.resources
        return Health(
            status=status.phase.value,
            mode=status.enforcing,
            proven_at=status.proven_at,
            lost_events=status.lost_events,
            hosts_ready=int(ready),
            hosts_known=1,
            instances=sum(one.terminated_at is None for one in resources.instances.values()),
            groups=len(resources.groups),
            rules=sum(len(group.rules) for group in resources.groups.values()),
            accepted=self.feed.flow_log.counts.accepted,
            rejected=status.rejected,
            drops=status.drops,
            audit=asdict(status.audit) if status.enforcing == "kernel" else {},
            allowances=status.allowances,
            failure=status.failure,
            devices=status.devices,
            impaired=status.impaired,
            link_local_exceeded=status.link_local_exceeded,
        )

    async def close(self) -> None:
        """Let running requests end, then let go of the state."""
        if self.listening is not None:
            await self.listening.close()
        self.feed.close()
        await self.upkeep.close()
        await self.cache.close()
        await self.store.close()


async def open_control(settings: Settings, feed_delay_s: float = 0.0) -> Control:
    """Open the state and everything on it; nothing is served yet."""
    store = await SqliteStore.open(settings.state_path)
    cache = await Cache.open(store)
    feed = Feed(cache, delay_s=feed_delay_s)
    enforcement: Enforcement = feed if settings.enforcing else NoEnforcement()
    cell = Cell(cache, enforcement, _cell_settings(settings), THIS_HOST, lambda: datetime.now(UTC), _random_hex)
    upkeep = Upkeep(cell)
    await upkeep.start()
    accounts = Accounts(cell)
    authenticator = Authenticator(accounts.find_key, lambda: datetime.now(UTC), _auth_rules(settings, accounts))
    counters = Counters()
    gateway = Gateway(_services(cell, accounts), authenticator, lambda: frozenset(cell.settings.regions))
    answers = Answers(cell)
    flows = Flows(cell, feed.flow_log)
    usage = Usage(cell, feed.hit_log)
    control: Control

    def native() -> Any:
        services = NativeServices(
            accounts,
            answers,
            flows,
            usage,
            probing=Probing(cell, feed.probe, feed.flow_log),
            devices=Devices(cell),
            cuts=Cuts(cell),
            host=THIS_HOST,
        )
        return Native(services, authenticator, control.health, counters).app()

    front = FrontDoor(gateway, native, counters, lambda: str(uuid.uuid4()), FrontSettings())
    control = Control(settings, store, cache, cell, feed, upkeep, accounts, front)
    return control


def _services(cell: Cell, accounts: Accounts) -> Services:
    return Services(
        accounts=accounts,
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


def _cell_settings(settings: Settings) -> CellSettings:
    regions: Mapping[str, list[str]] = settings["regions"]
    return CellSettings(
        regions={name: tuple(zones) for name, zones in regions.items()},
        default_vpc=IPv4Network(settings["network.default_vpc"]),
        classic=IPv4Network(settings["network.classic"]),
        public_pool=settings.public_pool,
        ipv6_pool=settings.ipv6_pool,
        dns_suffix=settings["network.dns_suffix"],
        image_alias=settings["images.alias"],
        image_unknown=settings["images.unknown"],
        quotas=Quotas(
            rules_per_group=settings["quotas.rules_per_group"],
            groups_per_interface=settings["quotas.groups_per_interface"],
            groups=settings["quotas.groups"],
            vpcs=settings["quotas.vpcs"],
            subnets=settings["quotas.subnets"],
            prefix_lists=settings["quotas.prefix_lists"],
            instances=settings["quotas.instances"],
        ),
    )


def _auth_rules(settings: Settings, accounts: Accounts) -> AuthRules:
    anyone: Callable[[], Account | None] | None = None
    if settings["api.auth"] == "any":

        def admin() -> Account | None:
            return next((one for one in accounts.all() if one.is_admin), None)

        anyone = admin
    return AuthRules(anyone=anyone, era_2009=settings["api.era"] == "2009")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _random_hex(digits: int) -> str:
    return secrets.token_hex((digits + 1) // 2)[:digits]

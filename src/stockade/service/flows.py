"""What happened to this traffic: flow events with names, for those whose traffic it is.

the hosts' events -> FlowSource (bounded) -> visible to the caller? -> passes the filter? -> with names
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from stockade.model import ports
from stockade.model.addresses import Address, covers
from stockade.model.flow import FlowEvent, LoggedFlow
from stockade.model.ids import NetworkInterfaceId, SecurityGroupId
from stockade.model.network_interface import NetworkInterface
from stockade.model.traffic import Traffic
from stockade.model.vpc import Vpc
from stockade.policy.questions.reach import At
from stockade.service.caller import Caller
from stockade.service.cell import Cell
from stockade.service.directory import Directory, Named
from stockade.service.rule_names import NamedRule, RuleNames

AT_ONCE = 500
"""Events looked at before other requests get their turn."""

RECENT = timedelta(minutes=5)


class FlowSource(Protocol):
    """Where the events are: feed/flow_log.py."""

    def since(self, number: int = 0) -> Sequence[LoggedFlow]:
        """The kept events after this one, oldest first."""

    def follow(self, listener: Callable[[tuple[LoggedFlow, ...]], None]) -> Callable[[], None]:
        """Be given all from now on, until the function returned is called."""


@dataclass(frozen=True, slots=True)
class FlowFilter:
    """Which flows are wanted; what is None or empty does not matter."""

    source: Named | None = None
    destination: Named | None = None
    traffic: Traffic | None = None
    group: SecurityGroupId | None = None
    rule: str | None = None
    passed: bool | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class ShownFlow:
    """An event with whom and what it is about. Interfaces are those that have the addresses now, and had them then."""

    number: int
    event: FlowEvent
    vpc: Vpc | None
    source: NetworkInterface | None
    destination: NetworkInterface | None
    egress: NamedRule | None
    ingress: NamedRule | None


class Flows:
    """Use cases of flow events. `epoch` tells the numbers of one run of this process from those of another."""

    def __init__(self, cell: Cell, source: FlowSource) -> None:
        self._cell = cell
        self._source = source
        self.rules = RuleNames(cell.ledger)
        self.epoch = f"{int(cell.now().timestamp()):x}"

    async def kept(
        self, caller: Caller, wanted: FlowFilter, last: int | None = None, after: int = 0
    ) -> list[ShownFlow]:
        """What is kept of it, oldest first; the newest `last`."""
        found: list[ShownFlow] = []
        judge = _Judge(self._cell, self.rules, caller, wanted)
        for looked, flow in enumerate(reversed(self._source.since(after))):
            if (wanted.since is not None and flow.event.at < wanted.since) or len(found) == last:
                break
            shown = judge.shown(flow)
            if shown is not None:
                found.append(shown)
            if looked % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
        return found[::-1]

    async def following(self, caller: Caller, wanted: FlowFilter, after: int | None) -> AsyncIterator[ShownFlow | int]:
        """All that come after this number (None: from now on), without end. A number: so many were missed."""
        news = asyncio.Event()
        unfollow = self._source.follow(lambda _flows: news.set())
        try:
            seen = self.newest if after is None else after
            while True:
                news.clear()
                judge = _Judge(self._cell, self.rules, caller, wanted)
                for flow in self._source.since(seen):
                    if flow.number > seen + 1:
                        yield flow.number - seen - 1
                    seen = flow.number
                    shown = judge.shown(flow)
                    if shown is not None:
                        yield shown
                await news.wait()
        finally:
            unfollow()

    @property
    def newest(self) -> int:
        """The number of the newest event; 0 when there is none."""
        kept = self._source.since()
        return kept[-1].number if kept else 0

    async def recent_rejects(self, caller: Caller, source: Named, destination: Named, traffic: Traffic) -> int:
        """How often this was refused lately."""
        wanted = FlowFilter(source, destination, traffic, passed=False, since=self._cell.now() - RECENT)
        return len(await self.kept(caller, wanted))


class _Judge:
    """Names and filters events, as of one moment."""

    def __init__(self, cell: Cell, rules: RuleNames, caller: Caller, wanted: FlowFilter) -> None:
        self._resources = cell.resources
        self._rules = rules
        self._directory = Directory(cell.resources, caller)
        self._everything = caller.account.is_admin
        self._wanted = wanted
        self._networks = {vpc.number: vpc for vpc in cell.resources.vpcs.values()}

    def shown(self, flow: LoggedFlow) -> ShownFlow | None:
        """None when it is not wanted, or not the caller's to see."""
        event, wanted = flow.event, self._wanted
        if wanted.passed not in (None, event.passed) or not _is_of(event, wanted.traffic):
            return None
        vpc = self._networks.get(event.vpc)
        source = self._at(vpc, event.packet.source, event.at)
        destination = self._at(vpc, event.packet.destination, event.at)
        mine = any(one is not None and self._directory.sees_account(one.account) for one in (source, destination))
        if not (mine or self._everything):
            return None
        if not (_is_side(wanted.source, source, event.packet.source)
                and _is_side(wanted.destination, destination, event.packet.destination)):  # fmt: skip
            return None
        if wanted.group is not None and not any(
            one is not None and wanted.group in one.groups for one in (source, destination)
        ):
            return None
        egress, ingress = (self._rules.of(number) if number else None for number in event.rules)
        if wanted.rule is not None and not any(
            named is not None and named.rule.id.startswith(wanted.rule) and self._directory.sees_account(named.account)
            for named in (egress, ingress)
        ):
            return None
        return ShownFlow(flow.number, event, vpc, source, destination, egress, ingress)

    def _at(self, vpc: Vpc | None, address: Address, at: datetime) -> NetworkInterface | None:
        """Whose address it was; nobody's when whoever has it now was launched later."""
        found = self._resources.owner_of(vpc.id, address) if vpc is not None else None
        if found is None:
            found = self._outsider_at(address)
        instance = self._resources.instances.get(found.instance) if found and found.instance else None
        return found if instance is None or instance.launch_time <= at else None

    def _outsider_at(self, address: Address) -> NetworkInterface | None:
        """Whose public address it is: over IPv6, where nothing is translated, of whatever network that has it."""
        if address.version == 4:
            return self._resources.owner_of_public(address)
        networks = (vpc for vpc in self._networks.values() if vpc.ipv6 is not None and address in vpc.ipv6)
        return next((self._resources.owner_of(vpc.id, address) for vpc in networks), None)


def _is_of(event: FlowEvent, traffic: Traffic | None) -> bool:
    if traffic is None or traffic.protocol == ports.ANY:
        return True
    if event.packet.protocol != traffic.protocol:
        return False
    return traffic.protocol not in (*ports.PORTED, *ports.TYPED) or traffic.low <= event.packet.port <= traffic.high


def _is_side(wanted: Named | None, interface: NetworkInterface | None, address: Address) -> bool:
    if wanted is None:
        return True
    id: NetworkInterfaceId | None = interface.id if interface is not None else None
    return any(side.interface == id if isinstance(side, At) else covers(side.block, address) for side in wanted.sides)

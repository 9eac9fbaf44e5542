"""VPCs, subnets, zones and regions: their defaults."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

from stockade.model.account import Account, Platform
from stockade.model.errors import RegionNotFound, SubnetNotFound, VpcNotFound, ZoneNotFound
from stockade.model.ids import CLASSIC_DIGITS, SubnetId, VpcId, check_id, mint
from stockade.model.resources import Change, put
from stockade.model.vpc import Subnet, Vpc
from stockade.service.addresses import Addresses
from stockade.service.caller import Caller
from stockade.service.cell import Cell, Decision
from stockade.service.default_groups import default_group
from stockade.service.numbers import NETWORK, RULE
from stockade.store.contract import Guard

DEFAULT_SUBNET_LENGTH = 20  # as in AWS, or as many bits as the zones need in a small network


@dataclass(frozen=True, slots=True)
class Zone:
    """An availability zone."""

    name: str
    region: str


@dataclass(frozen=True, slots=True)
class SubnetDescription:
    subnet: Subnet
    available: int  # addresses


class Vpcs:
    """Use cases of networks."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._addresses = Addresses(lambda: cell.resources)

    async def describe(self, caller: Caller, ids: Sequence[str] = ()) -> list[Vpc]:
        """The caller's VPCs of its region; a classic account has none. Raises VpcNotFound, IdMalformed."""
        mine = {vpc.id: vpc for vpc in self._cell.resources.vpcs.values() if self._is_callers(vpc, caller)}
        for id in ids:
            if VpcId(check_id(id, "vpc")) not in mine:
                raise VpcNotFound(id)
        return [mine[VpcId(id)] for id in dict.fromkeys(ids)] if ids else sorted(mine.values(), key=lambda v: v.number)

    async def subnets(self, caller: Caller, ids: Sequence[str] = ()) -> list[SubnetDescription]:
        """Raises SubnetNotFound, IdMalformed."""
        resources = self._cell.resources
        mine = {s.id: s for s in resources.subnets.values() if self._is_callers(resources.vpcs[s.vpc], caller)}
        for id in ids:
            if SubnetId(check_id(id, "subnet")) not in mine:
                raise SubnetNotFound(id)
        chosen = [mine[SubnetId(id)] for id in dict.fromkeys(ids)] if ids else list(mine.values())
        chosen.sort(key=lambda subnet: (subnet.vpc, subnet.cidr))
        return [SubnetDescription(s, self._addresses.available(resources.vpcs[s.vpc], s)) for s in chosen]

    async def zones(self, caller: Caller, names: Sequence[str] = ()) -> list[Zone]:
        """Raises ZoneNotFound."""
        known = self._cell.settings.regions.get(caller.region)
        if known is None:
            raise RegionNotFound(caller.region)
        for name in names:
            if name not in known:
                raise ZoneNotFound(name)
        return [Zone(name, caller.region) for name in (dict.fromkeys(names) if names else known)]

    async def regions(self, caller: Caller, names: Sequence[str] = ()) -> list[str]:
        """Raises RegionNotFound."""
        known = self._cell.settings.regions
        for name in names:
            if name not in known:
                raise RegionNotFound(name)
        return list(dict.fromkeys(names) if names else known)

    def _is_callers(self, vpc: Vpc, caller: Caller) -> bool:
        return vpc.account == caller.account.id and vpc.region == caller.region

    async def ensure(self) -> None:
        """Every region has its classic network, and every account its own default one."""
        for region in self._cell.settings.regions:
            await self._ensure_classic(region)
        for account in list(self._cell.resources.accounts.values()):
            missing = self.missing(account)
            if missing:
                await self._cell.write(
                    lambda account=account: self._decide(account),  # type: ignore[misc]
                    on=account.id,
                    numbers=needed(len(missing)),
                    enforced=False,
                )

    async def _ensure_classic(self, region: str) -> None:
        def decide() -> Decision[None]:
            cell = self._cell
            if cell.resources.classic_network(region) is not None:
                return Decision([], [], None)
            id = VpcId(mint("vpc", CLASSIC_DIGITS, cell.random_hex))
            return Decision([], [put(Vpc(id, cell.numbers.take(NETWORK), None, region, cell.settings.classic))], None)

        await self._cell.write(decide, on=f"classic {region}", numbers={NETWORK: 1}, enforced=False)

    def _decide(self, account: Account) -> Decision[None]:
        guards: list[Guard] = []
        changes: list[Change] = []
        for region in self.missing(account):
            more_guards, more_changes = self.defaults(account, region)
            guards += more_guards
            changes += more_changes
        return Decision(guards, changes, None)

    def missing(self, account: Account) -> list[str]:
        """The regions where the account has no default network (or, on classic, no default group) yet."""
        resources = self._cell.resources
        classic = account.platform is Platform.CLASSIC
        return [
            region
            for region in self._cell.settings.regions
            if (not classic and resources.default_vpc(account.id, region) is None)
            or (
                classic
                and (vpc := resources.classic_network(region)) is not None
                and resources.group_named(vpc, account.id, "default") is None
            )
        ]

    def defaults(self, account: Account, region: str) -> tuple[list[Guard], list[Change]]:
        """What a new account finds in a region: its default network, subnets and group. Takes `needed` numbers."""
        cell = self._cell
        if account.platform is Platform.CLASSIC:
            vpc = cell.resources.classic_network(region)
            if vpc is None:
                raise RegionNotFound(region)
            return default_group(cell, account, vpc)
        block = cell.settings.default_vpc
        vpc = Vpc(VpcId(cell.mint("vpc", account)), cell.numbers.take(NETWORK), account.id, region, block, True)
        changes = [put(vpc)]
        for zone, cidr in zip(
            cell.settings.regions[region], _parts(block, cell.settings.regions[region]), strict=False
        ):
            changes.append(put(Subnet(SubnetId(cell.mint("subnet", account)), vpc.id, account.id, zone, cidr, True)))
        guards, group = default_group(cell, account, vpc)
        return guards, changes + group


def needed(regions: int) -> dict[str, int]:
    """The numbers that `defaults` takes at most, for so many regions."""
    return {NETWORK: regions, RULE: 4 * regions}


def _parts(block: IPv4Network, zones: Sequence[str]) -> list[IPv4Network]:
    """A subnet for each zone."""
    length = max(DEFAULT_SUBNET_LENGTH, block.prefixlen + (len(zones) - 1).bit_length())
    subnets = block.subnets(new_prefix=length)
    return [cidr for cidr, _ in zip(subnets, zones, strict=False)]

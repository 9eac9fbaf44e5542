"""VPCs, subnets, zones and regions: their defaults."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network

from stockade.model import keys
from stockade.model.account import Account, Platform
from stockade.model.change import Revision
from stockade.model.errors import (
    BlockAssociated,
    RegionNotFound,
    ResourceNotFound,
    SubnetNotFound,
    VpcNotFound,
    ZoneNotFound,
)
from stockade.model.ids import CLASSIC_DIGITS, SubnetId, VpcId, check_id, mint
from stockade.model.resources import Change, put
from stockade.model.security_group import SecurityGroup
from stockade.model.vpc import Subnet, Vpc
from stockade.service.addresses import Addresses
from stockade.service.budgets import Planned
from stockade.service.caller import Caller
from stockade.service.cell import Cell, Decision, Quotas
from stockade.service.default_groups import default_group
from stockade.service.ipv6 import association_id, checked_block, free_block, opened_egress
from stockade.service.numbers import NETWORK, RULE
from stockade.store.contract import AtRevision, Guard

_SPARE = 64  # groups that may be made while the numbers are fetched
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

    @property
    def quotas(self) -> Quotas:
        """Those of every account here."""
        return self._cell.settings.quotas

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

    async def associate_ipv6(self, caller: Caller, id: str) -> Vpc:
        """The VPC with an IPv6 block of the cell's pool. Raises VpcNotFound, BlockAssociated, AddressesExhausted."""
        await self.describe(caller, [id])

        def decide() -> Decision[Vpc]:
            cell = self._cell
            vpc = cell.resources.vpcs[VpcId(id)]
            if vpc.ipv6 is not None:
                raise BlockAssociated(vpc.id, str(vpc.ipv6))
            block = free_block(cell.settings.ipv6_pool, vpc, cell.resources.claims)
            after = replace(vpc, ipv6=block)
            guards, changes = opened_egress(cell, vpc)
            opened = [change.value for change in changes if isinstance(change.value, SecurityGroup)]
            cell.budgets.check(Planned(groups={group.id: group for group in opened}))
            claim = Change(keys.ipv6_block(block), vpc.id)
            guards += [cell.unchanged(put(after).key), AtRevision(claim.key, Revision(0))]
            return Decision(guards, [put(after), claim, *changes], after)

        groups = len(self._cell.resources.groups_in(VpcId(id)))
        return await self._cell.write(decide, on=id, numbers={RULE: groups + _SPARE})

    async def disassociate_ipv6(self, caller: Caller, association: str) -> tuple[Vpc, IPv6Network]:
        """The VPC without its block, and the block. Raises ResourceNotFound, BlockAssociated (a subnet uses it)."""
        vpcs = await self.describe(caller)
        found = next((v for v in vpcs if v.ipv6 and association_id(v.id, v.ipv6) == association), None)
        if found is None:
            raise ResourceNotFound(association)

        def decide() -> Decision[tuple[Vpc, IPv6Network]]:
            vpc = self._cell.resources.vpcs[found.id]
            if vpc.ipv6 is None:
                raise ResourceNotFound(association)
            subnets = self._cell.resources.subnets_in(vpc.id)
            users = tuple(subnet.id for subnet in subnets if subnet.ipv6 is not None)
            if users:
                raise BlockAssociated(vpc.id, str(vpc.ipv6), users)
            after = replace(vpc, ipv6=None)
            guards: list[Guard] = [self._cell.unchanged(put(subnet).key) for subnet in subnets]
            guards.append(self._cell.unchanged(put(after).key))
            return Decision(guards, [put(after), Change(keys.ipv6_block(vpc.ipv6), None)], (after, vpc.ipv6))

        return await self._cell.write(decide, on=found.id)

    async def associate_subnet_ipv6(self, caller: Caller, id: str, block: str) -> Subnet:
        """The subnet with a /64 of its VPC's block. Raises SubnetNotFound, ParameterInvalid, BlockAssociated."""
        (described,) = await self.subnets(caller, [id])

        def decide() -> Decision[Subnet]:
            resources = self._cell.resources
            subnet = resources.subnets[described.subnet.id]
            if subnet.ipv6 is not None:
                raise BlockAssociated(subnet.id, str(subnet.ipv6))
            vpc = resources.vpcs[subnet.vpc]
            after = replace(subnet, ipv6=checked_block(resources, vpc, subnet, block))
            guards: list[Guard] = [self._cell.unchanged(put(one).key) for one in resources.subnets_in(vpc.id)]
            guards.append(self._cell.unchanged(put(vpc).key))
            return Decision(guards, [put(after)], after)

        return await self._cell.write(decide, on=described.subnet.vpc)

    async def disassociate_subnet_ipv6(self, caller: Caller, association: str) -> tuple[Subnet, IPv6Network]:
        """The subnet without its block, and the block. Raises ResourceNotFound, BlockAssociated (it is in use)."""
        subnets = [one.subnet for one in await self.subnets(caller)]
        found = next((s for s in subnets if s.ipv6 and association_id(s.id, s.ipv6) == association), None)
        if found is None:
            raise ResourceNotFound(association)

        def decide() -> Decision[tuple[Subnet, IPv6Network]]:
            resources = self._cell.resources
            subnet = resources.subnets[found.id]
            if subnet.ipv6 is None:
                raise ResourceNotFound(association)
            inside = [
                one.id
                for one in resources.interfaces_in(subnet.vpc)
                if any(address in subnet.ipv6 for address in one.addresses)
            ]
            if inside:
                raise BlockAssociated(subnet.id, str(subnet.ipv6), tuple(inside))
            after = replace(subnet, ipv6=None)
            return Decision([self._cell.unchanged(put(after).key)], [put(after)], (after, subnet.ipv6))

        # In turn with launches, which may be about to take an address of the block.
        return await self._cell.write(decide, on=f"instances {caller.account.id}")

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
    return {NETWORK: regions, RULE: 5 * regions}


def _parts(block: IPv4Network, zones: Sequence[str]) -> list[IPv4Network]:
    """A subnet for each zone."""
    length = max(DEFAULT_SUBNET_LENGTH, block.prefixlen + (len(zones) - 1).bit_length())
    subnets = block.subnets(new_prefix=length)
    return [cidr for cidr, _ in zip(subnets, zones, strict=False)]

"""VPCs and subnets of one's own: made and deleted. They have no way to or from outside but their IPv6 blocks."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network

from stockade.model import keys
from stockade.model.errors import (
    NetworkInUse,
    NetworkKept,
    ParameterInvalid,
    QuotaExceeded,
    SubnetConflict,
    SubnetNotFound,
    ZoneNotFound,
)
from stockade.model.ids import SubnetId, VpcId, check_id
from stockade.model.resources import Change, drop, put
from stockade.model.tag import TagSet
from stockade.model.vpc import Subnet, Vpc
from stockade.service.caller import Caller
from stockade.service.cell import Cell, Decision
from stockade.service.default_groups import default_group
from stockade.service.ipv6 import checked_block, free_block
from stockade.service.numbers import NETWORK, RULE
from stockade.service.security_groups import SecurityGroups
from stockade.service.tags import check_tags
from stockade.store.contract import Guard

SHORTEST, LONGEST = 16, 28  # prefix lengths of VPCs and subnets, as in AWS
_NOT_FOR_HOSTS = tuple(map(IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")))


class Networks:
    """Use cases of networks that an account makes. Groups, launches and these take turns within an account."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._groups = SecurityGroups(cell)

    async def create_vpc(self, caller: Caller, cidr: str, ipv6: bool, tags: Mapping[str, str]) -> Vpc:
        """With its default group. Raises ParameterInvalid, QuotaExceeded, AddressesExhausted (of IPv6 blocks)."""
        block = self._checked_cidr(cidr)
        check_tags(tags)

        def decide() -> Decision[Vpc]:
            cell, account = self._cell, caller.account
            mine = [vpc for vpc in cell.resources.vpcs.values() if _is_mine(vpc, caller)]
            if len(mine) >= cell.settings.quotas.vpcs:
                raise QuotaExceeded("vpcs", cell.settings.quotas.vpcs, 1, len(mine))
            id = VpcId(cell.mint("vpc", account))
            vpc = Vpc(id, cell.numbers.take(NETWORK), account.id, caller.region, block)
            guards: list[Guard] = [cell.unchanged(put(vpc).key)]
            changes: list[Change] = []
            if ipv6:
                vpc = Vpc(id, vpc.number, account.id, caller.region, block, ipv6=self._free_block(vpc))
                assert vpc.ipv6 is not None
                changes.append(Change(keys.ipv6_block(vpc.ipv6), id))
                guards.append(cell.unchanged(changes[-1].key))
            more_guards, more_changes = default_group(cell, account, vpc)
            changes = [put(vpc), *changes, *more_changes, *_tagged(id, caller, tags)]
            return Decision([*guards, *more_guards], changes, vpc)

        numbers = {NETWORK: 1, RULE: 5}
        return await self._cell.write(decide, on=_turn(caller), numbers=numbers, enforced=False)

    async def delete_vpc(self, caller: Caller, id: str) -> None:
        """With its default group. Raises VpcNotFound, NetworkInUse, NetworkKept (the default VPC)."""

        def decide() -> Decision[None]:
            cell, resources = self._cell, self._cell.resources
            vpc = self._groups.vpc_of(caller, id)
            if vpc.is_default:
                raise NetworkKept(vpc.id)
            groups = resources.groups_in(vpc.id)
            used_by: list[str] = [subnet.id for subnet in resources.subnets_in(vpc.id)]
            used_by += [interface.id for interface in resources.interfaces_in(vpc.id)]
            used_by += [group.id for group in groups if not group.is_default]
            if used_by:
                raise NetworkInUse("vpc", vpc.id, tuple(used_by))
            guards: list[Guard] = [cell.unchanged(put(vpc).key)]
            gone = [put(vpc).key, keys.document("tag", vpc.id)]
            if vpc.ipv6 is not None:
                gone.append(keys.ipv6_block(vpc.ipv6))
            for group in groups:
                guards.append(cell.unchanged(drop(group).key))
                gone += [drop(group).key, keys.document("tag", group.id)]
                gone.append(keys.group_name(vpc.id, group.account, group.name, False))
            return Decision(guards, [Change(key, None) for key in gone], None)

        await self._cell.write(decide, on=_turn(caller))

    async def create_subnet(
        self, caller: Caller, vpc_id: str, cidr: str, zone: str | None, ipv6: str | None, tags: Mapping[str, str]
    ) -> Subnet:
        """Raises VpcNotFound, ZoneNotFound, ParameterInvalid, SubnetConflict, BlockAssociated, QuotaExceeded."""
        zones = self._cell.settings.regions[caller.region]
        if zone is not None and zone not in zones:
            raise ZoneNotFound(zone)
        check_tags(tags)
        self._groups.vpc_of(caller, vpc_id)

        def decide() -> Decision[Subnet]:
            cell, resources = self._cell, self._cell.resources
            vpc = self._groups.vpc_of(caller, vpc_id)
            present = resources.subnets_in(vpc.id)
            if len(present) >= cell.settings.quotas.subnets:
                raise QuotaExceeded("subnets", cell.settings.quotas.subnets, 1, len(present))
            block = self._checked_cidr(cidr)
            if not block.subnet_of(vpc.cidr):
                raise ParameterInvalid("cidrBlock", cidr, f"It is not within the CIDR block of {vpc.id}.")
            if any(block.overlaps(other.cidr) for other in present):
                raise SubnetConflict(str(block))
            id = SubnetId(cell.mint("subnet", caller.account))
            made = Subnet(id, vpc.id, caller.account.id, zone or zones[0], block)
            if ipv6 is not None:
                inner: IPv6Network = checked_block(resources, vpc, made, ipv6)
                made = Subnet(id, vpc.id, made.account, made.zone, block, ipv6=inner)
            guards: list[Guard] = [cell.unchanged(put(one).key) for one in (*present, made)]
            guards.append(cell.unchanged(put(vpc).key))
            return Decision(guards, [put(made), *_tagged(id, caller, tags)], made)

        return await self._cell.write(decide, on=_turn(caller), enforced=False)

    async def delete_subnet(self, caller: Caller, id: str) -> None:
        """Raises SubnetNotFound, IdMalformed, NetworkInUse, NetworkKept (of the default VPC)."""
        check_id(id, "subnet")

        def decide() -> Decision[None]:
            resources = self._cell.resources
            subnet = resources.subnets.get(SubnetId(id))
            if subnet is None or not _is_mine(resources.vpcs[subnet.vpc], caller):
                raise SubnetNotFound(id)
            if subnet.is_default:
                raise NetworkKept(subnet.id)
            inside = tuple(one.id for one in resources.interfaces_in(subnet.vpc) if one.subnet == subnet.id)
            if inside:
                raise NetworkInUse("subnet", subnet.id, inside)
            guards: list[Guard] = [self._cell.unchanged(put(subnet).key)]
            return Decision(guards, [drop(subnet), Change(keys.document("tag", subnet.id), None)], None)

        # In turn with launches, which may be about to go there.
        await self._cell.write(decide, on=f"instances {caller.account.id}")

    def _free_block(self, vpc: Vpc) -> IPv6Network:
        return free_block(self._cell.settings.ipv6_pool, vpc, self._cell.resources.claims)

    def _checked_cidr(self, text: str) -> IPv4Network:
        try:
            block = IPv4Network(text, strict=False)
        except ValueError:
            raise ParameterInvalid("cidrBlock", text, "This is not a valid CIDR block.") from None
        if "/" not in text or not SHORTEST <= block.prefixlen <= LONGEST:
            raise ParameterInvalid("cidrBlock", text, f"It must be between a /{SHORTEST} and a /{LONGEST}.")
        for taken in (self._cell.settings.public_pool, *_NOT_FOR_HOSTS):
            if block.overlaps(taken):
                raise ParameterInvalid("cidrBlock", text, f"It overlaps {taken}, which cannot be of a VPC.")
        return block


def _is_mine(vpc: Vpc, caller: Caller) -> bool:
    return vpc.account == caller.account.id and vpc.region == caller.region


def _tagged(id: str, caller: Caller, tags: Mapping[str, str]) -> Sequence[Change]:
    return [put(TagSet(id, caller.account.id, dict(tags)))] if tags else []


def _turn(caller: Caller) -> str:
    return f"groups {caller.account.id}"

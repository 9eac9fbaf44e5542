"""Interfaces that run: which groups they are in, whether their source is checked, how long they remember flows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from stockade.model.errors import (
    AttributeFixed,
    GroupNotFound,
    InstanceNotFound,
    ParameterInvalid,
    QuotaExceeded,
    ResourceNotFound,
)
from stockade.model.ids import InstanceId, NetworkInterfaceId, SecurityGroupId, check_id
from stockade.model.instance import Instance
from stockade.model.network_interface import NetworkInterface
from stockade.model.resources import put
from stockade.model.tracking import ConnectionTracking, check_tracking
from stockade.model.vpc import Vpc
from stockade.service import network_interfaces
from stockade.service.budgets import Planned
from stockade.service.call import current
from stockade.service.caller import Caller
from stockade.service.cell import Cell, Decision
from stockade.service.cuts import cut, cut_members, ruled_by_membership
from stockade.service.security_groups import GroupRef, SecurityGroups
from stockade.store.contract import Guard


@dataclass(frozen=True, slots=True)
class InterfaceDescription:
    """An interface as EC2 shows it, with the names of its groups and the instance it is in."""

    interface: NetworkInterface
    vpc: Vpc
    zone: str
    groups: tuple[tuple[SecurityGroupId, str], ...]
    instance: Instance | None
    tags: Mapping[str, str]


class Interfaces:
    """Use cases of interfaces that are there. How one comes and goes: launch.py, upkeep.py, devices.py."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._groups = SecurityGroups(cell)

    async def describe(self, caller: Caller, ids: Sequence[str] = ()) -> list[InterfaceDescription]:
        """The caller's VPC interfaces of its region, all or those named. Raises ResourceNotFound, IdMalformed."""
        if ids:
            found = [self.find(caller, id) for id in dict.fromkeys(ids)]
        else:
            mine = self._cell.resources.interfaces_of(caller.account.id)
            found = [one for one in mine if self._is_shown(caller, one)]
        return [self._described(one) for one in sorted(found, key=lambda one: one.number)]

    def find(self, caller: Caller, id: str) -> NetworkInterface:
        """The caller's interface. Classic instances have none that could be named. Raises ResourceNotFound."""
        found = self._cell.resources.interfaces.get(NetworkInterfaceId(check_id(id, "eni")))
        if found is None or found.account != caller.account.id or not self._is_shown(caller, found):
            raise ResourceNotFound(id)
        return found

    def of_instance(self, caller: Caller, id: str, attribute: str) -> NetworkInterface:
        """The interface of an instance, whose `attribute` shall change.

        Raises InstanceNotFound, IdMalformed; AttributeFixed on classic and for what is terminated.
        """
        instance = self._cell.resources.instances.get(InstanceId(check_id(id, "i")))
        if instance is None or instance.account != caller.account.id or instance.region != caller.region:
            raise InstanceNotFound((id,))
        interface = self._cell.resources.interfaces.get(instance.interface)
        if interface is None or self._cell.resources.vpcs[interface.vpc].is_classic:
            raise AttributeFixed(id, attribute)
        return interface

    async def set_groups(self, caller: Caller, id: NetworkInterfaceId, groups: Sequence[str]) -> NetworkInterface:
        """The interface is in these groups and no others. Raises GroupNotFound, QuotaExceeded, ParameterInvalid."""

        def edit(before: NetworkInterface) -> NetworkInterface:
            return replace(before, groups=self._checked(caller, before, groups))

        return await self._edit(caller, id, edit)

    async def set_source_dest_check(self, caller: Caller, id: NetworkInterfaceId, on: bool) -> NetworkInterface:
        """Off: the interface may send from, and get packets to, other addresses than its own."""
        return await self._edit(caller, id, lambda before: replace(before, source_dest_check=on))

    async def set_tracking(
        self, caller: Caller, id: NetworkInterfaceId, change: Callable[[ConnectionTracking], ConnectionTracking]
    ) -> NetworkInterface:
        """New idle timers, made from the present ones. Raises ParameterInvalid."""
        return await self._edit(
            caller, id, lambda before: replace(before, tracking=check_tracking(change(before.tracking)))
        )

    async def _edit(
        self, caller: Caller, id: NetworkInterfaceId, edit: Callable[[NetworkInterface], NetworkInterface]
    ) -> NetworkInterface:
        def decide() -> Decision[NetworkInterface]:
            cell = self._cell
            before = self.find(caller, id)
            after = edit(before)
            if after == before:
                return Decision([], [], before)
            guards: list[Guard] = [cell.unchanged(put(before).key)]
            moved = set(before.groups) ^ set(after.groups)
            if moved:
                cell.budgets.check(Planned(coming=[after], going=[before]))
            cuts: list[Guard] = []
            if current().cut:
                after = cut(after)
                # Whose rules mean the groups it left or joined: their flows with it are judged anew too.
                cuts, others = cut_members(cell, sorted(ruled_by_membership(cell.resources, moved)), but=id)
            else:
                others = []
            more, changes = network_interfaces.edited(before, after)
            return Decision([*guards, *more, *cuts], [*changes, *others], after)

        return await self._cell.write(decide, on=id)

    def _checked(self, caller: Caller, interface: NetworkInterface, ids: Sequence[str]) -> tuple[SecurityGroupId, ...]:
        """Groups of the interface's own VPC, each once, at least one and at most as many as the quota says."""
        wanted = dict.fromkeys(ids)
        if not wanted:
            raise ParameterInvalid("groups", "[]", "A network interface is always in at least one security group.")
        groups = [self._groups.find(caller, GroupRef(id=id)) for id in wanted]
        for group in groups:
            if group.vpc != interface.vpc:
                raise GroupNotFound(group.id, interface.vpc)
        check_count(self._cell, groups)
        return tuple(group.id for group in groups)

    def _is_shown(self, caller: Caller, interface: NetworkInterface) -> bool:
        vpc = self._cell.resources.vpcs[interface.vpc]
        return vpc.region == caller.region and not vpc.is_classic

    def _described(self, interface: NetworkInterface) -> InterfaceDescription:
        resources = self._cell.resources
        instance = resources.instances.get(interface.instance) if interface.instance else None
        subnet = resources.subnets.get(interface.subnet) if interface.subnet else None
        vpc = resources.vpcs[interface.vpc]
        zone = subnet.zone if subnet else self._cell.settings.regions[vpc.region][0]
        tags = resources.tags.get(interface.id)
        groups = tuple((id, resources.groups[id].name) for id in interface.groups)
        return InterfaceDescription(interface, vpc, zone, groups, instance, tags.tags if tags else {})


def check_count(cell: Cell, groups: Sequence[object]) -> None:
    """Raises QuotaExceeded for more groups than an interface may be in."""
    limit = cell.settings.quotas.groups_per_interface
    if len(groups) > limit:
        raise QuotaExceeded("groups_per_interface", limit, len(groups), 0)

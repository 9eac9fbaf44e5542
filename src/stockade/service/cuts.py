"""Cuts: live flows judged anew on request, where a change alone would leave the tracked ones alone.

An interface carries a number; when it changes, every flow the interface has is asked again by its next packet. With
`x-stockade-cut` a call that changes rules or memberships raises it in the same transaction.
"""

from collections.abc import Iterable
from dataclasses import replace

from stockade.model.errors import ResourceNotFound
from stockade.model.ids import NetworkInterfaceId, SecurityGroupId, check_id
from stockade.model.network_interface import NetworkInterface
from stockade.model.resources import Change, Resources, put
from stockade.service.call import current
from stockade.service.caller import Caller
from stockade.service.cell import Cell, Decision
from stockade.service.security_groups import GroupRef, SecurityGroups
from stockade.store.contract import Guard


def cut(interface: NetworkInterface) -> NetworkInterface:
    """The interface with all its flows to be judged anew."""
    return replace(interface, cuts=interface.cuts + 1)


def cut_if_asked(cell: Cell, groups: Iterable[SecurityGroupId]) -> tuple[list[Guard], list[Change]]:
    """For a change of these groups' rules: the members' flows too, when the current call says so."""
    return cut_members(cell, groups) if current().cut else ([], [])


def cut_members(
    cell: Cell, groups: Iterable[SecurityGroupId], but: NetworkInterfaceId | None = None
) -> tuple[list[Guard], list[Change]]:
    """Every member of these groups, each once."""
    resources = cell.resources
    members = {one.id: one for group in groups for one in resources.members_of(group) if one.id != but}
    changes = [put(cut(member)) for member in members.values()]
    return [cell.unchanged(change.key) for change in changes], changes


def ruled_by_membership(resources: Resources, groups: Iterable[SecurityGroupId]) -> set[SecurityGroupId]:
    """The groups whose rules mean the members of these groups."""
    return {referrer.id for group in groups for referrer in resources.referrers_of(group)} | set(groups)


class Cuts:
    """Use cases of cutting without a change."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._groups = SecurityGroups(cell)

    async def cut_group(self, caller: Caller, ref: GroupRef) -> tuple[NetworkInterfaceId, ...]:
        """Every member of the caller's group. Raises GroupNotFound, IdMalformed."""
        id = self._groups.find(caller, ref).id

        def decide() -> Decision[tuple[NetworkInterfaceId, ...]]:
            guards, changes = cut_members(self._cell, [id])
            members = self._cell.resources.members_of(id)
            return Decision(guards, changes, tuple(sorted(member.id for member in members)))

        return await self._cell.write(decide, on=id)

    async def cut_interface(self, caller: Caller, id: str) -> NetworkInterfaceId:
        """One interface of the caller's. Raises ResourceNotFound, IdMalformed."""
        check_id(id, "eni")

        def decide() -> Decision[NetworkInterfaceId]:
            found = self._cell.resources.interfaces.get(NetworkInterfaceId(id))
            mine = found is not None and (found.account == caller.account.id or caller.account.is_admin)
            if found is None or not mine:
                raise ResourceNotFound(id)
            change = put(cut(found))
            return Decision([self._cell.unchanged(change.key)], [change], found.id)

        return await self._cell.write(decide, on=id)

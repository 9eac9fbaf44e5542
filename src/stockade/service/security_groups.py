"""Security groups: create, delete, describe, find; what still refers to a group."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stockade.model import keys
from stockade.model.account import Platform
from stockade.model.errors import (
    GroupDuplicate,
    GroupInUse,
    GroupNotFound,
    GroupReserved,
    ParameterMissing,
    QuotaExceeded,
    RegionNotFound,
    VpcNotFound,
)
from stockade.model.ids import AccountId, SecurityGroupId, VpcId, check_id
from stockade.model.resources import Change, drop, lists_named_by, referenced_by
from stockade.model.rule import Direction
from stockade.model.security_group import DEFAULT_NAME, SecurityGroup, check_group_text
from stockade.model.vpc import Vpc
from stockade.service.caller import Caller
from stockade.service.cell import Cell, Decision
from stockade.service.default_groups import created, open_egress
from stockade.service.numbers import RULE
from stockade.store.contract import Empty, Exists, Guard


@dataclass(frozen=True, slots=True)
class GroupRef:
    """How a caller names a group: by id, or by name (with the owner's account when it is another's).

    A name is looked up in `vpc` when given, else where the caller's platform puts it: the classic
    network or the default VPC. Ids are checked for shape here (IdMalformed).
    """

    id: str | None = None
    name: str | None = None
    account: str | None = None
    vpc: str | None = None


class SecurityGroups:
    """Use cases of groups."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    async def create(self, caller: Caller, name: str, description: str, vpc_id: str | None = None) -> SecurityGroup:
        """Raises GroupNameInvalid, GroupReserved, GroupDuplicate, VpcNotFound, QuotaExceeded."""
        vpc = self.vpc_of(caller, vpc_id)
        kept_name = check_group_text(name, "GroupName", vpc.is_classic)
        kept_description = check_group_text(description, "GroupDescription", vpc.is_classic)
        if kept_name == DEFAULT_NAME or (kept_name.lower() == DEFAULT_NAME and not vpc.is_classic):
            raise GroupReserved(name, vpc.is_classic)

        def decide() -> Decision[SecurityGroup]:
            cell = self._cell
            if cell.resources.group_named(vpc, caller.account.id, kept_name) is not None:
                raise GroupDuplicate(name, None if vpc.is_classic else vpc.id)
            quotas = cell.settings.quotas
            limit = quotas.classic_groups if vpc.is_classic else quotas.groups
            have = len(self._all(caller))
            if have >= limit:
                raise QuotaExceeded("groups", limit, 1, have)
            id = SecurityGroupId(cell.mint("sg", caller.account))
            rules = open_egress(cell, caller.account, vpc)
            group = SecurityGroup(id, caller.account.id, vpc.id, kept_name, kept_description, rules)
            guards, changes = created(group, vpc)
            return Decision([Exists(keys.document("vpc", vpc.id)), *guards], changes, self.shown(group))

        return await self._cell.write(decide, on=f"groups {caller.account.id}", numbers={RULE: 2})

    async def delete(self, caller: Caller, ref: GroupRef) -> SecurityGroup:
        """The group that was. Raises GroupNotFound, GroupReserved, GroupInUse."""
        id = self.find(caller, ref).id

        def decide() -> Decision[SecurityGroup]:
            group = self.find(caller, GroupRef(id=id))
            self._check_unused(group)
            name = keys.group_name(group.vpc, group.account, group.name, self.is_classic(group))
            gone = [drop(group).key, name, keys.document("tag", group.id)]
            gone += [keys.reference(named, group.id) for named in (*referenced_by(group), *lists_named_by(group))]
            gone += [keys.document("tag", rule.id) for rule in group.rules if rule.id in self._cell.resources.tags]
            guards: list[Guard] = [
                self._cell.unchanged(gone[0]),
                Empty(keys.members(group.id)),
                Empty(keys.references(group.id)),
            ]
            return Decision(guards, [Change(key, None) for key in gone], self.shown(group))

        return await self._cell.write(decide, on=id)

    def _check_unused(self, group: SecurityGroup) -> None:
        classic = self.is_classic(group)
        if group.is_default:
            raise GroupReserved(group.name, classic, group.id)
        resources = self._cell.resources
        members = tuple(interface.id for interface in resources.members_of(group.id))
        referrers = resources.referrers_of(group.id)
        if members or referrers:
            names = tuple(f"{by.account}:{by.name}" if classic else str(by.id) for by in referrers)
            raise GroupInUse(group.id, group.name, classic, group.account, members, names)

    async def describe(self, caller: Caller, ids: Sequence[str] = (), names: Sequence[str] = ()) -> list[SecurityGroup]:
        """The caller's groups of its region, all or those named, as EC2 shows them (no egress on classic).

        Raises GroupNotFound, IdMalformed for the first that is not there.
        """
        if ids or names:
            refs = [*(GroupRef(id=id) for id in ids), *(GroupRef(name=name) for name in names)]
            found = {group.id: group for group in (self.find(caller, ref) for ref in refs)}
        else:
            found = {group.id: group for group in self._all(caller)}
        return [self.shown(group) for group in sorted(found.values(), key=lambda group: (group.vpc, group.name))]

    def shown(self, group: SecurityGroup) -> SecurityGroup:
        """The group as EC2 shows it: classic groups have no egress rules to speak of."""
        if not self.is_classic(group):
            return group
        return replace(group, rules=tuple(rule for rule in group.rules if rule.direction is Direction.INGRESS))

    def find(self, caller: Caller, ref: GroupRef) -> SecurityGroup:
        """The group itself, with all stored rules. Raises GroupNotFound, IdMalformed, ParameterMissing."""
        group = self._lookup(caller, ref)
        if group.account != caller.account.id:
            raise GroupNotFound(ref.name or str(ref.id))
        return group

    def find_peer(self, caller: Caller, ref: GroupRef, vpc: Vpc) -> SecurityGroup:
        """A group that a rule in this network may name: on classic also another account's. Raises as `find`."""
        inside = ref if ref.id or ref.vpc or vpc.is_classic else replace(ref, vpc=vpc.id)
        group = self._lookup(caller, inside)
        wrong_owner = ref.account is not None and ref.account != group.account
        if group.vpc != vpc.id or wrong_owner:
            raise GroupNotFound(ref.name or str(ref.id), None if vpc.is_classic else vpc.id)
        return group

    def _lookup(self, caller: Caller, ref: GroupRef) -> SecurityGroup:
        resources = self._cell.resources
        if ref.id is not None:
            group = resources.groups.get(SecurityGroupId(check_id(ref.id, "sg")))
            if group is None or resources.vpcs[group.vpc].region != caller.region:
                raise GroupNotFound(ref.id)
            return group
        if not ref.name:
            raise ParameterMissing("GroupName")
        vpc = self.vpc_of(caller, ref.vpc)
        owner = AccountId(ref.account or caller.account.id)
        group = resources.group_named(vpc, owner, ref.name)
        if group is None:
            raise GroupNotFound(ref.name, None if vpc.is_classic else vpc.id)
        return group

    def vpc_of(self, caller: Caller, vpc_id: str | None) -> Vpc:
        """The caller's network: the one named, else where its platform puts it. Raises VpcNotFound, RegionNotFound."""
        resources, account = self._cell.resources, caller.account
        if vpc_id is not None:
            named = resources.vpcs.get(VpcId(check_id(vpc_id, "vpc")))
            if named is None or named.account != account.id or named.region != caller.region:
                raise VpcNotFound(vpc_id)
            return named
        classic = account.platform is Platform.CLASSIC
        vpc = resources.classic_network(caller.region) if classic else resources.default_vpc(account.id, caller.region)
        if vpc is None:
            raise RegionNotFound(caller.region)
        return vpc

    def is_classic(self, group: SecurityGroup) -> bool:
        """Whether the group lives in the classic network."""
        return self._cell.resources.vpcs[group.vpc].is_classic

    def peer_name(self, group: SecurityGroupId) -> str | None:
        """The name of a group that a rule names; None when it is gone."""
        found = self._cell.resources.groups.get(group)
        return found.name if found else None

    def _all(self, caller: Caller) -> list[SecurityGroup]:
        resources = self._cell.resources
        return [g for g in resources.groups_of(caller.account.id) if resources.vpcs[g.vpc].region == caller.region]

"""Rules: authorize, revoke; duplicates and quotas."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stockade.model import keys, ports
from stockade.model.addresses import Cidr
from stockade.model.errors import (
    CidrMalformed,
    EgressNotAllowed,
    ParameterInvalid,
    ProtocolUnknown,
    ResourceNotFound,
    RuleDuplicate,
    RuleNotFound,
)
from stockade.model.ids import check_id
from stockade.model.resources import Change, lists_named_by, put, referenced_by
from stockade.model.rule import CidrPeer, Direction, GroupPeer, Peer, PrefixListPeer, Rule, RuleIdentity
from stockade.model.security_group import SecurityGroup
from stockade.model.vpc import Vpc
from stockade.service.budgets import Planned
from stockade.service.caller import Caller
from stockade.service.cell import Cell, Decision
from stockade.service.cuts import cut_if_asked
from stockade.service.default_groups import CLASSIC_GRANT, new_rule
from stockade.service.numbers import RULE
from stockade.service.prefix_lists import PrefixLists
from stockade.service.rule_quota import check_rules
from stockade.service.security_groups import GroupRef, SecurityGroups
from stockade.store.contract import Exists, Guard

LONGEST_DESCRIPTION = 255
CLASSIC_PROTOCOLS = (ports.TCP, ports.UDP, ports.ICMP)


@dataclass(frozen=True, slots=True)
class ListRef:
    """A prefix list as a caller names it."""

    id: str


@dataclass(frozen=True, slots=True)
class RuleRequest:
    """A rule as a caller spells it: ports unchecked, the peer a block, a group's name or a prefix list.

    `protocol` is as model.ports.parse_protocol gives it. One request, one rule: a permission with several
    ranges or groups is several requests.
    """

    protocol: int
    from_port: int | None
    to_port: int | None
    peer: Cidr | GroupRef | ListRef
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Revoked:
    """What went, and what was not there (only where EC2 does not fail for it)."""

    removed: tuple[Rule, ...]
    unknown: tuple[RuleRequest, ...] = ()


def whole_group(source: GroupRef, classic: bool) -> tuple[RuleRequest, ...]:
    """What a grant to a group without protocol and ports stands for: tcp, udp and icmp."""
    first = 1 if classic else 0
    return (
        RuleRequest(ports.TCP, first, ports.LAST, source),
        RuleRequest(ports.UDP, first, ports.LAST, source),
        RuleRequest(ports.ICMP, ports.ANY, ports.ANY, source),
    )


class Rules:
    """Use cases of rules."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._groups = SecurityGroups(cell)
        self._lists = PrefixLists(cell)

    async def authorize(
        self, caller: Caller, ref: GroupRef, direction: Direction, requests: Sequence[RuleRequest]
    ) -> list[Rule]:
        """All or nothing; the new rules in order. On classic, protocol -1 becomes tcp, udp and icmp.

        Raises RuleDuplicate, QuotaExceeded, EgressNotAllowed, PortRangeInvalid, GroupNotFound (target or peer).
        """
        id = self.target(caller, ref, direction).id

        def decide() -> Decision[list[Rule]]:
            cell = self._cell
            group = self._groups.find(caller, GroupRef(id=id))
            vpc = cell.resources.vpcs[group.vpc]
            present = {rule.identity for rule in group.rules}
            new: list[Rule] = []
            for request in _spelled_out(requests, vpc):
                identity = self.identity(caller, vpc, direction, request)
                if identity in present:
                    raise duplicate(identity, vpc)
                present.add(identity)
                traffic, peer = identity[1:4], identity[4]
                text = check_description(request.description)
                new.append(new_rule(cell, caller.account, direction, traffic, peer, text))
            after = replace(group, rules=(*group.rules, *new))
            quotas, lists = cell.settings.quotas, cell.resources.prefix_lists
            check_rules(after, direction, vpc.is_classic, quotas, lists.get, len(new))
            cell.budgets.check(Planned(groups={after.id: after}))
            return self._change(group, after, new)

        # Classic spells one request out as three rules at most.
        return await self._cell.write(decide, on=id, numbers={RULE: 3 * len(requests)})

    async def revoke(
        self, caller: Caller, ref: GroupRef, direction: Direction, requests: Sequence[RuleRequest]
    ) -> Revoked:
        """Exact matches go. Raises RuleNotFound in a VPC that is not the default one, and changes nothing then."""
        id = self.target(caller, ref, direction).id

        def decide() -> Decision[Revoked]:
            group = self._groups.find(caller, GroupRef(id=id))
            vpc = self._cell.resources.vpcs[group.vpc]
            present = {rule.identity: rule for rule in group.rules}
            removed: dict[Rule, None] = {}
            unknown = []
            for request in _spelled_out(requests, vpc):
                rule = present.get(self.identity(caller, vpc, direction, request))
                if rule is None:
                    unknown.append(request)
                else:
                    removed[rule] = None
            if unknown and not (vpc.is_classic or vpc.is_default):
                raise RuleNotFound(group.id)
            return self._without(group, Revoked(tuple(removed), tuple(unknown)))

        return await self._cell.write(decide, on=id)

    async def revoke_by_id(self, caller: Caller, ref: GroupRef, direction: Direction, ids: Sequence[str]) -> Revoked:
        """By sgr- id. Raises ResourceNotFound for an id that is not in the group, IdMalformed."""
        id = self.target(caller, ref, direction).id

        def decide() -> Decision[Revoked]:
            group = self._groups.find(caller, GroupRef(id=id))
            present = {str(rule.id): rule for rule in group.rules if rule.direction is direction}
            for asked in ids:
                if check_id(asked, "sgr") not in present:
                    raise ResourceNotFound(asked)
            return self._without(group, Revoked(tuple(present[asked] for asked in dict.fromkeys(ids))))

        return await self._cell.write(decide, on=id)

    def target(self, caller: Caller, ref: GroupRef, direction: Direction) -> SecurityGroup:
        """The caller's group whose rules of this direction can be changed. Raises GroupNotFound, EgressNotAllowed."""
        group = self._groups.find(caller, ref)
        if direction is Direction.EGRESS and self._groups.is_classic(group):
            raise EgressNotAllowed(group.id)
        return group

    def identity(self, caller: Caller, vpc: Vpc, direction: Direction, request: RuleRequest) -> RuleIdentity:
        """What the request asks for, with ports checked and the peer looked up."""
        if vpc.is_classic and request.protocol not in CLASSIC_PROTOCOLS:
            raise ProtocolUnknown(ports.protocol_name(request.protocol))
        pair = ports.check_ports(request.protocol, request.from_port, request.to_port)
        return direction, request.protocol, *pair, self._peer(caller, vpc, request.peer)

    def _peer(self, caller: Caller, vpc: Vpc, peer: Cidr | GroupRef | ListRef) -> Peer:
        if isinstance(peer, GroupRef):
            group = self._groups.find_peer(caller, peer, vpc)
            return GroupPeer(group.id, group.account)
        if isinstance(peer, ListRef):
            if vpc.is_classic:
                raise ParameterInvalid("PrefixListId", peer.id, "Only VPC security groups may name prefix lists.")
            return PrefixListPeer(self._lists.find(caller, peer.id).id)
        if vpc.is_classic and peer.version != 4:
            raise CidrMalformed(str(peer))
        return CidrPeer(peer)

    def _without(self, group: SecurityGroup, revoked: Revoked) -> Decision[Revoked]:
        if not revoked.removed:
            return Decision([], [], revoked)
        after = replace(group, rules=tuple(rule for rule in group.rules if rule not in revoked.removed))
        guards, changes = self.edit(group, after)
        tagged = self._cell.resources.tags
        changes += [Change(keys.document("tag", rule.id), None) for rule in revoked.removed if rule.id in tagged]
        return Decision(guards, changes, revoked)

    def _change(self, before: SecurityGroup, after: SecurityGroup, new: list[Rule]) -> Decision[list[Rule]]:
        if not new:
            return Decision([], [], new)
        guards, changes = self.edit(before, after)
        return Decision(guards, changes, new)

    def edit(self, before: SecurityGroup, after: SecurityGroup) -> tuple[list[Guard], list[Change]]:
        """The document, the references that keep what it names from being deleted, and the cut if it is asked for.

        A named list must be as it was counted: another may be making it larger.
        """
        was = [*referenced_by(before), *lists_named_by(before)]
        now = [*referenced_by(after), *lists_named_by(after)]
        named = [id for id in now if id not in was]
        guards, changes = cut_if_asked(self._cell, [after.id])
        guards.append(self._cell.unchanged(put(after).key))
        guards += [Exists(keys.document("sg", id)) for id in referenced_by(after) if id in named]
        guards += [self._cell.unchanged(keys.document("pl", id)) for id in lists_named_by(after)]
        changes.append(put(after))
        changes += [Change(keys.reference(id, after.id), after.id) for id in named]
        changes += [Change(keys.reference(id, after.id), None) for id in was if id not in now]
        return guards, changes


def _spelled_out(requests: Sequence[RuleRequest], vpc: Vpc) -> list[RuleRequest]:
    """On classic `all` is not stored as such."""
    spelled: list[RuleRequest] = []
    for request in requests:
        if vpc.is_classic and request.protocol == ports.ANY:
            spelled += [
                replace(request, protocol=protocol, from_port=first, to_port=last)
                for protocol, first, last in CLASSIC_GRANT
            ]
        else:
            spelled.append(request)
    return spelled


def duplicate(identity: RuleIdentity, vpc: Vpc) -> RuleDuplicate:
    """That the group has such a rule."""
    _, protocol, first, last, peer = identity
    return RuleDuplicate(_peer_name(peer), ports.protocol_name(protocol), first, last, vpc.is_classic)


def _peer_name(peer: Peer) -> str:
    match peer:
        case CidrPeer(cidr):
            return str(cidr)
        case GroupPeer(group=group):
            return group
        case PrefixListPeer(prefix_list):
            return prefix_list


_EXTRA = frozenset(" ._-:/()#,@[]+=&;{}!$*")


def check_description(text: str | None) -> str | None:
    """A rule's description as it is stored. Raises ParameterInvalid."""
    fits = text is None or (
        len(text) <= LONGEST_DESCRIPTION and all((c.isascii() and c.isalnum()) or c in _EXTRA for c in text)
    )
    if not fits:
        raise ParameterInvalid("Description", str(text), "Invalid rule description.")
    return text or None

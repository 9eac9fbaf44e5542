"""Rules that stay what they are: described, modified under their own ids, and their descriptions edited."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from stockade.model.errors import ParameterMissing, ResourceNotFound, RuleNotFound
from stockade.model.ids import check_id
from stockade.model.resources import put
from stockade.model.rule import Direction, Rule
from stockade.model.security_group import SecurityGroup
from stockade.service.budgets import Planned
from stockade.service.caller import Caller
from stockade.service.cell import Cell, Decision
from stockade.service.default_groups import renumbered
from stockade.service.numbers import RULE
from stockade.service.rule_quota import check_rules
from stockade.service.rules import RuleRequest, Rules, check_description, duplicate
from stockade.service.security_groups import GroupRef, SecurityGroups


class RuleEdits:
    """Use cases of rules that are there."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._groups = SecurityGroups(cell)
        self._rules = Rules(cell)

    async def describe(
        self, caller: Caller, ids: Sequence[str] = (), groups: Sequence[str] | None = None
    ) -> list[tuple[Rule, SecurityGroup]]:
        """The caller's rules of its region with their groups: all, those named, or those of these groups.

        A group that is not there has none. Raises ResourceNotFound for a rule, IdMalformed.
        """
        shown = await self._groups.describe(caller)
        found = {
            rule.id: (rule, group) for group in shown if groups is None or group.id in groups for rule in group.rules
        }
        known: Mapping[str, tuple[Rule, SecurityGroup]] = {str(id): one for id, one in found.items()}
        for id in ids:
            if check_id(id, "sgr") not in known and groups is None:
                raise ResourceNotFound(id)
        return [known[id] for id in dict.fromkeys(ids) if id in known] if ids else list(known.values())

    async def modify(self, caller: Caller, ref: GroupRef, changes: Mapping[str, RuleRequest]) -> None:
        """Each named rule becomes what is asked under its own id, all or none. Its direction stays.

        Raises as Rules.authorize, and ResourceNotFound for an id that is not in the group.
        """
        if not changes:
            raise ParameterMissing("SecurityGroupRule")
        for id in changes:
            check_id(id, "sgr")
        target = self._groups.find(caller, ref).id

        def decide() -> Decision[None]:
            cell = self._cell
            group = self._groups.find(caller, GroupRef(id=target))
            vpc = cell.resources.vpcs[group.vpc]
            shown = {str(rule.id) for rule in self._groups.shown(group).rules}
            for id in changes:
                if id not in shown:
                    raise ResourceNotFound(id)
            present = {rule.identity for rule in group.rules if rule.id not in changes}
            rules: list[Rule] = []
            for rule in group.rules:
                request = changes.get(rule.id)
                if request is None:
                    rules.append(rule)
                    continue
                identity = self._rules.identity(caller, vpc, rule.direction, request)
                if identity in present:
                    raise duplicate(identity, vpc)
                present.add(identity)
                rules.append(renumbered(cell, rule, identity, check_description(request.description)))
            after = replace(group, rules=tuple(rules))
            if after == group:
                return Decision([], [], None)
            quotas, lists = cell.settings.quotas, cell.resources.prefix_lists
            for direction in Direction:
                check_rules(after, direction, vpc.is_classic, quotas, lists.get)
            cell.budgets.check(Planned(groups={after.id: after}))
            guards, edits = self._rules.edit(group, after)
            return Decision(guards, edits, None)

        await self._cell.write(decide, on=target, numbers={RULE: len(changes)})

    async def describe_as(
        self, caller: Caller, ref: GroupRef, direction: Direction, requests: Sequence[RuleRequest]
    ) -> None:
        """Each rule asked for gets the description it is asked with, or none. Raises RuleNotFound."""

        def texts(group: SecurityGroup) -> dict[str, str | None]:
            vpc = self._cell.resources.vpcs[group.vpc]
            present = {rule.identity: rule for rule in group.rules}
            found = {}
            for request in requests:
                rule = present.get(self._rules.identity(caller, vpc, direction, request))
                if rule is None:
                    raise RuleNotFound(group.id)
                found[str(rule.id)] = request.description
            return found

        target = self._rules.target(caller, ref, direction).id
        await self._cell.write(lambda: self._redescribed(caller, target, direction, texts), on=target, enforced=False)

    async def describe_by_id(
        self, caller: Caller, ref: GroupRef, direction: Direction, texts: Mapping[str, str | None]
    ) -> None:
        """Each named rule gets its text, or none. Raises ResourceNotFound, IdMalformed."""
        for id in texts:
            check_id(id, "sgr")
        target = self._rules.target(caller, ref, direction).id
        await self._cell.write(
            lambda: self._redescribed(caller, target, direction, lambda _: dict(texts)), on=target, enforced=False
        )

    def _redescribed(
        self,
        caller: Caller,
        target: str,
        direction: Direction,
        texts_of: Callable[[SecurityGroup], Mapping[str, str | None]],
    ) -> Decision[None]:
        group = self._groups.find(caller, GroupRef(id=target))
        texts = texts_of(group)
        mine = {str(rule.id) for rule in group.rules if rule.direction is direction}
        for id in texts:
            if id not in mine:
                raise ResourceNotFound(id)
        rules = tuple(
            replace(rule, description=check_description(texts[rule.id])) if rule.id in texts else rule
            for rule in group.rules
        )
        after = replace(group, rules=rules)
        if after == group:
            return Decision([], [], None)
        return Decision([self._cell.unchanged(put(after).key)], [put(after)], None)

"""What a group is used for: who is in it, whose rules name it, what its rules let through."""

from dataclasses import dataclass
from typing import Protocol

from stockade.model.flow import RuleTraffic
from stockade.model.network_interface import NetworkInterface
from stockade.model.rule import Direction
from stockade.model.security_group import SecurityGroup
from stockade.service.caller import Caller
from stockade.service.cell import Cell
from stockade.service.directory import Directory


class HitSource(Protocol):
    """Where the counts are: feed/hit_log.py."""

    def of(self, rule: int) -> RuleTraffic:
        """What the rule let through, on all hosts."""


@dataclass(frozen=True, slots=True)
class GroupUse:
    """A group at one moment. `traffic` is by rule number; classic groups are shown without their fixed egress rule."""

    group: SecurityGroup
    members: tuple[NetworkInterface, ...]
    referrers: tuple[SecurityGroup, ...]
    traffic: dict[int, RuleTraffic]


class Usage:
    """Use cases of what is used."""

    def __init__(self, cell: Cell, hits: HitSource) -> None:
        self._cell = cell
        self._hits = hits

    def group(self, caller: Caller, name: str) -> GroupUse:
        """Raises ParameterInvalid."""
        resources = self._cell.resources
        directory = Directory(resources, caller)
        group = directory.find_group("group", name)
        classic = resources.vpcs[group.vpc].is_classic
        rules = [rule for rule in group.rules if rule.direction is Direction.INGRESS or not classic]
        return GroupUse(
            group,
            tuple(one for one in resources.members_of(group.id) if directory.sees_account(one.account)),
            tuple(one for one in resources.referrers_of(group.id) if directory.sees_account(one.account)),
            {rule.number: self._hits.of(rule.number) for rule in rules},
        )

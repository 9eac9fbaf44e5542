"""How many rules a group may have, counted as EC2 does."""

from collections.abc import Callable

from stockade.model.errors import QuotaExceeded
from stockade.model.ids import PrefixListId
from stockade.model.prefix_list import PrefixList
from stockade.model.rule import CidrPeer, Direction, PrefixListPeer, Rule
from stockade.model.security_group import SecurityGroup
from stockade.service.cell import Quotas

ListOf = Callable[[PrefixListId], PrefixList | None]


def check_rules(
    group: SecurityGroup, direction: Direction, classic: bool, quotas: Quotas, list_of: ListOf, added: int = 0
) -> None:
    """Per direction and family, where a group and a prefix list count in both; on classic all together.

    A prefix list weighs its most entries, however few it has. Raises QuotaExceeded, which says how many were `added`.
    """
    rules = [rule for rule in group.rules if rule.direction is direction]
    if classic:
        count, limit = len(rules), quotas.classic_rules_per_group
    else:
        by_family = {4: 0, 6: 0}
        for rule in rules:
            weight = _weight(rule, list_of)
            for family in by_family:
                if not isinstance(rule.peer, CidrPeer) or rule.peer.cidr.version == family:
                    by_family[family] += weight
        count, limit = max(by_family.values()), quotas.rules_per_group
    if count > limit:
        raise QuotaExceeded("rules_per_group", limit, added, count - added)


def _weight(rule: Rule, list_of: ListOf) -> int:
    named = list_of(rule.peer.prefix_list) if isinstance(rule.peer, PrefixListPeer) else None
    return 1 if named is None else named.max_entries

"""Rule numbers, as the kernel tells them, back to rules: also of rules that were revoked a while ago."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from stockade.model.change import Revision
from stockade.model.ids import AccountId, SecurityGroupId
from stockade.model.resources import Edit
from stockade.model.rule import Rule
from stockade.model.security_group import SecurityGroup
from stockade.store.contract import Ledger

REVOKED_KEPT = 10_000
"""What decided a flow of the last hour can be named, however much has changed since."""


@dataclass(frozen=True, slots=True)
class NamedRule:
    """A rule and the group it is or was of."""

    rule: Rule
    group: SecurityGroupId
    group_name: str
    account: AccountId


class RuleNames:
    """Follows the ledger from its making on."""

    def __init__(self, ledger: Ledger) -> None:
        self._rules: dict[int, NamedRule] = {}
        self._revoked: deque[int] = deque()
        for group in ledger.resources.groups.values():
            self._learn(group)
        ledger.follow(self._told)

    def of(self, number: int) -> NamedRule | None:
        """The rule with this number, if it is or was lately."""
        return self._rules.get(number)

    def _learn(self, group: SecurityGroup) -> None:
        for rule in group.rules:
            self._rules[rule.number] = NamedRule(rule, group.id, group.name, group.account)

    def _told(self, revision: Revision, edits: Sequence[Edit]) -> None:
        for edit in edits:
            left = {rule.number for rule in edit.old.rules} if isinstance(edit.old, SecurityGroup) else set()
            if isinstance(edit.new, SecurityGroup):
                self._learn(edit.new)
                left -= {rule.number for rule in edit.new.rules}
            self._revoked.extend(sorted(left))
        while len(self._revoked) > REVOKED_KEPT:
            self._rules.pop(self._revoked.popleft(), None)

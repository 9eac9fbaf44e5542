"""Rules: authorize, revoke; duplicates and quotas."""

from collections.abc import Sequence
from dataclasses import dataclass

from stockade.model.addresses import Cidr
from stockade.model.rule import Direction, Rule
from stockade.service.caller import Caller
from stockade.service.cell import Cell
from stockade.service.security_groups import GroupRef


@dataclass(frozen=True, slots=True)
class RuleRequest:
    """A rule as a caller spells it: ports unchecked, the peer a block or a group's name.

    `protocol` is as model.ports.parse_protocol gives it. One request, one rule: a permission with several
    ranges or groups is several requests.
    """

    protocol: int
    from_port: int | None
    to_port: int | None
    peer: Cidr | GroupRef
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Revoked:
    """What went, and what was not there (only where EC2 does not fail for it)."""

    removed: tuple[Rule, ...]
    unknown: tuple[RuleRequest, ...] = ()


def whole_group(source: GroupRef, classic: bool) -> tuple[RuleRequest, ...]:
    """What a grant to a group without protocol and ports stands for: tcp, udp and icmp."""


class Rules:
    """Use cases of rules."""

    def __init__(self, cell: Cell) -> None: ...

    async def authorize(
        self, caller: Caller, ref: GroupRef, direction: Direction, requests: Sequence[RuleRequest]
    ) -> list[Rule]:
        """All or nothing; the new rules in order. On classic, protocol -1 becomes tcp, udp and icmp.

        Raises RuleDuplicate, QuotaExceeded, EgressNotAllowed, PortRangeInvalid, GroupNotFound (target or peer).
        """

    async def revoke(
        self, caller: Caller, ref: GroupRef, direction: Direction, requests: Sequence[RuleRequest]
    ) -> Revoked:
        """Exact matches go. Raises RuleNotFound in a VPC that is not the default one, and changes nothing then."""

    async def revoke_by_id(
        self, caller: Caller, ref: GroupRef, direction: Direction, ids: Sequence[str]
    ) -> Revoked:
        """By sgr- id. Raises ResourceNotFound for an id that is not in the group, IdMalformed."""

"""Security groups: create, delete, describe, find; what still refers to a group."""

from collections.abc import Sequence
from dataclasses import dataclass

from stockade.model.ids import SecurityGroupId
from stockade.model.security_group import SecurityGroup
from stockade.service.caller import Caller
from stockade.service.cell import Cell


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

    def __init__(self, cell: Cell) -> None: ...

    async def create(self, caller: Caller, name: str, description: str, vpc_id: str | None = None) -> SecurityGroup:
        """Raises GroupNameInvalid, GroupReserved, GroupDuplicate, VpcNotFound, QuotaExceeded."""

    async def delete(self, caller: Caller, ref: GroupRef) -> SecurityGroup:
        """The group that was. Raises GroupNotFound, GroupReserved, GroupInUse."""

    async def describe(self, caller: Caller, ids: Sequence[str] = (), names: Sequence[str] = ()) -> list[SecurityGroup]:
        """The caller's groups of its region, all or those named, as EC2 shows them (no egress on classic).

        Raises GroupNotFound, IdMalformed for the first that is not there.
        """

    def find(self, caller: Caller, ref: GroupRef) -> SecurityGroup:
        """The group itself, with all stored rules. Raises GroupNotFound, IdMalformed, ParameterMissing."""

    def is_classic(self, group: SecurityGroup) -> bool:
        """Whether the group lives in the classic network."""

    def peer_name(self, group: SecurityGroupId) -> str | None:
        """The name of a group that a rule names; None when it is gone."""

"""Instances: run, describe, terminate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from stockade.model.ids import AccountId, InstanceId, ReservationId, SecurityGroupId
from stockade.model.instance import Instance, InstanceState
from stockade.model.network_interface import NetworkInterface
from stockade.model.vpc import Vpc
from stockade.service.caller import Caller
from stockade.service.cell import Cell
from stockade.service.security_groups import GroupRef


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What RunInstances asks. Without groups: the default group; without a key: the account's default key."""

    image: str
    min_count: int = 1
    max_count: int = 1
    groups: tuple[GroupRef, ...] = ()
    key_name: str | None = None
    user_data: bytes | None = None
    type: str = "m1.small"
    zone: str | None = None
    subnet: str | None = None
    private_address: IPv4Address | None = None
    client_token: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GroupName:
    """A group as instances and reservations show it."""

    id: SecurityGroupId
    name: str


@dataclass(frozen=True, slots=True)
class InstanceDescription:
    """An instance as EC2 shows it. `interface` and `vpc` are None once it is terminated; names are "" then.

    `public_name` is "" until the instance runs, as the classic records show it. `vpc.is_classic` tells the platform.
    """

    instance: Instance
    state: InstanceState
    reason: str | None
    interface: NetworkInterface | None
    vpc: Vpc | None
    groups: tuple[GroupName, ...]
    tags: Mapping[str, str]
    public_name: str
    private_name: str


@dataclass(frozen=True, slots=True)
class Reservation:
    """Instances launched by one call; `groups` are those of the launch. Of describe: only those asked for."""

    id: ReservationId
    account: AccountId
    groups: tuple[GroupName, ...]
    instances: tuple[InstanceDescription, ...]


@dataclass(frozen=True, slots=True)
class StateChange:
    """What TerminateInstances answers for one instance."""

    id: InstanceId
    previous: InstanceState
    current: InstanceState


class Instances:
    """Use cases of instances."""

    def __init__(self, cell: Cell) -> None: ...

    async def run(self, caller: Caller, request: LaunchRequest) -> Reservation:
        """As many as fit between the counts. The same client token again gives the same reservation.

        Raises ImageNotFound, GroupNotFound, KeyPairNotFound, ZoneNotFound, SubnetNotFound, QuotaExceeded,
        AddressesExhausted, ParametersConflict, ParameterInvalid, TokenReused.
        """

    async def describe(self, caller: Caller, ids: Sequence[str] = ()) -> list[Reservation]:
        """The caller's instances of its region, all or those named. Raises InstanceNotFound, IdMalformed."""

    async def terminate(self, caller: Caller, ids: Sequence[str]) -> list[StateChange]:
        """Raises InstanceNotFound (nothing is terminated then), IdMalformed."""

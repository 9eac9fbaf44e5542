"""Instances: run, describe, terminate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from stockade.model import names
from stockade.model.errors import InstanceNotFound, ParameterMissing
from stockade.model.ids import AccountId, InstanceId, ReservationId, SecurityGroupId, check_id
from stockade.model.instance import Instance, InstanceState, Wanted, shown_state
from stockade.model.network_interface import NetworkInterface
from stockade.model.resources import Change, put
from stockade.model.vpc import Vpc
from stockade.service.addresses import Addresses
from stockade.service.caller import Caller
from stockade.service.cell import Cell, Decision
from stockade.service.launch import Launches, LaunchRequest
from stockade.service.numbers import INTERFACE
from stockade.service.security_groups import SecurityGroups
from stockade.store.contract import Guard

__all__ = ["GroupName", "InstanceDescription", "Instances", "LaunchRequest", "Reservation", "StateChange"]


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

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._launches = Launches(cell, SecurityGroups(cell), Addresses(lambda: cell.resources))

    async def run(self, caller: Caller, request: LaunchRequest) -> Reservation:
        """As many as fit between the counts. The same client token again gives the same reservation.

        Raises ImageNotFound, GroupNotFound, KeyPairNotFound, ZoneNotFound, SubnetNotFound, QuotaExceeded,
        AddressesExhausted, ParametersConflict, ParameterInvalid, TokenReused.
        """
        launched = await self._cell.write(
            lambda: self._launches.decide(caller, request),
            on=f"instances {caller.account.id}",
            numbers={INTERFACE: max(request.max_count, 0)},
        )
        return self._reservations(list(launched))[0]

    async def describe(self, caller: Caller, ids: Sequence[str] = ()) -> list[Reservation]:
        """The caller's instances of its region, all or those named. Raises InstanceNotFound, IdMalformed."""
        return self._reservations(self._named(caller, ids) if ids else self._all(caller))

    async def terminate(self, caller: Caller, ids: Sequence[str]) -> list[StateChange]:
        """Raises InstanceNotFound (nothing is terminated then), IdMalformed."""
        if not ids:
            raise ParameterMissing("InstanceId")

        def decide() -> Decision[list[StateChange]]:
            guards: list[Guard] = []
            changes: list[Change] = []
            answer = []
            for instance in self._named(caller, ids):
                status = self._cell.resources.statuses.get(instance.id)
                ending = replace(instance, wanted=Wanted.TERMINATED)
                if ending != instance:
                    changes.append(put(ending))
                    guards.append(self._cell.unchanged(changes[-1].key))
                answer.append(StateChange(instance.id, shown_state(instance, status), shown_state(ending, status)))
            return Decision(guards, changes, answer)

        return await self._cell.write(decide, on=f"instances {caller.account.id}")

    def _all(self, caller: Caller) -> list[Instance]:
        return [i for i in self._cell.resources.instances_of(caller.account.id) if i.region == caller.region]

    def _named(self, caller: Caller, ids: Sequence[str]) -> list[Instance]:
        mine = {instance.id: instance for instance in self._all(caller)}
        asked = [InstanceId(check_id(id, "i")) for id in dict.fromkeys(ids)]
        unknown = tuple(id for id in asked if id not in mine)
        if unknown:
            raise InstanceNotFound(unknown)
        return [mine[id] for id in asked]

    def _reservations(self, instances: list[Instance]) -> list[Reservation]:
        """By launch time, instances by their index in the launch."""
        launches: dict[ReservationId, list[Instance]] = {}
        for instance in sorted(instances, key=lambda i: (i.launch_time, i.reservation, i.launch_index)):
            launches.setdefault(instance.reservation, []).append(instance)
        return [
            Reservation(id, launch[0].account, _names(launch[0]), tuple(map(self._described, launch)))
            for id, launch in launches.items()
        ]

    def _described(self, instance: Instance) -> InstanceDescription:
        resources = self._cell.resources
        status = resources.statuses.get(instance.id)
        state = shown_state(instance, status)
        interface = resources.interfaces.get(instance.interface)
        tags = resources.tags.get(instance.id)
        vpc = resources.vpcs[interface.vpc] if interface else None
        groups = _names(instance)
        if interface is not None:
            groups = tuple(GroupName(id, resources.groups[id].name) for id in interface.groups)
        public = private = ""
        if interface is not None and state is not InstanceState.PENDING:
            suffix = self._cell.settings.dns_suffix
            private = names.private_name(interface.addresses[0], suffix)
            public = names.public_name(interface.public, instance.region, suffix) if interface.public else ""
        return InstanceDescription(
            instance=instance,
            state=state,
            reason=status.reason if status else None,
            interface=interface,
            vpc=vpc,
            groups=groups,
            tags=tags.tags if tags else {},
            public_name=public,
            private_name=private,
        )


def _names(instance: Instance) -> tuple[GroupName, ...]:
    return tuple(GroupName(id, name) for id, name in instance.groups_at_launch)

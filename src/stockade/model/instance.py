"""Instances and their life.

Two writers: services write the Instance (what is wanted), hosts report its InstanceStatus (what is).
What EC2 shows is a function of both: `shown_state`.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from stockade.model.ids import (
    AccountId,
    HostId,
    ImageId,
    InstanceId,
    NetworkInterfaceId,
    ReservationId,
    SecurityGroupId,
)


class InstanceState(Enum):
    """EC2's state names; `code` is EC2's number for it."""

    PENDING = "pending"
    RUNNING = "running"
    SHUTTING_DOWN = "shutting-down"
    TERMINATED = "terminated"
    STOPPING = "stopping"
    STOPPED = "stopped"

    @property
    def code(self) -> int:
        return _CODES[self]


_CODES = {
    InstanceState.PENDING: 0,
    InstanceState.RUNNING: 16,
    InstanceState.SHUTTING_DOWN: 32,
    InstanceState.TERMINATED: 48,
    InstanceState.STOPPING: 64,
    InstanceState.STOPPED: 80,
}


class Wanted(Enum):
    """What the owner asked for."""

    RUNNING = "running"
    TERMINATED = "terminated"


@dataclass(frozen=True, slots=True)
class Instance:
    """What was asked for. `groups_at_launch` are ids and names as the reservation shows them."""

    id: InstanceId
    account: AccountId
    reservation: ReservationId
    region: str
    zone: str
    host: HostId
    image: ImageId
    recipe: str
    type: str
    key_name: str | None
    public_key: str | None
    user_data: bytes | None
    launch_index: int
    launch_time: datetime
    interface: NetworkInterfaceId
    wanted: Wanted = Wanted.RUNNING
    terminated_at: datetime | None = None
    client_token: str | None = None
    groups_at_launch: tuple[tuple[SecurityGroupId, str], ...] = ()


class Observed(Enum):
    """What the host saw of the instance."""

    STARTING = "starting"
    RUNNING = "running"
    IMPAIRED = "impaired"  # runs, but its device is gone: it reaches nothing
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    """A host's report. `reason` says why an instance is gone or impaired, in a sentence for its owner."""

    instance: InstanceId
    observed: Observed
    reason: str | None = None


def shown_state(instance: Instance, status: InstanceStatus | None) -> InstanceState:
    """The state EC2 shows for what is wanted and what was last seen."""
    if status is not None and status.observed is Observed.GONE:
        return InstanceState.TERMINATED
    if instance.wanted is Wanted.TERMINATED:
        return InstanceState.SHUTTING_DOWN
    if status is None or status.observed is Observed.STARTING:
        return InstanceState.PENDING
    return InstanceState.RUNNING

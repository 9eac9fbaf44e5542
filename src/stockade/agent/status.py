"""What this host says about itself: small, whole, and safe to show to anybody who may reach the API."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from stockade.datapath.contract import Usage
from stockade.model.flow import DropReason
from stockade.model.ids import NetworkInterfaceId


class Phase(Enum):
    """How far `up` has come."""

    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"  # a policy could not be applied: the former one is enforced, the newest is not
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class AuditCounts:
    """The drift auditor: `compared` entries in its last audit; the others since the agent started."""

    audits: int = 0
    compared: int = 0
    drift: int = 0
    repaired: int = 0
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class HostStatus:
    """One host. `enforcing` is the mode ("kernel", "none"); `proven_at` when packets last showed it.

    `drops`: packets since the datapath was first loaded, by the name of the reason in lower case.
    `allowances`: by interface, how many flows it may still track and how many packets were dropped for want of more;
    of a host with very many interfaces those that have the least left.
    `devices`: how many adopted devices are policed; `impaired`: by interface, why its device is not.
    `link_local_exceeded`: by interface, packets to names and time beyond its allowance, the most first.
    """

    version: str
    phase: Phase
    enforcing: str
    started_at: datetime
    proven_at: datetime | None = None
    instances: int = 0
    accepted: int = 0
    rejected: int = 0
    lost_events: int = 0
    enforced_revision: int = 0
    last_apply_ms: float = 0.0
    failure: str | None = None
    drops: dict[str, int] = field(default_factory=dict)
    audit: AuditCounts = AuditCounts()
    allowances: dict[str, tuple[int, int]] = field(default_factory=dict)
    devices: int = 0
    impaired: dict[str, str] = field(default_factory=dict)
    link_local_exceeded: dict[str, int] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON has it: names of enums, ISO 8601 times in UTC."""
        fields = asdict(self)
        fields["phase"] = self.phase.value
        fields["started_at"] = self.started_at.isoformat()
        fields["proven_at"] = self.proven_at.isoformat() if self.proven_at is not None else None
        return fields

    @classmethod
    def from_plain(cls, fields: dict[str, Any]) -> "HostStatus":
        """The value that `plain` made these of."""
        proven_at = fields["proven_at"]
        return cls(
            **fields
            | {
                "phase": Phase(fields["phase"]),
                "started_at": datetime.fromisoformat(fields["started_at"]),
                "proven_at": datetime.fromisoformat(proven_at) if proven_at is not None else None,
                "audit": AuditCounts(**fields["audit"]),
                "allowances": {name: (left, exceeded) for name, (left, exceeded) in fields["allowances"].items()},
            }
        )


MOST_ALLOWANCES, MOST_IMPAIRED, MOST_EXCEEDED = 1000, 100, 100


def allowances(
    usage: Mapping[NetworkInterfaceId, Usage], drops: Mapping[NetworkInterfaceId, Mapping[DropReason, int]]
) -> dict[str, tuple[int, int]]:
    """What a status says of them: a message has room for so many and no more."""
    every = {
        interface: (max(used.allowance - used.tracked, 0), drops.get(interface, {}).get(DropReason.CONNTRACK_FULL, 0))
        for interface, used in usage.items()
    }
    return dict(sorted(every.items(), key=lambda one: (one[1][0], -one[1][1], one[0]))[:MOST_ALLOWANCES])

"""How well we are, as the daemon sees it, and the documents that say so."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from stockade import __version__


@dataclass(frozen=True, slots=True)
class Health:
    """`status`: starting, ready or degraded. `mode`: what enforces (kernel, observe, none); proven by packets.

    `drops`: packets, by the reason's name in lower case. `accepted` counts new flows, `rejected` packets.
    `audit`: what enforces against what was applied (audits, compared, drift, repaired, failure).
    `allowances`: by interface, tracked flows it may still open and packets dropped for want of more.
    `devices`: adopted ones that are policed; `impaired`: by interface, why its device is not.
    `link_local_exceeded`: by interface, packets to names and time that were beyond its allowance.
    """

    status: str
    mode: str
    proven_at: datetime | None = None
    lost_events: int = 0
    hosts_ready: int = 0
    hosts_known: int = 0
    instances: int = 0
    groups: int = 0
    rules: int = 0
    accepted: int = 0
    rejected: int = 0
    drops: Mapping[str, int] = field(default_factory=dict)
    audit: Mapping[str, Any] = field(default_factory=dict)
    allowances: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    failure: str | None = None
    devices: int = 0
    impaired: Mapping[str, str] = field(default_factory=dict)
    link_local_exceeded: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_ready(self) -> bool:
        return self.status == "ready"


def document(health: Health) -> dict[str, Any]:
    """GET /_stockade/health."""
    proven = None if health.proven_at is None else health.proven_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    enforcement = {"mode": health.mode, "proven_at": proven, "lost_events": health.lost_events}
    told: dict[str, Any] = {
        "schema": 1,
        "status": health.status,
        "version": __version__,
        "enforcement": enforcement | ({"audit": dict(health.audit)} if health.audit else {}),
        "hosts": {"ready": health.hosts_ready, "known": health.hosts_known},
        "services": _services(health),
        "instances": health.instances,
        "devices": {"policed": health.devices, "impaired": dict(health.impaired)},
        "groups": health.groups,
        "rules": health.rules,
        "flows": {"accepted": health.accepted, "rejected": health.rejected},
    }
    return told if health.failure is None else told | {"failure": health.failure}


def for_wait_scripts(health: Health) -> dict[str, Any]:
    """GET /_localstack/health: the shape that existing wait scripts look for."""
    return {"services": _services(health), "edition": "stockade", "version": __version__}


def _services(health: Health) -> dict[str, str]:
    state = "running" if health.is_ready else "starting"
    return {"ec2": state, "sts": state}

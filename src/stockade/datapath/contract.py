"""What every datapath promises: complete policy in, verdicts enforced, evidence out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import NewType, Protocol

from stockade.model.flow import DropReason, FlowEvent
from stockade.model.ids import NetworkInterfaceId
from stockade.policy.entries import HostPolicy

DeviceName = NewType("DeviceName", str)


@dataclass(frozen=True, slots=True)
class Applied:
    """What one `apply` did."""

    steps: int
    took_ms: float


@dataclass(frozen=True, slots=True)
class RuleHits:
    """How often a rule opened a gate, and for how much."""

    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Counters:
    """Since the datapath was first loaded on this host. `lost_events`: flow events nobody could take."""

    rules: Mapping[int, RuleHits] = field(default_factory=dict)
    drops: Mapping[DropReason, int] = field(default_factory=dict)
    endpoint_drops: Mapping[NetworkInterfaceId, Mapping[DropReason, int]] = field(default_factory=dict)
    lost_events: int = 0


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found. `drift`: one line for each difference, as it was before it was put right."""

    compared: int = 0
    drift: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Flows in memory that count against the endpoint, and how many may."""

    tracked: int
    untracked: int
    allowance: int


class ApplyFailed(Exception):
    """The old policy stands, whole. Carries the step, the map and the errno by name."""


class Datapath(Protocol):
    """Enforces policy on the devices of one host."""

    def attach(self, endpoint: NetworkInterfaceId, device: DeviceName) -> None:
        """Police this device as this endpoint, before it is up. Drops all until the endpoint is in the applied policy.

        Again with the same device: no effect. Again with another device: the old one is detached.
        Where the applied policy calls the endpoint filtered, or before there is policy the device is found up or in a
        bridge, somebody else forwards for it: it is only filtered, keeps all it has, and is left as it was by `detach`.
        """

    def detach(self, endpoint: NetworkInterfaceId) -> None:
        """The endpoint is gone: a device of ours drops all, its flows and its number are retired."""

    def apply(self, desired: HostPolicy) -> Applied:
        """Make this the policy, whole and at once per endpoint. Idempotent, safe to repeat after a crash.

        May name endpoints that are not attached yet: their policy waits for them. Raises ApplyFailed.
        """

    def observe(self) -> HostPolicy:
        """The policy read back from where it is enforced."""

    def flows(self) -> Iterator[FlowEvent]:
        """Events since the last call; ends when there are no more for now."""

    def counters(self) -> Counters:
        """Rule hits and drops so far."""

    def service_address(self, endpoint: NetworkInterfaceId) -> IPv4Address:
        """The source under which the services namespace sees this attached endpoint (architecture D8)."""

    def audit(self) -> Audit:
        """Compare what enforces with what was applied, and put right what differs. Idempotent, and cheap when equal."""

    def usage(self) -> Mapping[NetworkInterfaceId, Usage]:
        """How much of its allowance of flows each attached endpoint uses."""

    def close(self) -> None:
        """Let go. Enforcement outlives the process."""

"""Packets as policy sees them, and what was decided about them.

A verdict is a list of hops, one a gate the packet met, each with the rule that let it pass or the
reason it did not. The numbers of DropReason are those of bpf/types.h (a test compares them).
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, IntEnum

from stockade.model.addresses import Address
from stockade.model.ids import HostId, NetworkInterfaceId


class Gate(Enum):
    """Where a packet is judged."""

    SPOOF = "spoof"
    EGRESS = "egress"
    INGRESS = "ingress"
    ROUTE = "route"


class DropReason(IntEnum):
    """Why a packet went no further. 100-149 is reserved for routes, 150-199 for network ACLs."""

    NONE = 0
    MALFORMED = 1  # headers shorter than they claim, wrong version, wrong lengths
    UNSUPPORTED = 2  # a kind of packet that is not judged yet, and so never passed
    FRAGMENT = 3  # a later fragment without its first, one that overlaps, a first too short for its headers
    OPTIONS = 4  # IPv4 options, IPv6 extension headers
    SPOOFED_MAC = 10
    SPOOFED_ADDRESS = 11
    SPOOFED_ARP = 12  # ARP or neighbour discovery that claims what is not the sender's
    FOREIGN_REPLY = 13  # link-local service source, DHCP reply, router message
    NO_EGRESS_RULE = 20
    NO_INGRESS_RULE = 21
    INVALID_STATE = 22  # belongs to no flow and may not open one
    CONNTRACK_FULL = 23  # the allowance of an interface, or the host's table, is used up
    MULTICAST = 24  # broadcast and multicast are not delivered
    ENDPOINT_UNKNOWN = 30  # device without a live endpoint, or an older generation of one
    NO_POLICY = 31  # endpoint known, policy not yet applied
    NOT_OURS = 32  # reached an instance's device on another way than through our programs
    NO_ROUTE = 100  # destination is nobody here and there is no way out
    NO_PUBLIC_ADDRESS = 101  # needs a public address and has none


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a flow, as rules see it. For ICMP, `port` is type << 8 | code."""

    source: Address
    destination: Address
    protocol: int
    port: int = 0
    source_port: int = 0


@dataclass(frozen=True, slots=True)
class Hop:
    """What one gate said. Exactly one of `rule` (a rule's number, 0 = passed by state) and `reason` is set."""

    gate: Gate
    interface: NetworkInterfaceId | None
    rule: int | None = None
    reason: DropReason | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Passed when every hop did."""

    hops: tuple[Hop, ...]

    @property
    def passed(self) -> bool:
        return all(hop.reason is None for hop in self.hops)

    @property
    def reason(self) -> DropReason | None:
        return next((hop.reason for hop in self.hops if hop.reason is not None), None)


@dataclass(frozen=True, slots=True)
class FlowEvent:
    """A new flow or a drop, as the kernel told it. `rules`: (egress, ingress) rule numbers, 0 where none spoke."""

    at: datetime
    vpc: int
    packet: Packet
    passed: bool
    gate: Gate
    reason: DropReason
    rules: tuple[int, int]


@dataclass(frozen=True, slots=True)
class RuleCount:
    """What a rule (by number) let through so far: packets of every flow that it opened."""

    rule: int
    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class RuleTraffic:
    """The same over all hosts. `first_at`, `last_at`: when it was seen to grow, since the control process started."""

    packets: int
    bytes: int
    first_at: datetime | None = None
    last_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class LoggedFlow:
    """An event with its place in a log; `number` goes up by one."""

    number: int
    host: HostId
    event: FlowEvent

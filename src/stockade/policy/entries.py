"""The vocabulary every datapath speaks: what the compiler gives and a kernel can hold.

A packet that opens a flow meets two gates. At each, the interface's rule set is asked twice: once with
the identity of the peer's address (if it has one), once with the class of the longest prefix that covers
it (if one does). Either answer opens the gate; identities are asked first, so that every engine names the
same rule. Inside a set the intervals are sorted and disjoint, and each carries the lowest-numbered rule
that covers it, so a verdict has one rule and it is always the same one.

Identity  63-bit hash of the sorted ids of *all* groups of an interface: equal on every host, never 0.
Class     (1 << 63) | n: the n-th distinct union of covering prefixes within one gate of one rule set.
RuleSet   the union of the rules of a set of groups, named by a hash of its content.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import NewType, TypeAlias

from stockade.model.addresses import Address, Cidr, MacAddress
from stockade.model.ids import NetworkInterfaceId
from stockade.model.tracking import DEFAULT_TRACKING, ConnectionTracking

Identity = NewType("Identity", int)
RuleSetId = NewType("RuleSetId", int)
NO_IDENTITY = Identity(0)
CLASS_BIT = 1 << 63
ANY_PROTOCOL = 256
"""Key of the intervals that hold for protocols without an entry of their own.

Rules for all protocols are folded into the entries of tcp, udp, icmp, icmpv6 and of every protocol the
same peer names by number, so one lookup decides: (peer, protocol), else (peer, ANY_PROTOCOL)."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Ports low..high, both included (ICMP: type << 8 | code), and the rule that opens them."""

    low: int
    high: int
    rule: int


PeerKey: TypeAlias = int  # an Identity or a class
SetKey: TypeAlias = tuple[PeerKey, int]  # peer, protocol (0..255 or ANY_PROTOCOL)


@dataclass(frozen=True, slots=True)
class GateRules:
    """One direction of a rule set."""

    intervals: Mapping[SetKey, tuple[Interval, ...]] = field(default_factory=dict)
    prefixes: Mapping[Cidr, PeerKey] = field(default_factory=dict)
    """Longest match gives the class; it carries the union of every prefix of the gate that covers it."""
    all_ports: frozenset[tuple[int, int]] = frozenset()
    """(IP version, TCP or UDP): one rule opens every port of this protocol to everybody (0.0.0.0/0, ::/0)."""


@dataclass(frozen=True, slots=True)
class RuleSet:
    id: RuleSetId
    ingress: GateRules
    egress: GateRules


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A network interface as policed on this host. `classic`: public destinations keep a private source (N5)."""

    id: NetworkInterfaceId
    vpc: int
    mac: MacAddress
    addresses: tuple[Address, ...]
    public: IPv4Address | None
    identity: Identity
    rule_set: RuleSetId
    source_dest_check: bool
    classic: bool
    filtered: bool = False
    """Somebody else forwards for its device and we only judge there (architecture D11)."""
    tracking: ConnectionTracking = DEFAULT_TRACKING
    cuts: int = 0
    """When it changes, every flow the endpoint has is judged anew, tracked or not."""
    resolver: IPv4Address | None = None
    public6: bool = False


MemberKey: TypeAlias = tuple[int, Address]  # VPC number, private address


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """All that one host enforces. Whole: what is not in it is not allowed."""

    endpoints: Mapping[NetworkInterfaceId, Endpoint] = field(default_factory=dict)
    members: Mapping[MemberKey, Identity] = field(default_factory=dict)
    rule_sets: Mapping[RuleSetId, RuleSet] = field(default_factory=dict)

"""A rule of a security group, and the peer it speaks of."""

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from stockade.model import ports
from stockade.model.addresses import Cidr
from stockade.model.ids import AccountId, PrefixListId, RuleId, SecurityGroupId


class Direction(Enum):
    """Which way the first packet of a flow goes, seen from the group's members."""

    INGRESS = "ingress"
    EGRESS = "egress"


@dataclass(frozen=True, slots=True)
class CidrPeer:
    """Whoever has an address in this block."""

    cidr: Cidr


@dataclass(frozen=True, slots=True)
class GroupPeer:
    """The members of this group, by their private addresses. `account` owns the group."""

    group: SecurityGroupId
    account: AccountId


@dataclass(frozen=True, slots=True)
class PrefixListPeer:
    """Whoever has an address in a block of this list's newest version."""

    prefix_list: PrefixListId


Peer: TypeAlias = CidrPeer | GroupPeer | PrefixListPeer

RuleIdentity: TypeAlias = tuple[Direction, int, int | None, int | None, Peer]


@dataclass(frozen=True, slots=True)
class Rule:
    """One allowance. Ports are stored as `ports.check_ports` gives them.

    `number` is small, unique in the cell and never used again: the name the kernel knows the rule by.
    """

    id: RuleId
    number: int
    direction: Direction
    protocol: int
    from_port: int | None
    to_port: int | None
    peer: Peer
    description: str | None = None

    @property
    def identity(self) -> RuleIdentity:
        """What makes two rules of a group the same rule; description and id do not."""
        return (self.direction, self.protocol, self.from_port, self.to_port, self.peer)

    @property
    def interval(self) -> tuple[int, int]:
        """The 16-bit port (or type and code) numbers the rule covers, both ends included."""
        return ports.interval(self.protocol, self.from_port, self.to_port)

    def covers_protocol(self, protocol: int) -> bool:
        """Whether the rule speaks of this protocol number."""
        return self.protocol in (ports.ANY, protocol)

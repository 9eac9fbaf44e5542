"""Networks: VPCs, their subnets, and the one shared classic network of a region."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from stockade.model.ids import AccountId, SubnetId, VpcId


@dataclass(frozen=True, slots=True)
class Vpc:
    """A network. `number` (1..2^24-1) is its name in every packet-path key, and its VXLAN id.

    The classic network of a region has `account` None and is shared by all classic accounts.
    """

    id: VpcId
    number: int
    account: AccountId | None
    region: str
    cidr: IPv4Network
    is_default: bool = False
    ipv6: IPv6Network | None = None
    """A /56 of the cell's pool. There is no translation for IPv6: who has an address of it can be met by outsiders."""

    @property
    def is_classic(self) -> bool:
        return self.account is None


@dataclass(frozen=True, slots=True)
class Subnet:
    """A zone's part of a VPC. The first four addresses and the last are never given out, as in AWS."""

    id: SubnetId
    vpc: VpcId
    account: AccountId | None
    zone: str
    cidr: IPv4Network
    is_default: bool = False
    ipv6: IPv6Network | None = None
    """A /64 of the VPC's block. A launch into the subnet gets an address of it behind its IPv4 one."""

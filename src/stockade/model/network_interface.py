"""Network interfaces: addresses, groups, where they live."""

from dataclasses import dataclass
from ipaddress import IPv4Address

from stockade.model.addresses import Address, MacAddress
from stockade.model.ids import AccountId, HostId, InstanceId, NetworkInterfaceId, SecurityGroupId, SubnetId, VpcId
from stockade.model.tracking import DEFAULT_TRACKING, ConnectionTracking


@dataclass(frozen=True, slots=True)
class NetworkInterface:
    """What groups attach to. `number` is small, unique in the cell and never used again.

    `addresses` are private; the first is the primary one, which the public address (if any) maps to.
    """

    id: NetworkInterfaceId
    number: int
    account: AccountId
    vpc: VpcId
    subnet: SubnetId | None
    host: HostId
    mac: MacAddress
    addresses: tuple[Address, ...]
    groups: tuple[SecurityGroupId, ...]
    public: IPv4Address | None = None
    source_dest_check: bool = True
    instance: InstanceId | None = None
    device: str | None = None
    """An existing device of the host that was put under groups (`stockade attach`); None: we make the device."""
    tracking: ConnectionTracking = DEFAULT_TRACKING
    cuts: int = 0
    """Goes up by one each time its flows shall be judged anew, the tracked ones too."""

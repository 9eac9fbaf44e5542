"""What every instance driver promises. Order of a launch: create, police the device, start (architecture I3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Protocol

from stockade.model.addresses import MacAddress
from stockade.model.ids import InstanceId, NetworkInterfaceId
from stockade.model.instance import InstanceStatus


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """What a driver needs to make an instance. Keys and user-data are the metadata service's business.

    `network` is on-link for the instance; it has a default route to anything else by its device, where the
    datapath answers every ARP request. `addresses6` are its IPv6 addresses, each alone on its link, with a default
    route by fe80::1; without any, the instance has no IPv6 at all. `number` is the interface's, unique among all of
    the host's.
    """

    id: InstanceId
    interface: NetworkInterfaceId
    number: int
    recipe: str
    mac: MacAddress
    address: IPv4Address
    network: IPv4Network
    hostname: str
    addresses6: tuple[IPv6Address, ...] = ()
    mtu: int = 1500
    memory_mb: int = 512
    pids: int = 512
    disk_mb: int = 2048
    """What it may write beside its image; 0: no limit but the host's disk."""


class LaunchFailed(Exception):
    """The instance could not be made; the text says why in a sentence for its owner. Nothing is left behind."""


class InstanceDriver(Protocol):
    """Runs instances of one kind on one host. Instances outlive the process and are found again by `observe`.

    Methods block; the agent calls them from threads, several at a time for different instances.
    """

    def create(self, spec: InstanceSpec) -> str:
        """Make everything but the first process; the host-side device, down, to be policed. Raises LaunchFailed."""

    def start(self, instance: InstanceId) -> None:
        """Bring the device up and start the first process. Only after Datapath.attach. Raises LaunchFailed."""

    def stop(self, instance: InstanceId) -> None:
        """Ask it to end, then end it. No effect when it does not run."""

    def destroy(self, instance: InstanceId) -> None:
        """Remove all that create made. No effect when there is nothing."""

    def observe(self) -> Mapping[InstanceId, InstanceStatus]:
        """Every instance this driver made and did not destroy, as it is now."""

    def device(self, instance: InstanceId) -> str | None:
        """The host-side device of an instance that exists, None when the device is gone."""

    def console(self, instance: InstanceId) -> bytes:
        """The last 64 KiB that the instance printed."""

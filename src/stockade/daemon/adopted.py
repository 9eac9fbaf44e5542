"""What `stockade attach` must know of an existing device before it asks the API to put it under groups."""

from dataclasses import dataclass

from stockade.agent.device_loop import HostDevices, refusal
from stockade.daemon.problems import Problem
from stockade.daemon.settings import Settings
from stockade.daemon.wiring.names import is_own_device
from stockade.linux.netlink import Netlink
from stockade.linux.peers import peer_mac


@dataclass(frozen=True, slots=True)
class Adoptable:
    """A device of this host. `mac`: the guest's, where the kernel tells it; else its owner must."""

    device: str
    kind: str
    mac: str | None


def look_at(settings: Settings, device: str) -> Adoptable:
    """Raises Problem when this host has no such device, or it may not be adopted."""
    host = HostDevices.now()
    refused = refusal(device, host, lambda name: is_own_device(settings.site, name))
    if refused is not None:
        raise Problem(f"{device} cannot be put under groups", why=refused)
    link = host.links.get(device)
    if link is None:
        raise Problem(f"this host has no device {device}", attempt="ip -brief link")
    with Netlink() as route:
        return Adoptable(device, link.kind, peer_mac(route, device))

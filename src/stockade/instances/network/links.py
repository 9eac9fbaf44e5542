"""An instance's veth pair: named, made with its outer end down, addressed inside."""

import contextlib
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

from stockade.instances.contract import InstanceSpec, LaunchFailed
from stockade.linux import links
from stockade.linux.namespaces import in_netns
from stockade.linux.netlink import Netlink

_LONGEST = 15
_LOOPBACK = 1
_EVERYWHERE = IPv4Network("0.0.0.0/0")


def device_name(site: str, number: int) -> str:
    """The outer end's name: the site, i, the interface's number in hex. LaunchFailed when Linux cannot hold it."""
    name = f"{site[:6]}-i{number:x}"
    if len(name) > _LONGEST:
        raise LaunchFailed(f"interface number {number} does not fit into a device name of {_LONGEST} characters")
    return name


def make_device(route: Netlink, device: str, inside: int, spec: InstanceSpec) -> None:
    """The pair: `device`, down, in the namespace of `route`; eth0 with all it needs in the one behind `inside`.

    Nothing passes until the outer end is up. There is no gateway: the datapath answers ARP for whatever is asked.
    """
    in_netns(inside, _no_ipv6)
    links.create_veth(route, device, "eth0", peer_mac=spec.mac, peer_netns=inside, mtu=spec.mtu)
    with Netlink(inside) as within:
        eth0 = links.index_of(within, "eth0")
        links.set_up(within, _LOOPBACK)
        links.set_up(within, eth0)
        links.add_address(within, eth0, IPv4Interface((spec.address, spec.network.prefixlen)))
        links.add_route(within, _EVERYWHERE, eth0)


def _no_ipv6() -> None:
    # IPv6 is not carried yet; without this each start would send solicitations that only count as drops.
    for scope in ("all", "default"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text("1", encoding="ascii")

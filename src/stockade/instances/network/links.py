"""An instance's veth pair: named, made with its outer end down, addressed inside."""

import contextlib
from ipaddress import IPv4Interface, IPv6Address, IPv6Interface
from pathlib import Path

from stockade.instances.contract import InstanceSpec, LaunchFailed
from stockade.linux import links
from stockade.linux.namespaces import in_netns
from stockade.linux.netlink import Netlink
from stockade.model.addresses import EVERYWHERE_V4, EVERYWHERE_V6

ROUTER6 = IPv6Address("fe80::1")
"""The next hop of all IPv6: nobody has the address, and the datapath answers for it as it does for any other."""

_LONGEST = 15
_LOOPBACK = 1


def device_name(site: str, number: int) -> str:
    """The outer end's name: the site, i, the interface's number in hex. LaunchFailed when Linux cannot hold it."""
    name = f"{site[:6]}-i{number:x}"
    if len(name) > _LONGEST:
        raise LaunchFailed(f"interface number {number} does not fit into a device name of {_LONGEST} characters")
    return name


def make_device(route: Netlink, device: str, inside: int, spec: InstanceSpec) -> None:
    """The pair: `device`, down, in the namespace of `route`; eth0 with all it needs in the one behind `inside`.

    Nothing passes until the outer end is up. IPv4 has no gateway: the datapath answers ARP for whatever is asked.
    """
    in_netns(inside, lambda: _set_ipv6(enabled=bool(spec.addresses6)))
    links.create_veth(route, device, "eth0", peer_mac=spec.mac, peer_netns=inside, mtu=spec.mtu)
    with Netlink(inside) as within:
        eth0 = links.index_of(within, "eth0")
        links.set_up(within, _LOOPBACK)
        links.set_up(within, eth0)
        links.add_address(within, eth0, IPv4Interface((spec.address, spec.network.prefixlen)))
        links.add_route(within, EVERYWHERE_V4, eth0)
        for address in spec.addresses6:
            links.add_address(within, eth0, IPv6Interface(address))
        if spec.addresses6:
            links.add_route(within, EVERYWHERE_V6, eth0, gateway=ROUTER6)


def _set_ipv6(enabled: bool) -> None:
    """For devices to come: none at all, or what the launch configures and nothing that anybody announces.

    Off where it is not used, or each start would send solicitations that only count as drops.
    """
    wanted = {"disable_ipv6": 0 if enabled else 1}
    if enabled:
        wanted |= dict.fromkeys(("accept_ra", "autoconf", "accept_redirects", "accept_dad"), 0)
    for name, value in wanted.items():
        for scope in ("all", "default"):
            with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
                Path(f"/proc/sys/net/ipv6/conf/{scope}/{name}").write_text(str(value), encoding="ascii")

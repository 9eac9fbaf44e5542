"""The host's own links into the datapath: the gateway and the services.

    host's stack                                             services namespace
      │ route: pool via 169.254.0.1                            169.254.169.254, .253, .123 and fd00:ec2::
    <p>-gw ─────── <p>-gwp   from_gateway                        sv0 ─────── <p>-sv   from_services
                     │  ▲                                         ▲            │
                     ▼  │ replies                                 │ questions  ▼ answers
                   endpoints                                    endpoints    endpoints

Both use a next hop that nobody has, with a permanent neighbour entry: no ARP, no forwarding, no sysctl.
Everything here is idempotent: what is there is kept, what is missing is made, written down before.
"""

import contextlib
import os
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path

from stockade.datapath.ebpf.layout import SERVICE_NETWORK
from stockade.datapath.ebpf.settings import EbpfSettings
from stockade.linux import links, netlink
from stockade.linux.links import Link
from stockade.linux.namespaces import bind_netns, in_netns, new_netns, open_netns, unbind_netns
from stockade.linux.netlink import Netlink, attribute
from stockade.model.journal import HostObject, Journal

NEXT_HOP = IPv4Address("169.254.0.1")
NEXT_HOP6 = IPv6Address("fe80::1")
SERVICE_ADDRESSES = tuple(IPv4Address(f"169.254.169.{last}") for last in (254, 253, 123))
SERVICE_ADDRESSES6 = tuple(IPv6Address(f"fd00:ec2::{last}") for last in (254, 253, 123))
SERVICE_NETWORK6 = IPv6Network("fd00:ec2:0:1::/64")
SERVICES_INSIDE = "sv0"

_AF_INET6 = 10
_AF_SPEC, _INET6_ADDR_GEN_MODE, _GEN_MODE_NONE = 26, 8, b"\x01"
_IFINFO = struct.Struct("=BxHiII")  # family, type, index, flags, change mask


@dataclass(frozen=True, slots=True)
class HostLinks:
    """What the programs must know of them."""

    gateway: int
    gateway_mac: str
    services: int
    services_mac: str


def make_host_links(route: Netlink, settings: EbpfSettings, journal: Journal) -> HostLinks:
    """Both links, up and routed. Attach the programs before the first packet matters: nothing leaks without."""
    gateway, gateway_peer = _gateway(route, settings, journal)
    services, inside = _services(route, settings, journal)
    return HostLinks(gateway_peer.index, gateway.mac, services.index, inside.mac)


def remove_host_links(route: Netlink, settings: EbpfSettings, journal: Journal) -> None:
    """Take both away, with the services namespace."""
    for device in (settings.gateway_device, settings.services_device):
        links.delete_link(route, device)
        journal.removed(HostObject("link", device))
    unbind_netns(str(settings.services_namespace))
    journal.removed(HostObject("netns", str(settings.services_namespace)))


def _gateway(route: Netlink, settings: EbpfSettings, journal: Journal) -> tuple[Link, Link]:
    name, peer_name = settings.gateway_device, settings.gateway_peer
    if links.find_link(route, name) is None:
        journal.making(HostObject("link", name))
        links.create_veth(route, name, peer_name)
    gateway, peer = _link(route, name), _link(route, peer_name)
    silence_ipv6(route, peer)
    silence_ipv6(route, gateway, off=settings.public_pool6 is None)
    for end in (gateway, peer):
        links.set_up(route, end.index)
    _ensure_source(route, gateway, settings)
    if settings.public_pool6 is not None:
        _lead_to_pool6(route, gateway, peer, settings.public_pool6)
    links.set_neighbour(route, gateway.index, NEXT_HOP, peer.mac)
    known = {(each.destination, each.device) for each in links.list_routes(route)}
    if (settings.public_pool, gateway.index) not in known:
        links.add_route(route, settings.public_pool, gateway.index, gateway=NEXT_HOP, onlink=True)
    return gateway, peer


def _ensure_source(route: Netlink, gateway: Link, settings: EbpfSettings) -> None:
    """The host's stack needs some address to send from; where it has one already, that one is what rules name."""
    present = links.list_addresses(route)
    if settings.gateway_address is not None:
        wanted = settings.gateway_address
    elif any(not address.ip.is_loopback and not address.ip.is_link_local for _, address in present):
        return
    else:
        wanted = settings.public_pool[-2]
    if (gateway.index, IPv4Interface(wanted)) not in present:
        links.add_address(route, gateway.index, IPv4Interface(wanted))


def _lead_to_pool6(route: Netlink, gateway: Link, peer: Link, pool: IPv6Network) -> None:
    """The same over IPv6: an address to send from where there is none, the next hop, the route."""
    present = links.list_addresses6(route)
    if all(address.ip.is_loopback or address.ip.is_link_local for _, address in present):
        links.add_address(route, gateway.index, IPv6Interface(pool[-2]))
    links.set_neighbour(route, gateway.index, NEXT_HOP6, peer.mac)
    if (pool, gateway.index) not in {(each.destination, each.device) for each in links.list_routes(route, _AF_INET6)}:
        links.add_route(route, pool, gateway.index, gateway=NEXT_HOP6)


def _services(route: Netlink, settings: EbpfSettings, journal: Journal) -> tuple[Link, Link]:
    place, name = settings.services_namespace, settings.services_device
    outside = links.find_link(route, name)
    namespace = _open_namespace(str(place))
    if namespace is None or outside is None:
        # One without the other is of no use: the other end is lost.
        if outside is not None:
            links.delete_link(route, name)
        if namespace is None:
            unbind_netns(str(place))
            journal.making(HostObject("netns", str(place)))
            namespace = new_netns()
            bind_netns(namespace, str(place))
        journal.making(HostObject("link", name))
        links.create_veth(route, name, SERVICES_INSIDE, peer_netns=namespace)
    try:
        outside = _link(route, name)
        has_ipv6 = in_netns(namespace, _allow_ipv6)
        with Netlink(namespace) as inner:
            inside = _service_addresses(inner, outside)
            if has_ipv6:
                _service_addresses6(inner, inside, outside)
    finally:
        os.close(namespace)
    silence_ipv6(route, outside)
    links.set_up(route, outside.index)
    return outside, inside


def _service_addresses(inner: Netlink, outside: Link) -> Link:
    inside = _link(inner, SERVICES_INSIDE)
    _no_own_address(inner, inside)
    links.set_up(inner, "lo")
    links.set_up(inner, inside.index)
    present = {address.ip for _, address in links.list_addresses(inner)}
    for address in SERVICE_ADDRESSES:
        if address not in present:
            links.add_address(inner, inside.index, IPv4Interface(address))
    links.set_neighbour(inner, inside.index, NEXT_HOP, outside.mac)
    if SERVICE_NETWORK not in {each.destination for each in links.list_routes(inner)}:
        links.add_route(inner, SERVICE_NETWORK, inside.index, gateway=NEXT_HOP, onlink=True)
    return inside


def _allow_ipv6() -> bool:
    """In the services namespace; it inherits what the host has. False for a kernel without IPv6."""
    setting = Path(f"/proc/sys/net/ipv6/conf/{SERVICES_INSIDE}/disable_ipv6")
    if not setting.exists():
        return False
    setting.write_text("0", encoding="ascii")
    return True


def _service_addresses6(inner: Netlink, inside: Link, outside: Link) -> None:
    present = {address.ip for _, address in links.list_addresses6(inner)}
    for address in SERVICE_ADDRESSES6:
        if address not in present:
            links.add_address(inner, inside.index, IPv6Interface(address))
    links.set_neighbour(inner, inside.index, NEXT_HOP6, outside.mac)
    if SERVICE_NETWORK6 not in {each.destination for each in links.list_routes(inner, _AF_INET6)}:
        links.add_route(inner, SERVICE_NETWORK6, inside.index, gateway=NEXT_HOP6)


def _open_namespace(place: str) -> int | None:
    """The namespace kept there; None when there is none, or only the file that once kept it."""
    try:
        namespace = open_netns(place)
    except OSError:
        return None
    # The file of a namespace lies on nsfs; after a reboot only an empty file is left.
    if os.fstat(namespace).st_dev == os.stat("/proc/self/ns/net").st_dev:
        return namespace
    os.close(namespace)
    return None


def silence_ipv6(route: Netlink, device: Link, *, off: bool = True) -> None:
    """For a device of the host: no IPv6 address of its own, no routes from others; with `off` no IPv6 at all.

    The host shall believe nothing that an instance says by it, least of all who its router is.
    """
    _no_own_address(route, device)
    settings = Path(f"/proc/sys/net/ipv6/conf/{device.name}")
    for name, value in (("accept_ra", "0"), ("disable_ipv6", "1" if off else "0")):
        with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
            (settings / name).write_text(value, encoding="ascii")


def _no_own_address(route: Netlink, device: Link) -> None:
    """None that the kernel makes up, so no neighbour discovery where nobody would answer."""
    mode = [attribute(_AF_INET6, [attribute(_INET6_ADDR_GEN_MODE, _GEN_MODE_NONE)])]
    with contextlib.suppress(OSError):  # a kernel without IPv6 has nothing to silence
        route.request(netlink.NEWLINK, 0, _IFINFO.pack(0, 0, device.index, 0, 0) + attribute(_AF_SPEC, mode))


def _link(route: Netlink, name: str) -> Link:
    found = links.find_link(route, name)
    if found is None:
        raise OSError(f"device {name} vanished while it was being set up")
    return found

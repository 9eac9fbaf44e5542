"""Links, addresses, routes and neighbours of one network namespace, by netlink."""

import errno
import socket
import struct
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TypeAlias

from stockade.linux import netlink
from stockade.linux.netlink import Netlink, attribute, attributes, text

UP = 0x1
SCOPE_UNIVERSE, SCOPE_LINK, SCOPE_HOST = 0, 253, 254
TABLE_MAIN, TABLE_LOCAL = 254, 255

_IFINFO = struct.Struct("=BxHiII")  # family, type, index, flags, change mask
_IFADDR = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst len, src len, tos, table, protocol, scope, type, flags
_NDMSG = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type

_ADDRESS, _IFNAME, _MTU, _LINK, _MASTER, _LINKINFO, _NET_NS_FD = 1, 3, 4, 5, 10, 18, 28
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL, _IFA_FLAGS = 1, 2, 3, 8
_NO_DAD, _NO_PREFIX_ROUTE = 0x02, 0x200
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_TABLE = 1, 4, 5, 6, 7, 15
_NDA_DST, _NDA_LLADDR = 1, 2
_NUD_PERMANENT = 0x80
_PROTOCOL_STATIC, _TYPE_UNICAST = 4, 1
_ONLINK = 4
_LOOPBACK_TYPE = 772

Address: TypeAlias = IPv4Address | IPv6Address
Interface: TypeAlias = IPv4Interface | IPv6Interface
Network: TypeAlias = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Link:
    """A device. `peer` is the index of a veth's other end (or of the device below), in that end's namespace."""

    index: int
    name: str
    mac: str
    mtu: int
    up: bool
    kind: str
    peer: int = 0
    master: int = 0


@dataclass(frozen=True, slots=True)
class Route:
    """A route. `destination` is whole (0.0.0.0/0 or ::/0 for a default route)."""

    destination: Network
    gateway: Address | None
    device: int
    table: int
    scope: int
    priority: int = 0

    @property
    def is_default(self) -> bool:
        return self.destination.prefixlen == 0


def _mac(value: str) -> bytes:
    return bytes.fromhex(value.replace(":", ""))


def create_veth(
    route: Netlink,
    name: str,
    peer: str,
    *,
    mac: str | None = None,
    peer_mac: str | None = None,
    peer_netns: int | None = None,
    mtu: int = 1500,
) -> None:
    """A veth pair, both ends down; the peer is born in the namespace of that descriptor when one is given."""
    other = [attribute(_IFNAME, peer), attribute(_MTU, mtu)]
    if peer_mac is not None:
        other.append(attribute(_ADDRESS, _mac(peer_mac)))
    if peer_netns is not None:
        other.append(attribute(_NET_NS_FD, peer_netns))
    data = attribute(_VETH_PEER, _IFINFO.pack(0, 0, 0, 0, 0) + b"".join(other))
    own = [attribute(_IFNAME, name), attribute(_MTU, mtu)]
    if mac is not None:
        own.append(attribute(_ADDRESS, _mac(mac)))
    own.append(attribute(_LINKINFO, [attribute(_INFO_KIND, "veth"), attribute(_INFO_DATA, [data])]))
    payload = _IFINFO.pack(0, 0, 0, 0, 0) + b"".join(own)
    route.request(netlink.NEWLINK, netlink.CREATE | netlink.EXCLUDE, payload)


def set_up(route: Netlink, device: str | int, up: bool = True) -> None:
    """Bring the device up, or down."""
    flags = UP if up else 0
    if isinstance(device, int):
        payload = _IFINFO.pack(0, 0, device, flags, UP)
    else:
        payload = _IFINFO.pack(0, 0, 0, flags, UP) + attribute(_IFNAME, device)
    route.request(netlink.NEWLINK, 0, payload)


def delete_link(route: Netlink, name: str) -> bool:
    """Remove the device (a veth goes with its peer). False when there is none of that name."""
    try:
        route.request(netlink.DELLINK, 0, _IFINFO.pack(0, 0, 0, 0, 0) + attribute(_IFNAME, name))
    except OSError as err:
        if err.errno == errno.ENODEV:
            return False
        raise
    return True


def find_link(route: Netlink, name: str) -> Link | None:
    """The device of that name, None when there is none."""
    try:
        found = route.request(netlink.GETLINK, 0, _IFINFO.pack(0, 0, 0, 0, 0) + attribute(_IFNAME, name))
    except OSError as err:
        if err.errno == errno.ENODEV:
            return None
        raise
    return _link(found[0][1])


def index_of(route: Netlink, name: str) -> int:
    """The index of the device of that name; OSError (ENODEV) when there is none."""
    link = find_link(route, name)
    if link is None:
        raise OSError(errno.ENODEV, f"no device {name}")
    return link.index


def list_links(route: Netlink) -> list[Link]:
    """Every device of the namespace."""
    return [_link(body) for _, body in route.request(netlink.GETLINK, netlink.DUMP, _IFINFO.pack(0, 0, 0, 0, 0))]


def _link(body: bytes) -> Link:
    _, kind_number, index, flags, _ = _IFINFO.unpack_from(body)
    found = dict(attributes(body[_IFINFO.size :]))
    info = dict(attributes(found.get(_LINKINFO, b"")))
    kind = text(info.get(_INFO_KIND, b"")) or ("loopback" if kind_number == _LOOPBACK_TYPE else "")
    return Link(
        index=index,
        name=text(found[_IFNAME]),
        mac=found.get(_ADDRESS, b"").hex(":"),
        mtu=_number(found.get(_MTU)),
        up=bool(flags & UP),
        kind=kind,
        peer=_number(found.get(_LINK)),
        master=_number(found.get(_MASTER)),
    )


def _number(value: bytes | None) -> int:
    return 0 if value is None else int(struct.unpack("=I", value[:4])[0])


def add_address(route: Netlink, device: int, address: Interface, *, prefix_route: bool = True) -> None:
    """Give the device an address. With `prefix_route` False no route to its network comes with it.

    An IPv6 address is good at once: nobody is asked whether he has it already.
    """
    scope = SCOPE_HOST if address.ip.is_loopback else SCOPE_UNIVERSE
    flags = (_NO_DAD if address.version == 6 else 0) | (0 if prefix_route else _NO_PREFIX_ROUTE)
    payload = _IFADDR.pack(_family(address), address.network.prefixlen, 0, scope, device)
    payload += attribute(_IFA_LOCAL, address.ip.packed) + attribute(_IFA_ADDRESS, address.ip.packed)
    payload += attribute(_IFA_FLAGS, flags)
    route.request(netlink.NEWADDR, netlink.CREATE | netlink.EXCLUDE, payload)


def delete_address(route: Netlink, device: int, address: Interface) -> bool:
    """Take the address from the device. False when it does not have it."""
    payload = _IFADDR.pack(_family(address), address.network.prefixlen, 0, 0, device)
    payload += attribute(_IFA_LOCAL, address.ip.packed)
    try:
        route.request(netlink.DELADDR, 0, payload)
    except OSError as err:
        if err.errno in (errno.EADDRNOTAVAIL, errno.ENODEV):
            return False
        raise
    return True


def list_addresses(route: Netlink) -> list[tuple[int, IPv4Interface]]:
    """Every IPv4 address of the namespace with its device's index."""
    return [(device, IPv4Interface(found)) for device, found in _addresses(route, socket.AF_INET)]


def list_addresses6(route: Netlink) -> list[tuple[int, IPv6Interface]]:
    """Every IPv6 address of the namespace with its device's index; none where the kernel has no IPv6."""
    return [(device, IPv6Interface(found)) for device, found in _addresses(route, socket.AF_INET6)]


def _addresses(route: Netlink, family: int) -> list[tuple[int, tuple[bytes, int]]]:
    found = []
    for _, body in route.request(netlink.GETADDR, netlink.DUMP, _IFADDR.pack(family, 0, 0, 0, 0)):
        kin, length, _, _, device = _IFADDR.unpack_from(body)
        fields = dict(attributes(body[_IFADDR.size :]))
        local = fields.get(_IFA_LOCAL) or fields.get(_IFA_ADDRESS)
        if local is not None and kin == family:
            found.append((device, (local, length)))
    return found


def _family(thing: Address | Interface | Network) -> int:
    return socket.AF_INET if thing.version == 4 else socket.AF_INET6


def add_route(
    route: Netlink,
    destination: Network,
    device: int,
    *,
    gateway: Address | None = None,
    source: Address | None = None,
    onlink: bool = False,
) -> None:
    """A route in the main table, by the device, by a gateway when one is given. OSError (EEXIST) when it is there."""
    route.request(
        netlink.NEWROUTE,
        netlink.CREATE | netlink.EXCLUDE,
        _route_message(destination, device, gateway, source, _ONLINK if onlink else 0),
    )


def delete_route(route: Netlink, destination: Network, device: int, *, gateway: Address | None = None) -> bool:
    """Remove that route of the main table. False when it is not there."""
    try:
        route.request(netlink.DELROUTE, 0, _route_message(destination, device, gateway, None, 0))
    except OSError as err:
        if err.errno in (errno.ESRCH, errno.ENODEV):
            return False
        raise
    return True


def _route_message(
    destination: Network, device: int, gateway: Address | None, source: Address | None, flags: int
) -> bytes:
    scope = SCOPE_LINK if gateway is None else SCOPE_UNIVERSE
    header = (
        _family(destination),
        destination.prefixlen,
        0,
        0,
        TABLE_MAIN,
        _PROTOCOL_STATIC,
        scope,
        _TYPE_UNICAST,
        flags,
    )
    payload = _RTMSG.pack(*header) + attribute(_RTA_OIF, device)
    if destination.prefixlen:
        payload += attribute(_RTA_DST, destination.network_address.packed)
    if gateway is not None:
        payload += attribute(_RTA_GATEWAY, gateway.packed)
    if source is not None:
        payload += attribute(_RTA_PREFSRC, source.packed)
    return payload


def list_routes(route: Netlink, family: int = socket.AF_INET) -> list[Route]:
    """Every unicast route of every table of the namespace; those of the local table are left out."""
    found = []
    for _, body in route.request(netlink.GETROUTE, netlink.DUMP, _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
        kin, length, _, _, table, _, scope, kind, _ = _RTMSG.unpack_from(body)
        fields = dict(attributes(body[_RTMSG.size :]))
        table = _number(fields.get(_RTA_TABLE)) or table
        if kind != _TYPE_UNICAST or table == TABLE_LOCAL or kin != family:
            continue
        packed = fields.get(_RTA_DST) or bytes(4 if family == socket.AF_INET else 16)
        gateway = fields.get(_RTA_GATEWAY)
        found.append(
            Route(
                destination=ip_network((packed, length)),
                gateway=None if gateway is None else ip_address(gateway),
                device=_number(fields.get(_RTA_OIF)),
                table=table,
                scope=scope,
                priority=_number(fields.get(_RTA_PRIORITY)),
            )
        )
    return found


def set_neighbour(route: Netlink, device: int, address: Address, mac: str) -> None:
    """The device knows for good where this address lives; no ARP is sent for it."""
    payload = _NDMSG.pack(_family(address), device, _NUD_PERMANENT, 0, 0)
    payload += attribute(_NDA_DST, address.packed) + attribute(_NDA_LLADDR, _mac(mac))
    route.request(netlink.NEWNEIGH, netlink.CREATE | netlink.REPLACE, payload)


def move_to_netns(route: Netlink, name: str, netns: int) -> None:
    """Move the device into the namespace of that descriptor."""
    payload = _IFINFO.pack(0, 0, 0, 0, 0) + attribute(_IFNAME, name) + attribute(_NET_NS_FD, netns)
    route.request(netlink.NEWLINK, 0, payload)

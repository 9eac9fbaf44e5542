"""The other end of a veth, in whatever network namespace it is now.

A device tells the number that its own namespace has for that of its peer, and the kernel tells the number of any
namespace one holds open. So the namespaces that processes are in, or that are mounted somewhere, are asked in turn.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from stockade.linux import netlink
from stockade.linux.links import list_links
from stockade.linux.namespaces import open_netns
from stockade.linux.netlink import Netlink, attribute, attributes

_GETNSID = 90
_NSID, _NS_FD = 1, 3
_IFINFO = struct.Struct("=BxHiII")  # family, type, index, flags, change mask
_IFNAME, _LINK, _LINK_NETNSID = 3, 5, 37


@dataclass(frozen=True, slots=True)
class FarEnd:
    """A device of the namespace behind the descriptor `netns`."""

    netns: int
    index: int
    name: str
    mac: str
    up: bool


class NoFarEnd(Exception):
    """The device has no other end, or nobody says where it is."""


@contextmanager
def far_end(route: Netlink, device: str) -> Iterator[FarEnd]:
    """The peer of this device of `route`'s namespace. Raises NoFarEnd, OSError."""
    found = route.request(netlink.GETLINK, 0, _IFINFO.pack(0, 0, 0, 0, 0) + attribute(_IFNAME, device))
    fields = dict(attributes(found[0][1][_IFINFO.size :]))
    if _LINK not in fields or _LINK_NETNSID not in fields:
        raise NoFarEnd(f"{device} has no other end in another network namespace")
    index, number = (struct.unpack("=i", fields[kind][:4])[0] for kind in (_LINK, _LINK_NETNSID))
    netns = _namespace_of_number(route, number)
    if netns is None:
        raise NoFarEnd(f"nobody lives in the network namespace of {device}'s other end")
    try:
        with Netlink(netns) as inside:
            link = next((one for one in list_links(inside) if one.index == index), None)
        if link is None:
            raise NoFarEnd(f"{device}'s other end is gone")
        yield FarEnd(netns, link.index, link.name, link.mac, link.up)
    finally:
        os.close(netns)


def _namespace_of_number(route: Netlink, number: int) -> int | None:
    seen: set[int] = set()
    for path in _namespaces():
        try:
            netns = open_netns(path)
        except OSError:
            continue  # its process ended meanwhile
        inode = os.fstat(netns).st_ino
        if inode not in seen and _number_of(route, netns) == number:
            return netns
        seen.add(inode)
        os.close(netns)
    return None


def _number_of(route: Netlink, netns: int) -> int:
    """-1 when the namespace of `route` has no number for it."""
    answer = route.request(_GETNSID, 0, bytes(4) + attribute(_NS_FD, netns))
    fields = dict(attributes(answer[0][1][4:]))
    return int(struct.unpack("=i", fields[_NSID])[0])


def _namespaces() -> Iterator[str]:
    """Paths of network namespaces, many of them the same one."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield f"/proc/{name}/ns/net"
    with open("/proc/thread-self/mountinfo", encoding="utf-8") as mounts:
        for line in mounts:
            before, _, after = line.partition(" - ")
            if after.startswith("nsfs "):
                yield before.split(" ")[4]

"""The other end of a veth pair, in whichever network namespace it lives.

The kernel names a namespace by a number of its own in each other namespace that knows it, and answers questions
about devices there to whoever is root over it (IFLA_LINK_NETNSID, IFLA_TARGET_NETNSID).
"""

import errno
import struct

from stockade.linux import links, netlink
from stockade.linux.links import Link
from stockade.linux.netlink import Netlink, attribute, attributes

_IFINFO = struct.Struct("=BxHiII")  # family, type, index, flags, change mask
_ADDRESS, _LINK, _LINK_NETNSID, _TARGET_NETNSID = 1, 5, 37, 46
_UNKNOWN = (errno.ENODEV, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP)


def peer_mac(route: Netlink, device: str) -> str | None:
    """The MAC address at the other end: the guest's, when `device` is the host's end of a container's veth.

    None when the device is no veth, is not there, or the kernel does not tell.
    """
    link = links.find_link(route, device)
    if link is None or link.kind != "veth":
        return None
    return _mac_of_peer(route, link)


def _mac_of_peer(route: Netlink, link: Link) -> str | None:
    own = _ask(route, _IFINFO.pack(0, 0, link.index, 0, 0))
    if own is None or _LINK not in own:
        return None
    (peer,) = struct.unpack("=I", own[_LINK])
    question = _IFINFO.pack(0, 0, peer, 0, 0)
    if _LINK_NETNSID in own:
        (space,) = struct.unpack("=i", own[_LINK_NETNSID])
        if space < 0:
            return None  # our namespace has no number for it
        question += attribute(_TARGET_NETNSID, space)
    other = _ask(route, question)
    return other[_ADDRESS].hex(":") if other is not None and _ADDRESS in other else None


def _ask(route: Netlink, payload: bytes) -> dict[int, bytes] | None:
    try:
        answers = route.request(netlink.GETLINK, 0, payload)
    except OSError as err:
        if err.errno in _UNKNOWN:
            return None
        raise
    return dict(attributes(answers[0][1][_IFINFO.size :]))

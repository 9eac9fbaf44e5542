"""What must hold before anything is made on this host: rights, tools, free addresses, a free port."""

import os
import re
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from stockade.daemon import privileges
from stockade.daemon.problems import Problem
from stockade.daemon.settings import Settings
from stockade.daemon.wiring.cgroups import inhabited_cgroups, sees_cgroups
from stockade.daemon.wiring.names import prefix
from stockade.linux import links
from stockade.linux.netlink import Netlink
from stockade.model.journal import HostObject

TOOLS = {
    "unshare": "util-linux",
    "mksquashfs": "squashfs-tools",
    "mmdebstrap": "mmdebstrap",
}
"""Programs the agent and its drivers call, and the Debian package of each."""


_OTHER_BLOCK = {
    "network.public_pool": "STOCKADE_NETWORK_PUBLIC_POOL=198.19.0.0/16",
    "network.ipv6_pool": "STOCKADE_NETWORK_IPV6_POOL=fd5c:ec3::/40",
}
_NSENTER = "nsenter --net=/run/netns/NAME stockade up        (it changes the network and nothing else)"


@dataclass(frozen=True, slots=True)
class Taken:
    """A route or an address of this host inside a block that a setting would use."""

    what: str
    setting: str
    block: IPv4Network | IPv6Network


def check_rights() -> None:
    """Raises Problem when this process may not enforce."""
    if not privileges.may_enforce():
        raise Problem(
            "this process may not load kernel programs",
            why=f"needs CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN; running as uid {os.geteuid()}",
            attempt="sudo stockade up         (or: stockade up --enforce=none, groups are then only stored)",
            see="stockade doctor",
        )


def runtime() -> str | None:
    """The OCI runtime to use, None when there is none."""
    return next((name for name in ("runc", "crun") if shutil.which(name)), None)


def check_tools() -> None:
    """Raises Problem when instances could not be started."""
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if runtime() is None:
        missing.append("runc")
    if missing:
        raise Problem(
            f"this host lacks {', '.join(missing)}",
            why="instances are started and their images built with them",
            attempt=f"apt-get install {' '.join(missing)}",
            see="stockade doctor",
        )


def check_cgroups() -> None:
    """Raises Problem when instances could not be limited, nor even started, because cgroups are out of sight."""
    if not sees_cgroups():
        raise Problem(
            "this process sees no cgroups, and instances live in them",
            why="`ip netns exec` mounts /sys anew, without them",
            attempt=_NSENTER,
        )


def overlaps(settings: Settings, own_devices: Sequence[str]) -> list[Taken]:
    """Routes and addresses of this host that our pools would hide. The default route is not one of them."""
    pool, pool6 = settings.public_pool, settings.ipv6_pool
    with Netlink() as route:
        names = {link.index: link.name for link in links.list_links(route)}
        found = [
            Taken(f"route {entry.destination} dev {names.get(entry.device, '?')}", "network.public_pool", pool)
            for entry in links.list_routes(route)
            if not entry.is_default
            and isinstance(entry.destination, IPv4Network)
            and entry.destination.overlaps(pool)
            and names.get(entry.device) not in own_devices
        ]
        found += [
            Taken(f"address {address} dev {names.get(device, '?')}", "network.public_pool", pool)
            for device, address in links.list_addresses(route)
            if address.ip in pool and names.get(device) not in own_devices
        ]
        found += [
            Taken(f"route {entry.destination} dev {names.get(entry.device, '?')}", "network.ipv6_pool", pool6)
            for entry in links.list_routes(route, socket.AF_INET6)
            if not entry.is_default
            and isinstance(entry.destination, IPv6Network)
            and entry.destination.overlaps(pool6)
            and names.get(entry.device) not in own_devices
        ]
    return found


def check_addresses(settings: Settings, own_devices: Sequence[str]) -> None:
    """Raises Problem naming the route and the setting."""
    taken = overlaps(settings, own_devices)
    if taken:
        raise Problem(
            f"{taken[0].setting} {taken[0].block} overlaps what this host already routes",
            why="\n".join(one.what for one in taken[:5]),
            attempt=f"{_OTHER_BLOCK[taken[0].setting]} stockade up        (any free block of private use)",
            see="stockade config",
        )


def check_devices(settings: Settings) -> None:
    """Raises Problem when a device of `network.devices` is not there."""
    with Netlink() as route:
        missing = [name for name in settings["network.devices"] if links.find_link(route, name) is None]
    if missing:
        raise Problem(
            f"network.devices names {missing[0]}, and this host has no such device",
            attempt="ip -brief link",
            see="stockade config",
        )


def check_names(settings: Settings, made: Sequence[HostObject]) -> None:
    """Raises Problem when what this site's names stand for is there already and not in its journal (`made`).

    It would be taken for ours, used, and removed by `down`: another site's devices (only the first six letters of a
    site's name fit into a device's), another program's cgroup.
    """
    ours = {(thing.kind, thing.name) for thing in made}
    own_device = re.compile(re.escape(prefix(settings.site)) + "-(gw|sv|i[0-9a-f]+)")
    with Netlink() as route:
        present = [link.name for link in links.list_links(route)]
    taken = [f"device {name}" for name in present if own_device.fullmatch(name) and ("link", name) not in ours]
    if settings.pins.is_dir() and any(settings.pins.iterdir()) and ("pin", str(settings.pins)) not in ours:
        taken.append(str(settings.pins))
    taken += [f"cgroup {place}" for place in inhabited_cgroups(settings.site) if ("cgroup", str(place)) not in ours]
    if taken:
        raise Problem(
            f"site name {settings.site!r} is taken on this host: {taken[0]} is there, and not in this site's journal",
            attempt="STOCKADE_SITE=other stockade up        (the first six letters name the devices)",
        )


def listener(settings: Settings) -> socket.socket:
    """The endpoint's socket, bound; connections wait in it until the control process answers. Raises Problem."""
    host, port = settings.listen
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(512)
    except OSError as err:
        listening.close()
        raise Problem(
            f"cannot listen on {host}:{port}",
            why=err.strerror or str(err),
            attempt=f"STOCKADE_API_LISTEN={host}:{port + 1} stockade up",
            see=f"ss -ltnp 'sport = :{port}'",
        ) from err
    return listening

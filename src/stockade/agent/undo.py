"""Undoing what the journal says is on this host, without the database and without those who made it.

Processes and cgroups first, so that nothing comes back; then everything else, the newest first. Each step may find its
object gone already. What could not be undone stays in the journal, so undoing again is always right.

A name alone is not enough to remove what others might own: a process must have the start time that was
written down, a filter must be one of our programs, a file must lie where Stockade keeps its own.
"""

import contextlib
import errno
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

from stockade.linux import links, mounts, namespaces, traffic_control
from stockade.linux.netlink import Netlink
from stockade.linux.processes import ProcessId
from stockade.model.journal import HostObject, Journal

_OURS = ("/run/", "/var/", "/sys/fs/bpf/", "/tmp/", "/dev/shm/", "/sys/fs/cgroup/")
_FIRST = {"process": 2, "cgroup": 1}  # undone before the rest: nothing may come back, or hold what is to go


@dataclass(frozen=True, slots=True)
class Failure:
    """An object that is still there, and why."""

    thing: HostObject
    why: str


def undo(journal: Journal, objects: Iterable[HostObject], tell: Callable[[HostObject], None]) -> list[Failure]:
    """Remove these objects (oldest first, as the journal has them) from this host; `tell` hears each one removed."""
    things = sorted(objects, key=lambda thing: _FIRST.get(thing.kind, 0))  # stable, and walked from its end
    failures = _pass(journal, reversed(things), tell)
    if failures:
        # A cgroup or a mount is often busy only until the kernel has reaped what was just killed.
        time.sleep(0.2)
        failures = _pass(journal, [failure.thing for failure in failures], tell)
    return failures


def _pass(journal: Journal, things: Iterable[HostObject], tell: Callable[[HostObject], None]) -> list[Failure]:
    failures = []
    for thing in things:
        if thing.kind not in _UNDO:
            failures.append(Failure(thing, f"nobody knows how to remove a {thing.kind}"))
            continue
        try:
            _UNDO[thing.kind](thing)
        except (OSError, ValueError) as err:
            failures.append(Failure(thing, getattr(err, "strerror", None) or str(err)))
        else:
            journal.removed(thing)
            tell(thing)
    return failures


def _process(thing: HostObject) -> None:
    process = ProcessId(int(thing.name), thing.detail)
    if process.pid != os.getpid() and process.alive and not process.end(grace_s=0):
        raise OSError(errno.EBUSY, "does not end, even when killed")


def _link(thing: HostObject) -> None:
    with Netlink() as route:
        links.delete_link(route, thing.name)


def _route(thing: HostObject) -> None:
    """name: destination; detail: the device."""
    with Netlink() as route:
        device = links.find_link(route, thing.detail)
        if device is not None:
            links.delete_route(route, IPv4Network(thing.name), device.index)


def _address(thing: HostObject) -> None:
    """name: the device; detail: address/length."""
    with Netlink() as route:
        device = links.find_link(route, thing.name)
        if device is not None:
            links.delete_address(route, device.index, IPv4Interface(thing.detail))


def _filter(thing: HostObject) -> None:
    """name: the device; detail: as traffic_control wrote it. Only a filter with the name of our program."""
    with Netlink() as route:
        device = links.find_link(route, thing.name)
        if device is not None:
            traffic_control.remove_ours(route, device.index, thing.detail)


def _pin(thing: HostObject) -> None:
    place = _own_place(thing)
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _mount(thing: HostObject) -> None:
    """detail: the source in the mount table, where it matters whose it is. One that others use stays."""
    if thing.detail:
        mounted = [source for place, _, source in mounts.mount_table() if place == thing.name]
        if thing.detail not in mounted or any(entry.is_dir() for entry in Path(thing.name).iterdir()):
            return
    mounts.unmount(thing.name, detach=True)


def _loop(thing: HostObject) -> None:
    """Freed with its last mount; only one that still shows our file is taken away by hand."""
    backing = Path("/sys/class/block") / Path(thing.name).name / "loop" / "backing_file"
    with contextlib.suppress(FileNotFoundError):
        if backing.read_text(encoding="utf-8").strip() == thing.detail:
            mounts.detach_loop(thing.name)


def _cgroup(thing: HostObject) -> None:
    """Whatever runs inside is an instance's; with its groups below."""
    top = _own_place(thing)
    if not top.is_dir():
        return
    for folder, _, _ in os.walk(top, topdown=False):
        group = Path(folder)
        for _ in range(50):
            pids = (group / "cgroup.procs").read_text(encoding="ascii").split()
            if not pids:
                break
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.02)
        group.rmdir()


def _netns(thing: HostObject) -> None:
    """name: where it is bound in the file system."""
    namespaces.unbind_netns(thing.name)


def _directory(thing: HostObject) -> None:
    place = _own_place(thing)
    if place.is_symlink():
        place.unlink()
        return
    for inner, _, _ in mounts.mount_table():
        if Path(inner).is_relative_to(place.resolve()):
            mounts.unmount(inner, detach=True)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(place)


def _file(thing: HostObject) -> None:
    _own_place(thing).unlink(missing_ok=True)


def _sysctl(thing: HostObject) -> None:
    """name: below /proc/sys, with slashes; detail: what it was."""
    setting = Path("/proc/sys") / thing.name
    if setting.exists():
        setting.write_text(thing.detail, encoding="ascii")


def _own_place(thing: HostObject) -> Path:
    """The path, once it is certain that it cannot be a system directory or one of the user's."""
    place = Path(thing.name)
    if not place.is_absolute() or ".." in place.parts or len(place.parts) < 3 or not thing.name.startswith(_OURS):
        raise OSError(errno.EPERM, "not a place that Stockade would make")
    return place


_UNDO: dict[str, Callable[[HostObject], None]] = {
    "process": _process,
    "link": _link,
    "route": _route,
    "address": _address,
    "filter": _filter,
    "pin": _pin,
    "mount": _mount,
    "loop": _loop,
    "cgroup": _cgroup,
    "netns": _netns,
    "directory": _directory,
    "file": _file,
    "sysctl": _sysctl,
}

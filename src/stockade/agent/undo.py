"""Undoing what the journal says is on this host, without the database and without those who made it.

Processes and cgroups first, so that nothing comes back; then everything else, the newest first. Each step may find its
object gone already. What could not be undone stays in the journal, so undoing again is always right.

A name alone is not enough to remove what others might own: a process must have the start time that was
written down, a filter must be one of our programs, a device must have this site's prefix, a cgroup and a pin its
name, and a file or directory must lie directly in one of the site's own: /run/<site>, or a "place" of the journal.
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
from stockade.model.journal import PLACE, HostObject, Journal

_FIRST = {"process": 2, "cgroup": 1}  # undone before the rest: nothing may come back, or hold what is to go


@dataclass(frozen=True, slots=True)
class Own:
    """What can be this site's: its name, what the names of its devices begin with, its run directory."""

    site: str
    prefix: str
    run: Path


@dataclass(frozen=True, slots=True)
class Failure:
    """An object that is still there, and why."""

    thing: HostObject
    why: str


def undo(
    journal: Journal, objects: Iterable[HostObject], tell: Callable[[HostObject], None], own: Own
) -> list[Failure]:
    """Remove these objects (oldest first, as the journal has them) from this host; `tell` hears each one removed."""
    every = list(objects)
    places = [thing for thing in every if thing.kind == PLACE]
    undoing = _Undo(own, frozenset([own.run, *(Path(place.name) for place in places)]))
    things = [thing for thing in every if thing.kind != PLACE]
    things.sort(key=lambda thing: _FIRST.get(thing.kind, 0))  # stable, and walked from its end
    failures = _pass(undoing, journal, reversed(things), tell)
    if failures:
        # A cgroup or a mount is often busy only until the kernel has reaped what was just killed.
        time.sleep(0.2)
        failures = _pass(undoing, journal, [failure.thing for failure in failures], tell)
    if not failures:
        journal.removed(*places)
    return failures


def _pass(
    undoing: "_Undo", journal: Journal, things: Iterable[HostObject], tell: Callable[[HostObject], None]
) -> list[Failure]:
    failures = []
    for thing in things:
        step = _UNDO.get(thing.kind)
        if step is None:
            failures.append(Failure(thing, f"nobody knows how to remove a {thing.kind}"))
            continue
        try:
            step(undoing, thing)
        except (OSError, ValueError) as err:
            failures.append(Failure(thing, getattr(err, "strerror", None) or str(err)))
        else:
            journal.removed(thing)
            tell(thing)
    return failures


@dataclass(frozen=True, slots=True)
class _Undo:
    """How each kind of object is removed. `places`: the directories whose entries are the site's own."""

    own: Own
    places: frozenset[Path]

    def process(self, thing: HostObject) -> None:
        process = ProcessId(int(thing.name), thing.detail)
        if process.pid != os.getpid() and process.alive and not process.end(grace_s=0):
            raise OSError(errno.EBUSY, "does not end, even when killed")

    def link(self, thing: HostObject) -> None:
        with Netlink() as route:
            links.delete_link(route, self._own_device(thing.name))

    def route(self, thing: HostObject) -> None:
        """name: destination; detail: the device."""
        with Netlink() as route:
            device = links.find_link(route, self._own_device(thing.detail))
            if device is not None:
                links.delete_route(route, IPv4Network(thing.name), device.index)

    def address(self, thing: HostObject) -> None:
        """name: the device; detail: address/length."""
        with Netlink() as route:
            device = links.find_link(route, self._own_device(thing.name))
            if device is not None:
                links.delete_address(route, device.index, IPv4Interface(thing.detail))

    def filter(self, thing: HostObject) -> None:
        """name: any device; detail: as traffic_control wrote it. Only a filter with the name of our program."""
        with Netlink() as route:
            device = links.find_link(route, thing.name)
            if device is not None:
                traffic_control.remove_ours(route, device.index, thing.detail)

    def pin(self, thing: HostObject) -> None:
        """The site's directory in a bpffs."""
        place = self._named_after_us(thing, ("bpf",))
        if place.is_dir():
            shutil.rmtree(place)

    def mount(self, thing: HostObject) -> None:
        """detail: the source in the mount table, where it matters whose it is. One that others use stays."""
        if thing.detail:
            mounted = [source for place, _, source in mounts.mount_table() if place == thing.name]
            if thing.detail not in mounted or any(entry.is_dir() for entry in Path(thing.name).iterdir()):
                return
        else:
            self._own_place(thing)
        mounts.unmount(thing.name, detach=True)

    def loop(self, thing: HostObject) -> None:
        """Freed with its last mount; only one that still shows our file is taken away by hand."""
        backing = Path("/sys/class/block") / Path(thing.name).name / "loop" / "backing_file"
        with contextlib.suppress(FileNotFoundError):
            if backing.read_text(encoding="utf-8").strip() == thing.detail:
                mounts.detach_loop(thing.name)

    def cgroup(self, thing: HostObject) -> None:
        """Whatever runs inside is an instance's; with its groups below."""
        top = self._named_after_us(thing, ("cgroup", "cgroup2"))
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

    def netns(self, thing: HostObject) -> None:
        """name: where it is bound in the file system."""
        namespaces.unbind_netns(str(self._own_place(thing)))

    def directory(self, thing: HostObject) -> None:
        place = self._own_place(thing)
        if place.is_symlink():
            place.unlink()
            return
        for inner, _, _ in mounts.mount_table():
            if Path(inner).is_relative_to(place.resolve()):
                mounts.unmount(inner, detach=True)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(place)

    def file(self, thing: HostObject) -> None:
        self._own_place(thing).unlink(missing_ok=True)

    def _own_device(self, name: str) -> str:
        if not name.startswith(f"{self.own.prefix}-"):
            raise OSError(errno.EPERM, "not a device of this site")
        return name

    def _own_place(self, thing: HostObject) -> Path:
        """Directly in a directory of the site's own, so neither the user's nor the system's."""
        place = _plain(thing.name)
        if place.parent not in self.places:
            raise OSError(errno.EPERM, "not a place that this site would make")
        return place

    def _named_after_us(self, thing: HostObject, kinds: tuple[str, ...]) -> Path:
        """The site's entry at the top of a kernel file system. One that is not mounted (any more) has nothing."""
        place = _plain(thing.name)
        roots = {Path(root) for root, kind, _ in mounts.mount_table() if kind in kinds}
        if place.name != self.own.site or (place.exists() and place.parent not in roots):
            raise OSError(errno.EPERM, "not a place that this site would make")
        return place


def _plain(name: str) -> Path:
    """A path that means what it says."""
    place = Path(name)
    if not place.is_absolute() or ".." in place.parts:
        raise OSError(errno.EPERM, "not a place that this site would make")
    return place


_UNDO: dict[str, Callable[[_Undo, HostObject], None]] = {
    "process": _Undo.process,
    "link": _Undo.link,
    "route": _Undo.route,
    "address": _Undo.address,
    "filter": _Undo.filter,
    "pin": _Undo.pin,
    "mount": _Undo.mount,
    "loop": _Undo.loop,
    "cgroup": _Undo.cgroup,
    "netns": _Undo.netns,
    "directory": _Undo.directory,
    "file": _Undo.file,
}

"""Maps under their names in a bpffs, where they outlive us.

    <pins>/endpoints  <pins>/rule_sets  <pins>/flows_tcp  ...     one pin a map, named as in bpf/maps.h

The programs need no pins: the filters that run them hold them, and they hold the maps.
"""

import os
from pathlib import Path

from stockade.datapath.ebpf import syscall
from stockade.datapath.ebpf.features import DatapathUnavailable
from stockade.datapath.ebpf.loader import MapSpec, ObjectSpec
from stockade.linux import mounts
from stockade.model.journal import HostObject, Journal

MOUNT_SOURCE = "stockade"
"""By this name in the mount table any site knows a bpffs that a site of this host mounted."""


def mount_bpffs(directory: Path, journal: Journal) -> None:
    """See to it that a bpffs is mounted there; a mount of ours is journalled. For /sys/fs/bpf.

    A mount that another site made is journalled too: whichever site ends last takes it away.
    """
    sources = [source for place, kind, source in mounts.mount_table() if place == str(directory) and kind == "bpf"]
    if sources and MOUNT_SOURCE not in sources:
        return
    journal.making(HostObject("mount", str(directory), MOUNT_SOURCE))
    if not sources:
        mounts.mount(MOUNT_SOURCE, str(directory), "bpf")


def require_bpffs(directory: Path) -> None:
    """Raise DatapathUnavailable unless the directory lies, or would lie, in a bpffs."""
    around = [(place, kind) for place, kind, _ in mounts.mount_table() if directory.is_relative_to(place)]
    # Of several mounts in one place the last one counts.
    if not around or max(reversed(around), key=lambda each: len(each[0]))[1] != "bpf":
        raise DatapathUnavailable(f"{directory} is not in a bpffs", f"Mount one: mount -t bpf bpf {directory.parent}")


class Pins:
    """The pinned maps of one site."""

    def __init__(self, directory: Path, journal: Journal) -> None:
        self._directory = directory
        self._journal = journal

    def open_maps(self, spec: ObjectSpec) -> dict[str, int]:
        """A descriptor of each map: the pinned one where there is one, else a new one, pinned.

        Raises DatapathUnavailable when a pinned map is not what the object expects: it was made by another
        version, and only taking the old one down can replace it without opening a gate.
        """
        require_bpffs(self._directory)
        self._journal.making(HostObject("pin", str(self._directory)))
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found: dict[str, int] = {}
        try:
            for name, wanted in spec.maps.items():
                found[name] = self._open(wanted)
        except (OSError, DatapathUnavailable):
            for fd in found.values():
                os.close(fd)
            raise
        return found

    def _open(self, wanted: MapSpec) -> int:
        path = str(self._directory / wanted.name)
        try:
            fd = syscall.open_pinned(path)
        except FileNotFoundError:
            fd = syscall.create_map(
                *(wanted.kind, wanted.key_size, wanted.value_size, wanted.max_entries, wanted.flags, wanted.name)
            )
            syscall.pin(fd, path)
            return fd
        if syscall.map_info(fd) != wanted.info:
            os.close(fd)
            raise DatapathUnavailable(
                f"map {wanted.name} was left by another version of Stockade",
                "Take that one down first: stockade down --force",
            )
        return fd

    def remove(self) -> None:
        """Unpin everything; maps that no program uses any more go."""
        if self._directory.is_dir():
            for pin in self._directory.iterdir():
                pin.unlink()
            self._directory.rmdir()
        self._journal.removed(HostObject("pin", str(self._directory)))

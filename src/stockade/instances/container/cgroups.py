"""Where the kernel keeps an instance's limits: one hierarchy for each v1 controller, or the one of cgroup2."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A mounted tree of cgroups. `controllers`: what can be limited there."""

    place: Path
    is_v2: bool
    controllers: frozenset[str]


def parse_hierarchies(mountinfo: Iterable[str], root: Path = Path("/")) -> list[Hierarchy]:
    """The hierarchies among the lines of a mountinfo file; what cgroup2 offers is read below `root`."""
    found: dict[Path, Hierarchy] = {}
    for line in mountinfo:
        before, _, after = line.partition(" - ")
        place = Path(before.split(" ")[4])
        kind, _, options = after.strip().split(" ")[:3]
        if kind == "cgroup":
            found[place] = Hierarchy(place, False, frozenset(options.split(",")) - {"rw", "ro", "relatime", "noprefix"})
        elif kind == "cgroup2":
            offered = root / place.relative_to("/") / "cgroup.controllers"
            text = offered.read_text(encoding="ascii") if offered.exists() else ""
            found[place] = Hierarchy(place, True, frozenset(text.split()))
    return list(found.values())


def current_hierarchies() -> list[Hierarchy]:
    """Those that this thread sees."""
    with open("/proc/thread-self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        return parse_hierarchies(lines)


def unified_beside_v1(hierarchies: list[Hierarchy]) -> Path | None:
    """Where cgroup2 is mounted beside v1 controllers ("hybrid"); None on a system that has only one kind."""
    if all(one.is_v2 for one in hierarchies):
        return None
    return next((one.place for one in hierarchies if one.is_v2), None)


def is_inhabited(group: Path) -> bool:
    """Whether a process or a group below lives there."""
    try:
        return bool((group / "cgroup.procs").read_text(encoding="ascii").strip()) or any(
            entry.is_dir() for entry in group.iterdir()
        )
    except OSError:
        return False


class Cgroups:
    """The cgroups of one site: /<site> in every hierarchy, and /<site>/<instance> below, made by the runtime."""

    def __init__(self, site: str, hierarchies: list[Hierarchy]) -> None:
        self._site = site
        self._tops = [one.place / site for one in hierarchies]
        # Beside v1 controllers, runtimes do not look into cgroup2.
        used = [one for one in hierarchies if not one.is_v2] or hierarchies
        self._controllers = frozenset[str]().union(*(one.controllers for one in used))

    def can_limit(self, controller: str) -> bool:
        """Whether this kernel limits it (memory, pids): some are started without."""
        return controller in self._controllers

    @property
    def tops(self) -> list[Path]:
        """The site's own directory in every hierarchy: what to journal."""
        return self._tops

    def path(self, instance: str) -> str:
        """What the runtime is told."""
        return f"/{self._site}/{instance}"

    def remove(self, instance: str) -> None:
        """End whatever is left in the instance's cgroups and remove them. No effect when they are gone."""
        for top in self._tops:
            _remove(top / instance)

    def remove_site(self) -> None:
        """Remove the site's own cgroups when no instance is left in them."""
        for top in self._tops:
            with contextlib.suppress(OSError):
                top.rmdir()


def _remove(group: Path) -> None:
    for attempt in range(60):
        if not group.is_dir():
            return
        try:
            for inner in sorted((Path(folder) for folder, _, _ in os.walk(group)), reverse=True):
                inner.rmdir()
        except OSError:
            # Busy: somebody lives there, or the kernel has not yet reaped who was just killed.
            _kill_all(group)
            time.sleep(0.002 * (attempt + 1))


def _kill_all(group: Path) -> None:
    with contextlib.suppress(OSError):
        for pid in (group / "cgroup.procs").read_text(encoding="ascii").split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

"""Where the kernel keeps an instance's limits: one hierarchy for each v1 controller, or the one of cgroup2."""

import contextlib
import os
import signal
import time
from pathlib import Path

from stockade.linux.mounts import mount_table


def hierarchies(mounts: list[tuple[str, str, str]]) -> list[Path]:
    """The mount points of all cgroup hierarchies among these mounts (place, type, source), each once."""
    return list(dict.fromkeys(Path(place) for place, kind, _ in mounts if kind in ("cgroup", "cgroup2")))


def unified_beside_v1(mounts: list[tuple[str, str, str]]) -> Path | None:
    """Where cgroup2 is mounted beside v1 controllers ("hybrid"); None on a system that has only one kind."""
    kinds = {kind for _, kind, _ in mounts}
    if not {"cgroup", "cgroup2"} <= kinds:
        return None
    return next(Path(place) for place, kind, _ in mounts if kind == "cgroup2")


class Cgroups:
    """The cgroups of one site: /<site> in every hierarchy, and /<site>/<instance> below, made by the runtime."""

    def __init__(self, site: str) -> None:
        self._site = site
        self._tops = [place / site for place in hierarchies(list(mount_table()))]

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

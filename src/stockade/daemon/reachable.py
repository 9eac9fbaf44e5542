"""What the control process still reaches once it is nobody: its Python, its code, its state.

Root's Python may live where nobody may go (/root is closed to others). So the control process gets a mount
namespace of its own in which each closed directory on the way is replaced by an empty one that holds just what is
needed, at the same place. Everything else that was in there, it cannot see at all.
"""

import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from stockade.linux import mounts, namespaces


def code_paths() -> list[Path]:
    """Where this interpreter imports from, now and later."""
    found = [Path(entry) for entry in sys.path if entry]
    return [*found, Path(sys.prefix), Path(sys.base_prefix)]


def make_reachable(paths: Iterable[Path]) -> None:
    """Enter a mount namespace in which anybody may go to these places. With one thread only, and as root."""
    by_closed: dict[Path, list[Path]] = {}
    for path in needed(paths):
        closed = first_closed(path)
        if closed is not None:
            by_closed.setdefault(closed, []).append(path)
    if not by_closed:
        return
    namespaces.unshare(namespaces.NEWNS)
    mounts.mount("none", "/", None, mounts.REC | mounts.PRIVATE)
    for closed, inside in by_closed.items():
        _replace(closed, inside)


def needed(paths: Iterable[Path]) -> list[Path]:
    """Each place as it is named and as it really is, once, without those inside another one; only what exists."""
    named = {Path(os.path.abspath(path)) for path in paths if path.exists()}
    every = sorted(named | {path.resolve() for path in named})
    return [path for path in every if not any(other in path.parents for other in every)]


def first_closed(path: Path) -> Path | None:
    """The topmost directory above the path that others may not enter; None when the way is open."""
    for above in reversed(path.parents):
        if not above.stat().st_mode & stat.S_IXOTH:
            return above
    return None


def _replace(closed: Path, inside: list[Path]) -> None:
    held = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in inside}
    mounts.mount("stockade", str(closed), "tmpfs", mounts.NOSUID | mounts.NODEV, "mode=755,size=64k")
    for path, fd in held.items():
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
        else:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.touch(mode=0o644)
        mounts.mount(f"/proc/self/fd/{fd}", str(path), None, mounts.BIND | mounts.REC)
        os.close(fd)

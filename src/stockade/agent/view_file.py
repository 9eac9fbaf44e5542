"""The last view this host enforced, kept so that an agent can restore it with no control process in sight.

A whole view, then the frames since; written before a revision is acknowledged, so what is restored is never
older than what was promised. It lies beside the state and outlives process and kernel: after a power cut devices
that somebody else starts are policed before any control process is there.
"""

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from stockade.model.host_view import Frame, HostView, ViewItem, apply_frame
from stockade.model.ids import HostId
from stockade.model.plain import from_plain, to_plain

AGENT_FILES = ("view", "view.new", "boot")
_LEAST_ROOM = 1 << 16
"""Frames take this much beside a whole view, or as much as it does, before the file is written anew: so it is at most
twice as long as need be, and a large view is not written for every few changes."""


class ViewFile:
    """Frames as lines of JSON; the first one is whole."""

    def __init__(self, path: Path, host: HostId) -> None:
        self._path = path
        self._host = host
        self._room = 0

    def load(self) -> HostView | None:
        """The view as it was last kept; None when there is none that can be read."""
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return None
        view = HostView(self._host)
        read = 0
        # A torn last line is a frame that was never acknowledged; what precedes it is whole.
        with contextlib.suppress(ValueError, KeyError, TypeError):
            for line in lines:
                view = apply_frame(view, from_plain(json.loads(line), Frame))
                read += 1
        return view if read else None

    def keep(self, frames: Sequence[Frame], view: HostView) -> None:
        """`view` is what the frames made of the view kept before."""
        whole = any(frame.whole for frame in frames)
        lines = "" if whole else "".join(_line(frame) for frame in frames)
        if whole or len(lines) > self._room:
            self._write_whole(view)
            return
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(lines)
        self._room -= len(lines)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)

    def _write_whole(self, view: HostView) -> None:
        fresh = self._path.with_suffix(".new")
        with open(fresh, "w", encoding="utf-8", opener=_private) as file:
            line = _line(whole_frame(view))
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self._path)
        self._room = max(_LEAST_ROOM, len(line))


class BootFile:
    """Which boot of the kernel this host's agent last lived in."""

    def __init__(self, path: Path, boot: str) -> None:
        self._path = path
        self._boot = boot

    def note(self) -> bool:
        """Whether the kernel is another one than when this was last asked; from here on it is not."""
        try:
            former = self._path.read_text(encoding="ascii")
        except FileNotFoundError:
            former = self._boot
        with open(self._path, "w", encoding="ascii", opener=_private) as file:
            file.write(self._boot)
        return former != self._boot

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


def whole_frame(view: HostView) -> Frame:
    """The one frame that makes this view out of nothing."""
    items: tuple[ViewItem, ...] = (
        *view.groups.values(),
        *view.prefix_lists.values(),
        *view.members.values(),
        *view.interfaces.values(),
        *view.instances.values(),
    )
    return Frame(view.revision, items, whole=True)


def _line(frame: Frame) -> str:
    return json.dumps(to_plain(frame, Frame), separators=(",", ":")) + "\n"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)

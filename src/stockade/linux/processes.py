"""Processes by pid and start time: the pair that the kernel never gives to another one."""

import contextlib
import os
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path

_AGAIN_S = 0.3


@dataclass(frozen=True, slots=True)
class ProcessId:
    """`started` is field 22 of /proc/<pid>/stat: clock ticks since boot."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> "ProcessId | None":
        """The process that has this pid now; None when nobody (or only a zombie) has."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        # The name is in brackets and may contain anything; what follows the last one is fields.
        after = stat.rpartition(")")[2].split()
        return None if after[0] in ("Z", "X") else cls(pid, after[19])

    @property
    def alive(self) -> bool:
        return ProcessId.of(self.pid) == self

    def signal(self, number: int) -> bool:
        """Send it; False when the process is gone. Cannot hit another one that got the pid meanwhile."""
        fd = self._open()
        if fd is None:
            return False
        try:
            signal.pidfd_send_signal(fd, number)
            return True
        except ProcessLookupError:
            return False
        finally:
            os.close(fd)

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended, at the latest after the time-out."""
        fd = self._open()
        if fd is None:
            return True
        try:
            waiter = select.poll()  # not select: descriptors pass 1023 on a full host
            waiter.register(fd, select.POLLIN)
            return bool(waiter.poll(timeout_s * 1000))
        finally:
            os.close(fd)

    def end(self, grace_s: float) -> bool:
        """TERM, then KILL after `grace_s`. Whether it has ended.

        TERM is said again while it does not end: the first process of a container ignores it until it listens.
        """
        until = time.monotonic() + grace_s
        while (left_s := until - time.monotonic()) > 0:
            if not self.signal(signal.SIGTERM) or self.wait(min(left_s, _AGAIN_S)):
                return True
        self.signal(signal.SIGKILL)
        return self.wait(5.0)

    def _open(self) -> int | None:
        with contextlib.suppress(OSError):
            fd = os.pidfd_open(self.pid)
            if self.alive:  # checked with the descriptor held: from here on it names this process for good
                return fd
            os.close(fd)
        return None

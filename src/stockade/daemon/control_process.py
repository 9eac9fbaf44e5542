"""The control process seen from the agent: started early, fed its sockets, started again when it dies."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from stockade.daemon.line import Line, make_line
from stockade.daemon.settings import Settings
from stockade.linux.processes import ProcessId
from stockade.model.journal import HostObject, Journal


@dataclass(slots=True)
class ControlProcess:
    """One run of it. `stream` is our end of the views' socket."""

    process: subprocess.Popen[bytes]
    line: Line
    stream: socket.socket
    journalled: HostObject | None = None

    async def ended(self) -> int:
        """Its exit status, once it has one."""
        fd = os.pidfd_open(self.process.pid)
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(fd, over.set)
        try:
            await over.wait()
        finally:
            loop.remove_reader(fd)
            os.close(fd)
        return self.process.wait()

    def stop(self, grace_s: float = 5.0) -> None:
        """Ask it to end, then end it."""
        self.line.close()
        with contextlib.suppress(OSError):
            self.stream.shutdown(socket.SHUT_RDWR)
        self.stream.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_control(settings: Settings, listener: socket.socket, user: int | None, journal: Journal) -> ControlProcess:
    """Exec'ed, so that nothing of the agent's memory comes along. `user` None: it stays who we are."""
    ours, theirs = make_line()
    stream, their_stream = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    fds = (listener.fileno(), their_stream.fileno(), theirs.fileno())
    process = subprocess.Popen(
        # -P: the directory we happen to be started in is no place to import from, least of all as root.
        [sys.executable, "-P", "-m", "stockade.daemon.control", *map(str, fds)],
        pass_fds=fds,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        start_new_session=True,
    )
    theirs.close()
    their_stream.close()
    control = ControlProcess(process, Line(ours), stream)
    known = ProcessId.of(process.pid)
    if known is not None:
        control.journalled = HostObject("process", str(known.pid), known.started)
        journal.making(control.journalled)
    values: dict[str, Any] = {name: [one.value, one.origin] for name, one in settings.values.items()}
    control.line.send(settings=values, user=user, uid=settings.user, home=str(settings.home))
    return control

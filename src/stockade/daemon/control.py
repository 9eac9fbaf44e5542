"""The control process: the API, the state and the feed, without a single privilege.

It is exec'ed by the agent with three descriptors: the listening socket of the endpoint, the stream of views, and
the line of messages. It imports all it will ever need, then becomes nobody (privileges.drop), and only then opens
the state and reads the first byte of a request. When the agent is gone, it ends.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from stockade.agent.status import HostStatus
from stockade.daemon import log, privileges
from stockade.daemon.line import Line
from stockade.daemon.reachable import code_paths, make_reachable
from stockade.daemon.settings import Origin, Settings
from stockade.daemon.site import Credentials
from stockade.daemon.wiring.cell import Control, open_control
from stockade.linux import namespaces

_log = logging.getLogger(__name__)


def main(arguments: list[str]) -> int:
    """The whole life of the process."""
    listener, stream, line_end = (socket.socket(fileno=int(fd)) for fd in arguments)
    log.set_up("control", os.environ.get("STOCKADE_LOG"))
    line = Line(line_end)
    first = line.receive_first()
    if first is None:
        return 0
    values = {name: Origin(value, origin) for name, (value, origin) in first["settings"].items()}
    settings = Settings(values, user=first["uid"], home=Path(first["home"]))
    if first["user"] is not None:
        # Of the network it needs the one socket it was given, and of the file system what it runs and keeps.
        namespaces.unshare(namespaces.NEWNET)
        make_reachable([*code_paths(), settings.state_directory])
        privileges.drop(first["user"])
    os.umask(0o077)
    # What is loaded by now stays: keep the collector from walking through it again and again.
    gc.freeze()
    return asyncio.run(_serve(settings, listener, stream, line))


async def _serve(settings: Settings, listener: socket.socket, stream: socket.socket, line: Line) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    control = await open_control(settings)
    serving = asyncio.create_task(_follow_line(line, control, settings, listener, stopped))
    feeding = asyncio.create_task(control.feed_host(stream))
    feeding.add_done_callback(lambda _task: stopped.set())
    await stopped.wait()
    for task in (serving, feeding):
        task.cancel()
    results = await asyncio.gather(serving, feeding, return_exceptions=True)
    await control.close()
    for result in results:
        if isinstance(result, Exception):
            _log.error("control_process_failed", exc_info=result)
            return 1
    return 0


async def _follow_line(
    line: Line, control: Control, settings: Settings, listener: socket.socket, stopped: asyncio.Event
) -> None:
    """What the agent says, until it is gone."""
    with contextlib.ExitStack() as ending:
        ending.callback(stopped.set)
        while (message := await line.receive()) is not None:
            if "status" in message:
                control.status = HostStatus.from_plain(message["status"])
            if "serve" in message:
                await control.listen(listener)
                await _introduce(line, control, settings)


async def _introduce(line: Line, control: Control, settings: Settings) -> None:
    """The admin's key for the site's owner, and what was found in the state."""
    admin = await control.admin()
    credentials = Credentials(
        endpoint=settings.endpoint,
        access_key=admin.key.id,
        secret_key=admin.key.secret,
        account=admin.account.id,
        region=next(iter(settings["regions"])),
    )
    told: dict[str, Any] = {name: getattr(credentials, name) for name in Credentials.__slots__}
    line.send(credentials=told, opened=control.found())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

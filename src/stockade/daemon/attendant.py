"""Attends the control process: hands it the agent, hears its first words, and replaces it when it dies."""

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from stockade.agent.status import HostStatus
from stockade.daemon.control_process import ControlProcess, start_control
from stockade.daemon.problems import OUR_BUG, Problem
from stockade.daemon.settings import Settings
from stockade.daemon.site import Credentials, Site, caller_ids, tail
from stockade.daemon.wiring.stream import agent_stream
from stockade.feed.contract import ViewStream
from stockade.model.journal import Journal

_log = logging.getLogger(__name__)
_PAUSES_S = (0.0, 0.2, 1.0, 5.0)  # before the next one, the longer the more often it died
_END_WITHIN_S = 5.0
_CALM_S = 30.0  # one that lived this long is not part of a series


class Attends(Protocol):
    """What follows a host's view: the agent, or what stands in for it when nothing is enforced."""

    async def attend(self, stream: ViewStream) -> None:
        """Until the stream ends."""


class Attendant:
    """One control process at a time, for as long as this agent lives."""

    def __init__(
        self, settings: Settings, site: Site, listener: socket.socket, *, journal: Journal, user: int | None
    ) -> None:
        """Starts the first one at once, so that it can load while we do. `user` None: it stays who we are."""
        self._settings = settings
        self._site = site
        self._listener = listener
        self._journal = journal
        self._user = user
        self._control = start_control(settings, listener, user, journal)
        self._opened: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self._status: Callable[[], Awaitable[HostStatus]] | None = None
        self._deaths = 0

    def serve(self, host: Attends, status: Callable[[], Awaitable[HostStatus]]) -> None:
        """From here on control processes serve, and follow each other."""
        self._status = status
        self._task = asyncio.create_task(self._attend_all(host), name="control")

    async def opened(self) -> str:
        """What the first one found in the state, once it serves. Raises what kept it from it."""
        return await asyncio.shield(self._opened)

    def tell_status(self, status: HostStatus) -> None:
        self._control.line.send(status=status.plain())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.to_thread(self._end, self._control)

    async def _attend_all(self, host: Attends) -> None:
        while True:
            began = time.monotonic()
            status = await self._attend_one(host, self._control)
            if not self._opened.done():
                why = "\n".join((f"the control process ended with status {status}", *tail(self._site.log).splitlines()))
                self._opened.set_exception(Problem("the state could not be opened", why=why, code=OUR_BUG))
                return
            self._deaths = 1 if time.monotonic() - began > _CALM_S else self._deaths + 1
            _log.error("control_process_died", extra={"status": status, "deaths": self._deaths})
            await asyncio.to_thread(self._end, self._control)
            await asyncio.sleep(_PAUSES_S[min(self._deaths, len(_PAUSES_S)) - 1])
            self._control = start_control(self._settings, self._listener, self._user, self._journal)

    async def _attend_one(self, host: Attends, control: ControlProcess) -> int:
        """Until it dies, or the stream between us breaks: then it is ended. Its exit status."""
        if self._status is not None:
            self._control.line.send(status=(await self._status()).plain())
        control.line.send(serve=True)
        stream = await agent_stream(control.stream)
        ended = asyncio.create_task(control.ended())
        attending = asyncio.create_task(host.attend(stream))
        listening = asyncio.create_task(self._listen(control))
        try:
            await asyncio.wait({ended, attending}, return_when=asyncio.FIRST_COMPLETED)
            if attending.done() and attending.exception() is not None:
                _log.error("stream_broken", exc_info=attending.exception())
        finally:
            for task in (attending, listening):
                task.cancel()
            await asyncio.gather(attending, listening, return_exceptions=True)
            await stream.close()  # a control process that still lives ends with it
            done, _ = await asyncio.wait({ended}, timeout=_END_WITHIN_S)
            if not done:
                control.process.kill()
        return await ended

    async def _listen(self, control: ControlProcess) -> None:
        while (message := await control.line.receive()) is not None:
            if "credentials" in message:
                self._site.write_credentials(Credentials(**message["credentials"]), caller_ids())
            if "opened" in message and not self._opened.done():
                self._opened.set_result(message["opened"])

    def _end(self, control: ControlProcess) -> None:
        control.stop()
        if control.journalled is not None:
            self._journal.removed(control.journalled)

"""The life of a daemon that enforces nothing (enforce.mode none): API and state, no privileges, no agent.

For trying clients and templates where there is no kernel to be had. Every face says `enforcing: none`.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from stockade import __version__
from stockade.agent.model_only import ModelOnly
from stockade.agent.status import HostStatus, Phase
from stockade.daemon import preflight, privileges
from stockade.daemon.attendant import Attendant
from stockade.daemon.problems import INTERRUPTED, OUR_BUG, Problem
from stockade.daemon.settings import Settings
from stockade.daemon.site import Site, prepare_state, tail
from stockade.daemon.wiring.names import THIS_HOST
from stockade.model.journal import NoJournal

_OPEN_WITHIN_S = 20.0


def live(settings: Settings, tell: Callable[[str, float], None], ready: Callable[[], None]) -> int:
    """Serve until told to stop; the exit code. Raises Problem when it cannot start."""
    return asyncio.run(_live(settings, tell, ready))


async def _live(settings: Settings, tell: Callable[[str, float], None], ready: Callable[[], None]) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        loop.add_signal_handler(number, stopped.set)
    site = Site.to_run(settings)
    async with AsyncExitStack() as stack:
        lock = site.take()
        stack.callback(os.close, lock)
        stack.callback(site.forget)
        listener = stack.enter_context(preflight.listener(settings))
        user = None
        if os.geteuid() == 0:
            # Started by root the API is nobody all the same, and a later `up` that enforces finds its own state.
            user = privileges.control_user(settings.site)
            prepare_state(settings.state_directory, user)
        else:
            settings.state_directory.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        attendant = Attendant(settings, site, listener, journal=NoJournal(), user=user)
        stack.push_async_callback(attendant.stop)
        status = HostStatus(__version__, Phase.READY, "none", datetime.now(UTC))
        attendant.serve(ModelOnly(THIS_HOST), lambda: _said(status))
        opening = asyncio.create_task(attendant.opened())
        stopping = asyncio.create_task(stopped.wait())
        await asyncio.wait({opening, stopping}, timeout=_OPEN_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
        if stopped.is_set():
            opening.cancel()
            return INTERRUPTED
        if not opening.done():
            stopping.cancel()
            raise Problem("the control process did not start", why=tail(site.log), code=OUR_BUG)
        tell(f"state opened ({opening.result()})", time.monotonic() - began)
        ready()
        await stopping
    return 0


async def _said(status: HostStatus) -> HostStatus:
    return status

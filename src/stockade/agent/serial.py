"""One thread in which everything that changes the datapath happens, in the order asked.

A datapath is not asked to be safe against itself; a queue is simpler than a lock that an event loop must
not wait for.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class SerialCalls:
    """Runs blocking calls one after the other, away from the event loop."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Cancelling the waiter does not cancel the call: what touches the kernel is finished."""
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._thread, lambda: function(*args, **kwargs)))

    def close(self) -> None:
        """After what was asked is done."""
        self._thread.shutdown(wait=True)

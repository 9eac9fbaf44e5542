"""What stands in for an agent when nothing is enforced: instances exist in the model alone.

It says of every instance what was wanted of it, with the reason that no instance runs, and acknowledges nothing.
"""

import asyncio
import contextlib

from stockade.feed.contract import ViewStream
from stockade.model.host_view import HostView, apply_frame
from stockade.model.ids import HostId, InstanceId
from stockade.model.instance import InstanceStatus, Observed
from stockade.model.probe import untried

_WHY = "the daemon runs with enforce.mode none: instances are stored and not started"


class ModelOnly:
    """Follows a stream as an agent would, and touches nothing."""

    def __init__(self, host: HostId) -> None:
        self._host = host

    async def attend(self, stream: ViewStream) -> None:
        """Until the stream ends."""
        refusing = asyncio.create_task(_refuse_probes(stream))
        try:
            await self._follow(stream)
        finally:
            refusing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await refusing

    async def _follow(self, stream: ViewStream) -> None:
        view = HostView(self._host)
        said: dict[InstanceId, InstanceStatus] = {}
        async for frame in stream.frames():
            view = apply_frame(view, frame)
            for status in statuses(view):
                if said.get(status.instance) != status:
                    said[status.instance] = status
                    await stream.report(status)


async def _refuse_probes(stream: ViewStream) -> None:
    async for request in stream.probes():
        await stream.probed(untried(request, "the daemon runs with enforce.mode none: nothing carries packets"))


def statuses(view: HostView) -> list[InstanceStatus]:
    """What is said about each instance of the view."""
    return [
        InstanceStatus(one.id, Observed.RUNNING if one.running else Observed.GONE, _WHY)
        for one in view.instances.values()
    ]

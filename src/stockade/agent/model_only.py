"""What stands in for an agent when nothing is enforced: instances exist in the model alone.

It says of every instance what was wanted of it, with the reason that no instance runs, and acknowledges nothing.
"""

from stockade.feed.contract import ViewStream
from stockade.model.host_view import HostView, apply_frame
from stockade.model.ids import HostId, InstanceId
from stockade.model.instance import InstanceStatus, Observed

_WHY = "the daemon runs with enforce.mode none: instances are stored and not started"


class ModelOnly:
    """Follows a stream as an agent would, and touches nothing."""

    def __init__(self, host: HostId) -> None:
        self._host = host

    async def attend(self, stream: ViewStream) -> None:
        """Until the stream ends."""
        view = HostView(self._host)
        said: dict[InstanceId, InstanceStatus] = {}
        async for frame in stream.frames():
            view = apply_frame(view, frame)
            for status in statuses(view):
                if said.get(status.instance) != status:
                    said[status.instance] = status
                    await stream.report(status)


def statuses(view: HostView) -> list[InstanceStatus]:
    """What is said about each instance of the view."""
    return [
        InstanceStatus(one.id, Observed.RUNNING if one.running else Observed.GONE, _WHY)
        for one in view.instances.values()
    ]

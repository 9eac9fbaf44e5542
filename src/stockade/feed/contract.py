"""ViewStream: what an agent is promised, and what it promises.

Frames arrive in order of revision and each makes the view right at its revision; the first is whole.
The agent acks the revision it *enforces*. What it observes goes back up the same stream. The same
contract holds inside one process, over a socket pair and over TLS.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Protocol

from stockade.model.change import Revision
from stockade.model.flow import FlowEvent, RuleCount
from stockade.model.host_view import Frame
from stockade.model.instance import InstanceStatus
from stockade.model.probe import ProbeAnswer, ProbeRequest


class ViewStream(Protocol):
    """The agent's end."""

    def frames(self) -> AsyncIterator[Frame]:
        """The host's view: one whole frame, then changes, without end; ends when the feed is gone."""

    async def enforced(self, revision: Revision) -> None:
        """This host's kernel enforces the view of this revision (and so all earlier ones)."""

    async def failed(self, revision: Revision, why: str) -> None:
        """The view of this revision could not be applied; the last enforced one stands."""

    async def report(self, status: InstanceStatus) -> None:
        """An instance of this host was seen in this state."""

    async def flows(self, events: tuple[FlowEvent, ...], lost: int) -> None:
        """What the datapath told, and how many records were lost since the last call."""

    async def hits(self, at: datetime, counts: tuple[RuleCount, ...]) -> None:
        """What rules let through so far, of those that let through more than was said last on this stream."""

    def probes(self) -> AsyncIterator[ProbeRequest]:
        """Packets to send, asked for while `frames` is read; each request is answered by `probed`. Ends with frames."""

    async def probed(self, answer: ProbeAnswer) -> None:
        """What became of the packets of a request."""

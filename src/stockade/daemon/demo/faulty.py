"""A Stockade that is broken on purpose: `python -m stockade.daemon.demo.faulty FAULT CONFIG`.

antispoof, ingress: kernel objects that leave one gate open, and no packet proof at the start that would refuse them.
wait: what the feed sends reaches the agent 30 seconds late, so calls return before anything is enforced.

It stays in the foreground and prints `ready` when it serves; SIGTERM ends it as it ends any other.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

from stockade.daemon import log, run, settings
from stockade.daemon.attendant import Attends
from stockade.daemon.problems import Problem
from stockade.feed.contract import ViewStream
from stockade.model.change import Revision
from stockade.model.flow import FlowEvent, RuleCount
from stockade.model.host_view import Frame
from stockade.model.instance import InstanceStatus
from stockade.model.probe import ProbeAnswer, ProbeRequest

LATE_S = 30.0
BUILDS = {
    "antispoof": run.Build(fault="antispoof"),
    "ingress": run.Build(fault="ingress"),
    "wait": run.Build(between=lambda agent: HeldBack(agent, LATE_S)),
}


class HeldBack:
    """Hands an agent everything it would get, later."""

    def __init__(self, agent: Attends, late_s: float) -> None:
        self._agent = agent
        self._late_s = late_s

    async def attend(self, stream: ViewStream) -> None:
        """As the agent does."""
        await self._agent.attend(LateStream(stream, self._late_s))


class LateStream:
    """A stream whose frames all come late by the same time; what goes up goes at once."""

    def __init__(self, stream: ViewStream, late_s: float) -> None:
        self._stream = stream
        self._late_s = late_s

    async def frames(self) -> AsyncIterator[Frame]:
        """Read as they come, given when it is time: the delays must not add up."""
        clock = asyncio.get_running_loop().time
        arrived: asyncio.Queue[tuple[float, Frame] | None] = asyncio.Queue()

        async def read() -> None:
            try:
                async for frame in self._stream.frames():
                    arrived.put_nowait((clock() + self._late_s, frame))
            finally:
                arrived.put_nowait(None)

        reader = asyncio.create_task(read())
        try:
            while (due := await arrived.get()) is not None:
                await asyncio.sleep(due[0] - clock())
                yield due[1]
            await reader
        finally:
            reader.cancel()

    async def enforced(self, revision: Revision) -> None:
        await self._stream.enforced(revision)

    async def failed(self, revision: Revision, why: str) -> None:
        await self._stream.failed(revision, why)

    async def report(self, status: InstanceStatus) -> None:
        await self._stream.report(status)

    async def flows(self, events: tuple[FlowEvent, ...], lost: int) -> None:
        await self._stream.flows(events, lost)

    async def hits(self, at: datetime, counts: tuple[RuleCount, ...]) -> None:
        await self._stream.hits(at, counts)

    def probes(self) -> AsyncIterator[ProbeRequest]:
        return self._stream.probes()

    async def probed(self, answer: ProbeAnswer) -> None:
        await self._stream.probed(answer)


def main(fault: str, config: Path) -> int:
    """The exit code, once it has ended."""
    log.set_up("agent", "warning")
    try:
        return run.live(
            settings.load(config=config),
            lambda step, _took_s: print(step, file=sys.stderr, flush=True),
            lambda: print("ready", flush=True),
            BUILDS[fault],
        )
    except Problem as problem:
        print("\n".join(problem.lines()), file=sys.stderr)
        return problem.code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))

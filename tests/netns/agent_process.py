"""An agent as a process of its own: the real one, on the real datapath, with instances that are plain processes.

    python -m netns.agent_process CONFIG

CONFIG is a JSON file that agent_host.py writes. In place of a control process stands a file of frames: what is in it
is the view, and while there is none the control process is away. What the agent says goes into another file, a line
each, so that whoever watches it may kill it at any moment.
"""

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from stockade.agent.agent import Agent
from stockade.agent.journal import FileJournal
from stockade.datapath.ebpf.datapath import EbpfDatapath
from stockade.datapath.ebpf.settings import EbpfSettings
from stockade.instances.namespace.driver import NamespaceDriver
from stockade.model.change import Revision
from stockade.model.flow import FlowEvent, RuleCount
from stockade.model.host_view import Frame
from stockade.model.ids import HostId
from stockade.model.instance import InstanceStatus
from stockade.model.plain import from_plain
from stockade.model.probe import ProbeAnswer, ProbeRequest
from stockade.policy.compile import Compiler

HOST = HostId("host-1")


class FileStream:
    """feed.contract.ViewStream over two files."""

    def __init__(self, frames: Path, heard: Path) -> None:
        self._frames = frames
        self._heard = heard

    async def frames(self) -> AsyncIterator[Frame]:
        seen = 0
        while True:
            try:
                changed = self._frames.stat().st_mtime_ns
                if changed != seen:
                    yield from_plain(json.loads(self._frames.read_text(encoding="utf-8")), Frame)
                    seen = changed
            except FileNotFoundError:
                pass
            await asyncio.sleep(0.02)

    def say(self, what: str, **fields: Any) -> None:
        line = json.dumps({"what": what, "at": time.monotonic(), **fields}) + "\n"
        with open(self._heard, "a", encoding="utf-8") as file:
            file.write(line)

    async def enforced(self, revision: Revision) -> None:
        self.say("enforced", revision=revision)

    async def failed(self, revision: Revision, why: str) -> None:
        self.say("failed", revision=revision, why=why)

    async def report(self, status: InstanceStatus) -> None:
        self.say("instance", id=status.instance, state=status.observed.value, reason=status.reason)

    async def flows(self, events: tuple[FlowEvent, ...], lost: int) -> None:
        """Nobody asks for them here."""

    async def probes(self) -> AsyncIterator[ProbeRequest]:
        """Nobody asks for any."""
        await asyncio.Event().wait()
        yield ProbeRequest(0, ())

    async def probed(self, answer: ProbeAnswer) -> None:
        """So nothing became of them."""

    async def hits(self, at: datetime, counts: tuple[RuleCount, ...]) -> None:
        """Nor for these."""


async def _live(config: dict[str, Any]) -> None:
    run = Path(config["run"])
    journal = FileJournal(run / "journal")
    settings = {name: _setting(name, value) for name, value in config["settings"].items()}
    program = Path(config["program"]).read_bytes() if config["program"] else None
    datapath = EbpfDatapath(EbpfSettings(**settings), journal, program=program)
    driver = NamespaceDriver(
        settings["site"], directory=Path(config["instances"]), command=["sleep", "1000000"], journal=journal
    )
    stream = FileStream(Path(config["frames"]), Path(config["heard"]))
    agent = Agent(
        HOST,
        datapath=datapath,
        driver=driver,
        compile_view=Compiler(),
        directory=run,
        hostname=lambda interface: f"host-{interface.number}",
        **config["agent"],
    )
    recovered = await agent.restore()
    stream.say("restored", revision=agent.view.revision, instances=recovered)
    agent.start()
    ended = asyncio.create_task(agent.watch())
    devices = asyncio.create_task(_tell_devices(agent, stream))
    usage = asyncio.create_task(_tell_usage(agent, stream))
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    stopping = asyncio.create_task(told.wait())
    attending = asyncio.create_task(agent.attend(stream))
    await asyncio.wait({ended, attending, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        await asyncio.gather(ended, attending)
    attending.cancel()
    await asyncio.gather(attending, return_exceptions=True)
    await agent.stop(remove_instances=True)
    driver.close()
    datapath.remove()
    stopping.cancel()
    ended.cancel()
    devices.cancel()
    usage.cancel()


async def _tell_devices(agent: Agent, stream: FileStream) -> None:
    """What becomes of adopted devices, each time it changes."""
    told: tuple[list[str], dict[str, str]] | None = None
    while True:
        now = sorted(agent.devices.policed), dict(sorted(agent.devices.impaired.items()))
        if now != told:
            stream.say("devices", policed=now[0], impaired=now[1])
            told = now
        await asyncio.sleep(0.02)


async def _tell_usage(agent: Agent, stream: FileStream) -> None:
    """Flows that count against each endpoint's allowance (tracked, untracked), and its drops by reason."""
    while True:
        counters = await agent.counters()
        drops = {
            endpoint: {reason.name: count for reason, count in each.items()}
            for endpoint, each in counters.endpoint_drops.items()
        }
        flows = {endpoint: (used.tracked, used.untracked) for endpoint, used in agent.audit.usage.items()}
        stream.say("usage", flows=flows, drops=drops)
        await asyncio.sleep(0.5)


def _setting(name: str, value: Any) -> Any:
    match name:
        case "pins" | "services_namespace":
            return Path(value)
        case "public_pool":
            return IPv4Network(value)
        case "public_pool6":
            return IPv6Network(value)
        case _:
            return value


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    with open(sys.argv[1], encoding="utf-8") as file:
        asyncio.run(_live(json.load(file)))
    os._exit(0)

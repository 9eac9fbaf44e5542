"""What the loop says of rules: counts that grew, and all of them to whoever is new."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest

from stockade.agent.flow_loop import HITS_EVERY, FlowLoop
from stockade.agent.serial import SerialCalls
from stockade.agent.uplink import Uplink
from stockade.datapath.contract import Counters, RuleHits
from stockade.datapath.simulated.datapath import SimulatedDatapath
from stockade.model.flow import RuleCount
from unit.agent.host import ScriptedStream


class Counting(SimulatedDatapath):
    """A datapath whose counts a test sets."""

    def __init__(self) -> None:
        super().__init__(datetime(2026, 5, 1, tzinfo=UTC))
        self.hits: dict[int, RuleHits] = {}

    def counters(self) -> Counters:
        return Counters(rules=dict(self.hits))


@pytest.fixture
def calls() -> Iterator[SerialCalls]:
    with closing(SerialCalls("test")) as made:
        yield made


async def turns(loop: FlowLoop) -> None:
    for _ in range(HITS_EVERY):
        await loop.turn()


async def test_counts_are_told_when_they_grow_and_whole_to_a_new_stream(calls: SerialCalls) -> None:
    datapath, uplink, first, second = Counting(), Uplink(), ScriptedStream(), ScriptedStream()
    loop = FlowLoop(datapath, calls, uplink)
    datapath.hits = {1: RuleHits(1, 60), 2: RuleHits(5, 300)}
    await turns(loop)
    await uplink.connect(first)
    await turns(loop)
    await turns(loop)
    datapath.hits[1] = RuleHits(2, 120)
    await turns(loop)
    assert first.counts == [(RuleCount(1, 1, 60), RuleCount(2, 5, 300)), (RuleCount(1, 2, 120),)]
    await uplink.connect(second)
    await turns(loop)
    assert second.counts == [(RuleCount(1, 2, 120), RuleCount(2, 5, 300))]


async def test_a_new_stream_hears_of_counts_even_when_there_are_none(calls: SerialCalls) -> None:
    uplink, stream = Uplink(), ScriptedStream()
    await uplink.connect(stream)
    loop = FlowLoop(Counting(), calls, uplink)
    await turns(loop)
    assert stream.counts == [()]

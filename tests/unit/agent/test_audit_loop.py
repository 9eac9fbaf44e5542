"""Drift: found, put right, told once and counted; and never the end of the agent."""

import asyncio
import logging
import time
from collections.abc import Iterator
from unittest import mock

import pytest

from stockade.agent.audit_loop import AuditLoop
from stockade.agent.serial import SerialCalls
from stockade.agent.status import MOST_ALLOWANCES, AuditCounts, HostStatus, Phase, allowances
from stockade.datapath.contract import Audit, Usage
from stockade.model.flow import DropReason
from stockade.model.ids import NetworkInterfaceId
from unit.agent.host import START, FakeHost, RecordingDatapath, change, group, whole

ENI = NetworkInterfaceId("eni-00000001")


@pytest.fixture
def datapath() -> RecordingDatapath:
    return RecordingDatapath([])


@pytest.fixture
def loop(datapath: RecordingDatapath) -> Iterator[AuditLoop]:
    calls = SerialCalls("test")
    yield AuditLoop(datapath, calls, every_s=0.001)
    calls.close()


async def test_drift_is_counted_told_and_repaired(
    datapath: RecordingDatapath, loop: AuditLoop, caplog: pytest.LogCaptureFixture
) -> None:
    datapath.drift = ("filter of eni-1 gone", "member 10.0.0.1 changed")
    with caplog.at_level(logging.WARNING):
        await loop.turn()
        await loop.turn()
    health = loop.health
    assert (health.audits, health.compared, health.drift, health.repaired) == (2, 10, 2, 2)
    told = [(one.found, one.repaired) for one in caplog.records if one.message == "drift"]  # type: ignore[attr-defined]
    assert told == [("filter of eni-1 gone", True), ("member 10.0.0.1 changed", True)]


async def test_what_cannot_be_repaired_is_counted_once_and_never_as_repaired(
    datapath: RecordingDatapath, loop: AuditLoop, caplog: pytest.LogCaptureFixture
) -> None:
    datapath.stubborn = ("map policies is frozen",)
    for _ in range(3):
        await loop.turn()
    assert (loop.health.drift, loop.health.repaired) == (1, 0)
    assert [one.repaired for one in caplog.records] == [False]  # type: ignore[attr-defined]
    datapath.stubborn = ()
    await loop.turn()
    datapath.stubborn = ("map policies is frozen",)
    await loop.turn()
    assert loop.health.drift == 2


async def test_a_thousand_differences_do_not_fill_the_log(
    datapath: RecordingDatapath, loop: AuditLoop, caplog: pytest.LogCaptureFixture
) -> None:
    datapath.drift = tuple(f"member {number}" for number in range(1000))
    await loop.turn()
    assert loop.health.repaired == 1000
    assert len(caplog.records) == 51


async def test_an_audit_that_fails_is_said_and_tried_again(
    datapath: RecordingDatapath, loop: AuditLoop, caplog: pytest.LogCaptureFixture
) -> None:
    with mock.patch.object(datapath, "audit", side_effect=OSError("EPERM")):
        await loop.turn()
        await loop.turn()
    assert loop.health.failure == "OSError: EPERM"
    assert len(caplog.records) == 1
    await loop.turn()
    assert (loop.health.failure, loop.health.audits) == (None, 1)


async def test_an_audit_that_had_more_to_compare_goes_on_sooner(datapath: RecordingDatapath) -> None:
    calls = SerialCalls("test")
    loop = AuditLoop(datapath, calls, every_s=60.0)
    audit = datapath.audit

    def slow() -> Audit:
        time.sleep(0.005)
        return audit()

    with mock.patch.object(datapath, "audit", slow):
        running = asyncio.create_task(loop.run())
        async with asyncio.timeout(5):
            while loop.health.audits < 3:
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    calls.close()


async def test_a_running_agent_audits_between_its_applies(host: FakeHost) -> None:
    stream = host.attend()
    stream.down.put_nowait(whole(1, group(80)))
    await stream.until_acked(1)
    assert host.datapath is not None
    host.datapath.drift = ("endpoint eni-1 changed",)
    async with asyncio.timeout(5):
        while not host.agent.audit.repaired:
            await asyncio.sleep(0.01)
    stream.down.put_nowait(change(2, group(81)))
    await stream.until_acked(2)


def test_a_status_says_what_is_left_of_allowances_and_survives_its_way() -> None:
    told = allowances(
        {ENI: Usage(tracked=90, untracked=5, allowance=100), NetworkInterfaceId("eni-00000002"): Usage(120, 0, 100)},
        {ENI: {DropReason.CONNTRACK_FULL: 7, DropReason.NO_INGRESS_RULE: 9}},
    )
    assert told == {"eni-00000002": (0, 0), ENI: (10, 7)}
    status = HostStatus("1", Phase.READY, "kernel", START, audit=AuditCounts(3, 2, 1, 1), allowances=told)
    assert HostStatus.from_plain(status.plain()) == status


def test_of_very_many_interfaces_a_status_names_those_with_the_least_left() -> None:
    usage = {NetworkInterfaceId(f"eni-{number:08x}"): Usage(number, 0, 5000) for number in range(3000)}
    told = allowances(usage, {})
    assert len(told) == MOST_ALLOWANCES
    assert max(left for left, _ in told.values()) == 3000

"""The loops together: views enforced and acknowledged, instances launched, adopted and removed."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from stockade.agent import policy_loop
from stockade.agent.frame_check import FrameRefused
from stockade.agent.view_file import ViewFile
from stockade.datapath.contract import ApplyFailed
from stockade.model.ids import InstanceId
from stockade.model.instance import Observed
from unit.agent.host import GROUP, HOST, FakeHost, change, group, machine, whole

ONE = InstanceId("i-00000001")


async def test_a_view_is_acknowledged_once_it_is_enforced(host: FakeHost) -> None:
    stream = host.attend()
    interface, instance = machine(1)
    stream.down.put_nowait(whole(7, group(80), interface, instance))
    await stream.until_acked(7)
    assert interface.id in host.datapath.observe().endpoints


async def test_frames_that_queue_up_become_one_apply(host: FakeHost) -> None:
    stream = host.attend()
    release = asyncio.Event()
    loop = asyncio.get_running_loop()
    apply = host.datapath.apply

    def slow(policy: object) -> object:
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
        return apply(policy)  # type: ignore[arg-type]

    with mock.patch.object(host.datapath, "apply", slow):
        stream.down.put_nowait(whole(1, group()))
        while host.agent.view.revision == 0:
            await asyncio.sleep(0)
        for revision in range(2, 50):
            stream.down.put_nowait(change(revision, group(revision)))
        while not stream.down.empty():
            await asyncio.sleep(0)
        release.set()
        await stream.until_acked(49)
    assert stream.acks == [1, 49]


async def test_a_stream_that_floods_is_read_no_faster_than_it_is_applied(host: FakeHost) -> None:
    stream = host.attend()
    release = asyncio.Event()
    loop = asyncio.get_running_loop()
    apply = host.datapath.apply

    def slow(policy: object) -> object:
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
        return apply(policy)  # type: ignore[arg-type]

    with mock.patch.object(host.datapath, "apply", slow):
        stream.down.put_nowait(whole(1, group()))
        while host.agent.view.revision == 0:
            await asyncio.sleep(0)
        for revision in range(2, 2001):
            stream.down.put_nowait(change(revision, group(revision)))
        await asyncio.sleep(0.05)
        assert len(host.agent._policy._queue) == 256
        release.set()
        await stream.until_acked(2000)


async def test_a_view_beyond_any_host_cuts_the_stream_and_the_next_one_begins_anew(host: FakeHost) -> None:
    stream = host.attend()
    with mock.patch.object(policy_loop, "_LARGEST_VIEW", 3):
        stream.down.put_nowait(whole(1, group(80), *machine(1)))
        await stream.until_acked(1)
        stream.down.put_nowait(change(2, *machine(2)))
        with pytest.raises(FrameRefused, match="view of more than 3 items"):
            await host.until_the_stream_ends()
        again = host.attend()
        again.down.put_nowait(whole(3, group(81)))
        await again.until_acked(3)


async def test_frames_that_could_not_be_kept_for_long_become_one(host: FakeHost) -> None:
    stream = host.attend()
    with mock.patch.object(host.datapath, "apply", side_effect=ApplyFailed("map rules: ENOSPC")):
        for revision in range(1, 1000):
            stream.down.put_nowait(change(revision, group(revision)))
            if revision % 100 == 0:
                await asyncio.sleep(0.02)
        await stream.until_failed()
        assert len(host.agent._policy._unkept) <= 256 + 1
    await stream.until_acked(999)
    kept = ViewFile(host.directory / "view", HOST).load()
    assert kept is not None
    assert kept.groups[GROUP] == group(999)


async def test_an_instance_is_policed_before_it_starts(host: FakeHost) -> None:
    stream = host.attend()
    stream.down.put_nowait(whole(1, group(80), *machine(1)))
    await stream.until_seen(ONE, Observed.RUNNING)
    assert host.driver.log == ["create i-00000001", "attach eni-00000001", "start i-00000001"]


@pytest.mark.parametrize("name", ["../../../etc/cron.d/x", "/etc", "i-0100000g", "i-01000001\n", "", ["i-01000001"]])
async def test_what_is_no_id_never_becomes_a_path(host: FakeHost, name: Any) -> None:
    stream = host.attend()
    interface, instance = machine(1)
    stream.down.put_nowait(whole(1, group(80), interface, replace(instance, id=name)))
    with pytest.raises(FrameRefused, match="is no id"):
        await host.until_the_stream_ends()
    assert host.agent.view.revision == 0
    assert host.driver.log == []


@pytest.mark.parametrize("number", [0, -1, 1 << 60, "1", True])
async def test_an_interface_number_is_a_number(host: FakeHost, number: Any) -> None:
    stream = host.attend()
    interface, instance = machine(1)
    stream.down.put_nowait(whole(1, group(80), replace(interface, number=number), instance))
    with pytest.raises(FrameRefused, match="number"):
        await host.until_the_stream_ends()
    assert host.driver.log == []


@pytest.mark.parametrize("name", ["", "..", "eth0/../x", "a name", "a" * 16, "eth0\n", 7])
async def test_a_device_has_a_name_that_is_one(host: FakeHost, name: Any) -> None:
    stream = host.attend()
    interface, _ = machine(1)
    stream.down.put_nowait(whole(1, group(80), replace(interface, instance=None, device=name)))
    with pytest.raises(FrameRefused, match="device"):
        await host.until_the_stream_ends()


async def test_a_launch_that_waits_for_its_policy_does_not_keep_the_agent_from_stopping(host: FakeHost) -> None:
    stream = host.attend()
    with mock.patch.object(host.datapath, "apply", side_effect=ApplyFailed("map rules: ENOSPC")):
        stream.down.put_nowait(whole(1, group(80), *machine(1)))
        while "attach eni-00000001" not in host.driver.log:
            await asyncio.sleep(0.001)
        await asyncio.wait_for(host.stop(remove_instances=True), 5)
    assert "start i-00000001" not in host.driver.log
    assert host.driver.log[-1] == "destroy i-00000001"


@pytest.mark.parametrize("steps", range(5))
async def test_stopping_while_something_happens_is_still_stopping(host: FakeHost, steps: int) -> None:
    host.agent.device_removed()
    for _ in range(steps):  # the loop is cancelled in each of the steps in which it wakes up
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await host.agent.stop(remove_instances=False)


async def test_no_instance_starts_while_its_policy_cannot_be_applied(host: FakeHost) -> None:
    stream = host.attend()
    with mock.patch.object(host.datapath, "apply", side_effect=ApplyFailed("map rules: ENOSPC")):
        stream.down.put_nowait(whole(1, group(80), *machine(1)))
        await stream.until_failed()
        await stream.until_seen(ONE, Observed.STARTING)
        assert stream.failures[0] == (1, "map rules: ENOSPC")
        assert "start i-00000001" not in host.driver.log
        assert stream.acks == []
    await stream.until_seen(ONE, Observed.RUNNING)
    assert stream.acks == [1]


async def test_a_removed_instance_is_stopped_then_unpoliced_then_destroyed(host: FakeHost) -> None:
    stream = host.attend()
    stream.down.put_nowait(whole(1, group(80), *machine(1)))
    await stream.until_seen(ONE, Observed.RUNNING)
    host.driver.log.clear()
    stream.down.put_nowait(change(2, *machine(1, running=False)))
    await stream.until_seen(ONE, Observed.GONE)
    assert host.driver.log == ["stop i-00000001", "detach eni-00000001", "destroy i-00000001"]


async def test_a_failed_launch_is_gone_with_its_reason_and_not_tried_again(host: FakeHost) -> None:
    host.driver.refuse[ONE] = "the disk is full"
    stream = host.attend()
    stream.down.put_nowait(whole(1, group(80), *machine(1), *machine(2)))
    status = await stream.until_seen(ONE, Observed.GONE)
    await stream.until_seen(InstanceId("i-00000002"), Observed.RUNNING)
    assert status.reason == "the disk is full"
    host.agent.device_removed()
    await stream.until_acked(1)
    assert host.driver.log.count("create i-00000001") == 1


async def test_an_instance_whose_process_ended_is_gone(host: FakeHost) -> None:
    stream = host.attend()
    stream.down.put_nowait(whole(1, group(80), *machine(1)))
    await stream.until_seen(ONE, Observed.RUNNING)
    host.driver.states[ONE] = Observed.GONE
    host.agent.device_removed()
    assert (await stream.until_seen(ONE, Observed.GONE)).reason == "its first process ended"
    assert ONE not in host.driver.states


async def test_an_instance_that_deleted_its_device_is_impaired_and_not_policed_any_more(host: FakeHost) -> None:
    stream = host.attend()
    stream.down.put_nowait(whole(1, group(80), *machine(1)))
    await stream.until_seen(ONE, Observed.RUNNING)
    host.driver.states[ONE] = Observed.IMPAIRED
    host.agent.device_removed()
    await stream.until_seen(ONE, Observed.IMPAIRED)
    assert host.driver.log[-1] == "detach eni-00000001"


async def test_an_instance_that_nobody_knows_is_destroyed(host: FakeHost) -> None:
    host.driver.states[ONE] = Observed.RUNNING
    stream = host.attend()
    stream.down.put_nowait(whole(1))
    await stream.until_acked(1)
    while ONE in host.driver.states:
        await asyncio.sleep(0.01)
    assert stream.statuses == []


async def test_before_the_first_frame_nothing_is_destroyed(host: FakeHost) -> None:
    host.driver.states[ONE] = Observed.RUNNING
    host.attend()
    for _ in range(5):
        host.agent.device_removed()
        await asyncio.sleep(0.01)
    assert host.driver.log == []


async def test_a_restarted_agent_enforces_again_and_adopts_without_any_control_process(tmp_path: Path) -> None:
    first = FakeHost(tmp_path)
    first.agent.start()
    stream = first.attend()
    stream.down.put_nowait(whole(1, group(80), *machine(1)))
    await stream.until_seen(ONE, Observed.RUNNING)
    stream.down.put_nowait(change(2, group(443)))
    await stream.until_acked(2)
    await first.stop()

    second = FakeHost(tmp_path, driver=first.driver)
    first.driver.log.clear()
    assert await second.agent.restore() == 1
    interface, _ = machine(1)
    assert second.agent.view.revision == 2
    assert interface.id in second.datapath.observe().endpoints
    assert first.driver.log == ["attach eni-00000001"]
    await second.stop()


async def test_after_a_reboot_policy_is_restored_first_and_instances_are_launched_again(tmp_path: Path) -> None:
    first = FakeHost(tmp_path)
    assert await first.agent.restore() == 0
    first.agent.start()
    stream = first.attend()
    stream.down.put_nowait(whole(1, group(80), *machine(1)))
    await stream.until_seen(ONE, Observed.RUNNING)
    await first.stop()

    second = FakeHost(tmp_path, boot="second")
    second.driver.states[ONE] = Observed.GONE  # what lies on the disk, and no process
    assert await second.agent.restore() == 0
    assert machine(1)[0].id in second.datapath.observe().endpoints
    assert second.driver.log == ["stop i-00000001", "destroy i-00000001"]
    second.agent.start()
    again = second.attend()
    again.down.put_nowait(whole(1, group(80), *machine(1)))
    await again.until_seen(ONE, Observed.RUNNING)
    assert Observed.GONE not in {status.observed for status in again.statuses}
    await second.stop()


async def test_the_next_stream_hears_every_state_again(host: FakeHost) -> None:
    stream = host.attend()
    stream.down.put_nowait(whole(1, group(80), *machine(1)))
    await stream.until_seen(ONE, Observed.RUNNING)
    stream.down.put_nowait(None)
    await host.until_the_stream_ends()
    again = host.attend()
    await again.until_seen(ONE, Observed.RUNNING)
    again.down.put_nowait(whole(1, group(80), *machine(1)))
    await again.until_acked(1)
    assert host.driver.log.count("create i-00000001") == 1


async def test_down_removes_every_instance_and_the_kept_view(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.agent.start()
    stream = host.attend()
    stream.down.put_nowait(whole(1, group(80), *machine(1), *machine(2)))
    await stream.until_seen(ONE, Observed.RUNNING)
    await stream.until_seen(InstanceId("i-00000002"), Observed.RUNNING)
    said = len(stream.statuses)
    await host.stop(remove_instances=True)
    assert host.driver.states == {}
    assert not (tmp_path / "view").exists()
    assert len(stream.statuses) == said

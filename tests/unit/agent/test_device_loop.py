"""Adopted devices: which are policed, which are refused, and that policy comes first."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from stockade.agent.device_loop import DeviceLoop, HostDevices, Policed, plan_devices, refusal
from stockade.agent.serial import SerialCalls
from stockade.datapath.contract import Usage
from stockade.linux.links import Link
from stockade.model.host_view import HostView, ViewInterface
from stockade.model.ids import NetworkInterfaceId
from unit.agent.host import HOST, FakeHost, RecordingDatapath, change, group, machine, whole

ONE, TWO = NetworkInterfaceId("eni-00000001"), NetworkInterfaceId("eni-00000002")


def link(index: int, name: str, kind: str = "veth", master: int = 0) -> Link:
    return Link(index, name, "02:00:00:00:00:01", 1500, True, kind, master=master)


def host_with(*present: Link, ways_out: tuple[int, ...] = ()) -> HostDevices:
    return HostDevices({one.name: one for one in present}, frozenset(ways_out))


def adopting(number: int, device: str) -> ViewInterface:
    interface, _ = machine(number)
    return replace(interface, instance=None, device=device)


def view_of(*interfaces: ViewInterface) -> HostView:
    return HostView(HOST, interfaces={one.id: one for one in interfaces})


def is_own(name: str) -> bool:
    return name.startswith("stocka-")


NIC = link(2, "eth0", "")


@pytest.mark.parametrize(
    ("host", "name", "why"),
    [
        (host_with(link(1, "lo", "loopback")), "lo", "loopback"),
        (host_with(link(5, "stocka-i7")), "stocka-i7", "Stockade made"),
        (host_with(), "stocka-gw", "Stockade made"),
        (host_with(NIC, ways_out=(2,)), "eth0", "default route"),
        (host_with(link(3, "br0", "bridge"), ways_out=(3,)), "br0", "default route"),
        (host_with(NIC), "eth0", None),
        (host_with(link(2, "eth0"), ways_out=(2,)), "eth0", None),
        (host_with(link(2, "eth1", "", master=9), ways_out=(2,)), "eth1", None),
        (host_with(), "later", None),
    ],
)
def test_what_may_be_adopted(host: HostDevices, name: str, why: str | None) -> None:
    told = refusal(name, host, is_own)
    assert told is None if why is None else why in str(told)


def test_a_device_that_is_not_there_impairs_its_interface_alone() -> None:
    plan = plan_devices(view_of(adopting(1, "vm1"), adopting(2, "vm2")), host_with(link(8, "vm2")), {}, is_own)
    assert plan.attach == {TWO: Policed("vm2", 8)}
    assert plan.impaired == {ONE: "this host has no device vm1"}


def test_what_is_policed_already_needs_nothing() -> None:
    plan = plan_devices(view_of(adopting(1, "vm1")), host_with(link(8, "vm1")), {ONE: Policed("vm1", 8)}, is_own)
    assert (plan.attach, plan.detach, plan.impaired) == ({}, (), {})


def test_a_device_made_anew_under_its_old_name_is_attached_anew() -> None:
    plan = plan_devices(view_of(adopting(1, "vm1")), host_with(link(9, "vm1")), {ONE: Policed("vm1", 8)}, is_own)
    assert plan.detach == (ONE,)
    assert plan.attach == {ONE: Policed("vm1", 9)}


def test_of_two_interfaces_with_one_device_the_older_has_it() -> None:
    plan = plan_devices(view_of(adopting(2, "vm1"), adopting(1, "vm1")), host_with(link(8, "vm1")), {}, is_own)
    assert plan.attach == {ONE: Policed("vm1", 8)}
    assert plan.impaired == {TWO: "vm1 is eni-00000001's"}


@pytest.fixture
def datapath() -> RecordingDatapath:
    return RecordingDatapath([])


class Looking:
    """What the host has, as a test says."""

    def __init__(self) -> None:
        self.host = host_with()

    def __call__(self) -> HostDevices:
        return self.host


@pytest.fixture
def looking() -> Looking:
    return Looking()


@pytest.fixture
def loop(datapath: RecordingDatapath, looking: Looking) -> Iterator[DeviceLoop]:
    calls = SerialCalls("test")
    yield DeviceLoop(datapath, calls, is_own, looking)
    calls.close()


async def test_a_device_that_comes_later_is_attached_then_and_given_back(
    datapath: RecordingDatapath, loop: DeviceLoop, looking: Looking, caplog: pytest.LogCaptureFixture
) -> None:
    view = view_of(adopting(1, "vm1"))
    with caplog.at_level(logging.WARNING):
        await loop.settle(view)
        await loop.settle(view)
    assert [one.message for one in caplog.records] == ["device_impaired"]
    assert loop.health.impaired
    looking.host = host_with(link(8, "vm1"))
    await loop.settle(view)
    assert (loop.health.policed, loop.health.impaired) == ({ONE: Policed("vm1", 8)}, {})
    await loop.settle(view_of())
    assert datapath._log == ["attach eni-00000001", "detach eni-00000001"]


async def test_one_that_cannot_be_attached_is_tried_again_and_the_others_are(
    datapath: RecordingDatapath, loop: DeviceLoop, looking: Looking
) -> None:
    view = view_of(adopting(1, "vm1"), adopting(2, "vm2"))
    looking.host = host_with(link(8, "vm1"), link(9, "vm2"))
    attach = datapath.attach

    def refuse_first(endpoint: NetworkInterfaceId, device: object) -> None:
        if endpoint == ONE:
            raise OSError("EBUSY")
        attach(endpoint, device)

    with mock.patch.object(datapath, "attach", refuse_first):
        await loop.settle(view)
    assert loop.health.impaired == {ONE: "vm1 could not be attached: EBUSY"}
    assert set(loop.health.policed) == {TWO}
    await loop.settle(view)
    assert set(loop.health.policed) == {ONE, TWO}


async def test_down_gives_every_device_back(datapath: RecordingDatapath, loop: DeviceLoop, looking: Looking) -> None:
    looking.host = host_with(link(8, "vm1"))
    await loop.settle(view_of(adopting(1, "vm1")))
    await loop.release()
    assert datapath._log[-1] == "detach eni-00000001"
    assert loop.health.policed == {}


async def test_what_a_former_agent_attached_and_nobody_names_is_detached_once(
    datapath: RecordingDatapath, loop: DeviceLoop
) -> None:
    datapath.used = {ONE: Usage(0, 0, 10), TWO: Usage(0, 0, 10)}
    view = view_of(adopting(2, "vm2"))
    await loop.sweep(view)
    await loop.sweep(view_of())
    assert datapath._log == ["detach eni-00000001"]


async def test_policy_is_applied_before_a_device_is_attached_and_acknowledged_after(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    assert host.datapath is not None
    order: list[str] = []
    datapath, apply, attach = host.datapath, host.datapath.apply, host.datapath.attach

    def noting_apply(policy: object) -> object:
        order.append("apply")
        return apply(policy)  # type: ignore[arg-type]

    def noting_attach(endpoint: NetworkInterfaceId, device: object) -> None:
        order.append("attach")
        assert endpoint in datapath.observe().endpoints
        attach(endpoint, device)

    with (
        mock.patch.object(datapath, "apply", noting_apply),
        mock.patch.object(datapath, "attach", noting_attach),
        mock.patch.object(host.agent._devices, "_look", lambda: host_with(link(8, "vm1"))),
    ):
        host.agent.start()
        stream = host.attend()
        stream.down.put_nowait(whole(3, group(80), adopting(1, "vm1")))
        await stream.until_acked(3)
        assert order == ["apply", "attach"]
        assert set(host.agent.devices.policed) == {ONE}
        stream.down.put_nowait(change(4, removed=(("interface", ONE),)))
        await stream.until_acked(4)
        assert host.driver.log[-1] == "detach eni-00000001"
        await host.stop()

"""Every story, over both families: by the rules, by the simulated datapath, and as root by the kernel's programs."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from fuzz.engines import said
from scenarios.live_flows import STORIES
from scenarios.stories import Story, Waits, happens
from stockade.datapath.contract import DeviceName
from stockade.datapath.simulated.datapath import SimulatedDatapath
from stockade.model.host_view import HostView
from stockade.policy.compile import Compiler
from stockade.policy.flows import judge_frame
from stockade.policy.memory import Memory, advance

EACH = [pytest.param(story, version, id=f"{story.name} over IPv{version}") for story in STORIES for version in (4, 6)]


@pytest.mark.parametrize(("story", "version"), EACH)
def test_the_rules_tell_the_story(story: Story, version: int) -> None:
    memory, view, now = Memory(), None, 0.0
    for number, each in enumerate(happens(story, version)):
        if isinstance(each, HostView):
            view, memory = each, advance(memory, each)
        elif isinstance(each, Waits):
            now += each.seconds
        else:
            assert view is not None
            verdict, memory = judge_frame(view, memory, now, each.frame, each.sender)
            assert (number, each.step, said(verdict).reason) == (number, each.step, each.expected)


@pytest.mark.parametrize(("story", "version"), EACH)
def test_the_simulated_datapath_tells_the_story(story: Story, version: int) -> None:
    datapath, compiler = SimulatedDatapath(datetime(2026, 1, 1, tzinfo=UTC)), Compiler()
    for number, each in enumerate(happens(story, version)):
        if isinstance(each, HostView):
            datapath.apply(compiler(each))
            for interface in each.interfaces:
                datapath.attach(interface, DeviceName(f"veth-{interface}"))
        elif isinstance(each, Waits):
            datapath.advance(each.seconds)
        else:
            verdict = datapath.send_frame(each.frame, each.sender)
            assert (number, each.step, said(verdict).reason) == (number, each.step, each.expected)


@pytest.fixture(scope="module")
def kernel() -> Iterator[object]:
    from fuzz.kernel_engine import KernelEngine  # noqa: PLC0415 - needs root

    with KernelEngine() as engine:
        yield engine


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
@pytest.mark.parametrize(("story", "version"), EACH)
def test_the_kernel_tells_the_story(kernel: object, story: Story, version: int) -> None:
    from fuzz.kernel_engine import KernelEngine  # noqa: PLC0415 - needs root

    assert isinstance(kernel, KernelEngine)
    compiler = Compiler()
    kernel.begin()
    for number, each in enumerate(happens(story, version)):
        if isinstance(each, HostView):
            kernel.enforce(compiler(each))
        elif isinstance(each, Waits):
            kernel.wait(each.seconds)
        else:
            given, _ = kernel.ask(each.frame, each.sender)
            assert (number, each.step, given.reason) == (number, each.step, each.expected)

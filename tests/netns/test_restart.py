"""Whoever controls may die, be upgraded or lose its kernel: what is enforced stays, or is there again first."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from netns.agent_host import AgentHost
from netns.live_traffic import End, Flows, Scan, Sniffers
from netns.machines import UNTRACKED_PORT, clients, ends_of, items, pairs, servers
from netns.other_build import other_build
from netns.site import until

pytestmark = [pytest.mark.root, pytest.mark.alone]
NEAR, FAR = clients(2), servers(2)


@pytest.fixture(scope="module")
def another_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return other_build(tmp_path_factory.mktemp("build"))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[AgentHost]:
    with AgentHost(tmp_path / "host") as made:
        yield made


@pytest.fixture
def running(host: AgentHost) -> AgentHost:
    host.tell(items(NEAR + FAR))
    host.start()
    host.until_running(NEAR + FAR)
    return host


@pytest.fixture
def ends(running: AgentHost) -> Iterator[tuple[list[End], list[End]]]:
    near, far = ends_of(running, NEAR), ends_of(running, FAR)
    yield near, far
    for end in near + far:
        os.close(end.netns)


class Load:
    """Flows that must go on, and a scan that must not get through, while the block runs."""

    def __init__(self, near: list[End], far: list[End]) -> None:
        self.flows = Flows(pairs(near, far, 20))
        self.scan = Scan(near + far, UNTRACKED_PORT)
        self.sniffers = Sniffers(near + far)
        self._all = ExitStack()

    def __enter__(self) -> "Load":
        for one in (self.sniffers, self.scan, self.flows):  # ended the other way round
            self._all.enter_context(one)
        return self

    def __exit__(self, *details: object) -> None:
        until(lambda: len(self.sniffers.witnesses) == 2 * len(NEAR + FAR) and min(self.scan.sent.values()) > 20)
        self._all.close()
        assert self.flows.broken == []
        assert self.sniffers.forbidden == 0, self.sniffers.example.hex()


def test_an_agent_killed_under_load_is_replaced_and_nothing_is_lost_or_let_through(
    running: AgentHost, ends: tuple[list[End], list[End]]
) -> None:
    with Load(*ends) as load:
        load.flows.until_all_answered()
        for _ in range(2):
            running.kill()
            load.flows.until_all_answered(20)
            running.start()
            assert running.until_said("restored")["instances"] == 4
            load.flows.until_all_answered(20)


def test_an_upgrade_replaces_every_program_and_no_flow_notices(
    running: AgentHost, ends: tuple[list[End], list[End]], another_build: Path
) -> None:
    before = running.programs()
    assert all(len(numbers) == 2 for numbers in before.values())
    with Load(*ends) as load:
        load.flows.until_all_answered()
        running.kill()
        running.start(program=another_build)
        running.until_said("restored")
        after = running.programs()
        load.flows.until_all_answered(20)
    assert after.keys() == before.keys()
    assert all(not set(before[device]) & set(after[device]) for device in before)


def test_a_change_made_while_no_agent_lived_is_enforced_by_the_next(
    running: AgentHost, ends: tuple[list[End], list[End]]
) -> None:
    near, far = ends
    running.kill()
    revision = running.tell(items(NEAR[:1] + FAR))
    running.start()
    running.until_enforced(revision)
    with Flows(pairs(near[:1], far, 2)) as flows:
        flows.until_all_answered()


def test_after_a_reboot_policy_is_in_the_kernel_before_any_instance_and_without_a_control_process(
    running: AgentHost,
) -> None:
    revision = running.said("enforced")[-1]["revision"]
    running.frames.rename(running.frames.with_suffix(".away"))
    running.reboot()
    running.start()
    restored = running.until_said("restored")
    assert (restored["revision"], restored["instances"]) == (revision, 0)
    time.sleep(0.5)
    assert running.programs() == {}
    assert [line["state"] for line in running.said("instance")] == []
    running.frames.with_suffix(".away").rename(running.frames)
    running.until_running(NEAR + FAR)
    near, far = ends_of(running, NEAR), ends_of(running, FAR)
    with Load(near, far) as load:
        load.flows.until_all_answered(50)
    for end in near + far:
        os.close(end.netns)

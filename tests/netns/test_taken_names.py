"""Names of a site that stand for something else on this host already: it does not come up, and removes nothing."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from netns.site import TestSite

pytestmark = pytest.mark.root


@pytest.fixture
def site() -> Iterator[TestSite]:
    made = TestSite()
    yield made
    made.end()


def test_devices_of_another_site_are_neither_used_nor_removed(site: TestSite) -> None:
    """Two sites whose names begin alike would name their devices alike."""
    device = f"{site.name[:6]}-gw"
    site.ip("link", "add", device, "type", "veth", "peer", "name", "other-site")
    done = site.stockade("up", "-d")
    assert done.returncode == 5
    assert f"device {device} is there" in done.stderr
    assert site.stockade("down", "--force").returncode == 0
    site.ip("link", "show", device)


def test_a_cgroup_of_another_program_is_neither_used_nor_killed(site: TestSite) -> None:
    group = Path("/sys/fs/cgroup/pids" if Path("/sys/fs/cgroup/pids").is_dir() else "/sys/fs/cgroup") / site.name
    group.mkdir()
    with subprocess.Popen(["sleep", "60"]) as somebody:
        try:
            (group / "cgroup.procs").write_text(str(somebody.pid))
            done = site.stockade("up", "-d")
            assert done.returncode == 5
            assert f"cgroup {group} is there" in done.stderr
            site.stockade("down", "--force")
            assert somebody.poll() is None
        finally:
            somebody.kill()
            somebody.wait()
            group.rmdir()

"""What the README says under "Remove it by hand" removes everything, on a host where nothing of ours helps any more."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from netns.host_inventory import settled_difference, take
from netns.site import MICRO, TestSite, build_micro, until

pytestmark = [pytest.mark.root, pytest.mark.alone]
README = Path(__file__).parents[2] / "README.md"
UPLINK = "up0"
BPFFS = Path("/sys/fs/bpf")
NETWORK = tuple(f"{sign} {kind}: " for sign in "+-" for kind in ("links", "routes", "neighbours", "tc", "nft"))


@pytest.fixture
def site() -> Iterator[TestSite]:
    build_micro()
    was_mounted = BPFFS.is_mount()
    made = TestSite()
    made.ip("link", "add", UPLINK, "type", "veth", "peer", "name", "world0")
    made.ip("link", "set", UPLINK, "up")
    made.environment["STOCKADE_NETWORK_DEVICES"] = UPLINK
    yield made
    made.end()
    if BPFFS.is_mount() and not was_mounted:  # as the README says below the commands
        subprocess.run(["umount", BPFFS], check=True)


def by_hand(site: TestSite) -> str:
    """The README's commands, as root, for this site's name instead of the default one."""
    section = README.read_text(encoding="utf-8").partition("## Remove it by hand")[2]
    (commands,) = re.findall(r"^```\n(.*?)^```", section.partition("\n## ")[0], flags=re.MULTILINE | re.DOTALL)
    commands = commands.replace("^stocka-", f"^{site.name[:6]}-").replace("stockade", site.name)
    commands = commands.replace("sudo ", "").replace("DEVICE", UPLINK)
    return commands.replace(f"/var/lib/{site.name}", f"{site.base}/state")


def test_the_readmes_commands_leave_nothing_behind(site: TestSite) -> None:
    before = site.inside(take)
    site.up()
    launched = site.client().run_instances(ImageId=MICRO, MinCount=2, MaxCount=2)["Instances"]
    until(lambda: all(_runs(site, one["InstanceId"]) for one in launched))
    script = ["nsenter", f"--net=/run/netns/{site.netns}", "sh", "-uc", by_hand(site)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)
    left = site.inside(lambda: settled_difference(before, within_s=3))
    # Of the host namespace everything, of the machine what is this site's: a cgroup could not go with a process in it.
    ours = [line for line in left if line.startswith(NETWORK) or site.name in line]
    assert ours == [f"+ tc: qdisc clsact ffff: dev {UPLINK} parent ffff:fff1"], done.stderr  # the README says so
    assert not (site.base / "state").exists()


def _runs(site: TestSite, instance: str) -> bool:
    try:
        return site.first_process(instance) > 0
    except (OSError, KeyError, TypeError, ValueError):
        return False

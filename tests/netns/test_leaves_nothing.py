"""The inventory that other tests compare hosts with sees what it claims to see."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from netns.host_inventory import difference, settled_difference, take

pytestmark = [pytest.mark.root, pytest.mark.alone]


def in_own_host(script: str, **variables: str) -> list[str]:
    """Run a test's shell script in network and mount namespaces of its own; its output lines."""
    command = ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-euc", script]
    environment = os.environ | variables
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if line]


def inventory_change(making: str, undoing: str) -> tuple[list[str], list[str]]:
    """What the inventory reports after `making`, and after `undoing`, in a host of its own."""
    tests = Path(__file__).parents[1]
    program = (
        "import subprocess, sys;"
        "from netns.host_inventory import take, difference;"
        "kinds = ['links', 'routes', 'neighbours', 'tc', 'nft', 'mounts', 'sysctls'];"
        "before = take(kinds);"
        "subprocess.run(['sh', '-euc', sys.argv[1]], check=True);"
        "print(*difference(before, take(kinds)), sep='\\n');"
        "print('undone');"
        "subprocess.run(['sh', '-euc', sys.argv[2]], check=True);"
        "print(*difference(before, take(kinds)), sep='\\n')"
    )
    script = f'mount -t sysfs sysfs /sys; ip link set lo up; {sys.executable} -Bc "$PROGRAM" "$MAKING" "$UNDOING"'
    lines = in_own_host(script, PYTHONPATH=str(tests), PROGRAM=program, MAKING=making, UNDOING=undoing)
    middle = lines.index("undone")
    return lines[:middle], lines[middle + 1 :]


@pytest.mark.parametrize(
    ("making", "undoing", "seen"),
    [
        ("ip link add left type veth peer right", "ip link del left", "+ links: left"),
        ("ip route add 198.18.0.0/16 dev lo", "ip route del 198.18.0.0/16", "+ routes: "),
        ("tc qdisc add dev lo clsact", "tc qdisc del dev lo clsact", "+ tc: qdisc clsact"),
        ("nft add table inet ours", "nft delete table inet ours", "+ nft: "),
        ("mount -t tmpfs tmpfs /mnt", "umount /mnt", "+ mounts: /mnt tmpfs"),
        ("echo 1 >/proc/sys/net/ipv4/ip_forward", "echo 0 >/proc/sys/net/ipv4/ip_forward", "+ sysctls: "),
    ],
)
def test_inventory_sees_what_was_made_and_that_it_went(making: str, undoing: str, seen: str) -> None:
    made, left = inventory_change(making, undoing)
    assert any(line.startswith(seen) for line in made), made
    assert left == []


def test_inventory_sees_a_process_in_another_network_namespace() -> None:
    before = take(["processes"])
    with subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        while os.readlink(f"/proc/{child.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            os.sched_yield()
        assert any(line.startswith("+ processes: ") for line in difference(before, take(["processes"])))
        child.stdin.close()
    assert settled_difference(before) == []


def test_an_untouched_host_equals_itself() -> None:
    before = take()
    assert settled_difference(before) == []

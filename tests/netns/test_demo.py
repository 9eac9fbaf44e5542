"""However the demo ends, the machine is afterwards as it was before."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from netns.host_inventory import settled_difference, take

pytestmark = [pytest.mark.root, pytest.mark.alone, pytest.mark.timeout(180)]

INTERRUPTED = 130


def begun(ready: Callable[[str], bool]) -> "subprocess.Popen[str]":
    """A demo of Albert's story that has come as far as a line of its output says."""
    command = [sys.executable, "-m", "stockade.daemon.demo", "albert"]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert demo.stdout is not None
    assert any(ready(line) for line in demo.stdout)
    return demo


def starting(line: str) -> bool:
    return line.startswith("✓ ")


def scanning(line: str) -> bool:
    return line.startswith("A3 ")


@pytest.mark.parametrize("ready", [starting, scanning])
def test_an_interrupted_demo_leaves_nothing(ready: Callable[[str], bool]) -> None:
    before = take()
    demo = begun(ready)
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=60)
    assert demo.returncode == INTERRUPTED
    assert settled_difference(before) == []


def test_a_killed_demo_leaves_nothing() -> None:
    before = take()
    demo = begun(scanning)
    demo.kill()
    demo.communicate(timeout=60)
    assert settled_difference(before, within_s=60) == []
    assert not [name for name in os.listdir("/var/lib") if name.startswith("demo-")]

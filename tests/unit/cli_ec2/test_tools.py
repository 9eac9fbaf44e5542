"""The launchers: which there are, that they start, and how little they cost."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from stockade.cli.ec2 import launch, tools_directory
from stockade.cli.ec2.main import ALIASES, TOOLS, find_command

LAUNCHERS = sorted(tools_directory().iterdir())
DEFERRED = {"argparse", "dataclasses", "typing", "re", "urllib", "http", "email", "ssl", "xml", "json", "pathlib"}


def test_there_is_a_launcher_for_every_name() -> None:
    assert {launcher.name for launcher in LAUNCHERS} == set(TOOLS) | set(ALIASES)


def test_launchers_are_one_small_program() -> None:
    assert len({launcher.read_bytes() for launcher in LAUNCHERS}) == 1
    assert all(os.access(launcher, os.X_OK) for launcher in LAUNCHERS)


@pytest.mark.parametrize("name", sorted({*TOOLS, *ALIASES, "authorize", "din"}))
def test_every_name_has_its_command(name: str) -> None:
    assert find_command(name) is not None


def test_a_launcher_runs_its_tool(service, environment) -> None:
    service.will_refuse("InvalidGroup.NotFound", "The security group 'x' does not exist")
    done = subprocess.run([tools_directory() / "ec2dgrp", "x"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Client.InvalidGroup.NotFound: The security group 'x' does not exist\n"


def test_a_tool_starts_with_little_of_the_library(environment) -> None:
    """A module that pulls in much more is seen here, by name, before it is seen in the time."""
    environment.setenv("AWS_ENDPOINT_URL_EC2", "http://127.0.0.1:1")
    command = [sys.executable, "-X", "importtime", "-I", "-S", launch.__file__, "ec2dgrp"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    loaded = {line.rpartition("|")[2].strip() for line in shown.splitlines()}
    assert "socket" in loaded
    assert not loaded & DEFERRED


def test_start_to_exit_costs_a_few_bare_interpreters(service, environment) -> None:
    """60 ms where a bare interpreter needs some 10: held as a ratio, so that a slow machine passes as well."""

    def bare() -> None:
        subprocess.run([sys.executable, "-I", "-S", "-c", "import socket"], check=True)

    def whole() -> None:
        service.will_answer("DescribeSecurityGroups", "<securityGroupInfo/>")
        subprocess.run([tools_directory() / "ec2dgrp"], check=True)

    whole()
    rounds = [(_time_of(bare), _time_of(whole)) for _ in range(9)]
    assert statistics.median(tool / python for python, tool in rounds) < 4


def _time_of(action: Callable[[], None]) -> float:
    before = time.perf_counter()
    action()
    return time.perf_counter() - before

"""The walk-throughs' commands, by the real tools, with a host that only reports: records and errors, no packets."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from serving import ControlPlane
from stockade.model.account import Platform
from stockade.service.accounts import CreatedAccount

TOOLS = Path(__file__).parents[2] / "src/stockade/cli/ec2/bin"
ADMIN = "192.168.1.130/32"
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f mary"

Tool = Callable[..., list[list[str]]]
Failing = Callable[..., str]


@pytest.fixture
def mary(plane: ControlPlane) -> CreatedAccount:
    """A classic account with a default key, as the walk-throughs need."""
    return plane.account(Platform.CLASSIC, public_key=PUBLIC_KEY)


@pytest.fixture
def ran(plane: ControlPlane, mary: CreatedAccount, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    environment = {
        "PATH": f"{TOOLS}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "EC2_URL": plane.url,
        "AWS_ACCESS_KEY_ID": mary.key.id,
        "AWS_SECRET_ACCESS_KEY": mary.key.secret,
    }

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=30, check=False)

    return run


@pytest.fixture
def tool(ran: Callable[..., subprocess.CompletedProcess[str]]) -> Tool:
    """Records of a command that succeeds and says nothing on standard error."""

    def run(*words: str) -> list[list[str]]:
        done = ran(*words)
        assert (done.returncode, done.stderr) == (0, "")
        return [line.split("\t") for line in done.stdout.splitlines()]

    return run


@pytest.fixture
def failing(ran: Callable[..., subprocess.CompletedProcess[str]]) -> Failing:
    """What a command that must fail says, all of it on standard error."""

    def run(*words: str) -> str:
        done = ran(*words)
        assert done.returncode != 0
        assert done.stdout == ""
        return done.stderr

    return run


def running(tool: Tool, *ids: str) -> list[list[str]]:
    """INSTANCE records once all of them run."""
    deadline = time.monotonic() + 15
    while True:
        found = [record for record in tool("ec2-describe-instances", *ids) if record[0] == "INSTANCE"]
        if all(record[5] == "running" for record in found):
            return found
        assert time.monotonic() < deadline


def test_albert_modifies_the_default_group(tool: Tool, failing: Failing, mary: CreatedAccount) -> None:
    account = mary.account.id
    reservation, instance = tool("ec2-run-instances", "ami-eca54085")
    assert reservation[2:] == [account, "default"]
    assert instance[2:10] == ["ami-eca54085", "", "", "pending", "", "0", "", "m1.small"]
    (now,) = running(tool, instance[1])
    assert now[3].startswith("ec2-198-18-")
    assert tool("ec2-describe-group", "default") == [
        ["GROUP", account, "default", "default group"],
        ["PERMISSION", account, "default", "ALLOWS", "all", "", "", "FROM", "USER", account, "GRPNAME", "default"],
    ]
    opened = ("ec2-authorize", "default", "-P", "tcp", "-p", "22", "-s", ADMIN)
    assert tool(*opened) == [
        ["GROUP", "", "default"],
        ["PERMISSION", "", "default", "ALLOWS", "tcp", "22", "22", "FROM", "CIDR", ADMIN],
    ]
    assert failing(*opened) == (
        f"Client.InvalidPermission.Duplicate: The permission '{ADMIN}-1-22-22' has already been authorized on the "
        "specified group\n"
    )
    assert tool("ec2-terminate-instances", instance[1]) == [["INSTANCE", instance[1], "running", "shutting-down"]]


def test_mary_builds_her_tiers(tool: Tool, failing: Failing, mary: CreatedAccount) -> None:
    account = mary.account.id
    assert tool("ec2-add-group", "apache", "-d", "Mary's Apache group") == [["GROUP", "apache", "Mary's Apache group"]]
    described = [["GROUP", account, "apache", "Mary's Apache group"]]
    assert tool("ec2-describe-group", "apache") == described
    tool("ec2-authorize", "apache", "-P", "tcp", "-p", "80", "-s", "0.0.0.0/0")
    described.append(["PERMISSION", account, "apache", "ALLOWS", "tcp", "80", "80", "FROM", "CIDR", "0.0.0.0/0"])
    assert tool("ec2-describe-group", "apache") == described

    reservation, *webs = tool("ec2run", "ami-fba54092", "-n", "7", "-g", "apache")
    assert reservation[3] == "apache"
    assert [web[7] for web in webs] == [str(index) for index in range(7)]
    assert len({web[1] for web in webs}) == 7
    assert len(running(tool, webs[0][1])) == 1

    tool("ec2-add-group", "appserver", "-d", "Mary's app server")
    _, *apps = tool("ec2run", "ami-e3a5408a", "-n", "20", "-g", "appserver")
    assert len(apps) == 20
    assert tool("ec2-authorize", "appserver", "-o", "apache", "-u", account) == [
        ["GROUP", "", "appserver"],
        ["PERMISSION", "", "appserver", "ALLOWS", "all", "", "", "FROM", "USER", account, "GRPNAME", "apache"],
    ]
    assert tool("ec2-describe-group", "appserver")[1][4:7] == ["all", "", ""]

    tool("ec2-authorize", "apache", "-P", "tcp", "-p", "22", "-s", ADMIN)
    tool("ec2-revoke", "apache", "-P", "tcp", "-p", "22", "-s", ADMIN)
    assert tool("ec2-describe-group", "apache") == described
    tool("ec2-revoke", "apache", "-P", "tcp", "-p", "2222", "-s", "0.0.0.0/0")

    assert failing("ec2-describe-group", "nosuch") == (
        "Client.InvalidGroup.NotFound: The security group 'nosuch' does not exist\n"
    )
    assert failing("ec2-add-group", "apache", "-d", "x").startswith("Client.InvalidGroup.Duplicate:")
    assert failing("ec2-delete-group", "apache").startswith("Client.InvalidGroup.InUse:")
    assert failing("ec2-delete-group", "default").startswith("Client.InvalidGroup.Reserved:")
    assert failing("ec2din", "i-00000000").startswith("Client.InvalidInstanceID.NotFound:")
    assert failing("ec2run", "ami-00000000").startswith("Client.InvalidAMIID.NotFound:")
    tool("ec2kill", *(record[1] for record in (*webs, *apps)))


def test_a_group_of_another_account_is_let_in_by_its_owner_and_name(
    plane: ControlPlane, tool: Tool, failing: Failing
) -> None:
    other = plane.account(Platform.CLASSIC)
    hyphenated = "-".join((other.account.id[:4], other.account.id[4:8], other.account.id[8:]))
    record = tool("ec2-authorize", "default", "-o", "default", "-u", hyphenated)[1]
    assert record[-3:] == [other.account.id, "GRPNAME", "default"]
    assert other.account.id in {line[9] for line in tool("ec2-describe-group", "default")[1:]}
    assert failing("ec2-authorize", "default", "-o", "nosuch", "-u", other.account.id) == (
        "Client.InvalidGroup.NotFound: The security group 'nosuch' does not exist\n"
    )

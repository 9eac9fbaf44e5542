"""The ec2-* tools against the real API: every command of the walk-throughs, record for record, without packets."""

import os
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from serving import ControlPlane, control_plane
from stockade.cli.ec2 import tools_directory
from stockade.daemon.demo.expectation import bind_names, compare, fill
from stockade.daemon.demo.mary import STRANGER
from stockade.daemon.demo.script import Running, Story, Tool
from stockade.daemon.demo.stories import STORIES
from stockade.daemon.demo.transport import Account, Answer
from stockade.model.account import Platform


@pytest.fixture
def server() -> Iterator[ControlPlane]:
    with control_plane() as plane:
        yield plane


class Caller:
    """Gives commands to a control plane through the launchers."""

    def __init__(self, server: ControlPlane) -> None:
        self._url = server.url

    def run(self, account: Account, command: str) -> Answer:
        environment = {
            "PATH": f"{tools_directory()}:{os.environ['PATH']}",
            "EC2_URL": self._url,
            "AWS_ACCESS_KEY_ID": account.access_key,
            "AWS_SECRET_ACCESS_KEY": account.secret_key,
        }
        done = subprocess.run(shlex.split(command), env=environment, capture_output=True, text=True, check=False)
        return Answer(done.returncode, done.stdout, done.stderr)


def account_of(server: ControlPlane, number: str | None = None) -> Account:
    made = server.account(Platform.CLASSIC, **({"id": number} if number else {}))
    return Account(made.account.id, made.key.id, made.key.secret)


def commands_differ(server: ControlPlane, story: Story) -> list[str]:
    """Every difference between what the story's commands print and what they must print."""
    caller = Caller(server)
    accounts = {"": account_of(server), "stranger": account_of(server, STRANGER)}
    variables = {"ACCT": accounts[""].number}
    found = []
    for step in story.steps:
        for action in step.actions:
            if isinstance(action, Tool):
                account = accounts[action.account]
                scope = {**variables, "ACCT": account.number}
                answer = caller.run(account, fill(action.command, scope))
                if action.refused:
                    as_it_must = answer.err.startswith(action.refused) and not answer.out and answer.status == 1
                    difference = "" if as_it_must else f"{answer}"
                else:
                    difference = compare(action.prints, answer.out, scope) or answer.err
                found += [f"{step.id} {action.command}: {difference}"] if difference else []
                variables |= {name: value for name, value in scope.items() if name != "ACCT"}
            elif isinstance(action, Running):
                command = f"ec2-describe-instances {' '.join(variables[name] for name in action.instances)}"
                for line in caller.run(accounts[action.account], command).out.splitlines():
                    fields = line.split("\t")
                    names = {value: name for name, value in variables.items()}
                    if fields[0] == "INSTANCE":
                        bind_names(names[fields[1]], fields[3], fields[4], variables)
    return found


@pytest.mark.parametrize("name", sorted(STORIES))
def test_commands_of_the_walkthroughs(server: ControlPlane, name: str) -> None:
    assert commands_differ(server, STORIES[name]) == []


def call(server: ControlPlane, account: Account, command: str) -> list[list[str]]:
    answer = Caller(server).run(account, command)
    assert (answer.status, answer.err) == (0, "")
    return [line.split("\t") for line in answer.out.splitlines()]


def test_the_catalogue_has_the_walkthroughs_images(server: ControlPlane) -> None:
    listed = {record[1] for record in call(server, account_of(server), "ec2-describe-images -a")}
    assert listed >= {"ami-eca54085", "ami-fba54092", "ami-e3a5408a", "ami-f1a54098"}


def test_key_pairs_come_and_go(server: ControlPlane) -> None:
    account = account_of(server)
    made = call(server, account, "ec2-add-keypair paul")
    assert made[0][:2] == ["KEYPAIR", "paul"]
    assert made[1] == ["-----BEGIN RSA PRIVATE KEY-----"]
    assert call(server, account, "ec2-describe-keypairs") == [made[0]]
    assert call(server, account, "ec2-delete-keypair paul") == [["KEYPAIR", "paul"]]
    assert call(server, account, "ec2dkey") == []


def test_zones_and_regions(server: ControlPlane) -> None:
    account = account_of(server)
    assert ["AVAILABILITYZONE", "us-east-1a", "available"] in call(server, account, "ec2daz")
    assert [record[:2] for record in call(server, account, "ec2dre")] == [["REGION", "us-east-1"]]


@pytest.mark.parametrize("version", ["2006-06-26", "2007-08-29", "2008-12-01", "2009-11-30"])
def test_every_version_describes_the_default_group(server: ControlPlane, version: str) -> None:
    records = call(server, account_of(server), f"ec2-describe-group default --api-version {version}")
    assert records[0][2:] == ["default", "default group"]
    assert len(records) == (4 if version.startswith("2009") else 2)


@pytest.mark.parametrize("version", ["2006-06-26", "2007-08-29", "2008-12-01", "2009-11-30"])
def test_every_version_launches_and_terminates(server: ControlPlane, version: str) -> None:
    account = account_of(server)
    launched = call(server, account, f"ec2run ami-eca54085 --api-version {version}")
    assert launched[0][3] == "default"
    assert launched[1][2] == "ami-eca54085"
    ended = call(server, account, f"ec2kill {launched[1][1]} --api-version {version}")
    assert ended[0][3] == "shutting-down"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("ec2-authorize default -P tcp -p 22 -s 300.0.0.0/8", "InvalidPermission.Malformed"),
        ("ec2-authorize default -P tcp -p 70000", "InvalidPermission.Malformed"),
        ("ec2-authorize default -P tpc -p 22", "InvalidPermission.Malformed"),
        ("ec2-authorize nosuch -P tcp -p 22", "InvalidGroup.NotFound"),
        ("ec2run ami-00000000", "InvalidAMIID.NotFound"),
        ("ec2run ami-eca54085 -g nosuch", "InvalidGroup.NotFound"),
        ("ec2-describe-group -W wrong", "AuthFailure"),
        ("ec2-describe-group -O nosuch -W wrong", "AuthFailure"),
    ],
)
def test_what_is_wrong_is_said_with_its_code(server: ControlPlane, command: str, code: str) -> None:
    account = account_of(server)
    prepared = command.replace("-W wrong", f"-O {account.access_key} -W wrong") if "-O" not in command else command
    answer = Caller(server).run(account, prepared)
    assert (answer.status, answer.out) == (1, "")
    assert answer.err.startswith(f"Client.{code}: ")


def test_several_sources_are_granted_and_folded(server: ControlPlane) -> None:
    account = account_of(server)
    call(server, account, "ec2-add-group web -d web")
    call(server, account, "ec2-authorize default -o web")
    call(server, account, "ec2-authorize web -p 80-90 -s 10.0.0.0/8 -s 192.168.0.0/16")
    records = call(server, account, "ec2-describe-group web default")
    found = {(record[2], *record[4:7], record[-1]) for record in records if record[0] == "PERMISSION"}
    assert found == {
        ("web", "tcp", "80", "90", "10.0.0.0/8"),
        ("web", "tcp", "80", "90", "192.168.0.0/16"),
        ("default", "all", "", "", "default"),
        ("default", "all", "", "", "web"),
    }
    call(server, account, "ec2-revoke web -p 80-90 -s 10.0.0.0/8 -s 192.168.0.0/16")
    assert [record[0] for record in call(server, account, "ec2-describe-group web")] == ["GROUP"]

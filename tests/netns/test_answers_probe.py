"""Answers held against real packets: they agree with a kernel that enforces, and tell of one that does not."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netns.site import TestSite, build_micro

pytestmark = [pytest.mark.root, pytest.mark.alone]

EVERYBODY = [{"CidrIp": "0.0.0.0/0"}]
POLICY = """
version: 1
tests:
  - name: app reaches web
    from: app1
    accept: ["web1:tcp/22", "web1:icmp/8", "web1:47"]
    deny: ["web1:tcp/80", "web1:udp/53", "web1:50"]
  - name: nobody reaches app
    from: 198.51.100.7
    deny: ["app1:all"]
  - name: imagined
    from: web
    deny: ["empty:all"]
"""


def furnish(site: TestSite) -> None:
    """web lets everybody in for ssh and pings, and GRE of the group default; web1 and app1 run."""
    ec2 = site.client()
    web = ec2.create_security_group(GroupName="web", Description="test")["GroupId"]
    ec2.create_security_group(GroupName="empty", Description="test")
    [default] = ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"]
    permissions = [
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": EVERYBODY},
        {"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "IpRanges": EVERYBODY},
        {"IpProtocol": "47", "UserIdGroupPairs": [{"GroupId": default["GroupId"]}]},
    ]
    ec2.authorize_security_group_ingress(GroupId=web, IpPermissions=permissions)
    for name, group in (("web1", "web"), ("app1", "default")):
        assert site.stockade("run", "-g", group, "--name", name).returncode == 0


@pytest.fixture(scope="module")
def running() -> Iterator[TestSite]:
    build_micro()
    made = TestSite()
    try:
        made.up()
        furnish(made)
        yield made
    finally:
        made.end()


def probed(site: TestSite, *question: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and the answer."""
    told = site.stockade("explain", *question, "--probe", "--json")
    assert told.stdout, told.stderr
    return told.returncode, json.loads(told.stdout)


@pytest.mark.parametrize(
    ("source", "destination", "traffic", "code"),
    [
        ("app1", "web1", "tcp/22", 0),
        ("app1", "web1", "tcp/23", 1),
        ("app1", "web1", "icmp/8", 0),
        ("app1", "web1", "47", 0),
        ("app1", "web1", "50", 1),
        ("app1", "web1", "udp/53", 1),
        ("web1", "app1", "tcp/22", 1),
        ("app1", "web1", "all", 1),
        ("198.51.100.7", "web1", "tcp/22", 0),
        ("198.51.100.7", "web1", "tcp/80", 1),
        ("198.51.100.7", "app1", "icmp/8", 1),
    ],
)
def test_packets_do_as_the_rules_say(running: TestSite, source: str, destination: str, traffic: str, code: int) -> None:
    returned, answer = probed(running, source, destination, traffic)
    assert (returned, answer["probe"]["agrees"]) == (code, True)
    assert answer["probe"]["sent"] == len(answer["probe"]["packets"]) > 0
    arrived = [one for one in answer["probe"]["packets"] if one["outcome"] == "arrived"]
    assert answer["probe"]["arrived"] == len(arrived) == answer["passed"]


def test_a_probe_is_no_connection(running: TestSite) -> None:
    """Nothing stays open of it at the server, and nobody there is asked to accept."""
    assert probed(running, "app1", "web1", "tcp/22")[0] == 0
    [web1] = [
        one["id"] for one in json.loads(running.stockade("ps", "--json").stdout)["instances"] if one["name"] == "web1"
    ]
    with running.network_of(web1) as space:
        seen = subprocess.run(
            ["nsenter", f"--net=/proc/self/fd/{space}", "cat", "/proc/self/net/tcp"],
            pass_fds=[space],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    assert " 01 " not in seen


def test_what_cannot_be_probed_is_said_and_the_model_still_answers(running: TestSite) -> None:
    for source, destination, told in (
        ("web1", "empty", "imagined"),
        ("web1", "198.51.100.9", "no interface's address"),
    ):
        code, answer = probed(running, source, destination, "tcp/80")
        assert (code, answer["verdict"], answer["probe"]["agrees"]) == (6, "blocked", None)
        assert told in answer["probe"]["undecided"]


@pytest.mark.parametrize("mode", ["model", "kernel", "both"])
def test_policy_tests_hold_in_every_mode(running: TestSite, mode: str) -> None:
    policy = running.base / "policy.yaml"
    policy.write_text(POLICY)
    told = running.stockade("test", str(policy), "--mode", mode, "--json")
    assert told.returncode == 0, told.stdout + told.stderr
    [file] = json.loads(told.stdout)["files"]
    by = {result["test"]: result["by"] for result in file["results"]}
    assert by == {"app reaches web": mode, "nobody reaches app": mode, "imagined": "model"}


def test_a_kernel_that_lets_in_what_no_rule_allows_is_told_of(tmp_path: Path) -> None:
    """With programs whose ingress gate stands open, the same questions end with 70."""
    build_micro()
    site = TestSite()
    configuration = tmp_path / "stockade.toml"
    configuration.write_text("")
    command = [sys.executable, "-P", "-m", "stockade.daemon.demo.faulty", "ingress", str(configuration)]
    faulty: subprocess.Popen[str] | None = None
    try:
        faulty = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{site.netns}", *command],
            env=site.environment,
            cwd="/",
            stdout=subprocess.PIPE,
            text=True,
        )
        assert faulty.stdout is not None and faulty.stdout.readline() == "ready\n"
        furnish(site)
        code, answer = probed(site, "app1", "web1", "tcp/23")
        assert (code, answer["verdict"], answer["probe"]["agrees"]) == (70, "blocked", False)
        [packet] = answer["probe"]["packets"]
        assert (packet["expected"], packet["outcome"]) == ("lost", "arrived")
        policy = site.base / "policy.yaml"
        policy.write_text(POLICY)
        assert site.stockade("test", str(policy), "--mode", "both").returncode == 70
        assert site.stockade("test", str(policy)).returncode == 0
    finally:
        if faulty is not None:
            faulty.send_signal(signal.SIGTERM)
            faulty.communicate(timeout=30)
        site.end()

"""The commands that ask, as processes, of a daemon that has the rules."""

import json
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from commanding import stockade


@pytest.fixture
def office(daemon: dict[str, str]) -> dict[str, str]:
    """An account whose group web lets the world in on port 80; an instance in it and one in default."""
    made = json.loads(stockade(daemon, "account", "create", "--name", "vera", "--json").stdout)
    told = json.loads(stockade(daemon, "env", "--shell", "json").stdout)
    keys = {"AWS_ACCESS_KEY_ID": made["access_key_id"], "AWS_SECRET_ACCESS_KEY": made["secret_access_key"]}
    own = daemon | {"AWS_ENDPOINT_URL_EC2": told["AWS_ENDPOINT_URL_EC2"], "EC2_URL": told["EC2_URL"], **keys}
    own |= {"EC2_ACCESS_KEY": made["access_key_id"], "EC2_SECRET_KEY": made["secret_access_key"]}
    assert stockade(own, "ec2", "add-group", "web", "-d", "web servers").returncode == 0
    assert stockade(own, "ec2", "authorize", "web", "-P", "tcp", "-p", "80").returncode == 0
    assert stockade(own, "run", "-g", "web", "--name", "web1").returncode == 0
    assert stockade(own, "run", "-g", "default", "--name", "app1").returncode == 0
    return own


def test_explain_says_why_and_what_would_help(office: dict[str, str]) -> None:
    passes = stockade(office, "explain", "app1", "web1", "tcp/80")
    assert passes.returncode == 0, passes.stderr
    assert "leaves app1" in passes.stdout and "enters web1" in passes.stdout and "PASSES" in passes.stdout
    blocked = stockade(office, "explain", "web1", "app1", "tcp/8080")
    assert blocked.returncode == 1
    assert "no rule of default" in blocked.stdout
    assert "BLOCKED  ENI_SG_RULES_MISMATCH" in blocked.stdout
    assert "To allow it: aws ec2 authorize-security-group-ingress --group-id sg-" in blocked.stdout
    told = json.loads(stockade(office, "explain", "web1", "app1", "tcp/8080", "--json").stdout)
    assert (told["schema"], told["verdict"]) == (1, "blocked")
    assert [hop["gate"] for hop in told["hops"]] == ["egress", "ingress"]
    stranger = stockade(office, "explain", "nobody", "app1", "tcp/80")
    assert (stranger.returncode, stranger.stdout) == (4, "")
    assert "InvalidParameterValue" in stranger.stderr


def test_flows_of_a_quiet_site_are_an_empty_table(office: dict[str, str]) -> None:
    told = stockade(office, "flows", "--from", "app1", "--to", "0.0.0.0/0", "--port", "tcp/80-90", "--reject")
    assert (told.returncode, told.stdout.split()) == (0, ["TIME", "VERDICT", "SOURCE", "DESTINATION", "PORT", "WHY"])
    assert stockade(office, "flows", "-o", "aws", "--since", "5m").stdout == ""
    assert stockade(office, "flows", "--accept", "--reject").returncode == 2
    assert stockade(office, "flows", "--format", "${colour}").returncode == 2
    assert stockade(office, "flows", "--group", "nosuch").returncode == 4


def test_group_shows_rules_with_counts_members_and_who_refers_to_it(office: dict[str, str]) -> None:
    told = json.loads(stockade(office, "group", "web", "--json").stdout)
    assert [(rule["traffic"], rule["packets"]) for rule in told["rules"]] == [("all", 0), ("tcp/80", 0)]
    assert [member["name"] for member in told["members"]] == ["web1"]
    text = stockade(office, "group", told["group_id"][:12])
    assert text.returncode == 0, text.stderr
    assert "tcp/80" in text.stdout and "referred to by: no other group" in text.stdout
    assert stockade(office, "group", "nosuch").returncode == 4


def test_matrix_names_what_is_open_from_each_to_each(office: dict[str, str]) -> None:
    text = stockade(office, "matrix")
    assert text.returncode == 0, text.stderr
    header, world, default, web = (line.split() for line in text.stdout.splitlines())
    assert header == ["FROM", "\\", "TO", "DEFAULT", "WEB"]
    assert (world, default, web) == (["0.0.0.0/0", "-", "tcp/80"], ["default", "all", "tcp/80"], ["web", "-", "tcp/80"])
    told = json.loads(stockade(office, "matrix", "tcp/80", "--json").stdout)
    assert [cell["verdict"] for cell in told["cells"]] == ["blocked", "pass", "pass", "pass", "blocked", "pass"]


def completed(environment: dict[str, str], *words: str) -> list[str]:
    """What a shell is offered for the last of these words."""
    asked = {"_STOCKADE_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(("stockade", *words))}
    return stockade(environment | asked | {"COMP_CWORD": str(len(words))}).stdout.split()


def test_a_shell_completes_commands_choices_and_names_of_what_runs(office: dict[str, str]) -> None:
    assert completed(office, "expl") == ["explain"]
    assert completed(office, "test", "--mode", "k") == ["kernel"]
    assert completed(office, "explain", "w") == ["web", "web1"]
    assert completed(office, "explain", "app1", "web1", "icmp") == ["icmp", "icmpv6"]
    assert completed(office, "group", "w") == ["web"]
    assert completed(office, "detach", "w") == []
    [group] = completed(
        office, "flows", "--group", json.loads(stockade(office, "group", "web", "--json").stdout)["group_id"]
    )
    assert group.startswith("sg-")
    assert completed(office | {"STOCKADE_SITE": "nowhere"}, "explain", "w") == []
    for shell in ("bash", "zsh", "fish"):
        assert "_STOCKADE_COMPLETE" in stockade(office, "completion", shell).stdout
    assert stockade(office, "completion", "ksh").returncode == 2


def test_a_cut_is_of_a_group_an_instance_or_an_interface(office: dict[str, str]) -> None:
    told = json.loads(stockade(office, "cut", "web", "--json").stdout)
    assert told["interfaces"] == json.loads(stockade(office, "cut", "web1", "--json").stdout)["interfaces"]
    assert stockade(office, "cut", told["interfaces"][0]).returncode == 0
    assert stockade(office, "cut", "nosuch").returncode == 4


def test_without_a_kernel_nothing_is_probed_and_the_rules_still_answer(office: dict[str, str]) -> None:
    done = stockade(office, "explain", "app1", "web1", "tcp/80", "--probe", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["verdict"], told["probe"]["agrees"]) == (6, "pass", None)
    assert "enforce.mode none" in told["probe"]["undecided"]


POLICY = """
version: 1
names: { world: 0.0.0.0/0 }
tests:
  - name: web is public on 80 only
    from: world
    accept: ["web:tcp/80"]
    deny: ["web:tcp/22", "app1:all"]
"""


def test_policy_tests_hold_or_say_why_not(office: dict[str, str], tmp_path: Path) -> None:
    holds, fails = tmp_path / "holds.stockade.yaml", tmp_path / "fails.stockade.yaml"
    holds.write_text(POLICY)
    fails.write_text(
        POLICY.replace('"web:tcp/22"', '"web:tcp/80"').replace('accept: ["web:tcp/80"]', 'accept: ["app1:all"]')
    )
    told = stockade(office, "test", str(holds))
    assert told.returncode == 0, told.stderr
    assert "3 pass, 0 fail" in told.stdout
    junit = tmp_path / "out.xml"
    told = stockade(office, "test", str(holds), str(fails), "--junit", str(junit))
    assert told.returncode == 1
    assert "4 pass, 2 fail" in told.stdout
    assert "no rule of default" in told.stdout and "tcp/80 from 0.0.0.0/0" in told.stdout
    suites = ElementTree.parse(junit).getroot()
    assert [suite.get("failures") for suite in suites] == ["0", "2"]
    results = json.loads(stockade(office, "test", str(fails), "--json").stdout)
    opened = results["files"][0]["results"][1]["answer"]
    assert (opened["verdict"], opened["shown_passed"]) == ("pass", True)
    assert (results["failed"], len(results["files"][0]["results"])) == (2, 3)


def test_what_is_no_test_file_is_wrong_usage(office: dict[str, str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("tests: [")
    assert stockade(office, "test", str(broken)).returncode == 2
    assert stockade(office, "test", str(tmp_path / "absent.yaml")).returncode == 2
    broken.write_text("version: 3\ntests: []")
    assert stockade(office, "test", str(broken)).returncode == 4


GROUPS = {
    "SecurityGroups": [
        {
            "GroupId": "sg-1",
            "GroupName": "web",
            "IpPermissions": [
                {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "Ipv6Ranges": [{"CidrIpv6": "::/0"}]},
            ],
        }
    ]
}


def test_rules_of_a_file_need_no_daemon(tmp_path: Path) -> None:
    """Nor a right, nor a state: the whole environment is a directory with two files."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "STOCKADE_SITE": "nowhere"}
    rules, policy, summary = tmp_path / "groups.json", tmp_path / "p.stockade.yaml", tmp_path / "summary.md"
    rules.write_text(json.dumps(GROUPS))
    policy.write_text('version: 1\ntests:\n  - from: "::/0"\n    accept: ["web:tcp/80"]\n    deny: ["web:tcp/22"]\n')
    told = stockade(environment, "test", str(policy), "--model-from", str(rules))
    assert (told.returncode, told.stderr) == (0, "")
    assert "2 pass, 0 fail (asked of the engine)" in told.stdout
    policy.write_text(policy.read_text().replace("tcp/22", "tcp/80"))
    environment["GITHUB_STEP_SUMMARY"] = str(summary)
    told = stockade(environment, "test", str(policy), "--model-from", str(rules), "--github", "--json")
    assert told.returncode == 1
    assert json.loads(told.stdout)["failed"] == 1
    assert told.stderr.startswith(f"::error file={policy},line=4,title=1%3A from")
    assert "1 pass, 1 fail" in summary.read_text()
    for arguments, code in (
        (("--model-from", str(rules), "--mode", "kernel"), 2),
        (("--model-from", str(policy)), 2),
        (("--model-from", str(tmp_path / "absent.json")), 2),
        (("--mode", "guess"), 2),
        ((), 3),
    ):
        assert stockade(environment, "test", str(policy), *arguments).returncode == code, arguments

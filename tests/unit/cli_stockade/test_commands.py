"""The command itself, as a process: exit codes, streams, and a whole model-only daemon."""

import json
from pathlib import Path

from commanding import stockade


def test_without_a_daemon_the_exit_code_is_three_and_the_fix_is_named(environment: dict[str, str]) -> None:
    told = stockade(environment, "env")
    assert told.returncode == 3
    assert told.stdout == ""
    assert "try:  sudo stockade up -d" in told.stderr


def test_a_wrong_setting_is_exit_code_two(environment: dict[str, str]) -> None:
    told = stockade(environment | {"STOCKADE_NETWORK_UPLINK": "masquerade"}, "config")
    assert told.returncode == 2
    assert "network.uplink must be none" in told.stderr


def test_an_unknown_command_is_exit_code_two(environment: dict[str, str]) -> None:
    assert stockade(environment, "teleport").returncode == 2


def test_config_says_where_each_value_came_from(environment: dict[str, str]) -> None:
    told = json.loads(stockade(environment, "config", "--json").stdout)
    assert told["schema"] == 1
    assert told["settings"]["enforce.mode"] == {"value": "none", "origin": "environment STOCKADE_ENFORCE"}


def test_dry_run_lists_and_makes_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    told = stockade(environment, "up", "--dry-run", "--enforce=kernel", "--json")
    kinds = {one["kind"] for one in json.loads(told.stdout)["objects"]}
    assert {"link", "pin", "route", "netns", "filter", "directory"} <= kinds
    assert not (tmp_path / "state").exists()


def test_a_model_only_daemon_tells_everywhere_that_it_enforces_nothing(daemon: dict[str, str]) -> None:
    assert "enforcing: none" in stockade(daemon, "status").stdout
    status = json.loads(stockade(daemon, "status", "--json").stdout)
    assert status["enforcement"]["mode"] == "none"


def test_accounts_groups_and_instances_of_a_model_only_daemon(daemon: dict[str, str]) -> None:
    made = json.loads(stockade(daemon, "account", "create", "--name", "mary", "--json").stdout)
    assert len(made["account_id"]) == 12
    listed = json.loads(stockade(daemon, "account", "list", "--json").stdout)
    assert {one["name"] for one in listed["accounts"]} >= {"mary"}
    launched = stockade(daemon, "run", "-g", "default", "-n", "2", "--name", "web", "--json")
    assert launched.returncode == 0, launched.stderr
    assert [one["state"] for one in json.loads(launched.stdout)["instances"]] == ["running", "running"]
    groups = json.loads(stockade(daemon, "groups", "--json").stdout)["groups"]
    assert [(one["name"], one["instances"]) for one in groups] == [("default", 2)]
    assert len(stockade(daemon, "ps", "-q").stdout.split()) == 2


def test_an_api_error_is_exit_code_four_with_its_code(daemon: dict[str, str]) -> None:
    told = stockade(daemon, "run", "-g", "nosuch")
    assert told.returncode == 4
    assert "InvalidGroup.NotFound" in told.stderr


def test_a_second_daemon_of_the_same_site_is_refused(daemon: dict[str, str]) -> None:
    told = stockade(daemon, "up", "-d")
    assert told.returncode == 2
    assert "is running already" in told.stderr


def test_state_survives_a_restart(environment: dict[str, str]) -> None:
    assert stockade(environment, "up", "-d").returncode == 0
    stockade(environment, "account", "create", "--name", "albert", "--platform", "classic")
    assert stockade(environment, "down").returncode == 0
    assert stockade(environment, "up", "-d").returncode == 0
    assert "albert" in stockade(environment, "account", "list").stdout
    assert stockade(environment, "down").returncode == 0


def test_down_without_a_daemon_is_done_already(environment: dict[str, str]) -> None:
    assert stockade(environment, "down").returncode == 0
    assert stockade(environment, "down", "--force").returncode == 0


def test_classic_tools_run_without_path(daemon: dict[str, str]) -> None:
    made = stockade(daemon, "ec2", "add-group", "web", "-d", "a group")
    assert (made.returncode, made.stdout) == (0, "GROUP\tweb\ta group\n")
    refused = stockade(daemon, "ec2", "ec2-describe-group", "nosuch")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("Client.InvalidGroup.NotFound: ")

"""What the commands print."""

import json
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from stockade.cli.stockade import environment, tables
from stockade.cli.stockade.durations import ago, seconds
from stockade.cli.stockade.questions import status_lines
from stockade.daemon.problems import Problem
from stockade.daemon.site import Credentials

CALLER = Credentials("http://127.0.0.1:8773", "SK1", "s3'cret", "000011112222", "us-east-1")
NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


def test_env_names_no_service_but_ec2_and_sts() -> None:
    endpoints = {name for name in environment.variables(CALLER) if "URL" in name}
    assert endpoints == {"AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL_STS", "EC2_URL"}


def test_env_survives_the_shells_own_quoting() -> None:
    script = "\n".join(environment.lines(environment.variables(CALLER), "sh"))
    told = subprocess.run(
        ["sh", "-c", f'{script}\nprintf %s "$AWS_SECRET_ACCESS_KEY"'], capture_output=True, text=True, check=True
    )
    assert told.stdout == CALLER.secret_key


def test_env_puts_the_tools_into_path_once() -> None:
    script = "\n".join(environment.lines({}, "sh"))
    told = subprocess.run(
        ["sh", "-c", f'{script}\n{script}\nprintf %s "$PATH"'], capture_output=True, text=True, check=True
    )
    assert told.stdout.split(":").count(str(environment.TOOLS)) == 1


def test_env_as_json_is_one_object() -> None:
    told = json.loads("\n".join(environment.lines(environment.variables(CALLER), "json")))
    assert told["AWS_ACCESS_KEY_ID"] == "SK1"
    assert told["PATH"].startswith(str(environment.TOOLS))


def test_an_unknown_shell_is_wrong_usage() -> None:
    with pytest.raises(Problem) as caught:
        environment.lines({}, "tcsh")
    assert caught.value.code == 2


def test_a_table_drops_columns_from_the_right_and_never_the_first() -> None:
    rows = [("i-0123456789", "web", "running")]
    assert tables.table_lines(("id", "name", "state"), rows, True, 20) == ["ID            NAME", "i-0123456789  web"]
    assert tables.table_lines(("id", "name", "state"), rows, False, 3) == ["i-0123456789"]
    assert tables.table_lines(("id", "name", "state"), rows, False, None) == ["i-0123456789  web  running"]


@pytest.mark.parametrize(("text", "value"), [("30s", 30), ("500ms", 0.5), ("5m", 300), ("1h", 3600), ("7", 7)])
def test_durations_are_read(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "s", "1 day", "-1s"])
def test_what_is_no_duration_is_wrong_usage(text: str) -> None:
    with pytest.raises(Problem):
        seconds(text)


def test_spans_are_told_in_their_largest_unit() -> None:
    spans = (timedelta(seconds=5), timedelta(minutes=3, seconds=9), timedelta(hours=26))
    assert [ago(span) for span in spans] == ["5 s", "3 m", "1 d"]


def health(**changes: object) -> dict[str, object]:
    return {
        "status": "ready",
        "version": "0.1.0",
        "enforcement": {"mode": "kernel", "proven_at": "2026-05-01T11:57:00Z", "lost_events": 0},
        "hosts": {"ready": 1, "known": 1},
        "instances": 7,
        "groups": 4,
        "rules": 9,
        "flows": {"accepted": 1204, "rejected": 311},
        **changes,
    }


def test_status_says_what_enforces_and_when_it_was_proven() -> None:
    assert status_lines(health(), NOW - timedelta(minutes=4), NOW) == [
        "stockade 0.1.0   up 4 m   enforcing: kernel (proven 3 m ago)   hosts 1/1   instances 7   groups 4   rules 9",
        "flows 1204 accepted, 311 rejected, 0 lost",
    ]


def test_status_shows_that_nothing_is_enforced() -> None:
    none = health(enforcement={"mode": "none", "proven_at": None, "lost_events": 0})
    assert "enforcing: none (groups are only stored)" in status_lines(none, None, NOW)[0]


def test_status_of_a_degraded_daemon_says_so() -> None:
    assert any(line.startswith("degraded") for line in status_lines(health(status="degraded"), None, NOW))


def test_a_problem_has_at_most_four_lines_each_with_its_label() -> None:
    lines = Problem("it broke", why="because", attempt="this", see="that").lines()
    assert lines == ["error: it broke", "  why:  because", "  try:  this", "  see:  that"]

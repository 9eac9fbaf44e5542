"""Test files: what they say, and what they cannot."""

from typing import Any

import pytest

from stockade.model.errors import InvalidInput
from stockade.model.traffic import parse_traffic
from stockade.policy.questions.expectations import read_expectations
from stockade.policy.questions.reach import Reach

DOCUMENT = {
    "version": 1,
    "names": {"world": "0.0.0.0/0"},
    "tests": [
        {"name": "web is public", "from": "world", "accept": ["web:tcp/80"], "deny": ["web:tcp/22", "db:all"]},
        {"from": "web", "accept": ["10.0.0.0/8:icmp/3:4"]},
    ],
}


def test_a_file_is_read_with_names_replaced() -> None:
    found = read_expectations(DOCUMENT)
    assert [(one.test, one.source, one.destination, str(one.traffic), one.accept) for one in found] == [
        ("web is public", "0.0.0.0/0", "web", "tcp/80", True),
        ("web is public", "0.0.0.0/0", "web", "tcp/22", False),
        ("web is public", "0.0.0.0/0", "db", "all", False),
        ("2: from web", "web", "10.0.0.0/8", str(parse_traffic("icmp/3:4")), True),
    ]


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"version": 2, "tests": []},
        {"version": 1},
        {"version": 1, "tests": [{"accept": ["web:tcp/80"]}]},
        {"version": 1, "tests": [{"from": "web", "accept": ["web"]}]},
        {"version": 1, "tests": [{"from": "web", "accept": "web:tcp/80"}]},
        {"version": 1, "tests": [{"from": "web", "allow": ["web:tcp/80"]}]},
        {"version": 1, "tests": [{"from": "web", "deny": ["web:tcp/99999"]}]},
        {"version": 1, "names": {"world": 0}, "tests": []},
    ],
)
def test_a_file_that_says_something_else_is_refused(document: Any) -> None:
    with pytest.raises(InvalidInput):
        read_expectations(document)


def test_nothing_tried_is_nothing_accepted() -> None:
    accept, deny = read_expectations(DOCUMENT)[:2]
    assert not accept.holds(Reach(()))
    assert deny.holds(Reach(()))

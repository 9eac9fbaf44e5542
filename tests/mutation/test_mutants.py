"""A few of the planted faults each day, and what the runner says of faults that nobody catches."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SAMPLE = 6
QUICK = "tests/unit/policy/test_identity.py"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def mutants(*arguments: str) -> tuple[int, dict[str, Any]]:
    """The runner's exit code and what it printed; one fault at a time, beside the other tests."""
    command = [sys.executable, "tools/mutants.py", "--json", "--at-a-time", "1", *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return ended.returncode, json.loads(ended.stdout)


@pytest.mark.root
def test_a_sample_of_another_few_each_day_is_caught() -> None:
    code, told = mutants("--sample", str(SAMPLE))
    assert [each for each in told["mutants"] if each["state"] != "caught"] == []
    assert (code, told["planted"], told["caught"]) == (0, SAMPLE, SAMPLE)


def entry(name: str, old: str, new: str, tests: Sequence[str] = (QUICK,)) -> str:
    fields = {
        "name": name,
        "file": "src/stockade/policy/identity.py",
        "old": old,
        "new": new,
        "tests": tests,
        "why": "-",
    }
    return "[[mutant]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items())


def test_what_no_test_has_looked_at_is_not_caught(tmp_path: Path) -> None:
    listed = tmp_path / "mutants.toml"
    returned, other = "return tuple(sorted(set(groups)))", "return tuple(sorted({*groups}))"
    listed.write_text(
        entry("the same", returned, other)
        + entry("broken", returned, "return (")
        + entry("elsewhere", "no such text", "")
        + entry("unproven", returned, "return ()", [f"{QUICK}::test_that_is_not_there"])
        + entry("caught", returned, "return ()")
    )
    code, told = mutants("--list", str(listed))
    states = {each["name"]: each["state"] for each in told["mutants"]}
    assert states == {
        "the same": "survived",
        "broken": "does not run",
        "elsewhere": "does not apply",
        "unproven": "not proven",
        "caught": "caught",
    }
    assert (code, told["planted"], told["caught"]) == (1, 5, 1)

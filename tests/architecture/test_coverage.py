"""docs/design/coverage.md maps every row that we owe to tests that exist, or to the later work that owns it."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OWED = (Path(__file__).parent / "owed_rows.txt").read_text(encoding="utf-8").splitlines()
TABLE = re.compile(r"^\| (?P<key>[^|]+) \|(?P<what>[^|]*)\| (?P<where>[^|]+) \|$", re.MULTILINE)
NOW = re.compile(r"(E\d+|G(1|2|4|5|6|11|12)|S\d|P\d|§3|§5\.|§10)\b.*")
"""Rows that later work may share in, but not own alone."""


def mapped() -> list[tuple[str, tuple[str, ...]]]:
    text = (ROOT / "docs" / "design" / "coverage.md").read_text(encoding="utf-8")
    rows = [found for found in TABLE.finditer(text) if found["key"] != "row"]
    return [(found["key"].strip(), tuple(found["where"].split("<br>"))) for found in rows]


ROWS = mapped()


@cache
def names_of_tests(path: Path) -> frozenset[str]:
    """Names of test functions, those of classes too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def is_there(where: str) -> bool:
    """Whether this is a file of tests, a test in one, or a folder of cases."""
    file, _, name = where.partition("::")
    path = ROOT / file
    if path.is_dir():
        return any(path.iterdir())
    return path.is_file() and bool(names_of_tests(path)) and (not name or name in names_of_tests(path))


def test_every_owed_row_is_mapped_once_and_no_other() -> None:
    assert [key for key, _ in ROWS] == OWED
    assert len(set(OWED)) == len(OWED)


@pytest.mark.parametrize(("key", "where"), ROWS, ids=[key for key, _ in ROWS])
def test_what_a_row_names_is_there(key: str, where: tuple[str, ...]) -> None:
    named = [each.strip("`") for each in where if each.startswith("`")]
    others = [each for each in where if not each.startswith("`")]
    assert [each for each in named if not is_there(each)] == []
    assert all(re.fullmatch(r"later: [\w, ]+", each) for each in others)
    assert named or others


@pytest.mark.parametrize("key", [key for key in OWED if NOW.fullmatch(key)])
def test_what_is_owed_now_has_a_test_now(key: str) -> None:
    where = dict(ROWS)[key]
    by_design = {"§5.1 Through gateways and balancers", "§5.2 Instance moved to another host"}
    assert key in by_design or any(each.startswith("`") for each in where)


def test_every_file_of_security_is_named() -> None:
    files = {f"tests/security/{path.name}" for path in (ROOT / "tests" / "security").glob("test_*.py")}
    named = {each.strip("`").partition("::")[0] for _, where in ROWS for each in where}
    assert files <= named

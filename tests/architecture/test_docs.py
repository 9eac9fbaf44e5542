"""Every package carries its door plate: a docstring that says what comes in, what goes out, where to start."""

import ast
from pathlib import Path

import pytest

PACKAGES = sorted((Path(__file__).parents[2] / "src" / "stockade").rglob("__init__.py"))
HARD_LIMIT = 450


@pytest.mark.parametrize("plate", PACKAGES, ids=lambda path: ".".join(path.parent.parts[-3:]))
def test_every_package_says_what_it_is(plate: Path) -> None:
    text = ast.get_docstring(ast.parse(plate.read_text(encoding="utf-8")))
    assert text, f"{plate} needs a docstring: what comes in, what goes out, what it must not know, where to start"


def test_every_module_has_a_docstring() -> None:
    root = PACKAGES[0].parent
    without = [
        str(path)
        for path in sorted(root.rglob("*.py"))
        if ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) is None
    ]
    assert without == []


def test_a_module_is_one_idea() -> None:
    root = PACKAGES[0].parent
    long = [
        f"{path}: {lines} lines"
        for path in sorted(root.rglob("*.py"))
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > HARD_LIMIT
    ]
    assert long == [], "split by noun, never by size"

"""The list of planted faults is in step with the code: each still applies, and the tests it names are there."""

import ast
import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def runner() -> ModuleType:
    """tools/mutants.py, which is no package."""
    spec = importlib.util.spec_from_file_location("mutants", ROOT / "tools" / "mutants.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules.setdefault("mutants", importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


FAULTS = runner().listed()


@cache
def names_of_tests(path: Path) -> frozenset[str]:
    """`test_x` and `TestClass::test_x` of a file."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        functions = [each for each in inner if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
        found |= {prefix + each.name for each in functions if each.name.startswith("test_")}
    return frozenset(found)


def missing(selectors: list[str]) -> list[str]:
    """Those that name no file of tests, or no test in it."""
    absent = []
    for selector in selectors:
        file, _, test = selector.partition("::")
        path = ROOT / file
        if not path.is_file() or not names_of_tests(path) or (test and test not in names_of_tests(path)):
            absent.append(selector)
    return absent


def test_there_are_enough_of_them() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_can_still_be_planted(fault) -> None:  # type: ignore[no-untyped-def]
    assert (ROOT / fault.file).read_text(encoding="utf-8").count(fault.old) == 1
    assert fault.old != fault.new
    assert fault.tests and missing(fault.tests) == []
    assert fault.why

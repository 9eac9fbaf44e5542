"""A security engineer is to read the programs in one go: one subject a header, and no more lines than there must be."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

BPF = Path(__file__).parents[2] / "bpf"
SOURCES = sorted(BPF.glob("*.[ch]"))
HEADERS = [path for path in SOURCES if path.suffix == ".h"]
LINES = 3000
"""Without blanks and comments, of all files together."""
LINES_OF_ONE = 400


def code_lines(path: Path) -> int:
    text = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"//[^\n]*", "", text)
    return sum(bool(line.strip()) for line in text.splitlines())


def test_the_programs_are_as_short_as_was_agreed() -> None:
    assert sum(map(code_lines, SOURCES)) <= LINES


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_a_file_is_one_subject(path: Path) -> None:
    assert code_lines(path) <= LINES_OF_ONE
    opening = path.read_text(encoding="utf-8").split("*/")
    assert "SPDX-License-Identifier" in opening[0] + opening[1]
    assert any(len(part.split()) > 10 for part in opening[:3]), "says what it decides and what it trusts"


@pytest.mark.parametrize("path", HEADERS, ids=lambda path: path.name)
def test_a_header_is_included_once_whoever_asks(path: Path) -> None:
    guard = f"STOCKADE_{path.stem.upper()}_H"
    text = path.read_text(encoding="utf-8")
    assert f"#ifndef {guard}\n#define {guard}" in text
    wanted = set(re.findall(r'#include "(\w+\.h)"', text))
    assert wanted <= {each.name for each in HEADERS}


def test_every_header_is_used() -> None:
    asked = {name for path in SOURCES for name in re.findall(r'#include "(\w+\.h)"', path.read_text(encoding="utf-8"))}
    assert asked == {path.name for path in HEADERS}


@pytest.fixture(scope="module")
def clang_format() -> str:
    """The program, where it is; `./dev check` asks it too."""
    found = shutil.which("clang-format")
    if found is None:
        pytest.skip("no clang-format on this machine")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_format_is_the_kernels(clang_format: str, path: Path) -> None:
    done = subprocess.run([clang_format, "--dry-run", "--Werror", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:2000]

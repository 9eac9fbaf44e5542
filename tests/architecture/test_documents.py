"""What the documents and the lists of requirements say is so, as far as files can tell."""

import importlib
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MADE = {".git", ".venv", ".stockade", "dist", "build", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
MADE |= {".hypothesis"}
BINARY = {".o", ".gz", ".pyc", ".png", ".db", ".whl"}

# Names that stand for a protocol or an example; nothing is ever fetched from any of them.
NAMED_HOSTS = re.compile(
    r"(\w+|www\.apache\.org|127\.[\d.]+|169\.254\.[\d.]+|198\.18\.[\d.]+|.*\.example(\.(com|net|org))?|example\.(com|net|org)"
    r"|.*\.localhost|.*\.stockade\.internal|.*\.amazonaws\.com|www\.w3\.org|schemas\.xmlsoap\.org|docs\.oasis-open\.org"
    r"|.*\.invalid|evil\.\w+|[\w.-]*\.test|\W.*|)$"
)
OF_ONE_MACHINE = re.compile("|".join(("/" + "work/", r"py" + "env", "index" + "-url", "find" + "-links")))


def files() -> Iterator[Path]:
    """The text files of the checkout, what ./dev and tools make apart."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in MADE and not name.endswith(".egg-info")]
        yield from (Path(folder, name) for name in names if Path(name).suffix not in BINARY)


def documents() -> list[Path]:
    return [path for path in files() if path.suffix == ".md"]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def dev_commands() -> set[str]:
    """The labels of the last `case` in ./dev."""
    choices = (ROOT / "dev").read_text(encoding="utf-8").rpartition("case $command in")[2]
    labels = re.findall(r"^    ([\w |-]+)\)", choices, flags=re.MULTILINE)
    return {word for label in labels for word in label.replace("|", " ").split()}


@pytest.mark.parametrize("path", documents(), ids=named)
def test_every_dev_command_in_a_document_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    used = set(re.findall(r"\./dev (?:-y )?([a-z]+)\b", text))
    assert used <= dev_commands()


@pytest.mark.parametrize("path", documents(), ids=named)
def test_every_link_of_a_document_leads_to_a_file(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if "://" not in target]
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_usage_names_every_command_of_dev() -> None:
    usage = (ROOT / "dev").read_text(encoding="utf-8").partition("<<'EOF'")[2].partition("\nEOF")[0]
    shown = set(re.findall(r"^  ([a-z]+)", usage, flags=re.MULTILINE))
    assert shown == dev_commands() - {"help", "-h", "--help"}


def test_no_file_names_a_host_to_fetch_from() -> None:
    found = []
    for path in files():
        hosts = re.findall(r"https?://([^/\s\"'`)>:{}\\]+)", path.read_text(encoding="utf-8", errors="replace"))
        found += [f"{named(path)}: {host}" for host in hosts if not NAMED_HOSTS.match(host)]
    assert found == []


def test_no_file_holds_a_path_of_one_machine() -> None:
    found = []
    for path in files():
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            if OF_ONE_MACHINE.search(line):
                found.append(f"{named(path)}:{number}: {line.strip()[:80]}")
    assert found == []


def test_the_package_and_its_lock_need_the_same() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert sorted(project["dependencies"]) == sorted(requirements("run.in"))


@pytest.mark.parametrize("name", ["run", "dev"])
def test_every_requirement_is_pinned_by_hash(name: str) -> None:
    lock = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    pinned = set(re.findall(r"^([\w.-]+)==", lock, flags=re.MULTILINE))
    assert {re.sub(r"\[.*", "", wanted) for wanted in requirements(f"{name}.in")} <= pinned
    entries = re.split(r"\n(?=\w)", lock.strip())
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("name", ["dev.in", "debian-run.txt", "debian-test.txt", "debian-bench.txt"])
def test_every_requirement_says_what_it_is_for(name: str) -> None:
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line[:1].isalpha() and "  # " not in line] == []


def test_scripts_are_executable() -> None:
    scripts = [ROOT / "dev", ROOT / ".ci" / "run", *(ROOT / "src/stockade/cli/ec2/bin").iterdir()]
    assert [named(path) for path in scripts if not os.access(path, os.X_OK)] == []


def test_decisions_have_numbers_of_their_own() -> None:
    numbers = [path.name[:4] for path in (ROOT / "docs/decisions").glob("*.md")]
    assert all(number.isdigit() for number in numbers)
    assert len(numbers) == len(set(numbers))


def test_the_reference_is_what_the_code_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")
    pages = importlib.import_module("generate_reference").documents()
    stale = [named(path) for path, text in pages.items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "./dev golden writes them again"


def requirements(name: str) -> list[str]:
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    return [line.split("#")[0].strip() for line in lines if line[:1].isalpha()]

"""What every test may count on.

* A test marked `root` runs only where it can: elsewhere it is a counted skip, and with CI set it fails instead, so
  that a run on a machine that lacks something cannot pass by leaving things out.
* A test marked `alone` never shares the machine with another one: `./dev test` runs those in a second go.
* `--host-unchanged` compares the host before the first test with the host after the last.
* `--hypothesis-profile one-failure` stops at the first failing example: `./dev mutants` asks whether, not why.
* `golden(path, text)` compares with a file; `./dev golden` (`--rewrite-golden`) writes it.
"""

import os
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import hypothesis
import pytest

from netns.host_inventory import Inventory, settled_difference, take
from stockade.instances.images.build import Images
from stockade.model.journal import NoJournal

_BEFORE = pytest.StashKey[Inventory]()
IMAGES = Path("/var/lib/stockade/images")
IN_CI = bool(os.environ.get("CI"))
FIRST_FAILURE = tuple(phase for phase in hypothesis.Phase if phase.name in ("explicit", "generate"))
hypothesis.settings.register_profile("one-failure", phases=FIRST_FAILURE)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("stockade")
    group.addoption("--host-unchanged", action="store_true", help="fail when the host differs after the last test")
    group.addoption("--rewrite-golden", action="store_true", help="write golden files instead of comparing")


@cache
def missing_for_root() -> str | None:
    """Why tests marked root cannot run here; None when they can."""
    if os.geteuid() != 0:
        return "needs root"
    namespaces = ["unshare", "--net", "--mount", "--pid", "--fork", "true"]
    if subprocess.run(namespaces, capture_output=True, check=False).returncode != 0:
        return "needs network, mount and process namespaces"
    if not Path("/sys/kernel/btf/vmlinux").exists():
        return "needs a kernel with BPF type information"
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") is not None and (reason := missing_for_root()) is not None:
        if IN_CI:
            pytest.fail(f"{reason}, and in CI nothing may be left out", pytrace=False)
        pytest.skip(reason)
    if item.get_closest_marker("alone") is not None and "PYTEST_XDIST_WORKER" in os.environ:
        pytest.fail("marked alone, so it does not run beside others: pytest -m alone", pytrace=False)


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.getoption("--host-unchanged") and "PYTEST_XDIST_WORKER" not in os.environ:
        session.config.stash[_BEFORE] = take()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    before = session.config.stash.get(_BEFORE, None)
    if before is None:
        return
    left = settled_difference(before)
    if left:
        print("\n".join(["", "The tests changed the host:", *left]))
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def images() -> Path:
    """The directory that holds every image of the catalogue; what is missing is built, a minute once a machine."""
    library = Images(IMAGES, NoJournal())
    for layer in library.missing(["micro", "web", "app", "database"]):
        library.ensure(layer)
    return IMAGES


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Asserts that `text` is what the file at `path` holds, or with --rewrite-golden makes it so."""

    def compare(path: Path, text: str) -> None:
        if request.config.getoption("--rewrite-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.read_text(encoding="utf-8") == text

    return compare

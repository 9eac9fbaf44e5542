"""Undo: only what is ours, in the right order, as often as one likes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stockade.agent import undo as undoing
from stockade.agent.journal import FileJournal, read_journal
from stockade.linux.processes import ProcessId
from stockade.model.journal import PLACE, HostObject


def undo(journal: FileJournal, place: Path) -> list[undoing.Failure]:
    """What is left of a site `stockade` whose run directory is `place`."""
    own = undoing.Own("stockade", "stocka", place)
    return undoing.undo(journal, journal.present, lambda _thing: None, own)


@pytest.fixture
def sleeper() -> "Iterator[subprocess.Popen[bytes]]":
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def test_directories_and_files_go_and_the_journal_is_empty(tmp_path: Path) -> None:
    folder = tmp_path / "instances" / "i-1"
    (folder / "upper").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    journal = FileJournal(tmp_path / "journal")
    journal.making(HostObject(PLACE, str(folder.parent)))
    journal.making(HostObject("directory", str(folder)), HostObject("file", str(tmp_path / "file")))
    assert undo(journal, tmp_path) == []
    assert not folder.exists()
    assert folder.parent.exists()
    assert read_journal(tmp_path / "journal") == ()


def test_undoing_what_is_gone_already_is_not_an_error(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "journal")
    journal.making(
        HostObject("directory", str(tmp_path / "none")),
        HostObject("netns", str(tmp_path / "services")),
        HostObject("pin", "/sys/fs/no-bpf/stockade"),
        HostObject("mount", str(tmp_path / "mount")),
        HostObject("process", "999999999", "1"),
        HostObject("cgroup", "/sys/fs/no-cgroup/stockade"),
    )
    assert undo(journal, tmp_path) == []


def test_a_process_with_the_start_time_written_down_is_ended(
    tmp_path: Path, sleeper: "subprocess.Popen[bytes]"
) -> None:
    known = ProcessId.of(sleeper.pid)
    assert known is not None
    journal = FileJournal(tmp_path / "journal")
    journal.making(HostObject("process", str(known.pid), known.started))
    assert undo(journal, tmp_path) == []
    assert sleeper.wait(5) == -9


def test_a_process_that_only_has_the_same_pid_lives_on(tmp_path: Path, sleeper: "subprocess.Popen[bytes]") -> None:
    journal = FileJournal(tmp_path / "journal")
    journal.making(HostObject("process", str(sleeper.pid), "1"))
    assert undo(journal, tmp_path) == []
    assert sleeper.poll() is None


@pytest.mark.parametrize("kind", ["directory", "file", "netns", "mount"])
@pytest.mark.parametrize(
    "place",
    [
        "/",
        "/etc",
        "/run",
        "relative",
        "/home/somebody",
        "/run/../etc/passwd",
        "/tmp/x",
        "/run/other",
        "{run}",
        "{run}/a/b",
    ],
)
def test_a_place_that_is_not_ours_is_refused(tmp_path: Path, kind: str, place: str) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    named = place.format(run=tmp_path)
    journal = FileJournal(tmp_path / "journal")
    journal.making(HostObject(kind, named))
    failures = undo(journal, tmp_path)
    assert [(failure.thing.name, failure.why) for failure in failures] == [
        (named, "not a place that this site would make")
    ]
    assert (tmp_path / "a" / "b").is_dir()
    assert os.path.isdir("/etc")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("pin", "/sys/fs/bpf"),
        ("pin", "/sys/fs/bpf/other"),
        ("pin", "{run}/stockade"),
        ("cgroup", "/sys/fs/cgroup"),
        ("cgroup", "/sys/fs/cgroup/system.slice"),
        ("cgroup", "{run}/stockade"),
    ],
)
def test_in_the_kernels_own_file_systems_only_the_sites_entry_is_ours(tmp_path: Path, kind: str, name: str) -> None:
    (tmp_path / "stockade").mkdir()
    journal = FileJournal(tmp_path / "journal")
    journal.making(HostObject(kind, name.format(run=tmp_path)))
    assert [failure.why for failure in undo(journal, tmp_path)] == ["not a place that this site would make"]
    assert (tmp_path / "stockade").is_dir()


@pytest.mark.parametrize("name", ["lo", "eth0", "stock-gw", "stockade-gw"])
def test_a_device_without_the_sites_prefix_is_not_ours(tmp_path: Path, name: str) -> None:
    journal = FileJournal(tmp_path / "journal")
    journal.making(
        HostObject("link", name), HostObject("route", "203.0.113.0/24", name), HostObject("address", name, "10.0.0.1/8")
    )
    assert [failure.why for failure in undo(journal, tmp_path)] == ["not a device of this site"] * 3


def test_a_place_stays_in_the_journal_while_something_in_it_could_not_be_removed(tmp_path: Path) -> None:
    place, strange = HostObject(PLACE, str(tmp_path / "instances")), HostObject("comet", "halley")
    journal = FileJournal(tmp_path / "journal")
    journal.making(place, strange)
    undo(journal, tmp_path)
    assert read_journal(tmp_path / "journal") == (place, strange)


def test_what_could_not_be_undone_stays_in_the_journal(tmp_path: Path) -> None:
    strange = HostObject("comet", "halley")
    journal = FileJournal(tmp_path / "journal")
    journal.making(strange, HostObject("file", str(tmp_path / "none")))
    failures = undo(journal, tmp_path)
    assert [failure.thing for failure in failures] == [strange]
    assert read_journal(tmp_path / "journal") == (strange,)


def test_processes_go_first_then_cgroups_then_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(undoing, "_UNDO", dict.fromkeys(undoing._UNDO, lambda _, thing: order.append(thing.name)))
    journal = FileJournal(tmp_path / "journal")
    journal.making(
        HostObject("mount", "first"),
        HostObject("cgroup", "group"),
        HostObject("link", "second"),
        HostObject("process", "3"),
        HostObject("directory", "third"),
    )
    undo(journal, tmp_path)
    assert order == ["3", "group", "third", "second", "first"]

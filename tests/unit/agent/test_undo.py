"""Undo: only what is ours, in the right order, as often as one likes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stockade.agent import undo as undoing
from stockade.agent.journal import FileJournal, read_journal
from stockade.linux.processes import ProcessId
from stockade.model.journal import HostObject


def nothing(_thing: HostObject) -> None:
    """Not interested."""


@pytest.fixture
def sleeper() -> "subprocess.Popen[bytes]":
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def test_directories_and_files_go_and_the_journal_is_empty(tmp_path: Path) -> None:
    folder = tmp_path / "instances" / "i-1"
    (folder / "upper").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    journal = FileJournal(tmp_path / "journal")
    journal.making(HostObject("directory", str(folder)), HostObject("file", str(tmp_path / "file")))
    assert undoing.undo(journal, journal.present, nothing) == []
    assert not folder.exists()
    assert read_journal(tmp_path / "journal") == ()


def test_undoing_what_is_gone_already_is_not_an_error(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "journal")
    journal.making(
        HostObject("directory", "/run/stockade-test-none"),
        HostObject("netns", "/run/stockade-test-none/services"),
        HostObject("pin", "/sys/fs/bpf/stockade-test-none"),
        HostObject("mount", "/run/stockade-test-none/mount"),
        HostObject("process", "999999999", "1"),
        HostObject("cgroup", "/sys/fs/cgroup/stockade-test-none"),
    )
    assert undoing.undo(journal, journal.present, nothing) == []


def test_a_process_with_the_start_time_written_down_is_ended(
    tmp_path: Path, sleeper: "subprocess.Popen[bytes]"
) -> None:
    known = ProcessId.of(sleeper.pid)
    assert known is not None
    journal = FileJournal(tmp_path / "journal")
    journal.making(HostObject("process", str(known.pid), known.started))
    assert undoing.undo(journal, journal.present, nothing) == []
    assert sleeper.wait(5) == -9


def test_a_process_that_only_has_the_same_pid_lives_on(tmp_path: Path, sleeper: "subprocess.Popen[bytes]") -> None:
    journal = FileJournal(tmp_path / "journal")
    journal.making(HostObject("process", str(sleeper.pid), "1"))
    assert undoing.undo(journal, journal.present, nothing) == []
    assert sleeper.poll() is None


@pytest.mark.parametrize("place", ["/", "/etc", "/run", "relative", "/home/somebody", "/run/../etc/passwd"])
def test_a_place_that_is_not_ours_is_refused(tmp_path: Path, place: str) -> None:
    journal = FileJournal(tmp_path / "journal")
    journal.making(HostObject("directory", place))
    failures = undoing.undo(journal, journal.present, nothing)
    assert [failure.thing.name for failure in failures] == [place]
    assert os.path.isdir("/etc")


def test_what_could_not_be_undone_stays_in_the_journal(tmp_path: Path) -> None:
    strange = HostObject("comet", "halley")
    journal = FileJournal(tmp_path / "journal")
    journal.making(strange, HostObject("file", str(tmp_path / "none")))
    failures = undoing.undo(journal, journal.present, nothing)
    assert [failure.thing for failure in failures] == [strange]
    assert read_journal(tmp_path / "journal") == (strange,)


def test_processes_go_first_then_cgroups_then_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(undoing, "_UNDO", dict.fromkeys(undoing._UNDO, lambda thing: order.append(thing.name)))
    journal = FileJournal(tmp_path / "journal")
    journal.making(
        HostObject("mount", "first"),
        HostObject("cgroup", "group"),
        HostObject("link", "second"),
        HostObject("process", "3"),
        HostObject("directory", "third"),
    )
    undoing.undo(journal, journal.present, nothing)
    assert order == ["3", "group", "third", "second", "first"]

"""The journal: what is outstanding, whatever happened to the file."""

from pathlib import Path

from stockade.agent.journal import FileJournal, read_journal
from stockade.model.journal import HostObject

LINK = HostObject("link", "sk-i1")
PIN = HostObject("pin", "/sys/fs/bpf/sk")
PROCESS = HostObject("process", "4711", "1234")


def test_what_was_made_and_not_removed_is_outstanding_in_order(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = FileJournal(path)
    journal.making(LINK, PIN)
    journal.making(PROCESS)
    journal.removed(PIN)
    assert read_journal(path) == (LINK, PROCESS)


def test_recording_twice_is_harmless(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = FileJournal(path)
    journal.making(LINK)
    journal.making(LINK)
    journal.removed(LINK)
    journal.removed(LINK)
    assert read_journal(path) == ()
    assert path.read_text().count("\n") == 2


def test_a_torn_last_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    FileJournal(path).making(LINK, PIN)
    text = path.read_text()
    path.write_text(text + '{"op": "making", "kind": "li')
    assert read_journal(path) == (LINK, PIN)


def test_a_new_process_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    FileJournal(path).making(LINK, PIN)
    second = FileJournal(path)
    second.removed(LINK)
    second.making(PROCESS)
    assert second.present == (PIN, PROCESS)
    assert read_journal(path) == (PIN, PROCESS)


def test_the_file_is_private_and_starts_with_only_what_is_outstanding(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = FileJournal(path)
    for number in range(100):
        thing = HostObject("link", f"sk-i{number:x}")
        first.making(thing)
        first.removed(thing)
    first.making(LINK)
    FileJournal(path)
    assert path.read_text().count("\n") == 1
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_journal_is_an_empty_one(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "none") == ()

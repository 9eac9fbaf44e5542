"""A site's run directory: one agent at a time, credentials for one pair of eyes."""

import os
import shutil
import threading
from pathlib import Path

import pytest

from stockade.daemon.down import Ended, end, force
from stockade.daemon.problems import Problem
from stockade.daemon.site import Credentials, Site, prepare_state, tail
from stockade.linux.processes import ProcessId

KEYS = Credentials("http://127.0.0.1:8773", "SKXXXX", "secret", "000011112222", "us-east-1")


def test_only_one_agent_takes_a_site(tmp_path: Path) -> None:
    first, second = Site("one", tmp_path / "run"), Site("one", tmp_path / "run")
    lock = first.take()
    with pytest.raises(Problem, match="is running already"):
        second.take()
    assert second.agent() == ProcessId.of(os.getpid())
    os.close(lock)
    os.close(second.take())


def test_credentials_are_for_their_owner_alone(tmp_path: Path) -> None:
    site = Site("one", tmp_path)
    site.write_credentials(KEYS, (os.getuid(), os.getgid()))
    assert site.credentials() == KEYS
    assert (tmp_path / "credentials.json").stat().st_mode & 0o777 == 0o600


def test_without_a_site_there_are_no_credentials(tmp_path: Path) -> None:
    assert Site("one", tmp_path).credentials() is None
    assert Site("one", tmp_path).agent() is None


def test_an_agent_file_left_by_the_dead_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "agent").write_text(f"{os.getpid()} 1\n")
    assert Site("one", tmp_path).agent() is None


def test_a_site_that_ended_leaves_no_directory(tmp_path: Path) -> None:
    site = Site("one", tmp_path / "run")
    os.close(site.take())
    site.write_credentials(KEYS, (os.getuid(), os.getgid()))
    site.forget()
    assert not (tmp_path / "run").exists()


def test_a_run_directory_of_another_program_is_neither_taken_nor_removed(tmp_path: Path) -> None:
    (tmp_path / "docker.pid").write_text("1")
    site = Site("docker", tmp_path)
    with pytest.raises(Problem, match="belongs to something else"):
        site.take()
    assert end(site, keep=False) == force(site) == Ended(was_running=False)
    assert [entry.name for entry in tmp_path.iterdir()] == ["docker.pid"]


def test_a_site_that_keeps_its_instances_keeps_its_journal(tmp_path: Path) -> None:
    site = Site("one", tmp_path)
    site.journal.write_text("")
    (tmp_path / "view").write_text("")
    site.forget(keep=True)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["journal", "view"]


@pytest.mark.root
def test_the_state_needs_a_directory_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "letters").write_text("dear")
    with pytest.raises(Problem, match="cannot hold the state"):
        prepare_state(tmp_path, 61200)


@pytest.mark.root
@pytest.mark.parametrize("name", ["images", "instances"])
def test_the_control_process_cannot_say_where_root_keeps_images_and_instances(tmp_path: Path, name: str) -> None:
    prepare_state(tmp_path / "fresh", 61200)
    made = (tmp_path / "fresh" / name).stat()
    assert (made.st_uid, made.st_mode & 0o022) == (0, 0)

    prepared = tmp_path / "prepared"
    prepared.mkdir()
    for target in ("/etc", "/nowhere"):
        (prepared / name).symlink_to(target)
        with pytest.raises(Problem, match="cannot be trusted"):
            prepare_state(prepared, 61200)
        (prepared / name).unlink()
    (prepared / name).mkdir()
    os.chown(prepared / name, 61200, 61200)
    with pytest.raises(Problem, match="cannot be trusted"):
        prepare_state(prepared, 61200)


def test_whoever_removes_a_site_has_it_alone(tmp_path: Path) -> None:
    site, other = Site("one", tmp_path / "run"), Site("one", tmp_path / "run")
    site.make_directory()
    site.log.write_text("")
    with site.alone():
        with pytest.raises(Problem, match="is running already"):
            other.take()
        with pytest.raises(Problem, match="in other hands"), other.alone(within_s=0.1):
            pytest.fail("two at once")
    os.close(other.take())


def test_removing_by_force_waits_for_a_site_that_is_being_started_or_removed(tmp_path: Path) -> None:
    site = Site("one", tmp_path / "run")
    site.make_directory()
    site.journal.write_text('{"op": "making", "kind": "directory", "name": "' + str(tmp_path / "run" / "x") + '"}\n')
    order: list[str] = []
    held, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with Site("one", tmp_path / "run").alone():
            held.set()
            may_end.wait(5)
            order.append("other")

    other = threading.Thread(target=hold)
    other.start()
    assert held.wait(5)
    threading.Timer(0.2, may_end.set).start()
    force(site, lambda _thing: order.append("force"))
    other.join()
    assert order == ["other", "force"]


def test_a_site_removed_meanwhile_is_locked_where_it_is_now(tmp_path: Path) -> None:
    site, other = Site("one", tmp_path / "run"), Site("one", tmp_path / "run")
    lock = site.take()
    shutil.rmtree(tmp_path / "run")
    again = other.take()
    with pytest.raises(Problem, match="is running already"):
        Site("one", tmp_path / "run").take()
    os.close(again)
    os.close(lock)


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("".join(f"line {number}\n" for number in range(1000)))
    assert tail(tmp_path / "log", 3) == "line 997\nline 998\nline 999"
    assert tail(tmp_path / "none") == ""

"""What an agent keeps of its view: right after any number of changes, and never much longer than need be."""

from pathlib import Path

from stockade.agent.view_file import ViewFile
from stockade.model.change import Revision
from stockade.model.host_view import Frame, HostView, ViewGroup, apply_frame
from stockade.model.ids import HostId, SecurityGroupId

HOST = HostId("h")


def group(number: int, name: str) -> ViewGroup:
    return ViewGroup(SecurityGroupId(f"sg-{number:08x}"), name, ())


def test_a_file_is_at_most_twice_as_long_as_a_whole_view_and_is_seldom_written_anew(tmp_path: Path) -> None:
    kept = ViewFile(tmp_path / "view", HOST)
    first = Frame(Revision(1), tuple(group(number, "n" * 100) for number in range(2000)), whole=True)
    view = apply_frame(HostView(HOST), first)
    kept.keep([first], view)
    whole, written = (tmp_path / "view").stat().st_size, set()
    for revision in range(2, 3000):
        frame = Frame(Revision(revision), (group(revision % 2000, f"{revision}" * 20),))
        view = apply_frame(view, frame)
        kept.keep([frame], view)
        written.add((tmp_path / "view").stat().st_ino)
        assert (tmp_path / "view").stat().st_size <= 2 * whole + (1 << 16)
    assert 2 <= len(written) <= 4
    assert ViewFile(tmp_path / "view", HOST).load() == view

"""The kept view: the same after a restart, whatever is in it, and nothing of one that was torn."""

from dataclasses import fields
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from stockade.agent.view_file import BootFile, ViewFile, whole_frame
from stockade.model.change import Revision
from stockade.model.host_view import HostView, ViewMember, ViewPrefixList, apply_frame
from stockade.model.ids import NetworkInterfaceId, PrefixListId
from unit.agent.host import GROUP, HOST, change, group, machine, whole

MEMBER = ViewMember(NetworkInterfaceId("eni-00000009"), 1, (IPv4Address("10.0.0.9"),), (GROUP,), None)
BLOCKS = ViewPrefixList(PrefixListId("pl-00000001"), (IPv4Network("10.0.0.0/8"),))


def full_view() -> HostView:
    view = apply_frame(HostView(HOST), whole(7, group(80), MEMBER, BLOCKS, *machine(1)))
    empty = [one.name for one in fields(view) if one.name not in ("host", "revision") and not getattr(view, one.name)]
    assert empty == [], "one item of every kind there is"
    return view


def test_one_frame_says_everything_that_a_view_has() -> None:
    view = full_view()
    assert apply_frame(HostView(HOST), whole_frame(view)) == view


def test_what_is_kept_is_what_is_loaded(tmp_path: Path) -> None:
    file = ViewFile(tmp_path / "view", HOST)
    view = full_view()
    file.keep([whole_frame(view)], view)
    frame = change(8, group(443), removed=(("prefix_list", BLOCKS.id),))
    after = apply_frame(view, frame)
    file.keep([frame], after)
    assert ViewFile(tmp_path / "view", HOST).load() == after


def test_a_torn_frame_was_never_promised(tmp_path: Path) -> None:
    file = ViewFile(tmp_path / "view", HOST)
    view = full_view()
    file.keep([whole_frame(view)], view)
    with open(tmp_path / "view", "a", encoding="utf-8") as torn:
        torn.write('{"revision": 8, "put": [')
    loaded = ViewFile(tmp_path / "view", HOST).load()
    assert loaded == view
    assert loaded.revision == Revision(7)


def test_another_boot_is_noticed_once(tmp_path: Path) -> None:
    assert not BootFile(tmp_path / "boot", "first").note()
    assert not BootFile(tmp_path / "boot", "first").note()
    assert BootFile(tmp_path / "boot", "second").note()
    assert not BootFile(tmp_path / "boot", "second").note()

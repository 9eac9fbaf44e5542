"""Frames: put, removed, whole."""

from scenarios.worlds import group, group_id, instance, interface_id, view, world
from stockade.model.change import Revision
from stockade.model.host_view import Frame, ViewGroup, apply_frame, key_of

WORLD = world(group("web", ingress=["tcp/80 from 0.0.0.0/0"]), group("app"), instance("web"), instance("app"))


def test_a_put_replaces_what_has_the_same_key() -> None:
    web = group_id(WORLD, "web")
    after = apply_frame(view(WORLD), Frame(Revision(7), (ViewGroup(web, "web", ()),)))
    assert after.groups[web].rules == ()
    assert after.revision == 7
    assert len(after.groups) == 2


def test_removing_what_is_not_there_is_no_error() -> None:
    before = view(WORLD)
    assert apply_frame(before, Frame(before.revision, removed=(("member", "eni-0fffffff"),))) == before


def test_a_whole_frame_leaves_nothing_of_the_old_view() -> None:
    after = apply_frame(view(WORLD), Frame(Revision(9), whole=True))
    assert (after.groups, after.members, after.interfaces, after.instances) == ({}, {}, {}, {})


def test_an_item_put_and_removed_by_one_frame_is_there() -> None:
    web = view(WORLD).groups[group_id(WORLD, "web")]
    after = apply_frame(view(WORLD), Frame(Revision(2), (web,), (key_of(web),)))
    assert web.id in after.groups


def test_the_old_view_stays_as_it_was() -> None:
    before = view(WORLD)
    apply_frame(before, Frame(Revision(3), removed=(("interface", interface_id(WORLD, "web")),)))
    assert before == view(WORLD)

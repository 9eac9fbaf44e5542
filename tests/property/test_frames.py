"""What holds of every frame applied to every view."""

from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.random_worlds import random_frame, random_view
from stockade.model.host_view import Frame, HostView, ViewItem, apply_frame, key_of

CHANCE = st.randoms(use_true_random=False)


def items_of(view: HostView) -> tuple[ViewItem, ...]:
    return (
        *view.groups.values(),
        *view.members.values(),
        *view.interfaces.values(),
        *view.instances.values(),
        *view.prefix_lists.values(),
    )


@settings(max_examples=100, deadline=None)
@given(CHANCE)
def test_a_frame_applied_twice_is_a_frame_applied_once(chance: Random) -> None:
    view = random_view(chance)
    frame = random_frame(chance, view)
    once = apply_frame(view, frame)
    assert apply_frame(once, frame) == once


@settings(max_examples=100, deadline=None)
@given(CHANCE)
def test_after_a_frame_what_it_put_is_there_and_what_it_removed_is_not(chance: Random) -> None:
    view = random_view(chance)
    frame = random_frame(chance, view)
    after = {key_of(item): item for item in items_of(apply_frame(view, frame))}
    put = {key_of(item): item for item in frame.put}
    untouched = {} if frame.whole else {key_of(item): item for item in items_of(view)}
    for key in frame.removed:
        untouched.pop(key, None)
    assert after == untouched | put


@settings(max_examples=50, deadline=None)
@given(CHANCE)
def test_a_whole_frame_makes_any_view_the_same(chance: Random) -> None:
    wanted = random_view(chance)
    frame = Frame(wanted.revision, items_of(wanted), whole=True)
    assert apply_frame(random_view(chance), frame) == wanted


@settings(max_examples=50, deadline=None)
@given(CHANCE)
def test_tables_a_frame_does_not_touch_stay_the_very_same(chance: Random) -> None:
    view = random_view(chance)
    after = apply_frame(
        view, replace(random_frame(chance, view), put=(), removed=(("group", "sg-01ffffff"),), whole=False)
    )
    assert after.members is view.members
    assert after.interfaces is view.interfaces
    assert after.groups is not view.groups

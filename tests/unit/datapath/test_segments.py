"""Runs of places: never given out twice, joined again when they come back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade.datapath.ebpf.segments import Segments, SegmentsExhausted


def test_what_came_back_can_be_taken_in_one_piece() -> None:
    segments = Segments(10)
    starts = [segments.take(5), segments.take(5)]
    with pytest.raises(SegmentsExhausted):
        segments.take(1)
    for start in starts:
        segments.give_back(start, 5)
    assert segments.take(10) == 0


def test_what_was_found_taken_is_not_given_out() -> None:
    segments = Segments(10)
    segments.reserve(3, 4)
    assert (segments.take(3), segments.take(3)) == (0, 7)
    with pytest.raises(SegmentsExhausted):
        segments.reserve(6, 1)


@given(st.lists(st.one_of(st.integers(1, 9), st.just(0)), max_size=60))
def test_no_place_is_ever_taken_twice(wishes: list[int]) -> None:
    """A number takes a run of that length; 0 gives the oldest one back."""
    segments, held = Segments(50), []
    for wish in wishes:
        if wish == 0 and held:
            segments.give_back(*held.pop(0))
        elif wish:
            try:
                held.append((segments.take(wish), wish))
            except SegmentsExhausted:
                continue
        places = [place for start, length in held for place in range(start, start + length)]
        assert len(places) == len(set(places)) and all(0 <= place < 50 for place in places)

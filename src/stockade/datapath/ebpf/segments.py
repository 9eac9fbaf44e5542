"""Runs of consecutive places in an array: given out, taken back."""

from bisect import insort


class SegmentsExhausted(Exception):
    """No run of that length is free."""


class Segments:
    """First fit over a sorted list of free runs; neighbours are joined when they come back."""

    def __init__(self, size: int) -> None:
        self._free: list[tuple[int, int]] = [(0, size)]

    def take(self, length: int) -> int:
        """The start of a run of that length. Raises SegmentsExhausted."""
        for place, (start, free) in enumerate(self._free):
            if free > length:
                self._free[place] = (start + length, free - length)
                return start
            if free == length:
                del self._free[place]
                return start
        raise SegmentsExhausted(f"no {length} free places in a row")

    def reserve(self, start: int, length: int) -> None:
        """Take just this run, which must be free: for what was found taken."""
        for place, (begin, free) in enumerate(self._free):
            if begin <= start and start + length <= begin + free:
                left, right = (begin, start - begin), (start + length, begin + free - start - length)
                self._free[place : place + 1] = [run for run in (left, right) if run[1]]
                return
        raise SegmentsExhausted(f"places {start} to {start + length - 1} are taken")

    def give_back(self, start: int, length: int) -> None:
        """The run is free again."""
        insort(self._free, (start, length))
        joined: list[tuple[int, int]] = []
        for begin, free in self._free:
            if joined and joined[-1][0] + joined[-1][1] == begin:
                joined[-1] = (joined[-1][0], joined[-1][1] + free)
            else:
                joined.append((begin, free))
        self._free = joined

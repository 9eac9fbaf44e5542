"""What was asked and how it ended, counted."""

from collections import Counter
from collections.abc import Mapping


class Counters:
    """API requests by action and code ("OK" or the error's). Error codes are ours, so their number is bounded;
    actions that do not exist count as "-"."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str]] = Counter()

    def count(self, action: str, code: str) -> None:
        """One more request."""
        self._requests[action, code] += 1

    @property
    def requests(self) -> Mapping[tuple[str, str], int]:
        """How many, by (action, code)."""
        return self._requests

"""What the hosts' datapaths told: the newest flow events, and how many there were of each kind."""

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from stockade.model.flow import DropReason, FlowEvent, LoggedFlow
from stockade.model.ids import HostId

KEPT = 50_000

Listener = Callable[[tuple[LoggedFlow, ...]], None]


@dataclass(slots=True)
class FlowCounts:
    """Since the start of this process. `by_rule` counts new flows per deciding rule's number."""

    accepted: int = 0
    rejected: int = 0
    lost: int = 0
    by_reason: Counter[DropReason] = field(default_factory=Counter)
    by_rule: Counter[int] = field(default_factory=Counter)


class FlowLog:
    """Bounded: the oldest events make room for new ones."""

    def __init__(self, kept: int = KEPT) -> None:
        self._flows: deque[LoggedFlow] = deque(maxlen=kept)
        self._number = 0
        self._listeners: list[Listener] = []
        self.counts = FlowCounts()

    def add(self, host: HostId, events: Iterable[FlowEvent], lost: int) -> None:
        """What a host told, and how many events did not make it here."""
        self.counts.lost += lost
        logged = []
        for event in events:
            self._number += 1
            logged.append(LoggedFlow(self._number, host, event))
            self._count(event)
        self._flows.extend(logged)
        for listener in list(self._listeners):
            listener(tuple(logged))

    def since(self, number: int = 0) -> list[LoggedFlow]:
        """The kept events after the one with this number, oldest first."""
        missing = max(0, number - (self._number - len(self._flows)))
        return [self._flows[at] for at in range(missing, len(self._flows))]

    def follow(self, listener: Listener) -> Callable[[], None]:
        """Be given all events from now on, until the function returned is called."""
        self._listeners.append(listener)

        def unfollow() -> None:
            with contextlib.suppress(ValueError):  # said twice
                self._listeners.remove(listener)

        return unfollow

    def _count(self, event: FlowEvent) -> None:
        if event.passed:
            self.counts.accepted += 1
            self.counts.by_rule.update(rule for rule in event.rules if rule)
        else:
            self.counts.rejected += 1
            self.counts.by_reason[event.reason] += 1

"""What a datapath leaves behind of the packets it judged: counters and events."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from stockade.datapath.contract import Counters, RuleHits
from stockade.model.flow import DropReason, FlowEvent, Gate, Packet, Verdict
from stockade.model.ids import NetworkInterfaceId


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a packet. `seen`: it, as the last gate saw it; None when it was never read as one.

    `rules`: credited with it, or named by the event. `is_news`: a new flow or a drop, which an event tells.
    """

    verdict: Verdict
    seen: Packet | None
    rules: tuple[int, int] = (0, 0)
    is_news: bool = True


def rules_of(verdict: Verdict) -> tuple[int, int]:
    """(egress, ingress) rule numbers, 0 where none spoke."""
    named = {hop.gate: hop.rule or 0 for hop in verdict.hops}
    return named.get(Gate.EGRESS, 0), named.get(Gate.INGRESS, 0)


class Evidence:
    """Counters since the beginning, and events nobody has taken yet."""

    def __init__(self) -> None:
        self._events: list[FlowEvent] = []
        self._hits: defaultdict[int, Counter[str]] = defaultdict(Counter)
        self._drops: Counter[DropReason] = Counter()
        self._endpoint_drops: defaultdict[NetworkInterfaceId, Counter[DropReason]] = defaultdict(Counter)

    def take(self, outcome: Outcome, at: datetime, vpc: int, size: int) -> None:
        """One packet more. What was heard and left at that (DropReason.NONE) leaves nothing."""
        last = outcome.verdict.hops[-1]
        if last.reason is DropReason.NONE:
            return
        for rule in outcome.rules:
            if rule:
                self._hits[rule].update(packets=1, bytes=size)
        if last.reason is not None:
            self._drops[last.reason] += 1
            if last.interface is not None:
                self._endpoint_drops[last.interface][last.reason] += 1
        if outcome.is_news and outcome.seen is not None:
            event = FlowEvent(
                at=at,
                vpc=vpc,
                packet=outcome.seen,
                passed=outcome.verdict.passed,
                gate=last.gate,
                reason=last.reason or DropReason.NONE,
                rules=outcome.rules,
            )
            self._events.append(event)

    def events(self) -> Iterator[FlowEvent]:
        while self._events:
            yield self._events.pop(0)

    def counters(self) -> Counters:
        return Counters(
            rules={number: RuleHits(hits["packets"], hits["bytes"]) for number, hits in self._hits.items()},
            drops=dict(self._drops),
            endpoint_drops={endpoint: dict(drops) for endpoint, drops in self._endpoint_drops.items()},
        )

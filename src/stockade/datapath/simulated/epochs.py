"""Epochs: which rules an endpoint's gates had when, as far as flows have to know.

An epoch begins with each change of an endpoint's rules, timers, cuts or addresses. A flow remembers the epoch in
which it was judged, and is asked about again in a later one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from stockade.model.ports import PORTED
from stockade.policy.entries import Endpoint, RuleSet


@dataclass(frozen=True, slots=True)
class Epochs:
    """`opened`: by IP version and protocol, the last epoch whose rules let everything through both ways.

    `cut`: flows judged before this epoch are to be judged anew, whatever they are.
    """

    now: int = 1
    opened: Mapping[tuple[int, int], int] = field(default_factory=dict)
    cut: int = 0

    def after(self, before: Endpoint | None, endpoint: Endpoint, rule_set: RuleSet) -> "Epochs":
        """With the endpoint as it is from now on. The same one again changes nothing."""
        if before is not None and _ruling(before) == _ruling(endpoint):
            return self
        now = self.now + 1
        both = rule_set.ingress.all_ports & rule_set.egress.all_ports
        cut = now if before is not None and before.cuts != endpoint.cuts else self.cut
        return Epochs(now, {**self.opened, **dict.fromkeys(both, now)}, cut)

    def anew(self, since: int, version: int, protocol: int) -> bool:
        """Whether even a tracked flow judged in epoch `since` must be judged again."""
        opened = protocol in PORTED and self.opened.get((version, protocol), 0) > since
        return self.cut > since or opened


def _ruling(endpoint: Endpoint) -> tuple[object, ...]:
    return (
        *(endpoint.rule_set, endpoint.tracking, endpoint.cuts, endpoint.source_dest_check),
        *(endpoint.addresses, endpoint.public, endpoint.vpc),
    )

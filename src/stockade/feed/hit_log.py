"""How often each rule let something through: what the hosts' datapaths count, added up."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from stockade.model.flow import RuleCount, RuleTraffic
from stockade.model.ids import HostId


class HitLog:
    """The newest count of every rule of every host. A host's own count goes on from before this process started."""

    def __init__(self) -> None:
        self._hosts: dict[HostId, dict[int, RuleTraffic]] = {}

    def add(self, host: HostId, at: datetime, counts: Iterable[RuleCount], first: bool) -> None:
        """What a host said. `first`: on a new stream, so what is more than before may have come long ago."""
        known = self._hosts.setdefault(host, {})
        for count in counts:
            before = known.get(count.rule)
            now = RuleTraffic(count.packets, count.bytes)
            if before is not None:
                now = replace(now, first_at=before.first_at, last_at=before.last_at)
            if not first and (before is None or before.packets != count.packets):
                now = replace(now, first_at=now.first_at or (at if before is None else None), last_at=at)
            known[count.rule] = now

    def of(self, rule: int) -> RuleTraffic:
        """Over all hosts; nothing for a rule that no packet met."""
        seen = [rules[rule] for rules in self._hosts.values() if rule in rules]
        return RuleTraffic(
            sum(one.packets for one in seen),
            sum(one.bytes for one in seen),
            min((one.first_at for one in seen if one.first_at is not None), default=None),
            max((one.last_at for one in seen if one.last_at is not None), default=None),
        )

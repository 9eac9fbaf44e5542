"""Counts of rules, added up over hosts."""

from datetime import UTC, datetime, timedelta

from stockade.feed.hit_log import HitLog
from stockade.model.flow import RuleCount, RuleTraffic
from stockade.model.ids import HostId

ONE, TWO = HostId("one"), HostId("two")
NOON = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
LATER = NOON + timedelta(seconds=9)


def test_a_rule_nobody_met_has_counted_nothing() -> None:
    assert HitLog().of(7) == RuleTraffic(0, 0)


def test_hosts_are_added_up() -> None:
    log = HitLog()
    log.add(ONE, NOON, [RuleCount(7, 2, 120)], first=False)
    log.add(TWO, LATER, [RuleCount(7, 3, 180)], first=False)
    assert log.of(7) == RuleTraffic(5, 300, NOON, LATER)


def test_what_a_new_stream_tells_first_may_be_old() -> None:
    log = HitLog()
    log.add(ONE, NOON, [RuleCount(7, 2, 120)], first=True)
    assert log.of(7) == RuleTraffic(2, 120)
    log.add(ONE, LATER, [RuleCount(7, 3, 180)], first=False)
    assert log.of(7) == RuleTraffic(3, 180, None, LATER)
    log.add(ONE, LATER + timedelta(seconds=1), [RuleCount(7, 3, 180)], first=True)
    assert log.of(7) == RuleTraffic(3, 180, None, LATER)

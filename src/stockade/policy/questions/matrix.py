"""Who can reach whom: the traffic that is open from each party to each other, as few stretches as say it."""

from collections import defaultdict
from collections.abc import Iterable

from stockade.model import ports
from stockade.model.traffic import Traffic
from stockade.policy.questions.reach import Reach
from stockade.policy.questions.samples import FIRST_PORT

Stretch = tuple[int, int]


def open_traffic(reach: Reach) -> tuple[Traffic, ...]:
    """What passes between every pair that was tried. Everything: one Traffic of every protocol."""
    if reach.all_pass and len({one.packet.protocol for one in reach.tried}) > 1:
        return (Traffic(ports.ANY),)
    passed: defaultdict[int, list[Stretch]] = defaultdict(list)
    blocked: defaultdict[int, list[Stretch]] = defaultdict(list)
    for one in reach.tried:
        kept = passed if one.passed else blocked
        kept[one.stretch.protocol].append((one.stretch.low, one.stretch.high))
    found: list[Traffic] = []
    for protocol in sorted(passed):
        for low, high in _without(_joined(passed[protocol]), _joined(blocked[protocol])):
            whole = (low, high) == (FIRST_PORT, ports.LAST) and protocol in ports.PORTED
            found.append(Traffic(protocol) if whole or (low, high) == (0, 0) else Traffic(protocol, low, high))
    return tuple(found)


def _joined(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Ascending, and those that touch made one."""
    joined: list[Stretch] = []
    for low, high in sorted(stretches):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return joined


def _without(stretches: Iterable[Stretch], taken: list[Stretch]) -> Iterable[Stretch]:
    for low, high in stretches:
        start = low
        for first, last in taken:
            if last < start or first > high:
                continue
            if first > start:
                yield start, first - 1
            start = last + 1
        if start <= high:
            yield start, high

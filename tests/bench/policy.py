"""`./dev bench policy`: how soon a changed rule is enforced, and what a change costs as the policy grows.

enforce        from the authorize call until the kernel enforces it, with 1,000 interfaces' worth of policy on the
               host; moto's server only stores the rule. The same client code, call by call in turns
add_member     one more member of a group that 100 local policies name, or one: compiled, planned, in the kernel
compile_view   a whole view: 100 interfaces, 120 groups, 240 sets of groups with 20 members; and twice that
change_one     one rule of one group in a view of 12 groups, or of 1,200: compiled and planned
load_1m_members   500,000 interfaces with an IPv4 and an IPv6 address each, into the kernel's tables
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from bench import policy_views as views
from bench.harness import Options, Report, interleaved, progress, run
from bench.policy_site import Side, both_sides
from kernel.ebpf_host import EbpfHost
from stockade.datapath.contract import Applied
from stockade.datapath.plan import plan
from stockade.model.host_view import HostView, ViewGroup, ViewItem
from stockade.model.ids import SecurityGroupId
from stockade.model.persistent_map import PersistentMap
from stockade.model.rule import GroupPeer
from stockade.policy.compile import Compiler
from stockade.policy.entries import HostPolicy, Identity, MemberKey

_SINGLE, _DOUBLE = 10, 20  # cells
_SMALL, _FULL = 1, 100
_POLICIES = 100
_MILLION = 1_000_000


def measure(options: Options) -> Report:
    """First what needs a quiet kernel, then the site."""
    report = Report(options.rounds(full=31, quick=5))
    _add_member(report)
    _compile_view(report)
    _change_one(report)
    _load_members(report)
    _enforce(report, options.rounds(full=10, quick=2), calls=50 if options.quick else 200)
    return report


# ── authorize until enforced ──────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Calls:
    """Percentiles of each round, in milliseconds."""

    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)

    def add(self, times: Sequence[float]) -> None:
        percentiles = statistics.quantiles(times, n=100)
        self.p50.append(percentiles[49])
        self.p99.append(percentiles[98])


def _enforce(report: Report, rounds: int, calls: int) -> None:
    with both_sides() as (site, sides):
        found = {name: _Calls() for name in sides}

        def all_rounds() -> None:
            _call_in_turns(sides, calls)  # both have warmed up
            for number in range(rounds):
                for name, times in _call_in_turns(sides, calls).items():
                    found[name].add(times)
                progress(f"enforce round {number + 1}/{rounds}")

        site.inside(all_rounds)
    for name, limit in (("p50", 2.0), ("p99", 3.0)):
        ours, theirs = getattr(found["stockade"], name), getattr(found["moto"], name)
        report.spread(f"enforce_{name}.stockade", ours)
        report.spread(f"enforce_{name}.moto", theirs)
        ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
        report.spread(f"enforce_{name}.stockade/moto", ratios, at_most=limit)


def _call_in_turns(sides: dict[str, Side], calls: int) -> dict[str, list[float]]:
    """Milliseconds of each authorize call; what it allowed is revoked again."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(calls):
        order = list(sides) if turn % 2 else list(reversed(sides))
        for name in order:
            began = time.perf_counter()
            sides[name].authorize(turn)
            times[name].append((time.perf_counter() - began) * 1000)
        for name in order:
            sides[name].revoke(turn)
    return times


# ── growth ────────────────────────────────────────────────────────────────────────────────────────────────


class _Enforced:
    """A view that is enforced by a kernel, change by change."""

    def __init__(self, host: EbpfHost, view: HostView) -> None:
        self._host = host
        self._compiler = Compiler()
        self._view = view
        host.datapath.apply(self._compiler(view))
        self.steps = 0

    def take(self, *items: ViewItem) -> float:
        """Microseconds from the changed view until it is enforced."""
        self._view = views.changed(self._view, *items)
        began = time.perf_counter()
        policy = self._compiler(self._view)
        compiled = time.perf_counter() - began
        applied: Applied = self._host.datapath.apply(policy)
        self.steps = applied.steps
        return compiled * 1e6 + applied.took_ms * 1e3


def _add_member(report: Report) -> None:
    """Group 0 is named by 100 groups that somebody here is in, group 1 by one. Both have members of their own."""
    wide, narrow = views.group_id(0, 0), views.group_id(0, 1)
    items: list[ViewItem] = [views.member(1, wide), views.member(2, narrow)]
    for place in range(_POLICIES):
        group = views.group_id(1, place)
        named = [wide, narrow] if place == 0 else [wide]
        rules = [
            views.rule(2 * place + turn + 1, GroupPeer(name, views.ACCOUNT), 80) for turn, name in enumerate(named)
        ]
        items += [ViewGroup(group, f"policy-{place}", tuple(rules)), views.interface(100 + place, group)]
    with EbpfHost() as host:
        enforced = _Enforced(host, views.changed(HostView(views.HERE), *items))
        numbers = iter(range(1000, 1_000_000))
        most = 0

        def one_more(group: SecurityGroupId) -> Callable[[], float]:
            def median() -> float:
                nonlocal most
                times = []
                for _ in range(20):
                    times.append(enforced.take(views.member(next(numbers), group)))
                    most = max(most, enforced.steps)
                return statistics.median(times)

            return median

        rounds = interleaved(report.rounds, {"100": one_more(wide), "1": one_more(narrow)}, "add_member")
    report.spread("add_member.100", rounds.of("100"))
    report.spread("add_member.1", rounds.of("1"))
    report.spread("add_member.100/1", rounds.ratio("100", "1"), at_most=1.2)
    report.figure("add_member_steps", most, "map updates", at_most=1)


def _compile_view(report: Report) -> None:
    def compiled(cells: int) -> Callable[[], float]:
        view = views.view_of(cells)
        return lambda: _milliseconds(lambda: Compiler()(view))

    rounds = interleaved(report.rounds, {"single": compiled(_SINGLE), "double": compiled(_DOUBLE)}, "compile_view")
    report.spread("compile_view.single", rounds.of("single"))
    report.spread("compile_view.double", rounds.of("double"))
    report.spread("compile_view.double/single", rounds.ratio("double", "single"), at_most=2.3)


def _change_one(report: Report) -> None:
    def changing(cells: int) -> Callable[[], float]:
        compiler, view, turn = Compiler(), views.view_of(cells), 0
        enforced = compiler(view)

        def median() -> float:
            nonlocal view, turn, enforced
            times = []
            for _ in range(2 * views.GROUPS):
                turn += 1
                view = views.with_other_rules(view, turn)
                began = time.perf_counter()
                policy = compiler(view)
                plan(policy, enforced)
                times.append((time.perf_counter() - began) * 1000)
                enforced = policy
            return statistics.median(times)

        return median

    rounds = interleaved(report.rounds, {"small": changing(_SMALL), "full": changing(_FULL)}, "change_one")
    report.spread("change_one.small", rounds.of("small"))
    report.spread("change_one.full", rounds.of("full"))
    report.spread("change_one.full/small", rounds.ratio("full", "small"), at_most=1.5)


def _load_members(report: Report) -> None:
    first4, first6 = IPv4Address("10.0.0.0"), IPv6Address("2001:db8::")
    members: dict[MemberKey, Identity] = {}
    for number in range(1, _MILLION // 2 + 1):
        members[views.VPC, first4 + number] = members[views.VPC, first6 + number] = Identity(number % 1000 + 1)
    with EbpfHost() as host:
        applied = host.datapath.apply(HostPolicy(members=PersistentMap(members)))
    report.figure("load_1m_members", applied.took_ms / 1000, "s")


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    run("policy", measure)

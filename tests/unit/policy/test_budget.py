"""What is counted from above is never less than what the compiler builds, and closing never costs."""

import re
from dataclasses import replace
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.random_worlds import random_view
from stockade.model.host_view import HostView
from stockade.model.ids import SecurityGroupId
from stockade.policy.budget import KERNEL, Capacity, Cost, bound, cost_of, lengths_of, measure, shortage, summarize
from stockade.policy.compile import compile_host
from stockade.policy.identity import GroupSet, group_set
from stockade.policy.membership import read_membership

CHANCE = st.randoms(use_true_random=False)
INLINE = (0, 1, 4)
BPF = Path(__file__).parents[3] / "bpf"


def counted(view: HostView, inline: int, closely: bool) -> Cost:
    """The view's rule sets, counted from above."""
    membership = read_membership(view)
    lists = {one.id: one.cidrs for one in view.prefix_lists.values()}
    lengths = {id: lengths_of(cidrs) for id, cidrs in lists.items()}

    def members(group: SecurityGroupId) -> frozenset[int]:
        return membership.by_group.get(group, frozenset())

    total = Cost()
    for groups in {group_set(one.groups) for one in view.interfaces.values()}:
        apart = [rules_of(view, (group,)) for group in groups]
        together = rules_of(view, groups)
        if closely:
            total = total.plus(measure(together, members, lists, inline))
        else:
            total = total.plus(bound([summarize(rules) for rules in apart], members, lengths))
    return total


def rules_of(view: HostView, groups: GroupSet) -> list:  # type: ignore[type-arg]
    return [rule for group in groups if group in view.groups for rule in view.groups[group].rules]


@settings(max_examples=150, deadline=None)
@given(CHANCE, st.sampled_from(INLINE))
def test_bound_is_no_less_than_measure_and_that_no_less_than_what_is_built(chance: Random, inline: int) -> None:
    view = random_view(chance)
    built = cost_of(compile_host(view), inline)
    close, quick = counted(view, inline, True), counted(view, inline, False)
    for table in ("policies", "rule_sets", "intervals", "prefixes", "prefixes6"):
        assert getattr(built, table) <= getattr(close, table) <= getattr(quick, table), table


@settings(max_examples=100, deadline=None)
@given(CHANCE, st.sampled_from(INLINE))
def test_taking_a_rule_away_never_costs(chance: Random, inline: int) -> None:
    view = random_view(chance)
    groups = [group for group in view.groups.values() if group.rules]
    before = counted(view, inline, True)
    for group in groups:
        gone = chance.choice(group.rules)
        fewer = replace(group, rules=tuple(rule for rule in group.rules if rule != gone))
        after = counted(replace(view, groups={**view.groups, group.id: fewer}), inline, True)
        assert all(now <= then for now, then in zip(after, before, strict=True))


def test_the_first_table_without_room_is_named() -> None:
    capacity = Capacity(Cost(*([10] * 9)))
    assert shortage(Cost(*([5] * 9)), capacity.room()) is None
    short = shortage(Cost(intervals=6, prefixes=7), capacity.room())
    assert short == ("intervals", 6, 5)
    assert KERNEL.room().policies == 4095


def test_the_tables_are_those_of_the_kernel_programs() -> None:
    sources = [(BPF / name).read_text() for name in ("types.h", "maps.h")]
    sizes = dict(re.findall(r"#define (MAX_\w+)\s+(\d+)", sources[0]))
    found = dict(re.findall(r"^MAP\((\w+), .*, (\w+), \w+\);", sources[1], flags=re.MULTILINE))
    entries = {table: int(sizes.get(found[table], found[table])) for table in Cost._fields}
    # The first entry of what is found by its number is never given out.
    numbered = {"policies", "rules", "endpoints"}
    assert KERNEL.tables._asdict() == {table: size - (table in numbered) for table, size in entries.items()}
    assert int(re.findall(r"#define INLINE_INTERVALS (\d+)", sources[0])[0]) == KERNEL.inline

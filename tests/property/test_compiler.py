"""What holds of every compilation: memory changes nothing, order changes nothing, entries keep their form."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.random_worlds import random_history, random_view, unused_revision
from stockade.datapath.plan import (
    ForgetEndpoint,
    ForgetMember,
    LoadRuleSet,
    PlaceEndpoint,
    PlaceMember,
    RetireRuleSet,
    Step,
    plan,
)
from stockade.model.ports import LAST
from stockade.policy.compile import Compiler, compile_host
from stockade.policy.entries import ANY_PROTOCOL, CLASS_BIT, HostPolicy
from stockade.policy.rule_sets import cover_ports

CHANCE = st.randoms(use_true_random=False)
RANGES = st.lists(
    st.tuples(st.integers(0, LAST), st.integers(0, LAST), st.integers(1, 50)).map(
        lambda each: (min(each[:2]), max(each[:2]), each[2])
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(CHANCE)
def test_a_compiler_that_remembers_equals_one_that_does_not(chance: Random) -> None:
    remembering = Compiler()
    for view in random_history(chance, length=8):
        assert remembering(view) == compile_host(view)


@settings(max_examples=50, deadline=None)
@given(CHANCE)
def test_a_compiler_asked_about_any_earlier_view_is_right_about_it(chance: Random) -> None:
    remembering = Compiler()
    views = random_history(chance, length=4)
    for _ in range(8):
        view = chance.choice(views)
        assert remembering(view) == compile_host(view)


@settings(max_examples=50, deadline=None)
@given(CHANCE)
def test_any_history_leaves_what_the_final_view_alone_would(chance: Random) -> None:
    """Step by step from one answer to the next, as a datapath takes them."""
    remembering = Compiler()
    enforced = HostPolicy()
    for view in random_history(chance, length=6):
        desired = remembering(view)
        enforced = taken(enforced, plan(desired, enforced))
        assert enforced == compile_host(view)


def taken(policy: HostPolicy, steps: Iterable[Step]) -> HostPolicy:
    """The policy after these steps."""
    endpoints, members, rule_sets = dict(policy.endpoints), dict(policy.members), dict(policy.rule_sets)
    for step in steps:
        match step:
            case LoadRuleSet(rule_set):
                rule_sets[rule_set.id] = rule_set
            case PlaceMember(key, identity):
                members[key] = identity
            case PlaceEndpoint(endpoint):
                endpoints[endpoint.id] = endpoint
            case ForgetEndpoint(name):
                del endpoints[name]
            case ForgetMember(key):
                del members[key]
            case RetireRuleSet(name):
                del rule_sets[name]
    return HostPolicy(endpoints, members, rule_sets)


@settings(max_examples=50, deadline=None)
@given(CHANCE)
def test_the_order_in_which_things_came_to_be_known_does_not_matter(chance: Random) -> None:
    view = random_view(chance)
    turned = replace(
        view,
        groups=dict(reversed([*view.groups.items()])),
        members=dict(reversed([*view.members.items()])),
        interfaces=dict(reversed([*view.interfaces.items()])),
    )
    assert compile_host(turned) == compile_host(view)


@settings(max_examples=50, deadline=None)
@given(CHANCE)
def test_equal_views_give_equal_policies_and_build_nothing(chance: Random) -> None:
    view = random_view(chance)
    compiler = Compiler()
    first = compiler(view)
    assert compiler(unused_revision(view)) == first
    assert compiler.rebuilt == 0


def check_form(policy: HostPolicy) -> None:
    """Everything entries.py promises that can be seen from the entries alone."""
    for endpoint in policy.endpoints.values():
        assert endpoint.rule_set in policy.rule_sets
        assert 0 < endpoint.identity < CLASS_BIT
    for name, rule_set in policy.rule_sets.items():
        assert rule_set.id == name
        assert 0 < name < CLASS_BIT
        for gate in (rule_set.ingress, rule_set.egress):
            peers = {peer for peer, _ in gate.intervals}
            assert set(gate.prefixes.values()) == {peer for peer in peers if peer & CLASS_BIT}
            for (_, protocol), intervals in gate.intervals.items():
                assert 0 <= protocol <= ANY_PROTOCOL
                assert intervals
                assert all(0 <= each.low <= each.high <= LAST and each.rule > 0 for each in intervals)
                assert all(one.high < other.low for one, other in pairwise(intervals))


@settings(max_examples=60, deadline=None)
@given(CHANCE)
def test_entries_have_the_form_they_promise(chance: Random) -> None:
    check_form(compile_host(random_view(chance)))


@given(RANGES, st.integers(0, LAST))
def test_covering_intervals_name_the_lowest_rule_at_every_port(ranges: list[tuple[int, int, int]], port: int) -> None:
    edges = {edge for low, high, _ in ranges for edge in (low - 1, low, high, high + 1)} | {port}
    found = cover_ports(ranges)
    for place in edges:
        said = [each.rule for each in found if each.low <= place <= each.high]
        meant = [rule for low, high, rule in ranges if low <= place <= high]
        assert said == ([min(meant)] if meant else [])


@given(RANGES)
def test_covering_intervals_are_as_few_as_can_be(ranges: list[tuple[int, int, int]]) -> None:
    found = cover_ports(ranges)
    assert all(one.high + 1 < other.low or one.rule != other.rule for one, other in pairwise(found))

"""The order of steps: make before break, fail closed."""

from dataclasses import replace
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from stockade.datapath.plan import (
    ForgetEndpoint,
    ForgetMember,
    LoadRuleSet,
    PlaceEndpoint,
    PlaceMember,
    RetireRuleSet,
    plan,
)
from stockade.model.addresses import mac_of
from stockade.model.ids import NetworkInterfaceId
from stockade.policy.entries import Endpoint, GateRules, HostPolicy, Identity, RuleSet, RuleSetId

ORDER = [LoadRuleSet, PlaceMember, PlaceEndpoint, ForgetEndpoint, ForgetMember, RetireRuleSet]


def endpoint(number: int, rule_set: int, identity: int = 1) -> Endpoint:
    return Endpoint(
        id=NetworkInterfaceId(f"eni-01{number:06x}"),
        vpc=1,
        mac=mac_of(number),
        addresses=(IPv4Address("10.0.0.0") + number,),
        public=None,
        identity=Identity(identity),
        rule_set=RuleSetId(rule_set),
        source_dest_check=True,
        classic=True,
    )


def policy(*endpoints: Endpoint) -> HostPolicy:
    return HostPolicy(
        {each.id: each for each in endpoints},
        {(each.vpc, each.addresses[0]): each.identity for each in endpoints},
        {each.rule_set: RuleSet(each.rule_set, GateRules(), GateRules()) for each in endpoints},
    )


policies = st.dictionaries(st.integers(1, 5), st.tuples(st.integers(1, 4), st.integers(1, 3))).map(
    lambda chosen: policy(*(endpoint(number, *choice) for number, choice in chosen.items()))
)


def test_nothing_to_do_is_no_step() -> None:
    same = policy(endpoint(1, 7))
    assert plan(same, same) == ()
    assert plan(policy(endpoint(1, 7)), policy(endpoint(1, 7))) == ()


def test_a_changed_rule_is_loaded_then_flipped_to_then_the_old_one_retired() -> None:
    before, after = policy(endpoint(1, 7), endpoint(2, 7)), policy(endpoint(1, 8), endpoint(2, 8))
    assert plan(after, before) == (
        LoadRuleSet(after.rule_sets[RuleSetId(8)]),
        PlaceEndpoint(endpoint(1, 8)),
        PlaceEndpoint(endpoint(2, 8)),
        RetireRuleSet(RuleSetId(7)),
    )


def test_an_address_that_goes_loses_its_policy_before_its_name() -> None:
    gone = endpoint(2, 7)
    steps = plan(policy(endpoint(1, 7)), policy(endpoint(1, 7), gone))
    assert steps == (ForgetEndpoint(gone.id), ForgetMember((1, gone.addresses[0])))


@given(policies, policies)
def test_steps_come_in_the_one_order_that_is_safe(desired: HostPolicy, observed: HostPolicy) -> None:
    kinds = [ORDER.index(type(step)) for step in plan(desired, observed)]
    assert kinds == sorted(kinds)


@given(policies, policies)
def test_steps_make_what_is_observed_what_is_desired(desired: HostPolicy, observed: HostPolicy) -> None:
    endpoints, members, rule_sets = dict(observed.endpoints), dict(observed.members), dict(observed.rule_sets)
    for step in plan(desired, observed):
        match step:
            case LoadRuleSet(rule_set):
                assert rule_set.id not in rule_sets
                rule_sets[rule_set.id] = rule_set
            case PlaceMember(key, identity):
                members[key] = identity
            case PlaceEndpoint(placed):
                assert placed.rule_set in rule_sets
                endpoints[placed.id] = placed
            case ForgetEndpoint(name):
                del endpoints[name]
            case ForgetMember(key):
                del members[key]
            case RetireRuleSet(name):
                assert all(each.rule_set != name for each in endpoints.values())
                del rule_sets[name]
    assert HostPolicy(endpoints, members, rule_sets) == desired


def test_an_endpoint_that_only_moved_keeps_its_rule_set_loaded() -> None:
    before = policy(endpoint(1, 7))
    moved = replace(endpoint(1, 7), public=IPv4Address("198.18.0.9"))
    assert plan(policy(moved), before) == (PlaceEndpoint(moved),)

"""The pipeline: what an endpoint is given, what is shared, and what a change makes anew."""

from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from scenarios.walkthroughs import MARY
from scenarios.worlds import (
    World,
    group,
    group_id,
    instance,
    interface_id,
    parse_rule,
    private_address,
    public_address,
    view,
    world,
)
from stockade.model.change import Revision
from stockade.model.host_view import Frame, HostView, ViewGroup, ViewPrefixList, apply_frame
from stockade.model.ids import PrefixListId
from stockade.model.persistent_map import changed_keys
from stockade.model.rule import PrefixListPeer
from stockade.policy import membership
from stockade.policy.compile import Compiler, compile_host
from stockade.policy.entries import Identity
from stockade.policy.identity import IdentityCollision

TIERS = world(
    group("web", ingress=["tcp/80 from 0.0.0.0/0"]),
    group("app", ingress=["tcp/8080 from web"]),
    group("db", ingress=["tcp/3306 from app"]),
    *(instance(f"{tier}{n}", tier) for tier in ("web", "app", "db") for n in range(2)),
)


def with_rules(seen: HostView, world: World, name: str, *texts: str) -> HostView:
    """The view after the feed told new rules of one group."""
    rules = tuple(parse_rule(text, world, 900 + number) for number, text in enumerate(texts))
    return apply_frame(seen, Frame(Revision(seen.revision + 1), (ViewGroup(group_id(world, name), name, rules),)))


def test_an_empty_view_allows_nothing() -> None:
    policy = compile_host(view(world()))
    assert (policy.endpoints, policy.members, policy.rule_sets) == ({}, {}, {})


def test_an_endpoint_carries_what_its_interface_is() -> None:
    seen = view(TIERS)
    name = interface_id(TIERS, "web0")
    endpoint, interface = compile_host(seen).endpoints[name], seen.interfaces[name]
    assert (endpoint.id, endpoint.vpc, endpoint.mac, endpoint.classic) == (name, 1, interface.mac, True)
    assert endpoint.addresses == (private_address(TIERS, "web0"),)
    assert endpoint.public == public_address(TIERS, "web0")
    assert endpoint.source_dest_check


def test_interfaces_in_the_same_groups_share_identity_and_rule_set() -> None:
    policy = compile_host(view(TIERS))
    one, other, stranger = (policy.endpoints[interface_id(TIERS, name)] for name in ("web0", "web1", "app0"))
    assert (one.identity, one.rule_set) == (other.identity, other.rule_set)
    assert one.identity != stranger.identity
    assert len(policy.rule_sets) == 3


def test_members_elsewhere_are_recognised_but_not_policed_here() -> None:
    there = world(group("web"), instance("here", "web"), instance("there", "web", here=False))
    policy = compile_host(view(there))
    assert set(policy.endpoints) == {interface_id(there, "here")}
    assert (1, private_address(there, "there")) in policy.members


def test_a_change_of_one_group_builds_only_what_contains_it() -> None:
    compiler, seen = Compiler(), view(TIERS)
    compiler(seen)
    assert compiler.rebuilt == 3
    changed = with_rules(seen, TIERS, "web", "tcp/443 from 0.0.0.0/0")
    assert compiler(changed) == compile_host(changed)
    assert compiler.rebuilt == 1


def test_a_new_identity_builds_only_what_names_its_groups() -> None:
    compiler, seen = Compiler(), view(TIERS)
    compiler(seen)
    name = interface_id(TIERS, "web1")
    groups = (group_id(TIERS, "web"), group_id(TIERS, "db"))
    member = replace(seen.members[name], groups=groups)
    interface = replace(seen.interfaces[name], groups=groups)
    changed = apply_frame(seen, Frame(Revision(2), (member, interface)))
    assert compiler(changed) == compile_host(changed)
    assert compiler.rebuilt == 2  # web1's own new set, and app's, which names web


def test_one_more_member_of_a_known_kind_builds_nothing() -> None:
    compiler, seen = Compiler(), view(TIERS)
    compiler(seen)
    known = seen.members[interface_id(TIERS, "web0")]
    newcomer = replace(known, interface=interface_id(TIERS, "web0")[:-1] + "f", addresses=(known.addresses[0] + 100,))
    changed = apply_frame(seen, Frame(Revision(2), (newcomer,)))
    assert compiler(changed) == compile_host(changed)
    assert compiler.rebuilt == 0


def test_frames_that_change_rules_only_keep_the_very_same_member_table() -> None:
    compiler, seen = Compiler(), view(TIERS)
    before = compiler(seen).members
    assert compiler(with_rules(seen, TIERS, "web")).members is before


def test_a_new_version_of_a_prefix_list_builds_only_what_names_it() -> None:
    compiler, seen = Compiler(), view(TIERS)
    office = PrefixListId("pl-0123456789abcdef0")
    web = seen.groups[group_id(TIERS, "web")]
    listing = replace(web, rules=(replace(web.rules[0], peer=PrefixListPeer(office)),))
    told = Frame(Revision(2), (listing, ViewPrefixList(office, (IPv4Network("203.0.113.0/24"),))))
    seen = apply_frame(seen, told)
    compiler(seen)
    wider = ViewPrefixList(office, (IPv4Network("203.0.113.0/24"), IPv4Network("198.51.100.0/24")))
    changed = apply_frame(seen, Frame(Revision(3), (wider,)))
    assert compiler(changed) == compile_host(changed)
    assert compiler.rebuilt == 1
    without = apply_frame(changed, Frame(Revision(4), removed=(("prefix_list", office),)))
    assert compiler(without) == compile_host(without)
    assert compiler.rebuilt == 1


def test_a_name_that_changes_builds_nothing() -> None:
    compiler, seen = Compiler(), view(TIERS)
    compiler(seen)
    web = seen.groups[group_id(TIERS, "web")]
    compiler(apply_frame(seen, Frame(Revision(2), (replace(web, name="www"),))))
    assert compiler.rebuilt == 0


def test_answers_share_what_did_not_change() -> None:
    compiler, seen = Compiler(), view(TIERS)
    before = compiler(seen)
    after = compiler(with_rules(seen, TIERS, "web", "tcp/443 from 0.0.0.0/0"))
    web = {interface_id(TIERS, name) for name in ("web0", "web1")}
    assert set(changed_keys(before.endpoints, after.endpoints)) == web
    assert all(after.endpoints[name] is each for name, each in before.endpoints.items() if name not in web)
    assert len(set(changed_keys(before.rule_sets, after.rule_sets))) == 2


def test_two_sets_of_groups_may_share_a_rule_set_and_part_again() -> None:
    alike = world(group("one"), group("two"), instance("a", "one"), instance("b", "two"))
    compiler, seen = Compiler(), with_rules(with_rules(view(alike), alike, "one"), alike, "two")
    assert len(compiler(seen).rule_sets) == 1
    apart = with_rules(seen, alike, "one", "tcp/80 from 0.0.0.0/0")
    for each in (apart, seen, apart, replace(apart, interfaces={}), seen):
        assert compiler(each) == compile_host(each)


def test_a_collision_leaves_a_compiler_that_can_be_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler, seen = Compiler(), view(TIERS)
    with monkeypatch.context() as patched:
        patched.setattr(membership, "identity_of", lambda _groups: Identity(7))
        with pytest.raises(IdentityCollision):
            compiler(seen)
    assert compiler(seen) == compile_host(seen)


def test_what_no_interface_needs_any_more_is_forgotten() -> None:
    compiler, seen = Compiler(), view(TIERS)
    compiler(seen)
    compiler(replace(seen, interfaces={}))
    compiler(seen)
    assert compiler.rebuilt == 3


def test_compiling_leaves_the_view_as_it_was() -> None:
    seen = view(MARY.world)
    compile_host(seen)
    assert seen == view(MARY.world)

"""The pipeline: what an endpoint is given, what is shared, and what a change makes anew."""

from dataclasses import replace

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
from stockade.model.host_view import Frame, HostView, ViewGroup, apply_frame
from stockade.policy.compile import Compiler, compile_host

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

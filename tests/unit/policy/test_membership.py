"""Who is behind an address: everybody in view, and nobody where two claim it."""

from dataclasses import replace

from scenarios.worlds import group, instance, interface_id, parse_packet, private_address, view, world
from stockade.model.host_view import HostView
from stockade.policy.evaluate import evaluate
from stockade.policy.identity import group_set, identity_of
from stockade.policy.membership import read_membership

WORLD = world(
    group("web", ingress=["tcp/80 from web"]),
    group("ops"),
    instance("a", "web"),
    instance("b", "ops", "web"),
    instance("far", "web", here=False),
    instance("tenant", "ops", network="theirs"),
)


def test_members_are_found_by_network_and_address_wherever_they_live() -> None:
    seen = view(WORLD)
    far = seen.members[interface_id(WORLD, "far")]
    membership = read_membership(seen)
    assert membership.members[1, private_address(WORLD, "far")] == identity_of(group_set(far.groups))
    assert (2, private_address(WORLD, "tenant")) in membership.members
    assert (1, private_address(WORLD, "tenant")) not in membership.members


def test_a_group_has_every_identity_that_contains_it() -> None:
    seen = view(WORLD)
    a, b = (seen.interfaces[interface_id(WORLD, name)].groups for name in "ab")
    web = a[0]
    assert read_membership(seen).by_group[web] == {identity_of(group_set(a)), identity_of(group_set(b))}


def test_an_own_interface_is_a_member_even_before_the_feed_says_so() -> None:
    seen = replace(view(WORLD), members={})
    assert (1, private_address(WORLD, "a")) in read_membership(seen).members


def contested() -> HostView:
    """`far` claims the address of `a`."""
    seen = view(WORLD)
    far = interface_id(WORLD, "far")
    claim = replace(seen.members[far], addresses=(private_address(WORLD, "a"),))
    return replace(seen, members={**seen.members, far: claim})


def test_an_address_that_two_claim_belongs_to_neither() -> None:
    assert (1, private_address(WORLD, "a")) not in read_membership(contested()).members


def test_the_evaluator_gives_a_contested_address_no_group_either() -> None:
    packet = parse_packet("tcp/80", private_address(WORLD, "a"), private_address(WORLD, "b"))
    assert evaluate(view(WORLD), packet, interface_id(WORLD, "a")).passed
    assert not evaluate(contested(), packet, interface_id(WORLD, "a")).passed

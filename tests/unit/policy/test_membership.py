"""Who is behind an address: everybody in view, and nobody where two claim it."""

from dataclasses import replace
from random import Random

from scenarios.worlds import group, instance, interface_id, parse_packet, private_address, view, world
from stockade.model.host_view import HostView
from stockade.model.ids import NetworkInterfaceId
from stockade.model.persistent_map import changed_keys
from stockade.policy.evaluate import evaluate
from stockade.policy.identity import group_set, identity_of
from stockade.policy.membership import Roll, read_membership

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


def test_a_roll_that_follows_gives_what_is_read_at_once() -> None:
    seen = view(WORLD)
    far = seen.members[interface_id(WORLD, "far")]
    names = [interface_id(WORLD, name) for name in ("far", "b")] + [NetworkInterfaceId("eni-0fffffff")]
    claims = {name: replace(far, interface=name, addresses=(private_address(WORLD, "a"),)) for name in names}
    chance = Random(1)
    roll = Roll()
    for _ in range(200):  # whoever claims the address of `a` at a time, and whether `a` is there
        claiming = {name: claims[name] for name in chance.sample(names, chance.randrange(4))}
        here = {} if chance.random() < 0.3 else {a: each for a, each in seen.interfaces.items() if a not in claiming}
        each = replace(seen, members={**seen.members, **claiming}, interfaces=here)
        roll.follow(each)
        known = read_membership(each)
        assert (roll.members, roll.by_group) == (known.members, known.by_group)
    roll.follow(HostView(seen.host))
    assert (roll.members, roll.by_group) == ({}, {})


def test_a_roll_tells_the_groups_that_have_other_identities_now() -> None:
    seen = view(WORLD)
    far, a = seen.members[interface_id(WORLD, "far")], seen.interfaces[interface_id(WORLD, "a")]
    web, ops = a.groups[0], seen.interfaces[interface_id(WORLD, "tenant")].groups[0]
    roll = Roll()
    assert roll.follow(seen) == {web, ops}
    without_a = replace(seen, interfaces={**seen.interfaces, a.id: replace(a, groups=(ops,))})
    assert roll.follow(without_a) == frozenset()  # far is in web alone as well, the tenant in ops
    without_far = replace(without_a, members={**seen.members, far.interface: replace(far, groups=(ops,))})
    assert roll.follow(without_far) == {web}
    assert roll.follow(replace(without_far, members=dict(without_far.members))) == frozenset()


def test_one_more_member_of_a_known_kind_is_one_entry_and_no_group_notices() -> None:
    seen = view(WORLD)
    roll = Roll()
    roll.follow(seen)
    before = roll.members
    far = seen.members[interface_id(WORLD, "far")]
    newcomer = replace(far, interface=far.interface[:-1] + "e", addresses=(far.addresses[0] + 50,))
    assert roll.follow(replace(seen, members={**seen.members, newcomer.interface: newcomer})) == frozenset()
    assert list(changed_keys(before, roll.members)) == [(1, far.addresses[0] + 50)]

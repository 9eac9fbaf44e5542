"""Numbers of peers: equal for equal sets, never 0, and never the same for two sets unnoticed."""

import pytest

from stockade.model.ids import SecurityGroupId
from stockade.policy.entries import CLASS_BIT, Identity
from stockade.policy.identity import IdentityCollision, digest, group_set, identity_of
from stockade.policy.membership import check_collisions

ONE, OTHER = SecurityGroupId("sg-01000001"), SecurityGroupId("sg-01000002")


def test_an_identity_depends_on_the_set_alone() -> None:
    assert identity_of(group_set([ONE, OTHER])) == identity_of(group_set([OTHER, ONE, ONE]))


def test_a_part_of_a_set_has_an_identity_of_its_own() -> None:
    assert len({identity_of(group_set(groups)) for groups in ([ONE], [OTHER], [ONE, OTHER], [])}) == 4


def test_an_identity_leaves_the_top_bit_to_classes() -> None:
    assert all(0 < digest(str(number).encode()) < CLASS_BIT for number in range(1000))


def test_identities_are_the_same_in_every_process_and_release() -> None:
    assert identity_of((ONE,)) == 1412727548469797388


def test_two_sets_with_one_number_are_refused() -> None:
    with pytest.raises(IdentityCollision) as refused:
        check_collisions({(ONE,): Identity(7), (OTHER,): Identity(7)})
    assert (refused.value.one, refused.value.other) == ((ONE,), (OTHER,))

"""The numbers that stand for peers: one for each distinct set of groups.

A number depends on the group ids alone, so every host computes the same one and none is ever handed out,
stored or recycled. Hashes can collide; that is checked where all sets of a host are known, and refused.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from stockade.model.errors import Conflict
from stockade.model.ids import SecurityGroupId
from stockade.policy.entries import Identity

GroupSet = tuple[SecurityGroupId, ...]
"""Ids of groups, sorted, each once: `group_set` makes them."""


@dataclass(eq=False)
class IdentityCollision(Conflict):
    """Two sets of groups have one number. No policy is better than one that mistakes them."""

    one: GroupSet
    other: GroupSet


def group_set(groups: Iterable[SecurityGroupId]) -> GroupSet:
    """The canonical form of a set of groups."""
    return tuple(sorted(set(groups)))


def identity_of(groups: GroupSet) -> Identity:
    """A hash of 63 bits, never 0. Ids hold no line ends, so different sets give different texts."""
    return Identity(digest("\n".join(groups).encode()))


def digest(content: bytes) -> int:
    """A hash of 63 bits, never 0: the top bit is left to CIDR classes."""
    return (int.from_bytes(blake2b(content, digest_size=8).digest(), "big") >> 1) or 1

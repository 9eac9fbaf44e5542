"""Security groups -> who is in them: identities by group, and the identity behind each private address."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stockade.model.host_view import HostView, ViewInterface, ViewMember
from stockade.model.ids import NetworkInterfaceId, SecurityGroupId
from stockade.policy.entries import Identity, MemberKey
from stockade.policy.identity import GroupSet, IdentityCollision, group_set, identity_of


@dataclass(frozen=True, slots=True)
class Membership:
    """What a host knows about who is who."""

    members: Mapping[MemberKey, Identity]
    by_group: Mapping[SecurityGroupId, frozenset[Identity]]
    identities: Mapping[GroupSet, Identity]


def read_membership(view: HostView) -> Membership:
    """Everybody in view, the host's own interfaces included. Raises IdentityCollision.

    An address that two interfaces of one network claim belongs to neither: a moment's confusion about who
    has it must not give one of them the other's rights.
    """
    members: dict[MemberKey, Identity] = {}
    claimed: dict[MemberKey, NetworkInterfaceId] = {}
    contested: set[MemberKey] = set()
    spelled: dict[GroupSet, GroupSet] = {}
    identities: dict[GroupSet, Identity] = {}
    for interface, party in _parties(view):
        groups = spelled.get(party.groups)
        if groups is None:
            groups = spelled[party.groups] = group_set(party.groups)
            identities[groups] = identity_of(groups)
        identity = identities[groups]
        for address in party.addresses:
            key = (party.vpc, address)
            if claimed.setdefault(key, interface) != interface:
                contested.add(key)
            members[key] = identity
    for key in contested:
        del members[key]
    check_collisions(identities)
    return Membership(members, _by_group(identities), identities)


def check_collisions(identities: Mapping[GroupSet, Identity]) -> None:
    """Raises IdentityCollision when two sets share a number."""
    owners: dict[Identity, GroupSet] = {}
    for groups, identity in identities.items():
        other = owners.setdefault(identity, groups)
        if other != groups:
            raise IdentityCollision(one=other, other=groups)


def _parties(view: HostView) -> Iterator[tuple[NetworkInterfaceId, ViewMember | ViewInterface]]:
    """Members and own interfaces, each once: what an own interface says of itself is the newer word."""
    for interface, member in view.members.items():
        if interface not in view.interfaces:
            yield interface, member
    yield from view.interfaces.items()


def _by_group(identities: Mapping[GroupSet, Identity]) -> Mapping[SecurityGroupId, frozenset[Identity]]:
    found: defaultdict[SecurityGroupId, set[Identity]] = defaultdict(set)
    for groups, identity in identities.items():
        for group in groups:
            found[group].add(identity)
    return {group: frozenset(members) for group, members in found.items()}

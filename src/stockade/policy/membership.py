"""Security groups -> who is in them: identities by group, and the identity behind each private address.

`read_membership` is the definition. `Roll` gives the same answer and is kept, so that one more member costs one
look at that member.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from stockade.model.host_view import HostView, ViewInterface, ViewMember
from stockade.model.ids import HostId, NetworkInterfaceId, SecurityGroupId
from stockade.model.persistent_map import PersistentMap, changed_keys
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


class Roll:
    """Who is who in the view that was read last. Any view may follow any other."""

    def __init__(self) -> None:
        self.members: PersistentMap[MemberKey, Identity] = PersistentMap()
        self.by_group: dict[SecurityGroupId, frozenset[Identity]] = {}
        self._view = HostView(HostId(""))
        self._claims: dict[MemberKey, NetworkInterfaceId] = {}
        self._contested: dict[MemberKey, set[NetworkInterfaceId]] = {}
        self._carriers: Counter[GroupSet] = Counter()  # how many parties have this set of groups
        self._identities: dict[GroupSet, Identity] = {}
        self._owners: dict[Identity, GroupSet] = {}
        self._in_group: defaultdict[SecurityGroupId, set[Identity]] = defaultdict(set)

    def follow(self, view: HostView) -> frozenset[SecurityGroupId]:
        """Read what changed since the view before. The groups in which other identities are now.

        Raises IdentityCollision, and is then of no more use.
        """
        before, self._view = self._view, view
        changed = {*changed_keys(before.members, view.members), *changed_keys(before.interfaces, view.interfaces)}
        if not changed:
            return frozenset()
        spelled: dict[GroupSet, GroupSet] = {}
        regrouped: set[SecurityGroupId] = set()
        found: dict[MemberKey, Identity | None] = {}
        for interface in changed:
            party = _party(before, interface)
            if party is not None:
                regrouped.update(self._leave(_spell(party.groups, spelled)))
                for key in _keys(party):
                    self._release(key, interface)
                    found[key] = None
        inherited = [key for key in found if key in self._claims]
        for interface in changed:
            party = _party(view, interface)
            if party is not None:
                groups = _spell(party.groups, spelled)
                regrouped.update(self._join(groups))
                identity = self._identities[groups]
                for key in _keys(party):
                    found[key] = identity if self._claim(key, interface) else None
        for key in inherited:  # one who claimed it before is perhaps alone now
            heir = None if key in self._contested else _party(view, self._claims[key])
            found[key] = None if heir is None else self._identities[_spell(heir.groups, spelled)]
        nobodys = [key for key, owner in found.items() if owner is None]
        for key in nobodys:
            del found[key]
        self.members = self.members.changed(cast(dict[MemberKey, Identity], found), nobodys)
        return frozenset(group for group in regrouped if self._regroup(group))

    def _join(self, groups: GroupSet) -> Iterable[SecurityGroupId]:
        """One more has these groups. The groups that this may alter."""
        self._carriers[groups] += 1
        if self._carriers[groups] > 1:
            return ()
        identity = self._identities[groups] = identity_of(groups)
        other = self._owners.setdefault(identity, groups)
        if other != groups:
            raise IdentityCollision(one=other, other=groups)
        for group in groups:
            self._in_group[group].add(identity)
        return groups

    def _leave(self, groups: GroupSet) -> Iterable[SecurityGroupId]:
        self._carriers[groups] -= 1
        if self._carriers[groups]:
            return ()
        del self._carriers[groups]
        identity = self._identities.pop(groups)
        del self._owners[identity]
        for group in groups:
            self._in_group[group].discard(identity)
        return groups

    def _regroup(self, group: SecurityGroupId) -> bool:
        """Whether other identities are in it than were."""
        old, new = self.by_group.get(group, frozenset()), frozenset(self._in_group[group])
        if new:
            self.by_group[group] = new
        else:
            self.by_group.pop(group, None)
            del self._in_group[group]
        return new != old

    def _claim(self, key: MemberKey, interface: NetworkInterfaceId) -> bool:
        """Whether nobody else claims it."""
        owner = self._claims.setdefault(key, interface)
        if owner != interface:
            self._contested.setdefault(key, {owner}).add(interface)
            return False
        return True

    def _release(self, key: MemberKey, interface: NetworkInterfaceId) -> None:
        rivals = self._contested.get(key)
        if rivals is None:
            del self._claims[key]
            return
        rivals.discard(interface)
        self._claims[key] = next(iter(rivals))
        if len(rivals) == 1:
            del self._contested[key]


def _party(view: HostView, interface: NetworkInterfaceId) -> ViewMember | ViewInterface | None:
    """What an own interface says of itself is the newer word."""
    return view.interfaces.get(interface) or view.members.get(interface)


def _keys(party: ViewMember | ViewInterface) -> Iterable[MemberKey]:
    if len(party.addresses) == 1:
        return ((party.vpc, party.addresses[0]),)
    return {(party.vpc, address) for address in party.addresses}


def _spell(groups: tuple[SecurityGroupId, ...], spelled: dict[GroupSet, GroupSet]) -> GroupSet:
    """Canonical, by a memory: thousands of members share few sets."""
    found = spelled.get(groups)
    if found is None:
        found = spelled[groups] = group_set(groups)
    return found

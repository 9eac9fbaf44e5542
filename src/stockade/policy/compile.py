"""The pipeline: a host's view becomes all that the host enforces.

                 ┌─ membership ──► who has which address ──────────────► members
    HostView ────┤       │
    groups       │   identities by group
    members      │       ▼
    interfaces   ├─ peers ──► rules by identity and by prefix
                 │       ▼
                 ├─ rule_sets ──► intervals by peer and protocol ──────► rule_sets (named by content)
                 │                                                          ▲
                 └─ endpoints: each interface, its identity and its ────────┘

`compile_host` is the definition. `Compiler` gives the same answer and remembers what it built it from, so
that a change of one group recompiles only the rule sets that contain or name it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from stockade.model.host_view import HostView, ViewInterface, ViewMember
from stockade.model.ids import NetworkInterfaceId, SecurityGroupId
from stockade.model.rule import GroupPeer, Rule
from stockade.policy.entries import Endpoint, HostPolicy, Identity, RuleSet, RuleSetId
from stockade.policy.identity import GroupSet, group_set
from stockade.policy.membership import Membership, read_membership
from stockade.policy.rule_sets import build_rule_set


def compile_host(view: HostView) -> HostPolicy:
    """All that this host enforces for this view. Raises IdentityCollision."""
    return Compiler()(view)


@dataclass(frozen=True, slots=True)
class _Remembered:
    """A rule set and everything it was built from: equal sources, equal set."""

    rules: tuple[tuple[Rule, ...], ...]  # of each group, in the order of the group set
    references: tuple[SecurityGroupId, ...]  # groups those rules name, sorted
    named: tuple[frozenset[Identity], ...]  # who was in each of them
    rule_set: RuleSet


@dataclass(frozen=True, slots=True)
class _ReadMembership:
    members: Mapping[NetworkInterfaceId, ViewMember]
    interfaces: Mapping[NetworkInterfaceId, ViewInterface]
    membership: Membership


class Compiler:
    """compile_host with a memory. One for each host; views may come in any order, and none is ever wrong.

    `rebuilt` tells how many rule sets the last call had to build, for measurements.
    """

    def __init__(self) -> None:
        self.rebuilt = 0
        self._remembered: dict[GroupSet, _Remembered] = {}
        self._read: _ReadMembership | None = None

    def __call__(self, view: HostView) -> HostPolicy:
        """As compile_host."""
        self.rebuilt = 0
        membership = self._membership(view)
        used: dict[GroupSet, _Remembered] = {}
        endpoints: dict[NetworkInterfaceId, Endpoint] = {}
        rule_sets: dict[RuleSetId, RuleSet] = {}
        for interface in view.interfaces.values():
            groups = group_set(interface.groups)
            if groups not in used:
                used[groups] = self._recall(groups, view, membership)
            rule_set = used[groups].rule_set
            rule_sets[rule_set.id] = rule_set
            endpoints[interface.id] = _endpoint(interface, membership.identities[groups], rule_set.id)
        self._remembered = used  # what no interface needs any more is forgotten
        return HostPolicy(endpoints, membership.members, rule_sets)

    def _membership(self, view: HostView) -> Membership:
        """Read anew unless the very same tables were read last: frames that change only rules keep them."""
        read = self._read
        if read is None or read.members is not view.members or read.interfaces is not view.interfaces:
            read = self._read = _ReadMembership(view.members, view.interfaces, read_membership(view))
        return read.membership

    def _recall(self, groups: GroupSet, view: HostView, membership: Membership) -> _Remembered:
        """The rule set of these groups: as remembered when its sources are equal, else built."""
        rules = tuple(view.groups[group].rules if group in view.groups else () for group in groups)
        old = self._remembered.get(groups)
        same_rules = old is not None and old.rules == rules
        references = old.references if old is not None and same_rules else _references(rules)
        named = tuple(membership.by_group.get(group, frozenset()) for group in references)
        if old is not None and same_rules and old.named == named:
            return old
        self.rebuilt += 1
        built = build_rule_set((rule for group in rules for rule in group), membership.by_group)
        return _Remembered(rules, references, named, built)


def _references(rules: tuple[tuple[Rule, ...], ...]) -> tuple[SecurityGroupId, ...]:
    peers = [rule.peer for group in rules for rule in group]
    return group_set(peer.group for peer in peers if isinstance(peer, GroupPeer))


def _endpoint(interface: ViewInterface, identity: Identity, rule_set: RuleSetId) -> Endpoint:
    return Endpoint(
        id=interface.id,
        vpc=interface.vpc,
        mac=interface.mac,
        addresses=interface.addresses,
        public=interface.public,
        identity=identity,
        rule_set=rule_set,
        source_dest_check=interface.source_dest_check,
        classic=interface.classic,
        filtered=interface.device is not None,
        tracking=interface.tracking,
        cuts=interface.cuts,
        resolver=interface.resolver,
        public6=interface.public6,
    )

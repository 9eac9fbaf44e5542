"""The pipeline: a host's view becomes all that the host enforces.

                 ┌─ membership ──► who has which address ──────────────► members
    HostView ────┤       │
    groups       │   identities by group
    members      │       ▼
    prefix lists ├─ peers ──► rules by identity and by prefix
    interfaces   │       ▼
                 ├─ rule_sets ──► intervals by peer and protocol ──────► rule_sets (named by content)
                 │                                                          ▲
                 └─ endpoints: each interface, its identity and its ────────┘

`compile_host` is the definition. `Compiler` gives the same answer and remembers the view before: it looks only at
what changed, builds only the rule sets that contain or name it, and shares the rest with its last answer, so that
`datapath.plan` need not look at it either.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from stockade.model.host_view import HostView, ViewInterface
from stockade.model.ids import HostId, NetworkInterfaceId, SecurityGroupId
from stockade.model.persistent_map import PersistentMap, changed_keys
from stockade.model.rule import GroupPeer, PrefixListPeer, Rule
from stockade.policy.entries import Endpoint, HostPolicy, Identity, RuleSet, RuleSetId
from stockade.policy.identity import GroupSet, group_set, identity_of
from stockade.policy.membership import Roll, read_membership
from stockade.policy.rule_sets import build_rule_set


def compile_host(view: HostView) -> HostPolicy:
    """All that this host enforces for this view. Raises IdentityCollision."""
    membership = read_membership(view)
    blocks = {each.id: each.cidrs for each in view.prefix_lists.values()}
    built: dict[GroupSet, RuleSet] = {}
    endpoints: dict[NetworkInterfaceId, Endpoint] = {}
    for interface in view.interfaces.values():
        groups = group_set(interface.groups)
        if groups not in built:
            built[groups] = build_rule_set(_rules(view, groups), membership.by_group, blocks)
        endpoints[interface.id] = _endpoint(interface, membership.identities[groups], built[groups].id)
    return HostPolicy(endpoints, membership.members, {each.id: each for each in built.values()})


Source: TypeAlias = tuple[str, str]
"""("rules" | "members", group) or ("blocks", prefix list): what a rule set is built from, part by part."""


@dataclass(frozen=True, slots=True)
class _Built:
    """The rule set of a set of groups, and what to watch for it to stay right."""

    rule_set: RuleSet
    sources: frozenset[Source]


class Compiler:
    """compile_host with a memory. One for each host; views may come in any order, and none is ever wrong.

    `rebuilt` tells how many rule sets the last call had to build, for measurements.
    """

    def __init__(self) -> None:
        self.rebuilt = 0
        self._forget()

    def __call__(self, view: HostView) -> HostPolicy:
        """As compile_host."""
        try:
            return self._follow(view)
        except BaseException:
            self._forget()  # half of a change is of no use
            raise

    def _forget(self) -> None:
        self._view = HostView(HostId(""))
        self._roll = Roll()
        self._built: dict[GroupSet, _Built] = {}
        self._users: defaultdict[GroupSet, set[NetworkInterfaceId]] = defaultdict(set)
        self._watchers: defaultdict[Source, set[GroupSet]] = defaultdict(set)
        self._holders: Counter[RuleSetId] = Counter()  # sets of groups with this rule set
        self._endpoints: PersistentMap[NetworkInterfaceId, Endpoint] = PersistentMap()
        self._rule_sets: PersistentMap[RuleSetId, RuleSet] = PersistentMap()

    def _follow(self, view: HostView) -> HostPolicy:
        self.rebuilt = 0
        before, self._view = self._view, view
        regrouped = self._roll.follow(view)
        moved = set(changed_keys(before.interfaces, view.interfaces))
        altered = self._regroup(moved, before, view)
        for source in _changed_sources(before, view, regrouped):
            altered |= self._watchers.get(source, frozenset())
        fresh: dict[RuleSetId, RuleSet] = {}
        old = {groups: self._dismiss(groups) for groups in altered}
        for groups in altered:
            if self._users.get(groups):
                rule_set = self._build(groups, view)
                if rule_set.id != old[groups]:
                    fresh[rule_set.id] = rule_set
                    moved |= self._users[groups]
        unheld = {name for name in old.values() if name is not None and not self._holders[name]}
        for name in unheld:
            del self._holders[name]
        self._rule_sets = self._rule_sets.changed(fresh, unheld)
        self._endpoints = self._endpoints.changed(*self._place(moved, view))
        return HostPolicy(self._endpoints, self._roll.members, self._rule_sets)

    def _regroup(self, moved: Iterable[NetworkInterfaceId], before: HostView, view: HostView) -> set[GroupSet]:
        """Note who uses which set of groups. The sets that came into use or went out of it."""
        touched: set[GroupSet] = set()
        for name in moved:
            old, new = before.interfaces.get(name), view.interfaces.get(name)
            if old is not None:
                groups = group_set(old.groups)
                self._users[groups].discard(name)
                touched.add(groups)
            if new is not None:
                groups = group_set(new.groups)
                self._users[groups].add(name)
                touched.add(groups)
        return {groups for groups in touched if bool(self._users[groups]) != (groups in self._built)}

    def _build(self, groups: GroupSet, view: HostView) -> RuleSet:
        self.rebuilt += 1
        rules = tuple(_rules(view, groups))
        named = {each.peer.prefix_list for each in rules if isinstance(each.peer, PrefixListPeer)}
        blocks = {name: view.prefix_lists[name].cidrs for name in named if name in view.prefix_lists}
        rule_set = build_rule_set(rules, self._roll.by_group, blocks)
        built = self._built[groups] = _Built(rule_set, frozenset(_sources(groups, rules)))
        self._holders[rule_set.id] += 1
        for source in built.sources:
            self._watchers[source].add(groups)
        return rule_set

    def _dismiss(self, groups: GroupSet) -> RuleSetId | None:
        """Forget what these groups had, and say which it was."""
        if not self._users[groups]:
            del self._users[groups]
        built = self._built.pop(groups, None)
        if built is None:
            return None
        self._holders[built.rule_set.id] -= 1
        for source in built.sources:
            self._watchers[source].discard(groups)
            if not self._watchers[source]:
                del self._watchers[source]
        return built.rule_set.id

    def _place(
        self, names: Iterable[NetworkInterfaceId], view: HostView
    ) -> tuple[dict[NetworkInterfaceId, Endpoint], list[NetworkInterfaceId]]:
        """Those of these interfaces that are there, and those that are gone."""
        found: dict[NetworkInterfaceId, Endpoint] = {}
        gone: list[NetworkInterfaceId] = []
        for name in names:
            interface = view.interfaces.get(name)
            if interface is None:
                gone.append(name)
            else:
                groups = group_set(interface.groups)
                found[name] = _endpoint(interface, identity_of(groups), self._built[groups].rule_set.id)
        return found, gone


def _rules(view: HostView, groups: GroupSet) -> Iterator[Rule]:
    for group in groups:
        if group in view.groups:
            yield from view.groups[group].rules


def _sources(groups: GroupSet, rules: Iterable[Rule]) -> Iterator[Source]:
    yield from (("rules", group) for group in groups)
    for rule in rules:
        match rule.peer:
            case GroupPeer(group=group):
                yield ("members", group)
            case PrefixListPeer(prefix_list=name):
                yield ("blocks", name)
            case _:
                pass


def _changed_sources(before: HostView, view: HostView, regrouped: Iterable[SecurityGroupId]) -> Iterator[Source]:
    for group in changed_keys(before.groups, view.groups):
        if tuple(_rules(before, (group,))) != tuple(_rules(view, (group,))):
            yield ("rules", group)
    yield from (("members", group) for group in regrouped)
    yield from (("blocks", name) for name in changed_keys(before.prefix_lists, view.prefix_lists))


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

"""Whether the hosts concerned could hold a change: asked before it is written (policy/budget.py says what counts).

What each host's policy may come to need is kept current from the ledger, rule set by rule set, so a change costs the
bound of the rule sets it concerns. Only when the sum passes the room are rule sets measured, those of the change first.
"""

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from stockade.model import keys
from stockade.model.change import Revision
from stockade.model.errors import CapacityExceeded
from stockade.model.ids import HostId, PrefixListId, SecurityGroupId, VpcId
from stockade.model.network_interface import NetworkInterface
from stockade.model.prefix_list import PrefixList
from stockade.model.resources import Edit, Resources
from stockade.model.rule import PrefixListPeer, Rule
from stockade.model.security_group import SecurityGroup
from stockade.policy.budget import Capacity, Cost, Lengths, Summary, bound, lengths_of, measure, shortage, summarize
from stockade.policy.identity import GroupSet, group_set
from stockade.policy.peers import PrefixLists
from stockade.store.contract import Ledger

K = TypeVar("K", bound=Hashable)
NOTHING = Cost()
_NO_RULES = summarize(())
_NOBODY: Counter[GroupSet] = Counter()


@dataclass(frozen=True, slots=True)
class Planned:
    """What a change would leave behind: groups and lists as they then are, interfaces that come, and that go."""

    groups: Mapping[SecurityGroupId, SecurityGroup] = field(default_factory=dict)
    lists: Mapping[PrefixListId, PrefixList] = field(default_factory=dict)
    coming: Sequence[NetworkInterface] = ()
    going: Sequence[NetworkInterface] = ()


AS_IT_IS = Planned()


@dataclass(slots=True)
class _Host:
    """A host's rule sets by the groups they are of: how many interfaces use each, and what each may need at most."""

    users: Counter[GroupSet] = field(default_factory=Counter)
    vpcs: Counter[VpcId] = field(default_factory=Counter)
    of_group: dict[SecurityGroupId, dict[GroupSet, None]] = field(default_factory=dict)
    costs: dict[GroupSet, Cost] = field(default_factory=dict)
    unknown: set[GroupSet] = field(default_factory=set)  # used, and not in `costs`
    measured: set[GroupSet] = field(default_factory=set)  # the others are bounds
    total: Cost = NOTHING  # the sum of `costs`
    rules: int | None = None  # of all groups; None: to be counted

    def learn(self, groups: GroupSet, cost: Cost) -> None:
        """What a rule set in use may need."""
        self.total = self.total.minus(self.costs.get(groups, NOTHING)).plus(cost)
        self.costs[groups] = cost
        self.unknown.discard(groups)

    def forget(self, groups: GroupSet) -> None:
        """It is different now, or no more."""
        self.total = self.total.minus(self.costs.pop(groups, NOTHING))
        self.measured.discard(groups)
        self.unknown.discard(groups)
        if groups in self.users:
            self.unknown.add(groups)


@dataclass(frozen=True, slots=True)
class _Foreseen:
    """Rule sets of a host as they will be when what was asked about is written."""

    costs: Mapping[GroupSet, Cost]
    measured: bool


class Budgets:
    """Follows the ledger from its making on."""

    def __init__(self, ledger: Ledger, capacity: Capacity) -> None:
        self.resources = ledger.resources
        self.room = capacity.room()
        self.inline = capacity.inline
        self._foreseen: dict[HostId, _Foreseen] = {}  # by the last check
        self._foreseen_for: tuple[SecurityGroup, ...] = ()
        self._lengths: dict[PrefixListId, tuple[PrefixList, Lengths]] = {}
        self._summaries: dict[SecurityGroupId, tuple[SecurityGroup, Summary]] = {}
        self.hosts: dict[HostId, _Host] = {}
        self.identities: dict[SecurityGroupId, Counter[GroupSet]] = {}
        self.addresses: dict[VpcId, Counter[int]] = {}
        for interface in self.resources.interfaces.values():
            self._come(interface)
        ledger.follow(self._told)

    def check(self, planned: Planned) -> None:
        """Raises CapacityExceeded when a host could not hold what is planned. Changes nothing."""
        scratch = _Scratch(self, planned)
        hosts = {one.host for one in planned.coming}
        vpcs = {one.vpc for one in planned.coming}
        hosts |= {id for id, host in self.hosts.items() if vpcs & host.vpcs.keys()}
        named = scratch.concerned_groups()
        hosts |= {id for id, host in self.hosts.items() if any(group in host.of_group for group in named)}
        self._foreseen = {}
        for id in hosts:
            self._foreseen[id] = scratch.check_host(id, named)
        self._foreseen_for = tuple(planned.groups.values())

    def summary_of(self, group: SecurityGroup | None) -> Summary:
        """Of a group as it is."""
        if group is None:
            return _NO_RULES
        known = self._summaries.get(group.id)
        if known is None or known[0] is not group:
            known = self._summaries[group.id] = (group, summarize(group.rules))
        return known[1]

    def lengths_of(self, id: PrefixListId) -> Lengths:
        """Of the blocks of a prefix list as it is."""
        found = self.resources.prefix_lists.get(id)
        if found is None:
            return Counter()
        known = self._lengths.get(id)
        if known is None or known[0] is not found:
            known = self._lengths[id] = (found, lengths_of(found.cidrs))
        return known[1]

    # --- following ----------------------------------------------------------------------------------------

    def _told(self, revision: Revision, edits: Sequence[Edit]) -> None:
        foreseen, self._foreseen = self._foreseen, {}
        written = tuple(edit.new for edit in edits if isinstance(edit.new, SecurityGroup))
        self._follow(edits)
        if len(written) == 1 and len(self._foreseen_for) == 1 and written[0] is self._foreseen_for[0]:
            # The change that was asked about last, and nothing in between: what it costs is known.
            for id, one in foreseen.items():
                for groups, cost in one.costs.items():
                    self.hosts[id].learn(groups, cost)
                    if one.measured:
                        self.hosts[id].measured.add(groups)

    def _follow(self, edits: Sequence[Edit]) -> None:
        for edit in edits:
            match edit.old:
                case NetworkInterface():
                    self._go(edit.old)
            match edit.new:
                case NetworkInterface():
                    self._come(edit.new)
            self._recount(edit)
            for value in (edit.old, edit.new):
                match value:
                    case SecurityGroup():
                        self._stale([value.id])
                        if edit.new is None:
                            self._summaries.pop(value.id, None)
                    case PrefixList():
                        self._stale([user.id for user in self.resources.users_of(value.id)])
                        if edit.new is None:
                            self._lengths.pop(value.id, None)

    def _recount(self, edit: Edit) -> None:
        """The rules of a group that has more or fewer now, on the hosts that use it."""
        was = len(edit.old.rules) if isinstance(edit.old, SecurityGroup) else 0
        now = len(edit.new.rules) if isinstance(edit.new, SecurityGroup) else 0
        if was == now:
            return
        id = SecurityGroupId(keys.parts_of(edit.key)[0])
        for host in self.hosts.values():
            if host.rules is not None and id in host.of_group:
                host.rules += now - was

    def _come(self, interface: NetworkInterface) -> None:
        host = self.hosts.setdefault(interface.host, _Host())
        groups = group_set(interface.groups)
        host.users[groups] += 1
        host.vpcs[interface.vpc] += 1
        if host.users[groups] == 1:
            host.forget(groups)
            host.rules = None
            for group in groups:
                host.of_group.setdefault(group, {})[groups] = None
        addresses = self.addresses.setdefault(interface.vpc, Counter())
        addresses.update(address.version for address in interface.addresses)
        for group in groups:
            identities = self.identities.setdefault(group, Counter())
            identities[groups] += 1
            if identities[groups] == 1:
                self._stale(_naming(self.resources, group))

    def _go(self, interface: NetworkInterface) -> None:
        host = self.hosts[interface.host]
        groups = group_set(interface.groups)
        _take(host.users, groups)
        _take(host.vpcs, interface.vpc)
        if groups not in host.users:
            host.forget(groups)
            host.rules = None
            for group in groups:
                del host.of_group[group][groups]
                if not host.of_group[group]:
                    del host.of_group[group]
        self.addresses[interface.vpc].subtract(address.version for address in interface.addresses)
        for group in groups:
            _take(self.identities[group], groups)
            if groups not in self.identities[group]:
                self._stale(_naming(self.resources, group))

    def _stale(self, groups: Iterable[SecurityGroupId]) -> None:
        """What is known of the rule sets of these groups is not so any more."""
        for group in groups:
            for host in self.hosts.values():
                for each in host.of_group.get(group, ()):
                    host.forget(each)


class _Scratch:
    """The budgets as they would be after what is planned."""

    def __init__(self, budgets: Budgets, planned: Planned) -> None:
        self._budgets = budgets
        self._planned = planned
        self._resources = budgets.resources
        self._new = {group_set(one.groups) for one in planned.coming}
        self._summaries: dict[SecurityGroupId, Summary] = {}

    def concerned_groups(self) -> set[SecurityGroupId]:
        """Groups whose rule sets may come to need more."""
        planned, resources = self._planned, self._resources
        found = set(planned.groups)
        for prefix_list in planned.lists:
            found.update(user.id for user in resources.users_of(prefix_list))
        for groups in self._new:
            for group in groups:
                if groups not in self._budgets.identities.get(group, ()):
                    found.update(_naming(resources, group))
        return found

    def check_host(self, id: HostId, concerned: set[SecurityGroupId]) -> _Foreseen:
        """What the rule sets that change will need. Raises CapacityExceeded."""
        host, room = self._budgets.hosts.get(id, _Host()), self._budgets.room
        present = _Scratch(self._budgets, AS_IT_IS)
        for groups in tuple(host.unknown):
            host.learn(groups, present._bound(groups))
        changed = {groups for group in concerned for groups in host.of_group.get(group, ())}
        changed |= {group_set(one.groups) for one in self._planned.coming if one.host == id} - host.users.keys()
        fixed = self._fixed(id, host)
        costs = {groups: self._bound(groups) for groups in changed}
        if shortage(self._sum(host, costs, fixed), room) is None:
            return _Foreseen(costs, measured=False)
        costs = {groups: self._measure(groups) for groups in changed}
        if shortage(self._sum(host, costs, fixed), room) is not None:
            for groups in host.costs.keys() - changed - host.measured:
                host.learn(groups, present._measure(groups))
                host.measured.add(groups)
            short = shortage(self._sum(host, costs, fixed), room)
            if short is not None:
                raise CapacityExceeded(short.table, short.need, short.room)
        return _Foreseen(costs, measured=True)

    def _sum(self, host: _Host, costs: Mapping[GroupSet, Cost], fixed: Cost) -> Cost:
        total = host.total.plus(fixed)
        for groups, cost in costs.items():
            total = total.minus(host.costs.get(groups, NOTHING)).plus(cost)
        return total

    def _fixed(self, id: HostId, host: _Host) -> Cost:
        """Rules, members and endpoints: counted over the host, not set by set."""
        if host.rules is None:
            host.rules = sum(len(self._present_rules(group)) for group in host.of_group)
        coming = [one for one in self._planned.coming if one.host == id]
        joined = {group for one in coming for group in one.groups} - host.of_group.keys()
        edited = self._planned.groups.keys() & host.of_group.keys()
        rules = host.rules + sum(len(self._rules_of(group)) for group in joined | edited)
        rules -= sum(len(self._present_rules(group)) for group in edited)
        if not self._planned.coming:
            return Cost(rules=rules)  # who is there stays
        vpcs = host.vpcs.keys() | {one.vpc for one in coming}
        versions: Counter[int] = Counter()
        for vpc in vpcs:
            versions.update(self._budgets.addresses.get(vpc, {}))
        for one in self._planned.coming:
            if one.vpc in vpcs:
                versions.update(address.version for address in one.addresses)
        for one in self._planned.going:
            if one.vpc in vpcs:
                versions.subtract(address.version for address in one.addresses)
        left = sum(one.host == id for one in self._planned.going)
        return Cost(
            rules=rules,
            addresses=versions[4],
            addresses6=versions[6],
            endpoints=host.users.total() + len(coming) - left,
        )

    def _bound(self, groups: GroupSet) -> Cost:
        """As planned, quickly."""
        summaries = [self._summary(group) for group in groups]
        named = {name for gates in summaries for gate in gates for name, _ in gate.lists}
        lengths = {name: self._lengths(name) for name in named}
        return bound(summaries, self._members, lengths)

    def _lengths(self, id: PrefixListId) -> Lengths:
        planned = self._planned.lists.get(id)
        return lengths_of(planned.cidrs) if planned is not None else self._budgets.lengths_of(id)

    def _summary(self, id: SecurityGroupId) -> Summary:
        planned = self._planned.groups.get(id)
        if planned is not None:
            # Once, and not for each set of groups that it is in.
            if id not in self._summaries:
                self._summaries[id] = summarize(planned.rules)
            return self._summaries[id]
        return self._budgets.summary_of(self._resources.groups.get(id))

    def _measure(self, groups: GroupSet) -> Cost:
        """As planned, closely."""
        rules = [rule for group in groups for rule in self._rules_of(group)]
        named = {rule.peer.prefix_list for rule in rules if isinstance(rule.peer, PrefixListPeer)}
        return measure(rules, self._members, self._lists(named), self._budgets.inline)

    def _rules_of(self, id: SecurityGroupId) -> tuple[Rule, ...]:
        planned = self._planned.groups.get(id)
        return planned.rules if planned is not None else self._present_rules(id)

    def _present_rules(self, id: SecurityGroupId) -> tuple[Rule, ...]:
        group = self._resources.groups.get(id)
        return group.rules if group is not None else ()

    def _lists(self, named: Iterable[PrefixListId]) -> PrefixLists:
        newest = {id: self._planned.lists.get(id) or self._resources.prefix_lists.get(id) for id in named}
        return {id: found.cidrs for id, found in newest.items() if found is not None}

    def _members(self, group: SecurityGroupId) -> Collection[GroupSet]:
        present = self._budgets.identities.get(group, _NOBODY).keys()
        if not self._new:
            return present
        new = [groups for groups in self._new if group in groups and groups not in present]
        return {*present, *new} if new else present


def _naming(resources: Resources, group: SecurityGroupId) -> list[SecurityGroupId]:
    """Groups whose rules may mean the members of this one, itself among them."""
    return [group, *(referrer.id for referrer in resources.referrers_of(group))]


def _take(counter: Counter[K], key: K) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]

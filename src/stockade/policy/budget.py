"""What a policy may come to need of a kernel's tables, and whether they have room for it.

A host builds new rules whole beside the old ones before it lets go of those, so a policy may use half of each table:
then any accepted policy can follow any other. The cost is counted from above, and so that taking a rule or a member
away never makes it greater: what only closes need not be asked for, and is never refused.

    bound    from the number of rules, lengths of blocks, and peers: microseconds
    measure  from which rules hold for which peer, as the compiler lays them out, but for hidden and equal ports
    cost_of  of what the compiler did build; never more than the measure
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from operator import add, sub
from typing import NamedTuple, TypeAlias

from stockade.model.addresses import Cidr
from stockade.model.ids import PrefixListId, SecurityGroupId
from stockade.model.ports import ANY
from stockade.model.rule import CidrPeer, Direction, GroupPeer, PrefixListPeer, Rule
from stockade.policy.entries import GateRules, HostPolicy, RuleSet
from stockade.policy.peers import PrefixLists, by_prefix
from stockade.policy.rule_sets import ALWAYS_SPELLED

Members: TypeAlias = Callable[[SecurityGroupId], Collection[Hashable]]
"""The identities that the members of a group have."""


class Cost(NamedTuple):
    """Entries of each table, under the names of the kernel's maps."""

    policies: int = 0
    rules: int = 0
    rule_sets: int = 0
    intervals: int = 0
    prefixes: int = 0
    prefixes6: int = 0
    addresses: int = 0
    addresses6: int = 0
    endpoints: int = 0

    def plus(self, other: "Cost") -> "Cost":
        return Cost._make(map(add, self, other))

    def minus(self, other: "Cost") -> "Cost":
        return Cost._make(map(sub, self, other))


class Capacity(NamedTuple):
    """A kernel's tables. An interval set of up to `inline` needs no entry of the table `intervals`."""

    tables: Cost
    inline: int = 4
    generations: int = 2

    def room(self) -> Cost:
        """What one policy may use."""
        return Cost(*(size // self.generations for size in self.tables))


KERNEL = Capacity(Cost(8191, 32767, 262144, 262144, 262144, 262144, 524288, 524288, 16383))
"""The maps of bpf/maps.h."""


class Shortage(NamedTuple):
    table: str
    need: int
    room: int


def shortage(cost: Cost, room: Cost) -> Shortage | None:
    """The first table that has no room for it."""
    for table, need, free in zip(Cost._fields, cost, room, strict=True):
        if need > free:
            return Shortage(table, need, free)
    return None


Lengths: TypeAlias = Mapping[tuple[int, int], int]
"""How many blocks there are of each family and prefix length."""


class GateSummary(NamedTuple):
    """What the bound needs to know of a group's rules of one direction; made once for each state of a group.

    Rules for all protocols are told apart: under each protocol that a peer has, they hold too.
    """

    blocks: Lengths
    blocks_for_all: Lengths
    lists: tuple[tuple[PrefixListId, bool], ...]  # for each rule: the list it names, whether it is for all
    groups: tuple[tuple[SecurityGroupId, bool], ...]  # likewise
    protocols: frozenset[int]


Summary: TypeAlias = tuple[GateSummary, GateSummary]


def summarize(rules: Iterable[Rule]) -> Summary:
    """Of one group."""
    ingress, egress = (_summarize(gate) for gate in _gates(rules))
    return ingress, egress


def _summarize(gate: Iterable[Rule]) -> GateSummary:
    blocks: tuple[Counter[tuple[int, int]], Counter[tuple[int, int]]] = (Counter(), Counter())
    lists: list[tuple[PrefixListId, bool]] = []
    groups: list[tuple[SecurityGroupId, bool]] = []
    protocols = set()
    for rule in gate:
        for_all = rule.protocol == ANY
        protocols.add(rule.protocol)
        match rule.peer:
            case CidrPeer(cidr):
                blocks[for_all][cidr.version, cidr.prefixlen] += 1
            case GroupPeer(group=group):
                groups.append((group, for_all))
            case PrefixListPeer(prefix_list):
                lists.append((prefix_list, for_all))
    return GateSummary(*blocks, tuple(lists), tuple(groups), frozenset(protocols - {ANY}))


def lengths_of(blocks: Iterable[Cidr]) -> Lengths:
    """Of a prefix list."""
    return Counter((block.version, block.prefixlen) for block in blocks)


def bound(summaries: Iterable[Summary], members: Members, lists: Mapping[PrefixListId, Lengths]) -> Cost:
    """Of a set of groups, as if every block lay in every shorter one.

    It counts pairs of a peer's key and a rule that holds there: no more keys than pairs, and no more than two intervals
    for each. The rules themselves are not counted: sets share them.
    """
    pairs, prefixes, prefixes6 = 0, 0, 0
    for gates in zip(*summaries, strict=True):
        protocols = gates[0].protocols.union(*(gate.protocols for gate in gates[1:]))
        weight = len(protocols) + len(ALWAYS_SPELLED) + 1
        blocks: dict[tuple[int, int], int] = {}  # of each family and length
        own: dict[tuple[int, int], int] = {}  # pairs of those blocks with the rules that name them
        for gate in gates:
            for group, every in gate.groups:
                pairs += len(members(group)) * (weight if every else 1)
            counted = [(gate.blocks, 1), (gate.blocks_for_all, weight)]
            counted += [(lists.get(name, {}), weight if every else 1) for name, every in gate.lists]
            for named, factor in counted:
                for place, count in named.items():
                    blocks[place] = blocks.get(place, 0) + count
                    own[place] = own.get(place, 0) + count * factor
        shorter = {4: 0, 6: 0}
        counts = {4: 0, 6: 0}
        for place in sorted(blocks):
            family = place[0]
            pairs += blocks[place] * shorter[family] + own[place]
            shorter[family] += own[place]
            counts[family] += blocks[place]
        prefixes, prefixes6 = prefixes + counts[4], prefixes6 + counts[6]
    return Cost(1, 0, pairs, 2 * pairs, prefixes, prefixes6)


def measure(rules: Iterable[Rule], members: Members, prefix_lists: PrefixLists, inline: int) -> Cost:
    """As `bound`, but each peer has the rules that hold for it, and blocks with the same rules have one class."""
    total = Cost(policies=1)
    for gate in _gates(rules):
        covering = by_prefix(gate, prefix_lists)
        classes = {frozenset(rule.number for rule in union): union for union in covering.values()}
        unions = (*classes.values(), *_by_identity(gate, members))
        laid_out = [(0, 0), *(_laid_out(Counter(rule.protocol for rule in union), inline) for union in unions)]
        versions = Counter(block.version for block in covering)
        keys, intervals = (sum(column) for column in zip(*laid_out, strict=True))
        total = total.plus(Cost(0, 0, keys, intervals, versions[4], versions[6]))
    return total


def cost_of(policy: HostPolicy, inline: int) -> Cost:
    """What this policy needs, entry by entry."""
    numbers: set[int] = set()
    total = Cost(policies=len(policy.rule_sets), endpoints=len(policy.endpoints))
    for rule_set in policy.rule_sets.values():
        total = total.plus(_cost_of_rule_set(rule_set, inline))
        numbers |= _numbers(rule_set.ingress) | _numbers(rule_set.egress)
    versions = Counter(address.version for _, address in policy.members)
    return total.plus(Cost(rules=len(numbers), addresses=versions[4], addresses6=versions[6]))


def _cost_of_rule_set(rule_set: RuleSet, inline: int) -> Cost:
    gates = (rule_set.ingress, rule_set.egress)
    versions = Counter(block.version for gate in gates for block in gate.prefixes)
    lengths = [len(intervals) for gate in gates for intervals in gate.intervals.values()]
    return Cost(
        rule_sets=len(lengths),
        intervals=sum(length for length in lengths if length > inline),
        prefixes=versions[4],
        prefixes6=versions[6],
    )


def _numbers(gate: GateRules) -> set[int]:
    return {each.rule for intervals in gate.intervals.values() for each in intervals}


def _gates(rules: Iterable[Rule]) -> tuple[list[Rule], list[Rule]]:
    listed = tuple(rules)
    ingress = [rule for rule in listed if rule.direction is Direction.INGRESS]
    return ingress, [rule for rule in listed if rule.direction is Direction.EGRESS]


def _by_identity(gate: Iterable[Rule], members: Members) -> Iterable[list[Rule]]:
    """For each identity that a rule means: the rules that do."""
    found: defaultdict[Hashable, list[Rule]] = defaultdict(list)
    for rule in gate:
        if isinstance(rule.peer, GroupPeer):
            for identity in members(rule.peer.group):
                found[identity].append(rule)
    return found.values()


def _laid_out(protocols: Counter[int], inline: int) -> tuple[int, int]:
    """Keys and intervals of one peer for whom so many rules hold: n ranges give at most 2n - 1 intervals."""
    for_all = protocols[ANY]
    most = [2 * (count + for_all) - 1 for protocol, count in protocols.items() if protocol != ANY]
    if for_all:
        most += [2 * for_all - 1] * (len(ALWAYS_SPELLED - protocols.keys()) + 1)
    return len(most), sum(count for count in most if count > inline)

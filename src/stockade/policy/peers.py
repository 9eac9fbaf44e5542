"""A rule's peer -> the keys it is found under: identities for groups, prefixes for blocks and lists of blocks.

A kernel finds only the longest prefix that covers an address, but a rule for a shorter one holds there
too. So each prefix is given the rules of every prefix around it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TypeAlias, assert_never

from stockade.model.addresses import Cidr
from stockade.model.ids import PrefixListId, SecurityGroupId
from stockade.model.rule import CidrPeer, GroupPeer, PrefixListPeer, Rule
from stockade.policy.entries import Identity

Rules: TypeAlias = tuple[Rule, ...]
PrefixLists: TypeAlias = Mapping[PrefixListId, tuple[Cidr, ...]]
"""What is in each list, by its newest version."""


def by_identity(
    rules: Iterable[Rule], members: Mapping[SecurityGroupId, frozenset[Identity]]
) -> Mapping[Identity, Rules]:
    """The rules that name a group of this identity. A group nobody is in gives no key, and so no match."""
    found: defaultdict[Identity, list[Rule]] = defaultdict(list)
    for rule in rules:
        match rule.peer:
            case GroupPeer(group=group):
                for identity in members.get(group, ()):
                    found[identity].append(rule)
            case CidrPeer() | PrefixListPeer():
                pass
            case _ as never:
                assert_never(never)
    return {identity: tuple(found[identity]) for identity in sorted(found)}


def by_prefix(rules: Iterable[Rule], prefix_lists: PrefixLists) -> Mapping[Cidr, Rules]:
    """For each block that a rule names, itself or by a list: the rules of that block and of every block around it.

    In order of family, address and length, so that each block comes after those around it. At most one
    block per length is around another: 33 visits a block for IPv4, 129 for IPv6.
    """
    own: defaultdict[Cidr, list[Rule]] = defaultdict(list)
    for rule in rules:
        for block in blocks_of(rule, prefix_lists):
            own[block].append(rule)
    unions: dict[Cidr, Rules] = {}
    around: list[Cidr] = []
    for block in sorted(own, key=prefix_order):
        while around and not _contains(around[-1], block):
            around.pop()
        inherited = unions[around[-1]] if around else ()
        unions[block] = (*inherited, *own[block])
        around.append(block)
    return unions


def blocks_of(rule: Rule, prefix_lists: PrefixLists) -> tuple[Cidr, ...]:
    """The blocks that the rule names. A list that is not known has none, and so matches nothing."""
    match rule.peer:
        case CidrPeer(cidr=cidr):
            return (cidr,)
        case PrefixListPeer(prefix_list=name):
            return tuple(dict.fromkeys(prefix_lists.get(name, ())))
        case GroupPeer():
            return ()
        case _ as never:
            assert_never(never)


def prefix_order(block: Cidr) -> tuple[int, int, int]:
    """Blocks before what they contain."""
    return (block.version, int(block.network_address), block.prefixlen)


def _contains(outer: Cidr, inner: Cidr) -> bool:
    return outer.version == inner.version and inner.network_address in outer and outer.prefixlen <= inner.prefixlen

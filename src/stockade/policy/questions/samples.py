"""Packets that stand for all packets of a question: what rules cannot tell apart is tried once.

The rules asked cut the numbers of ports, and the addresses of the world outside, into stretches inside which
every number has the same verdict. One packet of each stretch is then as good as all of them.
"""

from collections.abc import Collection, Iterable, Iterator

from stockade.model import ports
from stockade.model.addresses import Address, Cidr, covers
from stockade.model.rule import Rule
from stockade.model.traffic import Traffic
from stockade.policy import exempt

NEVER_PASSED = {ports.ICMP: range(5 << 8, 6 << 8), ports.ICMPV6: range(133 << 8, 138 << 8)}
"""Redirects and neighbour messages, whatever the rules say: `icmp` does not mean them."""
FIRST_PORT = 1  # nobody listens on port 0, and classic grants leave it out


def traffic_samples(traffic: Traffic, rules: Iterable[Rule], version: int = 4) -> Iterator[Traffic]:
    """The stretches of the traffic that these rules treat alike, over this version of IP."""
    asked = tuple(rules)
    if traffic.protocol != ports.ANY:
        yield from _stretches(traffic, asked)
        return
    own, foreign = (ports.ICMP, ports.ICMPV6) if version == 4 else (ports.ICMPV6, ports.ICMP)
    named = {own, ports.TCP, ports.UDP} | {rule.protocol for rule in asked if rule.protocol != ports.ANY}
    unnamed = next(number for number in range(253, 0, -1) if number not in named)
    for protocol in sorted((named | {unnamed}) - {foreign}):
        yield from _stretches(Traffic(protocol), asked)


def _stretches(traffic: Traffic, rules: Iterable[Rule]) -> Iterator[Traffic]:
    protocol = traffic.protocol
    if protocol not in (*ports.PORTED, *ports.TYPED):
        yield Traffic(protocol, 0, 0)
        return
    low = max(traffic.low, FIRST_PORT) if protocol in ports.PORTED and traffic.high else traffic.low
    cuts = {low}
    for rule in rules:
        if rule.protocol == protocol:
            first, last = rule.interval
            cuts |= {first, last + 1}
    never = NEVER_PASSED.get(protocol, range(0))
    if never:
        cuts |= {never.start, never.stop}
    starts = sorted(cut for cut in cuts if low <= cut <= traffic.high)
    for start, following in zip(starts, [*starts[1:], traffic.high + 1], strict=True):
        if start not in never or (traffic.low in never and traffic.high in never):
            yield Traffic(protocol, start, following - 1)


def address_samples(block: Cidr, blocks: Iterable[Cidr], not_these: Collection[Address]) -> Iterator[Address]:
    """One address of each part of the block that no rule's block divides; `not_these` are no strangers' addresses.

    A block of one address is that address, whoever has it.
    """
    if block.num_addresses == 1:
        yield block.network_address
        return
    cuts = {int(block.network_address)}
    for other in (*blocks, *exempt.NOBODYS, *exempt.LINK_LOCAL):
        if other.version == block.version:
            cuts |= {int(other.network_address), int(other.broadcast_address) + 1}
    end = int(block.broadcast_address) + 1
    kind = type(block.network_address)
    starts = sorted(cut for cut in cuts if int(block.network_address) <= cut < end)
    for start, following in zip(starts, [*starts[1:], end], strict=True):
        if not _is_unusable(kind(start)):
            free = (kind(number) for number in range(start, following))
            found = next((address for address in free if address not in not_these), None)
            if found is not None and covers(block, found):
                yield found


def _is_unusable(address: Address) -> bool:
    return exempt.is_nobody(address) or exempt.is_link_local(address)

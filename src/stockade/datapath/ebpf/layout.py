"""Entries <-> bytes, field for field with bpf/types.h; a test compares the two through the object's BTF.

Numbers are in host byte order; addresses are four or sixteen bytes as they stand in a packet.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from stockade.model.addresses import Address, Cidr, MacAddress
from stockade.model.ports import TCP, UDP
from stockade.model.tracking import ConnectionTracking
from stockade.policy.entries import ANY_PROTOCOL, CLASS_BIT, GateRules, Interval, SetKey

EGRESS, INGRESS = 0, 1
FAMILIES = (4, 6)
"""IP versions; the place of each is its index in the kernel's arrays."""
CHECK_SOURCE, CLASSIC, FILTERED, PUBLIC6 = 1, 2, 4, 8
OURS, SOMEBODYS, SOMEBODYS_CLSACT = 0, 1, 2
GATE_IDENTITIES = 1
GATE_PREFIXES = {4: 2, 6: 4}
GATE_ALL_PORTS = {(4, TCP): 16, (6, TCP): 32, (4, UDP): 64, (6, UDP): 128}
INLINE_INTERVALS = 4
MAX_NEAR = 65536
MAX_SLOTS = 16384
MAX_POLICIES = 8192
MAX_RULES = 32768
MAX_INTERVALS = 262144
CANDIDATES = 64
DATAGRAMS = 32
FILTER_ZONE = 0x800000
MAX_VPC = FILTER_ZONE - 1
ROUTER_MAC = MacAddress("0e:5c:00:00:00:01")
SERVICE_NETWORK = IPv4Network("100.64.0.0/10")
SERVICE_GENERATIONS = 63
TICK_SHIFT = 27
"""Times are in units of 2^27 ns."""

NUMBER = struct.Struct("=I")
COUNT = struct.Struct("=Q")
ENDPOINT = struct.Struct("=IIIIQ4s4s6sHIIII16sI16s4s32x")
ENDPOINT_NAME = struct.Struct("=32sQQ16sQI4x")
ADDRESS_KEY = {4: struct.Struct("=I4s"), 6: struct.Struct("=I16s")}
ADDRESS = struct.Struct("=QI4x")
GATE_SUMMARY = struct.Struct("=16s8sI4x")
POLICY = struct.Struct("=Q8x64s")
POLICY_KEY = struct.Struct("=QIHH")
INTERVAL = struct.Struct("=HHI")
INTERVAL_SET = struct.Struct("=II32s")
PREFIX_KEY = {4: struct.Struct("=II4s"), 6: struct.Struct("=II16s")}
HITS = struct.Struct("=QQ")
ENDPOINT_DROP_KEY = struct.Struct("=II")
PLACE = struct.Struct("=II")  # struct candidate_key, struct fragment_key: of a slot, by number
FLOW_KEY = {4: struct.Struct("=8s4sI"), 6: struct.Struct("=32s4sI")}
FLOW = struct.Struct("=11I4s4s4sII")
USAGE = struct.Struct("=II8s")
SWEEP = struct.Struct("=III4x")
FLOW_EVENT = struct.Struct("=Q16s16sIIIIHHBBBB")
HOST = struct.Struct("=4s4sII6s6sI16s16sII8sI4x")

# Fields of struct endpoint that are stored one at a time while packets read it.
GENERATION_AT, IFINDEX_AT, POLICY_AT, EPOCH_AT, IDENTITY_AT = 0, 4, 8, 12, 16
TIMERS_AT, OPENED_AT, CUT_AT = 44, 56, 72
RULE_SET_ID_AT = 0  # of struct policy
OPENED = ((4, TCP), (4, UDP), (6, TCP), (6, UDP))
"""What the four numbers of `opened` are of, in their order."""

NO_TIMERS = ConnectionTracking(0, 0, 0)
_NEVER = (0, 0, 0, 0)
_NOBODYS_MAC = MacAddress("00:00:00:00:00:00")
_OPENED = struct.Struct("=4I")


@dataclass(frozen=True, slots=True)
class EndpointRecord:
    """struct endpoint."""

    generation: int
    ifindex: int = 0
    policy: int = 0
    epoch: int = 0
    identity: int = 0
    address: IPv4Address | None = None
    public: IPv4Address | None = None
    mac: MacAddress = _NOBODYS_MAC
    flags: int = 0
    vpc: int = 0
    tracking: ConnectionTracking = NO_TIMERS
    opened: tuple[int, int, int, int] = _NEVER
    cut: int = 0
    address6: IPv6Address | None = None
    resolver: IPv4Address | None = None

    def pack(self) -> bytes:
        return ENDPOINT.pack(
            *(self.generation, self.ifindex, self.policy, self.epoch, self.identity),
            *(_packed(self.address, 4), _packed(self.public, 4), bytes.fromhex(self.mac.replace(":", ""))),
            *(self.flags, self.vpc, *timers(self.tracking), _OPENED.pack(*self.opened), self.cut),
            *(_packed(self.address6, 16), _packed(self.resolver, 4)),
        )

    @classmethod
    def unpack(cls, raw: bytes) -> "EndpointRecord":
        generation, ifindex, policy, epoch, identity, address, public, mac, flags, vpc, *rest = ENDPOINT.unpack(raw)
        established, stream, single, opened, cut, address6, resolver = rest
        one, two, three, four = _OPENED.unpack(opened)
        return cls(
            *(generation, ifindex, policy, epoch, identity, _address4(address), _address4(public)),
            *(MacAddress(mac.hex(":")), flags, vpc),
            tracking=ConnectionTracking(_seconds(established), _seconds(stream), _seconds(single)),
            opened=(one, two, three, four),
            cut=cut,
            address6=IPv6Address(address6) if any(address6) else None,
            resolver=_address4(resolver),
        )


def _packed(address: Address | None, size: int) -> bytes:
    return bytes(size) if address is None else address.packed


def _address4(raw: bytes) -> IPv4Address | None:
    return IPv4Address(raw) if any(raw) else None


def ticks(seconds: int) -> int:
    """As SECONDS() of bpf/conntrack.h."""
    return seconds * 1_000_000_000 >> TICK_SHIFT


def _seconds(of_ticks: int) -> int:
    """The whole seconds that `ticks` makes these of: there is one such number, as a second has several ticks."""
    return -(-(of_ticks << TICK_SHIFT) // 1_000_000_000)


def timers(tracking: ConnectionTracking) -> tuple[int, int, int]:
    """The three idle timers of a record."""
    return ticks(tracking.tcp_established), ticks(tracking.udp_stream), ticks(tracking.udp)


@dataclass(frozen=True, slots=True)
class EndpointName:
    """struct endpoint_name. `rule_set` 0: known (attached), but not in the applied policy."""

    id: str
    identity: int
    rule_set: int
    device: str
    cuts: int = 0
    adopted: int = OURS

    def pack(self) -> bytes:
        return ENDPOINT_NAME.pack(
            self.id.encode(), self.identity, self.rule_set, self.device.encode(), self.cuts, self.adopted
        )

    @classmethod
    def unpack(cls, raw: bytes) -> "EndpointName":
        name, identity, rule_set, device, cuts, adopted = ENDPOINT_NAME.unpack(raw)
        return cls(_text(name), identity, rule_set, _text(device), cuts, adopted)


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode(errors="replace")


def address_key(vpc: int, address: Address) -> bytes:
    return ADDRESS_KEY[address.version].pack(vpc, address.packed)


def prefix_key(policy: int, gate: int, prefix: Cidr) -> bytes:
    return PREFIX_KEY[prefix.version].pack(32 + prefix.prefixlen, policy << 1 | gate, prefix.network_address.packed)


def policy_key(policy: int, gate: int, key: SetKey) -> bytes:
    return POLICY_KEY.pack(key[0], policy, key[1], gate)


def pack_intervals(intervals: Sequence[Interval], indices: Mapping[int, int]) -> bytes:
    """The intervals as the programs search them; `indices` has the place of each rule number."""
    return b"".join(INTERVAL.pack(each.low, each.high, indices[each.rule]) for each in intervals)


def interval_set(count: int, offset: int, first: bytes) -> bytes:
    """struct interval_set; `first` are the packed intervals when they fit in place, else nothing."""
    return INTERVAL_SET.pack(count, offset, first)


def unpack_intervals(raw: bytes, numbers: Mapping[int, int]) -> tuple[Interval, ...]:
    return tuple(Interval(low, high, numbers.get(index, 0)) for low, high, index in INTERVAL.iter_unpack(raw))


@dataclass(frozen=True, slots=True)
class GateSummary:
    """struct gate_summary: what can be said of a whole gate, so that packets need not find out."""

    everybody: tuple[int, int] = (0, 0)
    any: tuple[int, int] = (0, 0)
    flags: int = 0

    def pack(self) -> bytes:
        return GATE_SUMMARY.pack(struct.pack("=QQ", *self.everybody), struct.pack("=II", *self.any), self.flags)


def summarize(gate: GateRules, indices: Mapping[int, int]) -> GateSummary:
    """The summary that makes the programs' short cuts give exactly the verdicts of the long way.

    `everybody`: the class of the block that is the whole family. `any`: besides, there is no other block of the
    family, no rule names a group, and one and the same rule passes every port of every protocol.
    """
    identities = any(not peer & CLASS_BIT for peer, _ in gate.intervals)
    flags = GATE_IDENTITIES if identities else 0
    for each in gate.all_ports:
        flags |= GATE_ALL_PORTS[each]
    everybody, passes = [0, 0], [0, 0]
    for place, family in enumerate(FAMILIES):
        blocks = {cidr.prefixlen: peer for cidr, peer in gate.prefixes.items() if cidr.version == family}
        everybody[place] = blocks.pop(0, 0)
        if blocks:
            flags |= GATE_PREFIXES[family]
        elif everybody[place] and not identities:
            passes[place] = indices.get(_passes_everything(gate, everybody[place]), 0)
    return GateSummary((everybody[0], everybody[1]), (passes[0], passes[1]), flags)


def _passes_everything(gate: GateRules, peer: int) -> int:
    """The one rule by which this peer may do anything at all, 0 when there is none."""
    sets = {protocol: intervals for (of, protocol), intervals in gate.intervals.items() if of == peer}
    rules = {_passes_all(intervals) for intervals in sets.values()}
    return rules.pop() if len(rules) == 1 and ANY_PROTOCOL in sets else 0


def _passes_all(intervals: Sequence[Interval]) -> int:
    """The rule whose one interval is all ports, else 0."""
    if len(intervals) == 1 and (intervals[0].low, intervals[0].high) == (0, 0xFFFF):
        return intervals[0].rule
    return 0


def opened_by(egress: GateRules, ingress: GateRules) -> tuple[bool, bool, bool, bool]:
    """Of which families and protocols the rules let everybody have every port both ways, in the order of OPENED."""
    both = egress.all_ports & ingress.all_ports
    first, second, third, fourth = (each in both for each in OPENED)
    return first, second, third, fourth


def service_address(slot: int, generation: int) -> IPv4Address:
    """Under which the services namespace sees the endpoint in this slot."""
    return IPv4Address(int(SERVICE_NETWORK.network_address) | (generation & SERVICE_GENERATIONS) << 16 | slot)

"""Entries <-> bytes, field for field with bpf/types.h; a test compares the two through the object's BTF.

Numbers are in host byte order; addresses are four bytes as they stand in a packet.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from stockade.model.addresses import MacAddress
from stockade.policy.entries import CLASS_BIT, GateRules, Interval, PeerKey, SetKey

EGRESS, INGRESS = 0, 1
CHECK_SOURCE, CLASSIC = 1, 2
GATE_IDENTITIES, GATE_PREFIXES = 1, 2
INLINE_INTERVALS = 4
MAX_NEAR = 65536
MAX_SLOTS = 16384
MAX_POLICIES = 8192
MAX_RULES = 32768
MAX_INTERVALS = 262144
MAX_VPC = (1 << 24) - 1
ROUTER_MAC = MacAddress("0e:5c:00:00:00:01")
SERVICE_NETWORK = IPv4Network("100.64.0.0/10")
SERVICE_GENERATIONS = 63

NUMBER = struct.Struct("=I")
COUNT = struct.Struct("=Q")
ENDPOINT = struct.Struct("=IIIIQ4s4s6sH24x")
ENDPOINT_NAME = struct.Struct("=32sQQ16s")
ADDRESS_KEY = struct.Struct("=I4s")
ADDRESS = struct.Struct("=QI4x")
GATE_SUMMARY = struct.Struct("=QII")
POLICY = struct.Struct("=Q8x32s")
POLICY_KEY = struct.Struct("=QIHH")
INTERVAL = struct.Struct("=HHI")
INTERVAL_SET = struct.Struct("=II32s")
PREFIX_KEY = struct.Struct("=II4s")
HITS = struct.Struct("=QQ")
ENDPOINT_DROP_KEY = struct.Struct("=II")
FLOW_KEY = struct.Struct("=4s4s2s2sI")
FLOW = struct.Struct("=IIIIIIII4s4sI4x")
FLOW_EVENT = struct.Struct("=Q4s4sIIIIHHBBBx")
HOST = struct.Struct("=4s4sII6s6sI")

# Fields of struct endpoint that are stored one at a time while packets read it.
GENERATION_AT, IFINDEX_AT, POLICY_AT, IDENTITY_AT = 0, 4, 8, 16
RULE_SET_ID_AT = 0  # of struct policy


@dataclass(frozen=True, slots=True)
class EndpointRecord:
    """struct endpoint."""

    generation: int
    ifindex: int
    policy: int
    vpc: int
    identity: int
    address: IPv4Address
    public: IPv4Address | None
    mac: MacAddress
    flags: int

    def pack(self) -> bytes:
        return ENDPOINT.pack(
            *(self.generation, self.ifindex, self.policy, self.vpc, self.identity, self.address.packed),
            *(self.public.packed if self.public else bytes(4), bytes.fromhex(self.mac.replace(":", "")), self.flags),
        )

    @classmethod
    def unpack(cls, raw: bytes) -> "EndpointRecord":
        generation, ifindex, policy, vpc, identity, address, public, mac, flags = ENDPOINT.unpack(raw)
        return cls(
            *(generation, ifindex, policy, vpc, identity, IPv4Address(address)),
            *(IPv4Address(public) if any(public) else None, MacAddress(mac.hex(":")), flags),
        )


@dataclass(frozen=True, slots=True)
class EndpointName:
    """struct endpoint_name. `rule_set` 0: known (attached), but not in the applied policy."""

    id: str
    identity: int
    rule_set: int
    device: str

    def pack(self) -> bytes:
        return ENDPOINT_NAME.pack(self.id.encode(), self.identity, self.rule_set, self.device.encode())

    @classmethod
    def unpack(cls, raw: bytes) -> "EndpointName":
        name, identity, rule_set, device = ENDPOINT_NAME.unpack(raw)
        return cls(name.rstrip(b"\0").decode(), identity, rule_set, device.rstrip(b"\0").decode())


def address_key(vpc: int, address: IPv4Address) -> bytes:
    return ADDRESS_KEY.pack(vpc, address.packed)


def prefix_key(policy: int, gate: int, prefix: IPv4Network) -> bytes:
    return PREFIX_KEY.pack(32 + prefix.prefixlen, policy << 1 | gate, prefix.network_address.packed)


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

    everywhere: PeerKey
    any: int
    flags: int

    def pack(self) -> bytes:
        return GATE_SUMMARY.pack(self.everywhere, self.any, self.flags)


def summarize(gate: GateRules, indices: Mapping[int, int]) -> GateSummary:
    """The summary that makes the programs' short cuts give exactly the verdicts of the long way.

    `everywhere`: the only block is 0.0.0.0/0, so every address is of its class. `any`: besides, no rule
    names a group and one and the same rule passes every port of every protocol.
    """
    prefixes = {cidr: peer for cidr, peer in gate.prefixes.items() if cidr.version == 4}
    identities = any(not peer & CLASS_BIT for peer, _ in gate.intervals)
    flags = (GATE_IDENTITIES if identities else 0) | (GATE_PREFIXES if prefixes else 0)
    if len(prefixes) != 1 or next(iter(prefixes)).prefixlen:
        return GateSummary(0, 0, flags)
    everywhere = next(iter(prefixes.values()))
    passes = 0
    if not identities:
        sets = {protocol: intervals for (peer, protocol), intervals in gate.intervals.items() if peer == everywhere}
        rules = {_passes_all(intervals) for intervals in sets.values()}
        if len(rules) == 1 and 256 in sets:
            passes = indices.get(rules.pop(), 0)
    return GateSummary(everywhere, passes, flags)


def _passes_all(intervals: Sequence[Interval]) -> int:
    """The rule whose one interval is all ports, else 0."""
    if len(intervals) == 1 and (intervals[0].low, intervals[0].high) == (0, 0xFFFF):
        return intervals[0].rule
    return 0


def service_address(slot: int, generation: int) -> IPv4Address:
    """Under which the services namespace sees the endpoint in this slot."""
    return IPv4Address(int(SERVICE_NETWORK.network_address) | (generation & SERVICE_GENERATIONS) << 16 | slot)

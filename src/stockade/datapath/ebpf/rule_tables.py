"""Rule sets in kernel maps: loaded whole under a fresh index, retired once nobody can be reading them.

    policies[index]                   which rule set, and what can be said of it as a whole; written last
    rule_sets[peer, index, protocol]  up to four intervals in place, or where more of them lie
    intervals[offset...]              those
    prefixes[index, gate, block]      the class of a block
    rule_numbers[place]               which rule the small number in an interval stands for

A rule set is never changed, only replaced by another; so nothing here is ever half of one thing and half
of the next. Whatever a crash left without its `policies` entry is nobody's, and swept up when adopted.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_network

from stockade.datapath.ebpf import layout
from stockade.datapath.ebpf.maps import Map, RuleHitTable, SharedArray
from stockade.datapath.ebpf.segments import Segments, SegmentsExhausted
from stockade.model.addresses import Cidr
from stockade.policy.entries import GateRules, Interval, PeerKey, RuleSet, RuleSetId, SetKey

GATES = (layout.EGRESS, layout.INGRESS)


class TableFull(Exception):
    """A table has no room for what was asked; the text names it."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Where a rule set lies, and what it says as a whole. `opened`: see layout.opened_by."""

    index: int
    set_keys: tuple[bytes, ...]
    prefix_keys: tuple[bytes, ...]
    segments: tuple[tuple[int, int], ...]
    rules: frozenset[int]
    opened: tuple[bool, bool, bool, bool]
    policy: bytes  # struct policy
    intervals: tuple[bytes, ...]  # of each segment


class RuleTables:
    """The only writer of these maps."""

    def __init__(self, maps: Mapping[str, Map], shared: Mapping[str, SharedArray], hits: RuleHitTable) -> None:
        self._sets = maps["rule_sets"]
        self._prefixes = {4: maps["prefixes"], 6: maps["prefixes6"]}
        self._policies = shared["policies"]
        self._intervals, self._numbers = shared["intervals"], shared["rule_numbers"]
        self._hits = hits
        self._loaded: dict[RuleSetId, Loaded] = {}
        self._segments = Segments(layout.MAX_INTERVALS)
        self._used_indices: set[int] = set()
        self._last_index = 0
        self._places: dict[int, int] = {}  # rule number -> place
        self._by_place: dict[int, int] = {}
        self._users: Counter[int] = Counter()  # rule number -> loaded rule sets that name it
        self._idle: deque[int] = deque()  # rule numbers that nothing names, longest idle first
        self._fresh = 1
        self._retired: deque[tuple[float, Loaded]] = deque()

    def find(self, rule_set: RuleSetId) -> Loaded:
        """Where a loaded rule set lies; KeyError when it is not loaded."""
        return self._loaded[rule_set]

    def rule_number(self, place: int) -> int:
        """The rule an interval's small number stands for, 0 for none."""
        return self._by_place.get(place, 0)

    def known_rules(self) -> Iterable[tuple[int, int]]:
        """Rule numbers with their places, of loaded rule sets and of retired ones whose counts are kept."""
        return self._places.items()

    def load(self, rule_set: RuleSet) -> None:
        """Make the rule set known, whole. Raises TableFull or OSError, and then nothing of it is left."""
        index = self._free_index()
        gates = {layout.EGRESS: rule_set.egress, layout.INGRESS: rule_set.ingress}
        numbers = frozenset(
            each.rule for gate in gates.values() for intervals in gate.intervals.values() for each in intervals
        )
        opened = layout.opened_by(rule_set.egress, rule_set.ingress)
        segments: dict[int, bytes] = {}
        sets: dict[bytes, bytes] = {}
        prefixes: dict[bytes, bytes] = {}
        self._check_room_for_rules(numbers)
        self._name_rules(numbers)

        def loaded(policy: bytes) -> Loaded:
            runs = tuple((start, len(raw) // layout.INTERVAL.size) for start, raw in segments.items())
            return Loaded(index, tuple(sets), tuple(prefixes), runs, numbers, opened, policy, tuple(segments.values()))

        try:
            for gate, rules in gates.items():
                sets |= self._packed_sets(index, gate, rules, segments)
                prefixes |= _packed_prefixes(index, gate, rules)
            self._sets.put_all(sets)
            for family, table in self._prefixes.items():
                table.put_all({key: prefixes[key] for key in _of_family(prefixes, family)})
            summaries = b"".join(layout.summarize(gates[gate], self._places).pack() for gate in GATES)
            self._policies.put(index, layout.POLICY.pack(0, summaries))
            self._policies.store64(index, layout.RULE_SET_ID_AT, rule_set.id)
        except (OSError, TableFull):
            # Nobody points at it, so it goes at once; if that fails too, with the next sweep.
            self._used_indices.add(index)
            self._retired.appendleft((0.0, loaded(b"")))
            self.sweep(0.0)
            raise
        self._used_indices.add(index)
        self._loaded[rule_set.id] = loaded(layout.POLICY.pack(rule_set.id, summaries))

    def retire(self, rule_set: RuleSetId, after: float) -> None:
        """No endpoint points at it any more; `sweep` removes it once the clock has passed `after`."""
        self._retired.append((after, self._loaded.pop(rule_set)))

    def sweep(self, now: float) -> None:
        """Remove what was retired long enough ago that no packet under way can be reading it.

        What the kernel would not let go of is tried again next time.
        """
        with suppress(OSError):
            self._sweep(now)

    def _sweep(self, now: float) -> None:
        while self._retired and self._retired[0][0] <= now:
            _, old = self._retired[0]
            self._policies.put(old.index, bytes(layout.POLICY.size))
            self._remove(old)
            self._used_indices.discard(old.index)
            self._retired.popleft()

    def _remove(self, old: Loaded) -> None:
        self._sets.remove_all(old.set_keys)
        for family, table in self._prefixes.items():
            table.remove_all(_of_family(old.prefix_keys, family))
        for start, length in old.segments:
            self._segments.give_back(start, length)
        for number in old.rules:
            if number in self._places:
                self._users[number] -= 1
                if self._users[number] <= 0:
                    del self._users[number]
                    self._idle.append(number)

    # ── packing ───────────────────────────────────────────────────────────────────────────────────────

    def _packed_sets(self, index: int, gate: int, rules: GateRules, segments: dict[int, bytes]) -> dict[bytes, bytes]:
        packed: dict[bytes, bytes] = {}
        for key, intervals in rules.intervals.items():
            raw = layout.pack_intervals(intervals, self._places)
            if len(intervals) <= layout.INLINE_INTERVALS:
                value = layout.interval_set(len(intervals), 0, raw)
            else:
                try:
                    start = self._segments.take(len(intervals))
                except SegmentsExhausted as err:
                    raise TableFull(f"map intervals: {err}") from err
                segments[start] = raw
                size = layout.INTERVAL.size
                self._intervals.memory[start * size : start * size + len(raw)] = raw
                value = layout.interval_set(len(intervals), start, b"")
            packed[layout.policy_key(index, gate, key)] = value
        return packed

    def _free_index(self) -> int:
        """The longest unused, so that a packet that still holds an old index finds nothing of a new owner's."""
        for step in range(1, layout.MAX_POLICIES):
            index = (self._last_index + step - 1) % (layout.MAX_POLICIES - 1) + 1
            if index not in self._used_indices:
                self._last_index = index
                return index
        raise TableFull(f"map policies: {layout.MAX_POLICIES - 1} rule sets are loaded")

    def _check_room_for_rules(self, numbers: frozenset[int]) -> None:
        new = numbers - self._places.keys()
        room = layout.MAX_RULES - self._fresh + sum(number not in numbers for number in self._idle)
        if len(new) > room:
            raise TableFull(f"map rules: {len(new)} more rules, and room for {room}")

    def _name_rules(self, numbers: frozenset[int]) -> None:
        for number in numbers:
            self._users[number] += 1
            if number in self._places:
                if self._users[number] == 1 and number in self._idle:
                    self._idle.remove(number)
                continue
            place = self._free_place()
            self._hits.clear(place)
            self._numbers.store64(place, 0, number)
            self._places[number] = place
            self._by_place[place] = number

    def _free_place(self) -> int:
        """A new one, or that of the rule that has been gone longest: until then its count can still be read."""
        if self._fresh < layout.MAX_RULES:
            self._fresh += 1
            return self._fresh - 1
        number = self._idle.popleft()
        place = self._places.pop(number)
        del self._by_place[place]
        return place

    # ── reading back ──────────────────────────────────────────────────────────────────────────────────

    def observe(self) -> dict[RuleSetId, RuleSet]:
        """The complete rule sets in the kernel."""
        return {found.rule_set.id: found.rule_set for found in self._read()}

    def adopt(self) -> None:
        """Take over what a former process loaded, and sweep up what it had not finished loading."""
        self._read_numbers()
        found = self._read()
        whole = {each.loaded.index for each in found}
        self._sets.remove_all([key for key in self._sets if layout.POLICY_KEY.unpack(key)[1] not in whole])
        for family, table in self._prefixes.items():
            table.remove_all([key for key in table if layout.PREFIX_KEY[family].unpack(key)[1] >> 1 not in whole])
        for each in found:
            self._loaded[each.rule_set.id] = self._reserved(each.loaded)
            self._used_indices.add(each.loaded.index)
            self._users.update(each.loaded.rules)
        self._last_index = max(whole, default=0)
        self._idle.extend(number for number in self._places if number not in self._users)

    def _reserved(self, found: Loaded) -> Loaded:
        """The same with those of its segments that no other has: a damaged entry may claim anything."""
        kept: dict[tuple[int, int], bytes] = {}
        for segment, raw in zip(found.segments, found.intervals, strict=True):
            try:
                self._segments.reserve(*segment)
            except SegmentsExhausted:
                continue
            kept[segment] = raw
        return replace(found, segments=tuple(kept), intervals=tuple(kept.values()))

    def loaded(self) -> frozenset[RuleSetId]:
        return frozenset(self._loaded)

    def _read_numbers(self) -> None:
        for place in range(1, layout.MAX_RULES):
            (number,) = layout.COUNT.unpack_from(self._numbers.memory, place * layout.COUNT.size)
            if not number:
                # Places are given in order, so the first free one ends them.
                self._fresh = place
                return
            self._places[number] = place
            self._by_place[place] = number
        self._fresh = layout.MAX_RULES

    def _read(self) -> list["_Found"]:
        rules_of: dict[int, tuple[GateRulesRead, GateRulesRead]] = {}
        policies: dict[int, bytes] = {}
        size = layout.POLICY.size
        whole = self._policies.whole()
        for index in range(1, layout.MAX_POLICIES):
            raw = whole[index * size : (index + 1) * size]
            number, summaries = layout.POLICY.unpack(raw)
            if number:
                policies[index] = raw
                half = len(summaries) // 2
                rules_of[index] = (GateRulesRead(summaries[:half]), GateRulesRead(summaries[half:]))
        for key, value in self._sets.items():
            peer, index, protocol, gate = layout.POLICY_KEY.unpack(key)
            if index in rules_of:
                count, offset, first = layout.INTERVAL_SET.unpack(value)
                rules_of[index][gate].add_set(key, (peer, protocol), *self._intervals_at(count, offset, first))
        for family, table in self._prefixes.items():
            for key, value in table.items():
                length, scope, packed = layout.PREFIX_KEY[family].unpack(key)
                if scope >> 1 in rules_of:
                    block = ip_network((packed, length - 32))
                    rules_of[scope >> 1][scope & 1].add_prefix(key, block, layout.COUNT.unpack(value)[0])
        return [_Found.of(index, policies[index], *gates) for index, gates in rules_of.items()]

    def _intervals_at(
        self, count: int, offset: int, first: bytes
    ) -> tuple[tuple[Interval, ...], tuple[int, bytes] | None]:
        size = layout.INTERVAL.size
        if count <= layout.INLINE_INTERVALS or offset + count > layout.MAX_INTERVALS:
            return layout.unpack_intervals(first[: min(count * size, len(first))], self._by_place), None
        raw = self._intervals.memory[offset * size : (offset + count) * size]
        return layout.unpack_intervals(raw, self._by_place), (offset, raw)

    # ── holding against ───────────────────────────────────────────────────────────────────────────────

    def repair(self, name: RuleSetId) -> list[str]:
        """Put right what of a loaded rule set lies in arrays; a line for each part that differed."""
        found = self._loaded[name]
        said = []
        if self._policies.get(found.index) != found.policy:
            self._policies.put(found.index, found.policy)
            said.append(f"map policies: the entry of rule set {name:x} is wrong")
        size = layout.INTERVAL.size
        for (start, count), raw in zip(found.segments, found.intervals, strict=True):
            if self._intervals.memory[start * size : (start + count) * size] != raw:
                self._intervals.memory[start * size : (start + count) * size] = raw
                said.append(f"map intervals: ports of rule set {name:x} are wrong")
        for number in found.rules:
            place = self._places[number]
            if self._numbers.get(place) != layout.COUNT.pack(number):
                self._numbers.store64(place, 0, number)
                said.append(f"map rule_numbers: place {place} does not name its rule")
        return said


class GateRulesRead:
    """One gate as it is being read back."""

    def __init__(self, summary: bytes) -> None:
        flags = layout.GATE_SUMMARY.unpack(summary)[2]
        self.all_ports = frozenset(each for each, flag in layout.GATE_ALL_PORTS.items() if flags & flag)
        self.intervals: dict[SetKey, tuple[Interval, ...]] = {}
        self.prefixes: dict[Cidr, PeerKey] = {}
        self.set_keys: list[bytes] = []
        self.prefix_keys: list[bytes] = []
        self.segments: list[tuple[int, bytes]] = []

    def add_set(
        self, raw_key: bytes, key: SetKey, intervals: tuple[Interval, ...], segment: tuple[int, bytes] | None
    ) -> None:
        self.set_keys.append(raw_key)
        self.intervals[key] = intervals
        if segment is not None:
            self.segments.append(segment)

    def add_prefix(self, raw_key: bytes, block: Cidr, peer: PeerKey) -> None:
        self.prefix_keys.append(raw_key)
        self.prefixes[block] = peer


@dataclass(frozen=True, slots=True)
class _Found:
    rule_set: RuleSet
    loaded: Loaded

    @classmethod
    def of(cls, index: int, policy: bytes, egress: GateRulesRead, ingress: GateRulesRead) -> "_Found":
        gates = (egress, ingress)
        segments = [segment for gate in gates for segment in gate.segments]
        rules = [GateRules(gate.intervals, gate.prefixes, gate.all_ports) for gate in gates]
        number = RuleSetId(layout.POLICY.unpack(policy)[0])
        rule_set = RuleSet(number, ingress=rules[layout.INGRESS], egress=rules[layout.EGRESS])
        loaded = Loaded(
            index,
            tuple(key for gate in gates for key in gate.set_keys),
            tuple(key for gate in gates for key in gate.prefix_keys),
            tuple((start, len(raw) // layout.INTERVAL.size) for start, raw in segments),
            frozenset(each.rule for gate in gates for found in gate.intervals.values() for each in found),
            layout.opened_by(rule_set.egress, rule_set.ingress),
            policy,
            tuple(raw for _, raw in segments),
        )
        return cls(rule_set, loaded)


def _packed_prefixes(index: int, gate: int, rules: GateRules) -> dict[bytes, bytes]:
    return {layout.prefix_key(index, gate, block): layout.COUNT.pack(peer) for block, peer in rules.prefixes.items()}


def _of_family(keys: Iterable[bytes], family: int) -> list[bytes]:
    """Prefix keys of one family are longer than those of the other."""
    return [key for key in keys if len(key) == layout.PREFIX_KEY[family].size]

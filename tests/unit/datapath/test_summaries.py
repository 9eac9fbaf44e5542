"""What is said of a whole gate must never say more than its rules do, and records must say what they were told."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade.datapath.ebpf import layout
from stockade.datapath.ebpf.endpoint_table import in_order
from stockade.datapath.ebpf.layout import EndpointName, EndpointRecord, GateSummary, opened_by, summarize
from stockade.model.addresses import Cidr, mac_of
from stockade.model.tracking import ConnectionTracking
from stockade.policy.entries import ANY_PROTOCOL, CLASS_BIT, GateRules, Interval, SetKey

CLASS = CLASS_BIT | 1
ALL = (Interval(0, 65535, 5),)
PLACES = {5: 50, 6: 60}
FAMILIES: list[tuple[int, Cidr, Cidr]] = [
    (0, IPv4Network("0.0.0.0/0"), IPv4Network("10.0.0.0/8")),
    (1, IPv6Network("::/0"), IPv6Network("2001:db8::/32")),
]
both_families = pytest.mark.parametrize(("place", "everywhere", "narrower"), FAMILIES)


def open_to(*keys: SetKey, rule: int = 5) -> Mapping[SetKey, tuple[Interval, ...]]:
    return {key: (Interval(0, 65535, rule),) for key in keys}


def test_a_gate_without_rules_has_nothing_to_look_for() -> None:
    assert summarize(GateRules(), PLACES) == GateSummary()


@both_families
def test_one_rule_that_passes_all_traffic_of_everybody_needs_no_lookup(
    place: int, everywhere: Cidr, narrower: Cidr
) -> None:
    gate = GateRules(open_to((CLASS, ANY_PROTOCOL), (CLASS, 6), (CLASS, 17)), {everywhere: CLASS})
    said = summarize(gate, PLACES)
    assert (said.everybody[place], said.any[place], said.flags) == (CLASS, 50, 0)
    assert (said.everybody[1 - place], said.any[1 - place]) == (0, 0)


@both_families
def test_all_of_tcp_is_not_all_traffic(place: int, everywhere: Cidr, narrower: Cidr) -> None:
    assert summarize(GateRules(open_to((CLASS, 6)), {everywhere: CLASS}), PLACES).any == (0, 0)


@both_families
def test_a_group_is_asked_first_even_where_everybody_may(place: int, everywhere: Cidr, narrower: Cidr) -> None:
    gate = GateRules(open_to((CLASS, ANY_PROTOCOL), (1234, ANY_PROTOCOL)), {everywhere: CLASS})
    said = summarize(gate, PLACES)
    assert (said.everybody[place], said.any, said.flags) == (CLASS, (0, 0), layout.GATE_IDENTITIES)


@both_families
def test_two_rules_that_pass_everything_together_are_looked_up(place: int, everywhere: Cidr, narrower: Cidr) -> None:
    gate = GateRules({(CLASS, ANY_PROTOCOL): ALL, (CLASS, 6): (Interval(0, 65535, 6),)}, {everywhere: CLASS})
    assert summarize(gate, PLACES).any == (0, 0)


@both_families
def test_a_second_block_makes_the_longest_match_necessary(place: int, everywhere: Cidr, narrower: Cidr) -> None:
    other = CLASS_BIT | 2
    gate = GateRules(open_to((CLASS, ANY_PROTOCOL), (other, ANY_PROTOCOL)), {everywhere: CLASS, narrower: other})
    said = summarize(gate, PLACES)
    assert said.any == (0, 0)
    assert said.everybody[place] == CLASS  # still who everybody is: that makes a flow untracked
    assert said.flags == layout.GATE_PREFIXES[everywhere.version]


@both_families
def test_a_narrower_single_block_is_not_everywhere(place: int, everywhere: Cidr, narrower: Cidr) -> None:
    gate = GateRules(open_to((CLASS, ANY_PROTOCOL)), {narrower: CLASS})
    assert summarize(gate, PLACES) == GateSummary(flags=layout.GATE_PREFIXES[narrower.version])


def test_a_block_of_one_family_says_nothing_of_the_other() -> None:
    other = CLASS_BIT | 2
    gate = GateRules(
        open_to((CLASS, ANY_PROTOCOL), (other, ANY_PROTOCOL)),
        {IPv4Network("0.0.0.0/0"): CLASS, IPv6Network("2001:db8::/32"): other},
    )
    assert summarize(gate, PLACES) == GateSummary((CLASS, 0), (50, 0), layout.GATE_PREFIXES[6])


def test_what_is_open_to_everybody_is_told_by_family_and_protocol() -> None:
    gate = GateRules(all_ports=frozenset({(4, 6), (6, 17)}))
    assert summarize(gate, PLACES).flags == layout.GATE_ALL_PORTS[4, 6] | layout.GATE_ALL_PORTS[6, 17]
    assert opened_by(gate, gate) == (True, False, False, True)
    assert opened_by(gate, GateRules(all_ports=frozenset({(4, 6)}))) == (True, False, False, False)
    assert opened_by(gate, GateRules()) == (False,) * 4


def test_records_survive_packing() -> None:
    record = EndpointRecord(
        *(3, 17, 4, 9, 1 << 62, IPv4Address("10.0.0.16"), IPv4Address("198.18.0.9"), mac_of(7), layout.CLASSIC, 1),
        tracking=ConnectionTracking(61, 60, 33),
        opened=(1, 2, 3, 4),
        cut=8,
        address6=IPv6Address("2001:db8::1"),
        resolver=IPv4Address("10.0.0.2"),
    )
    assert EndpointRecord.unpack(record.pack()) == record
    bare = EndpointRecord(1)
    assert EndpointRecord.unpack(bare.pack()) == bare
    name = EndpointName("eni-01234567890abcdef", 1 << 62, (1 << 63) - 1, "stocka-i7", 1 << 40, layout.SOMEBODYS_CLSACT)
    assert EndpointName.unpack(name.pack()) == name


@given(st.integers(1, 432_000))
def test_every_number_of_seconds_survives_as_ticks(seconds: int) -> None:
    record = EndpointRecord(1, tracking=ConnectionTracking(seconds, seconds, seconds))
    assert EndpointRecord.unpack(record.pack()) == record


def test_addresses_are_read_back_primaries_first() -> None:
    first, second, third = (IPv4Address(f"10.0.0.{last}") for last in (9, 3, 5))
    one, two = IPv6Address("2001:db8::9"), IPv6Address("2001:db8::1")
    assert in_order([two, third, one, second, first], first, one) == (first, second, third, one, two)


def test_the_services_see_slot_and_generation() -> None:
    assert layout.service_address(1, 0) == IPv4Address("100.64.0.1")
    assert layout.service_address(0x1234, 65) == IPv4Address("100.65.18.52")
    assert layout.service_address(0xFFFF, 63) == IPv4Address("100.127.255.255")

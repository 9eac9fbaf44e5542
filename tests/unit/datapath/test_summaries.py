"""What is said of a whole gate must never say more than its rules do."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network

from stockade.datapath.ebpf import layout
from stockade.datapath.ebpf.layout import EndpointName, EndpointRecord, GateSummary, summarize
from stockade.model.addresses import mac_of
from stockade.policy.entries import ANY_PROTOCOL, CLASS_BIT, GateRules, Interval, SetKey

EVERYWHERE = IPv4Network("0.0.0.0/0")
CLASS = CLASS_BIT | 1
ALL = (Interval(0, 65535, 5),)
PLACES = {5: 50, 6: 60}


def open_to(*keys: SetKey, rule: int = 5) -> Mapping[SetKey, tuple[Interval, ...]]:
    return {key: (Interval(0, 65535, rule),) for key in keys}


def test_a_gate_without_rules_has_nothing_to_look_for() -> None:
    assert summarize(GateRules(), PLACES) == GateSummary(0, 0, 0)


def test_one_rule_that_passes_all_traffic_of_everybody_needs_no_lookup() -> None:
    gate = GateRules(open_to((CLASS, ANY_PROTOCOL), (CLASS, 6), (CLASS, 17)), {EVERYWHERE: CLASS})
    assert summarize(gate, PLACES) == GateSummary(CLASS, 50, layout.GATE_PREFIXES)


def test_all_of_tcp_is_not_all_traffic() -> None:
    gate = GateRules(open_to((CLASS, 6)), {EVERYWHERE: CLASS})
    assert summarize(gate, PLACES).any == 0


def test_a_group_is_asked_first_even_where_everybody_may() -> None:
    gate = GateRules(open_to((CLASS, ANY_PROTOCOL), (1234, ANY_PROTOCOL)), {EVERYWHERE: CLASS})
    assert summarize(gate, PLACES) == GateSummary(CLASS, 0, layout.GATE_PREFIXES | layout.GATE_IDENTITIES)


def test_two_rules_that_pass_everything_together_are_looked_up() -> None:
    gate = GateRules({(CLASS, ANY_PROTOCOL): ALL, (CLASS, 6): (Interval(0, 65535, 6),)}, {EVERYWHERE: CLASS})
    assert summarize(gate, PLACES).any == 0


def test_a_second_block_makes_the_longest_match_necessary() -> None:
    other = CLASS_BIT | 2
    gate = GateRules(
        open_to((CLASS, ANY_PROTOCOL), (other, ANY_PROTOCOL)),
        {EVERYWHERE: CLASS, IPv4Network("10.0.0.0/8"): other},
    )
    assert summarize(gate, PLACES) == GateSummary(0, 0, layout.GATE_PREFIXES)


def test_a_narrower_single_block_is_not_everywhere() -> None:
    gate = GateRules(open_to((CLASS, ANY_PROTOCOL)), {IPv4Network("10.0.0.0/8"): CLASS})
    assert summarize(gate, PLACES) == GateSummary(0, 0, layout.GATE_PREFIXES)


def test_records_survive_packing() -> None:
    record = EndpointRecord(
        *(3, 17, 4, 1, 1 << 62, IPv4Address("10.0.0.16"), IPv4Address("198.18.0.9"), mac_of(7), layout.CLASSIC)
    )
    assert EndpointRecord.unpack(record.pack()) == record
    name = EndpointName("eni-01234567890abcdef", 1 << 62, (1 << 63) - 1, "stocka-i7")
    assert EndpointName.unpack(name.pack()) == name


def test_the_services_see_slot_and_generation() -> None:
    assert layout.service_address(1, 0) == IPv4Address("100.64.0.1")
    assert layout.service_address(0x1234, 65) == IPv4Address("100.65.18.52")
    assert layout.service_address(0xFFFF, 63) == IPv4Address("100.127.255.255")

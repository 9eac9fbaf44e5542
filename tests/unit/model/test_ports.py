"""Protocols by name and number, what EC2 accepts as ports, and the interval each pair covers."""

import pytest

from stockade.model.errors import PortRangeInvalid, ProtocolUnknown
from stockade.model.ports import ANY, ICMP, ICMPV6, TCP, UDP, check_ports, interval, parse_protocol, protocol_name


@pytest.mark.parametrize(
    ("text", "number", "shown"),
    [
        ("tcp", 6, "tcp"),
        ("TCP", 6, "tcp"),
        ("6", 6, "tcp"),
        ("17", 17, "udp"),
        ("Icmp", 1, "icmp"),
        ("58", 58, "icmpv6"),
        ("-1", -1, "-1"),
        ("all", -1, "-1"),
        ("47", 47, "47"),
        ("0", 0, "0"),
        ("255", 255, "255"),
    ],
)
def test_a_protocol_has_one_form_however_it_is_spelled(text: str, number: int, shown: str) -> None:
    assert parse_protocol(text) == number
    assert protocol_name(number) == shown


@pytest.mark.parametrize("text", ["", "tpc", "256", "-2", "+6", "6.0", "٦", "tcp ", "any"])
def test_an_unknown_protocol_is_refused_by_name(text: str) -> None:
    with pytest.raises(ProtocolUnknown) as refused:
        parse_protocol(text)
    assert refused.value.text == text


@pytest.mark.parametrize(
    ("protocol", "first", "last"),
    [
        *((each, *pair) for each in (TCP, UDP) for pair in ((0, 65535), (22, 22), (0, 0), (65535, 65535))),
        *((ICMP, *pair) for pair in ((-1, -1), (8, -1), (8, 0), (255, 255))),
        (ICMPV6, 128, 0),
    ],
)
def test_pairs_that_ec2_takes_are_kept(protocol: int, first: int, last: int) -> None:
    assert check_ports(protocol, first, last) == (first, last)


@pytest.mark.parametrize(
    ("protocol", "first", "last"),
    [
        *(
            (TCP, *pair)
            for pair in ((None, None), (22, None), (None, 22), (-1, -1), (23, 22), (0, 65536), (70000, 70000))
        ),
        *((ICMP, *pair) for pair in ((None, None), (-1, 0), (256, 0), (8, 256), (8, None), (-2, -1))),
        (ICMPV6, None, 0),
    ],
)
def test_pairs_that_ec2_refuses_are_refused(protocol: int, first: int | None, last: int | None) -> None:
    with pytest.raises(PortRangeInvalid):
        check_ports(protocol, first, last)


def test_protocols_without_ports_lose_them() -> None:
    assert check_ports(47, 1, 2) == (None, None)
    assert check_ports(ANY, 22, 22) == (None, None)


def test_icmpv6_may_leave_both_out() -> None:
    assert check_ports(ICMPV6, None, None) == (ANY, ANY)


@pytest.mark.parametrize(
    ("protocol", "pair", "covered"),
    [
        (TCP, (20, 30), (20, 30)),
        (UDP, (0, 65535), (0, 65535)),
        (ICMP, (ANY, ANY), (0, 65535)),
        (ICMP, (8, ANY), (0x800, 0x8FF)),
        (ICMP, (3, 4), (0x304, 0x304)),
        (ICMP, (0, 0), (0, 0)),
        (ICMPV6, (128, 0), (0x8000, 0x8000)),
        (47, (None, None), (0, 65535)),
        (ANY, (None, None), (0, 65535)),
    ],
)
def test_a_stored_pair_covers_one_interval(
    protocol: int, pair: tuple[int | None, int | None], covered: tuple[int, int]
) -> None:
    assert interval(protocol, *pair) == covered

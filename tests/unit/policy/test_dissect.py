"""The slow reader, at every length and with every header that may lie."""

import struct
from dataclasses import replace
from ipaddress import ip_address

import pytest

from scenarios.frames import Part, arp_frame, ethernet, frame_of, ip_of, neighbour_frame, parts_of, quotation, transport
from stockade.model import ports
from stockade.model.addresses import MacAddress, mac_of
from stockade.model.flow import DropReason, Packet
from stockade.policy.dissect import Kind, Neighbour, Reading, dissect

MAC = mac_of(1)
ENDS = {4: (ip_address("10.0.0.16"), ip_address("10.0.0.17")), 6: (ip_address("fd5c::16"), ip_address("fd5c::17"))}
L4 = {4: 34, 6: 54}
MALFORMED, OPTIONS, FRAGMENT = DropReason.MALFORMED, DropReason.OPTIONS, DropReason.FRAGMENT
BOTH = pytest.mark.parametrize("version", [4, 6])


def packet(version: int, protocol: int = ports.TCP, port: int = 80, source_port: int = 40_000) -> Packet:
    return Packet(*ENDS[version], protocol, port, source_port)


def echo(version: int) -> Packet:
    return packet(version, ports.ICMP if version == 4 else ports.ICMPV6, (8 if version == 4 else 128) << 8, 77)


def read(frame: bytes) -> Reading:
    found = dissect(frame)
    assert isinstance(found, Reading), found
    return found


@BOTH
def test_ports_flags_and_mac(version: int) -> None:
    found = read(frame_of(packet(version), MAC, flags=0x12))
    assert (found.packet, found.kind, found.flags, found.source_mac) == (packet(version), Kind.OPENS, 0x12, MAC)
    assert read(frame_of(packet(version, ports.UDP), MAC)).packet == packet(version, ports.UDP)


@BOTH
def test_a_query_has_its_identifier_and_its_reply_is_no_opening(version: int) -> None:
    asks = read(frame_of(echo(version), MAC))
    assert (asks.packet, asks.kind, asks.query) == (echo(version), Kind.OPENS, echo(version).port >> 8)
    answers = read(frame_of(replace(echo(version), port=0 if version == 4 else 129 << 8), MAC))
    assert (answers.kind, answers.query) == (Kind.REPLY, asks.query)


@BOTH
@pytest.mark.parametrize("protocol", [0, 2, 47, 50, 59, 132, 253, 255])
def test_other_protocols_have_no_ports(version: int, protocol: int) -> None:
    found = dissect(frame_of(packet(version, protocol), MAC))
    if version == 6 and protocol == 0:  # not a protocol but a header
        assert found is OPTIONS
    else:
        assert isinstance(found, Reading)
        assert (found.packet, found.kind) == (Packet(*ENDS[version], protocol), Kind.OPENS)


def test_the_icmp_of_the_other_family_is_a_protocol_like_any_other() -> None:
    assert read(frame_of(packet(4, ports.ICMPV6), MAC)).packet == Packet(*ENDS[4], ports.ICMPV6)
    assert read(frame_of(packet(6, ports.ICMP), MAC)).packet == Packet(*ENDS[6], ports.ICMP)


@BOTH
@pytest.mark.parametrize("protocol", [ports.TCP, ports.UDP])
def test_cut_short_anywhere_it_is_no_packet(version: int, protocol: int) -> None:
    whole = frame_of(packet(version, protocol), MAC)
    for length in range(len(whole)):
        assert dissect(whole[:length]) is MALFORMED, length


@BOTH
@pytest.mark.parametrize(("protocol", "needs"), [(ports.TCP, 20), (ports.UDP, 8)])
def test_a_header_that_is_not_whole_by_the_ip_length_is_none(version: int, protocol: int, needs: int) -> None:
    """With lengths that agree, and bytes behind them that must not be taken for the header."""
    for length in range(needs):
        short = frame_of(packet(version, protocol), MAC, body=transport(packet(version, protocol))[:length])
        assert dissect(short) is MALFORMED
        assert dissect(short + bytes(40)) is MALFORMED


@BOTH
def test_padding_behind_a_packet_is_no_part_of_it(version: int) -> None:
    assert read(frame_of(packet(version), MAC) + bytes(30)).packet == packet(version)


@BOTH
@pytest.mark.parametrize("offset", [0, 1, 4, 6, 15])
def test_a_tcp_header_may_not_claim_more_than_there_is_or_less_than_it_needs(version: int, offset: int) -> None:
    frame = bytearray(frame_of(packet(version), MAC))
    frame[L4[version] + 12] = offset << 4
    assert dissect(bytes(frame)) is MALFORMED


@BOTH
@pytest.mark.parametrize("length", [0, 7, 17, 0xFFFF])
def test_a_udp_length_must_fit(version: int, length: int) -> None:
    frame = bytearray(frame_of(packet(version, ports.UDP), MAC))
    frame[L4[version] + 4 : L4[version] + 6] = length.to_bytes(2, "big")
    assert dissect(bytes(frame)) is MALFORMED


@pytest.mark.parametrize("first", [0x00, 0x35, 0x40, 0x44, 0x55, 0x65])
def test_a_wrong_version_or_a_short_header_is_malformed(first: int) -> None:
    frame = bytearray(frame_of(packet(4), MAC))
    frame[14] = first
    assert dissect(bytes(frame)) is MALFORMED


@pytest.mark.parametrize("words", range(6, 16))
def test_ipv4_options_are_refused(words: int) -> None:
    frame = bytearray(frame_of(packet(4), MAC))
    frame[14] = 0x40 + words
    assert dissect(bytes(frame)) is OPTIONS


@pytest.mark.parametrize("header", [0, 43, 60, 135, 139, 140])
def test_ipv6_extension_headers_are_refused_also_behind_a_fragment_header(header: int) -> None:
    frame = bytearray(frame_of(packet(6), MAC, body=bytes(8) + transport(packet(6))))
    frame[20] = header
    assert dissect(bytes(frame)) is OPTIONS
    behind = frame_of(packet(6, header), MAC, part=Part(7, 0, more=False), body=bytes(32))
    assert dissect(behind) is OPTIONS


def test_an_atomic_fragment_is_a_whole_packet() -> None:
    frame = frame_of(packet(6), MAC, part=Part(7, 0, more=False))
    assert (read(frame).packet, read(frame).fragment) == (packet(6), None)


def test_a_second_fragment_header_is_an_option() -> None:
    inner = struct.pack("!BBHI", ports.TCP, 0, 0, 9) + transport(packet(6))
    assert dissect(frame_of(packet(6, 44), MAC, part=Part(7, 0, more=False), body=inner)) is OPTIONS


@BOTH
def test_fragments_know_their_place(version: int) -> None:
    first, middle, last = (read(frame) for frame in parts_of(packet(version), MAC, 7))
    assert (first.kind, first.packet) == (Kind.OPENS, packet(version))
    assert (middle.kind, last.kind) == (Kind.LATER, Kind.LATER)
    parts = [each.fragment for each in (first, middle, last)]
    assert [(each.low, each.high) for each in parts if each is not None] == [(0, 3), (3, 5), (5, 9)]


@BOTH
@pytest.mark.parametrize(
    ("part", "length"),
    [(Part(7, 1, more=False), 0), (Part(7, 1, more=True), 9), (Part(7, 8191, more=False), 16), (Part(7, 0, True), 16)],
    ids=["empty", "not in units", "beyond the end", "tiny first"],
)
def test_fragments_that_cannot_be(version: int, part: Part, length: int) -> None:
    assert dissect(frame_of(packet(version), MAC, part=part, body=bytes([0, 80] * 32)[:length])) is FRAGMENT


@BOTH
def test_an_error_is_about_the_packet_it_quotes(version: int) -> None:
    unreachable = packet(version, *((ports.ICMP, 0x301) if version == 4 else (ports.ICMPV6, 0x100)), 0)
    about = Packet(unreachable.destination, unreachable.source, ports.TCP, 80, 40_000)
    found = read(frame_of(unreachable, MAC, quoted=about))
    assert (found.kind, found.quoted and found.quoted.packet) == (Kind.ERROR, about)
    others = replace(about, source=ip_address("10.9.9.9" if version == 4 else "fd5c::99"))
    assert read(frame_of(unreachable, MAC, quoted=others)).kind is Kind.ALONE
    body = transport(unreachable)[:8] + quotation(about)[:-1]
    assert read(frame_of(unreachable, MAC, body=body)).kind is Kind.ALONE
    torn = frame_of(unreachable, MAC, part=Part(7, 0, more=True), body=transport(unreachable, 0, quotation(about))[:32])
    assert dissect(torn) is FRAGMENT


@pytest.mark.parametrize("ethertype", [0x8100, 0x88A8, 0x88CC, 0x8847, 0])
def test_vlan_tags_and_other_ethertypes_are_unsupported(ethertype: int) -> None:
    assert dissect(ethernet(ip_of(packet(4), transport(packet(4))), ethertype, MAC)) is DropReason.UNSUPPORTED


def test_arp_tells_who_claims_what() -> None:
    claimed = MacAddress("02:00:00:00:00:09")
    found = dissect(arp_frame(MAC, 1, bytes([10, 0, 0, 16]), bytes([10, 0, 0, 1]), claimed))
    assert isinstance(found, Neighbour)
    assert (found.source_mac, found.sender, found.target) == (MAC, ip_address("10.0.0.16"), ip_address("10.0.0.1"))
    assert found.claims == {claimed}
    assert dissect(arp_frame(MAC, 1, bytes(4), bytes(4), MAC)[:-1]) is DropReason.NONE


def test_neighbour_discovery_tells_every_claim_and_none_when_it_comes_in_parts() -> None:
    asks = packet(6, ports.ICMPV6, 135 << 8)
    found = dissect(neighbour_frame(asks, MAC, ENDS[6][1].packed, MAC))
    assert isinstance(found, Neighbour)
    assert (found.target, found.claims, found.hop_limit) == (ENDS[6][1], frozenset({MAC}), 255)
    nonce = bytes([14, 1]) + bytes(6)
    lie = bytes([1, 1]) + bytes([2, 0, 0, 0, 0, 9])
    body = struct.pack("!HHI", 135 << 8, 0, 0) + ENDS[6][1].packed + nonce + lie
    hidden = dissect(frame_of(asks, MAC, body=body, hop_limit=255))
    assert isinstance(hidden, Neighbour)
    assert hidden.is_strange
    torn = dissect(frame_of(asks, MAC, body=body, part=Part(7, 0, more=False), hop_limit=255))
    assert isinstance(torn, Neighbour)
    assert torn.target is None

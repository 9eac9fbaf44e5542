"""A probe is a well-formed packet, known again wherever it arrives, and nothing else is taken for it."""

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade.agent.probe_frames import Probe, cannot_be_sent, frame_of, is_probe
from stockade.model.flow import Packet
from stockade.model.ports import ICMP, ICMPV6, TCP, UDP
from stockade.policy.dissect import dissect

OWN, ROUTER = bytes.fromhex("025c00000007"), bytes.fromhex("0e5c00000001")
ENDS = {4: ("10.0.0.1", "10.0.0.2"), 6: ("fd00::1", "fd00::2")}
NAMED = {4: (TCP, UDP, ICMP), 6: (TCP, UDP, ICMPV6)}
TOKENS = st.integers(0, 0xFFFFFFFF)


def packet(version: int, protocol: int, port: int) -> Packet:
    source, destination = map(ip_address, ENDS[version])
    return Packet(source, destination, protocol, port)


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    version = draw(st.sampled_from((4, 6)))
    protocol = draw(st.one_of(st.sampled_from(NAMED[version]), st.integers(0, 255)))
    port = draw(st.integers(0, 0xFFFF)) if protocol in NAMED[version] else 0
    return packet(version, protocol, port)


def sum_of(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(packets(), TOKENS)
def test_what_can_be_sent_is_read_as_the_packet_that_was_meant(asked: Packet, token: int) -> None:
    if cannot_be_sent(asked) is not None:
        return
    frame = frame_of(Probe(asked, token), OWN, ROUTER)
    read = dissect(frame)
    found = getattr(read, "packet", None)
    assert found is not None, read
    assert replace(found, source_port=0) == asked
    assert (frame[:6], frame[6:12]) == (ROUTER, OWN)


@given(packets(), TOKENS)
def test_checksums_are_right(asked: Packet, token: int) -> None:
    frame = frame_of(Probe(asked, token), OWN, ROUTER)
    header, upper = (20, frame[34:]) if asked.source.version == 4 else (40, frame[54:])
    if asked.source.version == 4:
        assert sum_of(frame[14 : 14 + header]) == 0xFFFF
    if asked.protocol not in NAMED[asked.source.version]:
        return
    pseudo = b""
    if asked.protocol != ICMP:
        length = len(upper).to_bytes(4, "big")
        pseudo = asked.source.packed + asked.destination.packed + length + asked.protocol.to_bytes(4, "big")
    assert sum_of(pseudo + upper) == 0xFFFF


@given(packets(), TOKENS, TOKENS)
def test_a_probe_is_known_again_translated_or_not_and_another_is_not(asked: Packet, token: int, other: int) -> None:
    sent = Probe(asked, token)
    moved = Probe(replace(asked, source=asked.destination, destination=asked.source), token)
    assert is_probe(frame_of(sent, OWN, ROUTER), sent)
    assert is_probe(frame_of(moved, ROUTER, OWN), sent)
    for length in range(54):
        is_probe(frame_of(sent, OWN, ROUTER)[:length], sent)  # whatever is cut off, it only says no
    # Of the token IPv6 has 20 bits beside the port's 14: all of them in every protocol but UDP over IPv4, which has 30.
    if (token ^ other) & 0xFFFF3FFF:
        assert not is_probe(frame_of(Probe(asked, other), OWN, ROUTER), sent) or asked.source.version == 6


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (packet(4, ICMP, 3 << 8 | 4), "an ICMP error"),
        (packet(6, ICMPV6, 2 << 8), "an ICMP error"),
        (packet(6, ICMPV6, 135 << 8), "neighbour"),
        (packet(6, 44, 0), "extension header"),
        (Packet(ip_address("10.0.0.1"), ip_address("fd00::2"), TCP, 80), "families"),
        (packet(4, ICMPV6, 0), None),
        (packet(6, ICMP, 0), None),
        (packet(6, ICMPV6, 128 << 8), None),
        (packet(4, ICMP, 8 << 8), None),
    ],
)
def test_what_tells_nothing_about_rules_is_not_sent(asked: Packet, told: str | None) -> None:
    why = cannot_be_sent(asked)
    assert (why is None) == (told is None)
    assert told is None or told in str(why)

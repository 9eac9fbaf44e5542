"""Frames by chance: packets as they should be, and as an attacker or a broken driver would send them."""

import struct
from dataclasses import replace
from ipaddress import ip_address
from random import Random

from scenarios.frames import ETHERTYPES, Part, arp_frame, ethernet, frame_of, neighbour_frame, parts_of, transport
from stockade.model import ports
from stockade.model.addresses import MacAddress
from stockade.model.flow import Packet
from stockade.model.host_view import ViewInterface

EXTENSIONS = (0, 43, 44, 60, 135, 139, 140, 59, 255)
FOREIGN_MAC = MacAddress("02:00:00:00:00:99")
FLAGS = (0x02, 0x12, 0x10, 0x10, 0x18, 0x11, 0x04, 0x00, 0x29)
L3 = 14


def mutated(random: Random, packet: Packet, mac: MacAddress) -> bytes:
    """The packet, broken in one or two ways."""
    frame = bytearray(frame_of(packet, mac, flags=random.choice(FLAGS)))
    for _ in range(random.choice((1, 1, 1, 2))):
        frame = random.choice(MUTATIONS)(random, frame)
    return bytes(frame)


def _flipped(random: Random, frame: bytearray) -> bytearray:
    for _ in range(random.choice((1, 1, 2, 4))):
        frame[random.randrange(min(len(frame), 70))] ^= 1 << random.randrange(8)
    return frame


def _truncated(random: Random, frame: bytearray) -> bytearray:
    return frame[: random.randint(L3 + 1, max(L3 + 1, len(frame) - 1))]


def _padded(random: Random, frame: bytearray) -> bytearray:
    return frame + bytes(random.randint(1, 30))


def _wrong_length(random: Random, frame: bytearray) -> bytearray:
    at = L3 + (4 if _version(frame) == 6 else 2)
    if len(frame) >= at + 2:
        length = int.from_bytes(frame[at : at + 2], "big")
        wrong = max(0, min(0xFFFF, length + random.choice((-60, -21, -20, -9, -8, -1, 1, 7, 100))))
        frame[at : at + 2] = wrong.to_bytes(2, "big")
    return frame


def _wrong_header(random: Random, frame: bytearray) -> bytearray:
    """Version and header length."""
    if len(frame) > L3:
        frame[L3] = random.choice((0x45, 0x46, 0x4F, 0x44, 0x40, 0x55, 0x65, 0x60, 0x00, 0xFF))
    return frame


def _with_options(random: Random, frame: bytearray) -> bytearray:
    """IPv4 options or an IPv6 extension header, right in every length."""
    if len(frame) < L3 + 40:
        return frame
    if _version(frame) == 4:
        words = random.randint(1, 10)
        frame[L3] = 0x45 + words
        total = min(0xFFFF, int.from_bytes(frame[L3 + 2 : L3 + 4], "big") + 4 * words)
        frame[L3 + 2 : L3 + 4] = total.to_bytes(2, "big")
        return frame[: L3 + 20] + bytes(4 * words) + frame[L3 + 20 :]
    header = struct.pack("!BBHI", frame[L3 + 6], 0, 0, random.randint(0, 9))
    length = min(0xFFFF, int.from_bytes(frame[L3 + 4 : L3 + 6], "big") + 8)
    frame[L3 + 4 : L3 + 6] = length.to_bytes(2, "big")
    frame[L3 + 6] = random.choice(EXTENSIONS)
    return frame[: L3 + 40] + header + frame[L3 + 40 :]


def _wrong_transport(random: Random, frame: bytearray) -> bytearray:
    """TCP's data offset, UDP's length."""
    start = L3 + (40 if _version(frame) == 6 else 20)
    if len(frame) > start + 12:
        frame[start + random.choice((4, 5, 12))] = random.choice((0, 1, 7, 8, 0x40, 0x50, 0x60, 0xF0, 0xFF))
    return frame


def _wrong_protocol(random: Random, frame: bytearray) -> bytearray:
    at = L3 + (6 if _version(frame) == 6 else 9)
    if len(frame) > at:
        frame[at] = random.choice((0, 1, 2, 4, 6, 17, 41, 44, 58, 59, 255))
    return frame


def _torn(random: Random, frame: bytearray) -> bytearray:
    """Fragment fields of IPv4: orphans, tiny firsts, parts that reach too far."""
    if _version(frame) == 4 and len(frame) >= L3 + 8:
        field = random.choice((0x2000, 0x2001, 1, 2, 0x1FFF, 0x3FFF, 0x4000, 0x8000))
        frame[L3 + 4 : L3 + 8] = struct.pack("!HH", random.randint(1000, 9000), field)
    return frame


def _wrong_ethertype(random: Random, frame: bytearray) -> bytearray:
    frame[12:14] = random.choice((0x8100, 0x88A8, 0x0806, 0x0800, 0x86DD, 0x8847, 0x0000)).to_bytes(2, "big")
    return frame


def _wrong_mac(random: Random, frame: bytearray) -> bytearray:
    frame[6 + random.randrange(6)] ^= 1 << random.randrange(8)
    return frame


MUTATIONS = (
    *(_flipped, _flipped, _truncated, _truncated, _padded, _wrong_length, _wrong_header, _with_options, _with_options),
    *(_wrong_transport, _wrong_protocol, _torn, _wrong_ethertype, _wrong_mac),
)


def _version(frame: bytearray) -> int:
    return 6 if frame[12:14] == ETHERTYPES[6].to_bytes(2, "big") else 4


def fragments(random: Random, packet: Packet, mac: MacAddress) -> list[bytes]:
    """A datagram in parts: in order, out of order, with one missing, doubled, overlapping, or a tiny first."""
    identification = random.randint(1, 0xFFFF)
    first, *later = parts_of(packet, mac, identification, flags=random.choice(FLAGS))
    match random.randrange(6):
        case 0:
            return [first, *later]
        case 1:
            return [first, *reversed(later)]
        case 2:
            return [later[0], first, later[1]]
        case 3:
            return [first, later[0], later[0], later[1]]
        case 4:
            body = transport(packet) + bytes(32)
            low = random.choice((1, 2))
            overlap = frame_of(packet, mac, part=Part(identification, low, more=True), body=body[: 8 * 3])
            return [first, overlap, *later]
        case _:
            tiny = frame_of(packet, mac, part=Part(identification, 0, more=True), body=transport(packet)[:8])
            return [tiny, *later]


def neighbour_talk(random: Random, own: ViewInterface) -> bytes:
    """ARP or neighbour discovery of an interface, true or not."""
    mac = own.mac if random.random() < 0.8 else FOREIGN_MAC
    claimed = own.mac if random.random() < 0.8 else FOREIGN_MAC
    fours = [each.packed for each in own.addresses if each.version == 4]
    sixes = [each for each in own.addresses if each.version == 6]
    if not sixes or random.random() < 0.5:
        own_four = random.choice(fours) if fours else bytes(4)
        sender = random.choice((own_four, own_four, own_four, bytes(4), bytes([10, 0, 0, 99])))
        target = random.choice((own_four, bytes([10, 0, 0, 77]), bytes([172, 31, 0, 1])))
        return arp_frame(mac, random.choice((1, 1, 1, 2)), sender, target, claimed)
    source = random.choice((*sixes * 3, ip_address("fe80::5c"), ip_address("::"), ip_address("2001:db8::bad")))
    target6 = random.choice((*sixes, ip_address("fe80::1"), ip_address("2001:db8::7"), ip_address("fe80::5c")))
    kind = random.choice((135, 135, 135, 136, 136, 133, 134, 137))
    packet = Packet(source, ip_address("ff02::1"), ports.ICMPV6, kind << 8)
    option = claimed if random.random() < 0.7 else None
    frame = neighbour_frame(packet, mac, target6.packed, option, random.choice((255, 255, 255, 64)))
    return frame if random.random() < 0.9 else frame[: random.randint(L3 + 40, len(frame))]


def forged(random: Random, packet: Packet, mac: MacAddress) -> bytes:
    """Router messages, DHCP answers."""
    if packet.source.version == 6 and random.random() < 0.5:
        said = replace(packet, protocol=ports.ICMPV6, port=random.choice((134, 137)) << 8)
        return frame_of(said, mac, body=struct.pack("!HHI", said.port, 0, 0) + bytes(8), hop_limit=255)
    server = random.choice((67, 547))
    return frame_of(replace(packet, protocol=ports.UDP, port=server + 1, source_port=server), mac)


def other_ethertype(random: Random, mac: MacAddress) -> bytes:
    return ethernet(bytes(random.randint(1, 60)), random.choice((0x8100, 0x0806, 0x88CC, 0x0800, 0x86DD)), mac)

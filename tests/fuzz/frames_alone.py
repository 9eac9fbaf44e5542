"""Frames without a world: one interface that may send to nobody, so that every frame that is a packet says so.

What was read shows in the verdict: the reason a frame is no packet, or the packet that a closed gate refused.
"""

from pathlib import Path
from random import Random

from scenarios.random_frames import forged, fragments, mutated, neighbour_talk, other_ethertype
from scenarios.random_worlds import random_packet
from scenarios.worlds import group, instance, interface_id, view, world
from stockade.model.addresses import mac_of
from stockade.model.host_view import HostView

CORPUS = Path(__file__).parent / "corpus"
WORLD = world(group("mute", egress=[]), instance("mute", source_dest_check=False))
MUTE = interface_id(WORLD, "mute")
MAC = mac_of(1)


def alone() -> HostView:
    """The view of the one host with the one interface, which may call itself what it likes."""
    return view(WORLD)


def frames_of_corpus() -> list[bytes]:
    lines = (CORPUS / "frames.txt").read_text(encoding="utf-8").splitlines()
    return [bytes.fromhex(line.split("  ")[0]) for line in lines if line]


def worlds_of_corpus() -> list[tuple[int, int]]:
    lines = (CORPUS / "worlds.txt").read_text(encoding="utf-8").splitlines()
    return [(int(seed), int(number)) for seed, number, *_ in (line.split() for line in lines if line)]


def random_frames(random: Random, seen: HostView) -> list[bytes]:
    """A frame, or the parts of one datagram."""
    packet, _ = random_packet(random, seen)
    chance = random.random()
    if chance < 0.75:
        return [mutated(random, packet, MAC)]
    if chance < 0.85:
        return fragments(random, packet, MAC)
    if chance < 0.90:
        return [neighbour_talk(random, seen.interfaces[MUTE])]
    if chance < 0.93:
        return [forged(random, packet, MAC)]
    if chance < 0.95:
        return [other_ethertype(random, MAC)]
    start = bytes.fromhex("0e5c00000001") + bytes.fromhex(MAC.replace(":", ""))
    ethertype = random.choice((b"\x08\x00", b"\x86\xdd", b"\x08\x06"))
    first = random.choice((b"\x45", b"\x60", b""))
    return [start + ethertype + first + random.randbytes(random.randint(1, 90))]

"""Traffic of a world by chance, judged by the oracle as it is made: first packets, packets of flows, broken ones.

A world is a history of views. What flows a packet may belong to is known only to who judged those before it, so
the oracle plays along; the steps it leaves are then played to every other engine.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import TypeAlias

from scenarios.frames import frame_of
from scenarios.random_frames import FLAGS, forged, fragments, mutated, neighbour_talk, other_ethertype
from scenarios.random_worlds import random_frame, random_packet, random_view
from stockade.model import ports
from stockade.model.addresses import MacAddress
from stockade.model.flow import Packet, Verdict
from stockade.model.host_view import HostView, apply_frame
from stockade.model.ids import NetworkInterfaceId
from stockade.policy.dissect import ERRORS, QUERIES
from stockade.policy.flows import judge_frame
from stockade.policy.memory import Flow, Memory, advance, ends_of

OUTSIDE_MAC = MacAddress("02:00:00:00:00:01")
STRANGE_MAC = MacAddress("02:00:00:00:00:02")
MARGIN_S = 2.0
WAITS = (3.3, 7.7, 21.3, 33.7, 47.1, 65.9, 131.3, 191.7, 611.9)
MALFORMED, LATER, FIRST = "malformed", "later", "first"


@dataclass(frozen=True, slots=True)
class Sent:
    """A frame, who sends it (None: outside), what sort of frame it was made as, and what the rules say of it."""

    frame: bytes
    sender: NetworkInterfaceId | None
    sort: str
    packet: Packet | None
    told: Verdict


@dataclass(frozen=True, slots=True)
class Wait:
    """Time passes."""

    seconds: float


Step: TypeAlias = Sent | Wait


class World:
    """One history, and the oracle's memory of what was sent in it."""

    def __init__(self, random: Random, views: int) -> None:
        self._random = random
        self._views = views
        self._memory = Memory()
        self._now = 0.0

    def stages(self, frames: int) -> Iterator[tuple[HostView, list[Step]]]:
        """Each view with so many frames sent in it."""
        view = random_view(self._random)
        for number in range(self._views):
            if number:
                view = apply_frame(view, random_frame(self._random, view))
            self._memory = advance(self._memory, view)
            yield view, list(self._steps(view, frames))

    def _steps(self, view: HostView, frames: int) -> Iterator[Step]:
        sent = 0
        while sent < frames:
            if self._random.random() < 0.02:
                wait = self._wait()
                if wait is not None:
                    yield wait
                continue
            for frame, sender, sort, packet in self._frames(view):
                verdict, self._memory = judge_frame(view, self._memory, self._now, frame, sender)
                yield Sent(frame, sender, sort, packet, verdict)
                sent += 1

    def _wait(self) -> Wait | None:
        """A while after which no two clocks differ about whether a flow is still remembered."""
        seconds = self._random.choice(WAITS)
        then = self._now + seconds
        ends = [flow.until for flow in self._memory.flows.values()]
        ends += [datagram.until for datagram in self._memory.datagrams.values()]
        if any(abs(end - then) < MARGIN_S for end in ends):
            return None
        self._now = then
        return Wait(seconds)

    def _frames(self, view: HostView) -> list[tuple[bytes, NetworkInterfaceId | None, str, Packet | None]]:
        """One frame, or several that belong together."""
        random, chance = self._random, self._random.random()
        if chance < 0.60:
            later = self._later(view)
            if later is not None:
                return [(*later, LATER, None)]
        packet, sender = random_packet(random, view)
        mac = OUTSIDE_MAC if sender is None else view.interfaces[sender].mac
        if chance < 0.86:
            flags = FLAGS[0] if random.random() < 0.85 else random.choice(FLAGS)
            return [(frame_of(packet, mac, flags=flags), sender, FIRST, packet)]
        if chance < 0.885:
            frames = fragments(random, packet, mac)
        elif chance < 0.915 and sender is not None:
            frames = [neighbour_talk(random, view.interfaces[sender])]
        elif chance < 0.925 and sender is not None:
            frames = [forged(random, packet, mac)]
        elif chance < 0.935 and sender is not None:
            frames = [other_ethertype(random, mac)]
        else:
            frames = [mutated(random, self._some_packet(view, packet, sender), mac)]
        return [(frame, sender, MALFORMED, None) for frame in frames]

    def _some_packet(self, view: HostView, packet: Packet, sender: NetworkInterfaceId | None) -> Packet:
        """A packet to break: of a flow of this sender if there is one."""
        flows = [flow for flow in self._memory.flows.values() if flow.responder.interface == sender]
        return _reply(self._random.choice(flows)) if flows and self._random.random() < 0.5 else packet

    # ── packets of flows ──────────────────────────────────────────────────────────────────────────────

    def _later(self, view: HostView) -> tuple[bytes, NetworkInterfaceId | None] | None:
        """A packet of a flow that is, was, or is pretended to be: of either end, or an error about it."""
        random = self._random
        flows = list(self._memory.flows.values())
        if not flows:
            return None
        flow = random.choice(flows[-12:])
        initiator = None if flow.initiator is None else flow.initiator.interface
        by_initiator = random.random() < 0.4
        packet = flow.written if by_initiator else _reply(flow)
        sender = initiator if by_initiator else flow.responder.interface
        if random.random() < 0.03 and view.interfaces:
            sender = random.choice(sorted(view.interfaces.keys() - set(ends_of(flow))) or [None])  # a stranger pretends
        if sender is not None and sender not in view.interfaces:
            return None
        mac = OUTSIDE_MAC if sender is None else view.interfaces[sender].mac
        if random.random() < 0.15:
            return self._error(flow, packet, by_initiator, mac), sender
        flags = random.choice(FLAGS[1:5]) if random.random() < 0.9 else random.choice(FLAGS)
        return frame_of(packet, mac, flags=flags), sender

    def _error(self, flow: Flow, packet: Packet, by_initiator: bool, mac: MacAddress) -> bytes:
        """Its receiver, or from outside any router, complains about a packet of the flow."""
        random, version = self._random, packet.source.version
        quoted = _turned(packet)
        source = packet.source
        if by_initiator and flow.initiator is None and random.random() < 0.3:
            source = type(source)(int(source) ^ 3)
        kind = random.choice(sorted(ERRORS[version]))
        protocol = ports.ICMP if version == 4 else ports.ICMPV6
        error = Packet(source, packet.destination, protocol, kind << 8 | random.choice((0, 1, 4)))
        if random.random() < 0.1:
            quoted = replace(quoted, port=quoted.port ^ 1)
        return frame_of(error, mac, quoted=quoted)


def _reply(flow: Flow) -> Packet:
    """What the responder answers."""
    seen = flow.seen
    if flow.query is None:
        return Packet(seen.destination, seen.source, seen.protocol, seen.source_port, seen.port)
    reply = QUERIES[seen.source.version][flow.query] << 8
    return Packet(seen.destination, seen.source, seen.protocol, reply, seen.source_port)


def _turned(packet: Packet) -> Packet:
    """The packet that this one would answer."""
    queries = QUERIES[packet.source.version]
    if packet.protocol == (ports.ICMP if packet.source.version == 4 else ports.ICMPV6):
        kind = packet.port >> 8
        answers = queries | {reply: query for query, reply in queries.items()}
        other = answers.get(kind, kind) << 8
        return Packet(packet.destination, packet.source, packet.protocol, other, packet.source_port)
    return Packet(packet.destination, packet.source, packet.protocol, packet.source_port, packet.port)

"""Real packets sent to see what becomes of them, beside what the rules say should."""

from dataclasses import dataclass
from enum import Enum

from stockade.model.flow import Packet
from stockade.model.ids import NetworkInterfaceId

MOST_PROBES = 64
"""Packets of one request: enough for every stretch of a question, too few to disturb anybody."""


@dataclass(frozen=True, slots=True)
class ProbePacket:
    """One packet to send. `sender` None: it comes from outside, as if a router had forwarded it to this host."""

    packet: Packet
    sender: NetworkInterfaceId | None
    receiver: NetworkInterfaceId


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """Packets to send at once. `number` tells the answer to this request from others."""

    number: int
    packets: tuple[ProbePacket, ...]


class ProbeOutcome(Enum):
    """What became of a packet. UNTRIED: it could not be sent, or nobody could have seen it arrive."""

    ARRIVED = "arrived"
    LOST = "lost"
    UNTRIED = "untried"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """`why` says in a sentence what kept a packet from being tried."""

    outcome: ProbeOutcome
    why: str | None = None


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """One result for each packet of the request, in its order."""

    number: int
    results: tuple[ProbeResult, ...]


def untried(request: ProbeRequest, why: str) -> ProbeAnswer:
    """No packet of it was sent, all for the same reason."""
    return ProbeAnswer(request.number, tuple(ProbeResult(ProbeOutcome.UNTRIED, why) for _ in request.packets))

"""The language of stories: a world, flows through it, and changes while they live.

    Story("revoked while it lives", [
        Is(pair(["tcp/80 from client"])),
        Opens("a", "tcp/80"), Answers("a"),
        Is(pair([])),
        Goes("a"), Opens("b", "tcp/80", NO_IN),
    ])

Two instances, "client" and "server", and flows from one to the other. Every step says what must become of its
packet: it passes where nothing else is said. A story is told over IPv4 and over IPv6, at every level of the tests.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from scenarios.frames import ACK, SYN, Part, frame_of, parts_of
from scenarios.worlds import (
    OPEN,
    PASS,
    Guest,
    World,
    address6,
    group,
    instance,
    interface_id,
    parse_packet,
    private_address,
    view,
    world,
)
from stockade.model import ports
from stockade.model.addresses import mac_of
from stockade.model.flow import DropReason, Packet
from stockade.model.host_view import HostView
from stockade.model.ids import NetworkInterfaceId
from stockade.model.tracking import ConnectionTracking
from stockade.policy.dissect import QUERIES

CLIENT, SERVER = "client", "server"


@dataclass(frozen=True, slots=True)
class Is:
    """From now on the world is this."""

    world: World


@dataclass(frozen=True, slots=True)
class Cuts:
    """Every flow of this instance is to be judged anew."""

    name: str


@dataclass(frozen=True, slots=True)
class Waits:
    seconds: float


@dataclass(frozen=True, slots=True)
class Opens:
    """The first packet of a flow, from the client. `flags`: TCP's, where it is not a SYN."""

    flow: str
    traffic: str
    expected: DropReason = PASS
    flags: int = SYN


@dataclass(frozen=True, slots=True)
class Goes:
    """The client's next packet."""

    flow: str
    expected: DropReason = PASS
    flags: int = ACK


@dataclass(frozen=True, slots=True)
class Answers:
    """The server's next packet."""

    flow: str
    expected: DropReason = PASS
    flags: int = ACK


@dataclass(frozen=True, slots=True)
class Complains:
    """An ICMP error of the client about a packet of the server in this flow: unreachable, or of another type."""

    flow: str
    expected: DropReason = PASS
    kind: int | None = None


@dataclass(frozen=True, slots=True)
class Pieces:
    """A datagram of the client in three fragments, sent in this order; a piece may come twice, or `overlap`."""

    flow: str
    traffic: str
    order: tuple[int | str, ...]
    expected: tuple[DropReason, ...]


@dataclass(frozen=True, slots=True)
class Remembers:
    """From now on this instance remembers idle flows so long."""

    name: str
    timers: ConnectionTracking


Told: TypeAlias = Is | Cuts | Remembers | Waits | Opens | Goes | Answers | Complains | Pieces


@dataclass(frozen=True, slots=True)
class Story:
    name: str
    steps: tuple[Told, ...]


def story(name: str, steps: Iterable[Told]) -> Story:
    return Story(name, tuple(steps))


def pair(
    ingress: Iterable[str],
    egress: Iterable[str] = OPEN,
    *,
    client: Iterable[str] = OPEN,
    client_groups: tuple[str, ...] = (CLIENT,),
    server_groups: tuple[str, ...] = (SERVER,),
    others: Iterable[str] = (),
) -> World:
    """A client that may call anybody and a server with these rules; `others`: ingress of the group "other"."""
    return world(
        group(CLIENT, ingress=[], egress=client),
        group(SERVER, ingress=ingress, egress=egress),
        group("other", ingress=others, egress=[]),
        Guest(CLIENT, client_groups, ipv6=True),
        Guest(SERVER, server_groups, ipv6=True),
        instance("witness", "other", ipv6=True),
    )


@dataclass(frozen=True, slots=True)
class Packets:
    """A packet of a story: its frame, who sends it, what must become of it."""

    frame: bytes
    sender: NetworkInterfaceId
    expected: DropReason
    step: Told


Happens: TypeAlias = HostView | Waits | Packets


def happens(told: Story, version: int) -> Iterator[Happens]:
    """The story as views, pauses and frames."""
    seen: HostView | None = None
    of: World | None = None
    cuts: dict[str, int] = {}
    timers: dict[str, ConnectionTracking] = {}
    flows: dict[str, Packet] = {}
    for step in told.steps:
        match step:
            case Is() | Cuts() | Remembers():
                if isinstance(step, Is):
                    of = step.world
                elif isinstance(step, Cuts):
                    cuts[step.name] = cuts.get(step.name, 0) + 1
                else:
                    timers[step.name] = step.timers
                assert of is not None, "a story begins with a world"
                seen = view(of)
                interfaces = dict(seen.interfaces)
                for name, count in cuts.items():
                    own = interface_id(of, name)
                    interfaces[own] = replace(interfaces[own], cuts=count)
                for name, kept in timers.items():
                    own = interface_id(of, name)
                    interfaces[own] = replace(interfaces[own], tracking=kept)
                yield replace(seen, interfaces=interfaces)
            case Waits():
                yield step
            case Pieces():
                assert of is not None, "a story begins with a world"
                yield from _pieces(step, of, flows, version)
            case _:
                assert of is not None, "a story begins with a world"
                yield _packet(step, of, flows, version)


def _packet(step: Opens | Goes | Answers | Complains, of: World, flows: dict[str, Packet], version: int) -> Packets:
    own = address6 if version == 6 else private_address
    if isinstance(step, Opens):
        first = parse_packet(_in_family(step.traffic, version), own(of, CLIENT), own(of, SERVER))
        flows[step.flow] = replace(first, source_port=40_000 + len(flows) if first.protocol not in (47,) else 0)
    first = flows[step.flow]
    sender = SERVER if isinstance(step, Answers) else CLIENT
    mac = mac_of(1 if sender == CLIENT else 2)
    back = _answer(first)
    if isinstance(step, Complains):
        icmp, unreachable = (ports.ICMP, 3) if version == 4 else (ports.ICMPV6, 1)
        kind = unreachable if step.kind is None else step.kind
        error = Packet(first.source, first.destination, icmp, kind << 8 | (1 if version == 4 else 0))
        frame = frame_of(error, mac, quoted=back)
    else:
        frame = frame_of(back if isinstance(step, Answers) else first, mac, flags=step.flags)
    return Packets(frame, interface_id(of, sender), step.expected, step)


def _pieces(step: Pieces, of: World, flows: dict[str, Packet], version: int) -> Iterator[Packets]:
    own = address6 if version == 6 else private_address
    packet = replace(parse_packet(step.traffic, own(of, CLIENT), own(of, SERVER)), source_port=41_000 + len(flows))
    flows[step.flow] = packet
    mac, identification = mac_of(1), 700 + len(flows)
    pieces: list[bytes] = parts_of(packet, mac, identification)
    overlap = frame_of(packet, mac, part=Part(identification, 2, more=True), body=bytes(16))
    for place, expected in zip(step.order, step.expected, strict=True):
        frame = overlap if place == "overlap" else pieces[int(place)]
        yield Packets(frame, interface_id(of, CLIENT), expected, step)


def _in_family(traffic: str, version: int) -> str:
    """`ping` is an echo request of either family."""
    return traffic.replace("ping", "icmp/8:0" if version == 4 else "icmpv6/128:0")


def _answer(first: Packet) -> Packet:
    if first.protocol in ports.TYPED:
        reply = QUERIES[first.source.version][first.port >> 8] << 8
        return Packet(first.destination, first.source, first.protocol, reply, first.source_port)
    return Packet(first.destination, first.source, first.protocol, first.source_port, first.port)

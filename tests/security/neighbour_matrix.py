"""Every IPv6 neighbour and router message that an instance can make up, and which of them are honest."""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from netns.frames import IPV6, ROUTER, ethernet, icmp, ip, mac
from scenarios.worlds import group, instance, world
from security.wire import Wire

OPEN = group("open", ingress=["all from 0.0.0.0/0", "all from ::/0"], egress=["all to 0.0.0.0/0", "all to ::/0"])
WORLD = world(OPEN, instance("attacker", "open"), instance("victim", "open"))
SOLICIT_ROUTER, ADVERTISE_ROUTER, SOLICIT, ADVERTISE, REDIRECT = range(133, 138)
LINK_LOCAL = "fe80::5c:ff:fe00:1"


@dataclass(frozen=True, slots=True)
class Message:
    kind: int
    source: str
    target: str | None
    claim: str | None  # link-layer address in its option
    hops: int = 255

    def frame(self, source_mac: str) -> bytes:
        rest = bytes(4)
        if self.kind == ADVERTISE_ROUTER:
            rest = struct.pack("!BBHII", 64, 0, 1800, 0, 0)
        if self.target is not None:
            rest += socket.inet_pton(socket.AF_INET6, self.target)
            rest += socket.inet_pton(socket.AF_INET6, self.target) if self.kind == REDIRECT else b""
        if self.claim is not None:
            rest += bytes([2 if self.kind == ADVERTISE else 1, 1]) + mac(self.claim)
        to = "ff02::1"
        body = icmp(self.source, to, self.kind, 0, rest)
        return ethernet(source_mac, ROUTER, IPV6, ip(self.source, to, 58, body, hops=self.hops))


def messages(wire: Wire, kinds: tuple[int, ...]) -> Iterator[Message]:
    """Every source with every target, claim and hop limit."""
    me, other = wire.face("attacker"), wire.face("victim")
    foreign = "fd00:1::9999"
    for kind in kinds:
        targeted = kind in (SOLICIT, ADVERTISE, REDIRECT)
        for source in (str(me.six), str(other.six), "fe80::1", LINK_LOCAL, "::", foreign):
            for target in (str(me.six), str(other.six), "fe80::1", LINK_LOCAL, foreign) if targeted else (None,):
                for claim in (None, me.mac, other.mac, ROUTER):
                    for hops in (255, 64):
                        yield Message(kind, source, target, claim, hops)


def is_honest(wire: Wire, said: Message) -> bool:
    """What RFC 4861 lets a host say of itself alone; link-local addresses mean nothing beyond the link."""
    me = wire.face("attacker")

    def is_mine(address: str | None) -> bool:
        return address is not None and (address == str(me.six) or address.startswith("fe80:"))

    if said.kind == SOLICIT_ROUTER:
        return True  # heard by nobody
    if said.kind not in (SOLICIT, ADVERTISE) or said.hops != 255 or said.claim not in (None, me.mac):
        return False
    about = said.kind == SOLICIT or is_mine(said.target)
    return about and (said.source == "::" or is_mine(said.source))

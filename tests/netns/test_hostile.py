"""What an instance's root may try against its neighbours, with real instances: none of it reaches one.

The attacker is root over its own network, as in every instance. One neighbour lets everything in, so that nothing
but the host's own care keeps forgeries from it; the other lets in one port.
"""

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from netns import frames
from netns.frames import ROUTER, arp, ethernet, fragment6, icmp, ip, tcp, udp
from netns.quarter import Neighbour, Quarter, arrivals
from stockade.linux import links
from stockade.linux.netlink import Netlink
from stockade.model.flow import DropReason
from stockade.model.instance import Observed

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

EVERYTHING = ("in all 0.0.0.0/0", "out all 0.0.0.0/0", "in all ::/0", "out all ::/0")
MARK = 7777
OUTPUT = "{ type filter hook output priority 0; }"
FOREIGN = "02:00:00:00:00:99"


@dataclass
class Street:
    quarter: Quarter
    attacker: Neighbour
    open: Neighbour
    shut: Neighbour

    def assault(self, *sent: bytes) -> tuple[list[bytes], list[bytes]]:
        """Send these frames, then an honest datagram; what the open neighbour got before it, and what the shut one."""
        sniffers = [self.open.raw(), self.shut.raw()]
        sender = self.attacker.raw()
        for frame in sent:
            with contextlib.suppress(OSError):  # too long for its own device, and no loss
                sender.send(frame)
        last = self.honest()
        sender.send(last)
        got: tuple[list[bytes], list[bytes]] = ([], [])
        for sniffer, seen in zip(sniffers, got, strict=True):
            seen.extend(each for each in arrivals(sniffer) if each[12:] != last[12:])
            sniffer.close()
        sender.close()
        return got

    def honest(self) -> bytes:
        me, to = self.attacker.addresses[4], self.open.addresses[4]
        return self.attacker.frame(self.open, ip(me, to, frames.UDP, udp(me, to, MARK, MARK, b"honest")))

    def others_talk(self) -> bool:
        listening = self.open.listen(4, 2222)
        with self.shut.connect(self.open, 4, 2222) as asking, listening.accept()[0] as answering:
            asking.sendall(b"well?")
            listening.close()
            return answering.recv(16) == b"well?"

    def know_the_way(self) -> None:
        """The attacker's own kernel has nothing to ask, so that what is sent is sent at once."""
        for one in (self.open, self.shut):
            self.attacker.run("ip", "neigh", "replace", one.addresses[4], "lladdr", ROUTER, "dev", "eth0")


@pytest.fixture(scope="module", params=["namespace", "container"])
def street(request: pytest.FixtureRequest) -> Iterator[Street]:
    with Quarter(request.param) as quarter:
        quarter.group("open", *EVERYTHING)
        quarter.group("shut", "in tcp/2222 0.0.0.0/0", "in tcp/2222 ::/0", "out all 0.0.0.0/0", "out all ::/0")
        made = Street(
            quarter, quarter.launch("attacker", "open"), quarter.launch("open", "open"), quarter.launch("shut", "shut")
        )
        made.open.open(4, socket.SOCK_DGRAM, MARK)  # somebody is there, so no error goes back
        for one in (made.attacker, made.open, made.shut):  # a container's boot asks for its metadata again and again
            silent = "add rule ip silent out ip daddr 169.254.0.0/16 drop"
            one.run("nft", f"add table ip silent; add chain ip silent out {OUTPUT}; {silent}")
        for one in (made.open, made.shut):
            sniffer = one.raw()
            sniffer.settimeout(1.5)  # what was under way may have waited for a neighbour's answer
            for _ in arrivals(sniffer):
                pass
            sniffer.close()
        yield made


def test_the_honest_datagram_arrives_or_the_tests_below_show_nothing(street: Street) -> None:
    sniffer = street.open.raw()
    sender = street.attacker.raw()
    sender.send(street.honest())
    assert [each[42:] for each in arrivals(sniffer)] == [b"honest"]


# ── forged senders and answers ────────────────────────────────────────────────────────────────────────


def forged_datagrams(s: Street) -> Iterator[bytes]:
    """In the neighbour's name, by MAC or address, to the router, to it directly and to all."""
    for version in (4, 6):
        me, shut, to = (one.addresses[version] for one in (s.attacker, s.shut, s.open))
        kind = frames.kind_of(version)
        mine, foreign = ip(me, to, 17, udp(me, to, 1, 2)), ip(shut, to, 17, udp(shut, to, 1, 2))
        for destination in (ROUTER, s.open.mac, frames.BROADCAST, "33:33:00:00:00:01"):
            yield ethernet(s.shut.mac, destination, kind, mine)
            yield ethernet(s.shut.mac, destination, kind, foreign)
            yield ethernet(FOREIGN, destination, kind, mine)
            yield ethernet(ROUTER, destination, kind, mine)
            yield ethernet(s.attacker.mac, destination, kind, foreign)


def forged_sources(s: Street) -> Iterator[bytes]:
    """Nobody's addresses, the services', and those of groups of many."""
    to = s.open.addresses[4]
    for source in (
        "0.0.0.0",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "169.254.169.254",
        "169.254.9.9",
        "10.0.0.77",
    ):
        yield s.attacker.frame(s.open, ip(source, to, 17, udp(source, to, 53, 53)))
    to = s.open.addresses[6]
    for source in (
        "::",
        "::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "fe80::1",
        "fd00:ec2::254",
        "fd00:ec2::253",
        "fd00:1::77",
    ):
        yield s.attacker.frame(s.open, ip(source, to, 17, udp(source, to, 53, 53)), 6)


def to_many(s: Street) -> Iterator[bytes]:
    me, me6 = s.attacker.addresses[4], s.attacker.addresses[6]
    for to, destination in (("224.0.0.251", "01:00:5e:00:00:fb"), ("255.255.255.255", frames.BROADCAST)):
        yield ethernet(s.attacker.mac, destination, frames.IPV4, ip(me, to, 17, udp(me, to, 5353, 5353)))
    for to in ("ff02::1", "ff02::fb", "ff05::1:3"):
        body = ip(me6, to, 17, udp(me6, to, 5353, 5353))
        yield ethernet(s.attacker.mac, "33:33:00:00:00:01", frames.IPV6, body)


def neighbour_claims(s: Street) -> Iterator[bytes]:
    """ARP and neighbour advertisements that say: the neighbour's address, the router's, is me."""
    me, shut = s.attacker, s.shut
    for said in (shut.addresses[4], "10.0.0.254", "0.0.0.0"):
        for operation in (1, 2):
            for destination in (frames.BROADCAST, s.open.mac):
                yield ethernet(me.mac, destination, frames.ARP, arp(me.mac, said, s.open.addresses[4], operation))
    yield ethernet(me.mac, frames.BROADCAST, frames.ARP, arp(shut.mac, shut.addresses[4], s.open.addresses[4], 2))
    yield ethernet(me.mac, frames.BROADCAST, frames.ARP, arp(me.mac, me.addresses[4], me.addresses[4], 1))
    for target in (shut.addresses[6], "fe80::1", me.addresses[6]):
        said = b"\x60\0\0\0" + socket.inet_pton(socket.AF_INET6, target) + b"\2\1" + frames.mac(me.mac)
        for to, destination in ((s.open.addresses[6], s.open.mac), ("ff02::1", "33:33:00:00:00:01")):
            for source in (me.addresses[6], shut.addresses[6], "fe80::1"):
                body = ip(source, to, 58, icmp(source, to, 136, 0, said), hops=255)
                yield ethernet(me.mac, destination, frames.IPV6, body)


def dhcp_servers(s: Street) -> Iterator[bytes]:
    me, me6 = s.attacker.addresses[4], s.attacker.addresses[6]
    offer = bytes([2, 1, 6, 0]) + bytes(232) + b"\x63\x82\x53\x63\x35\x01\x02\xff"
    for to, destination in ((s.open.addresses[4], s.open.mac), ("255.255.255.255", frames.BROADCAST)):
        for port in (68, 9999):
            yield ethernet(s.attacker.mac, destination, frames.IPV4, ip(me, to, 17, udp(me, to, 67, port, offer)))
    for to in (s.open.addresses[6], "ff02::1:2"):
        yield ethernet(s.attacker.mac, ROUTER, frames.IPV6, ip(me6, to, 17, udp(me6, to, 547, 546, bytes(40))))


def routers(s: Street) -> Iterator[bytes]:
    """Router advertisements and redirects, of both families, in my name, the router's and a link-local one."""
    prefix = b"\3\4\x40\xc0" + b"\0\0\x10\0" * 2 + bytes(4) + socket.inet_pton(socket.AF_INET6, "fd66::")
    says = struct.pack("!BBHII", 64, 0, 1800, 0, 0) + prefix + b"\1\1" + frames.mac(s.attacker.mac)
    for source in (s.attacker.addresses[6], "fe80::1", "fe80::5c:ff:fe00:1"):
        for to, destination in (("ff02::1", "33:33:00:00:00:01"), (s.open.addresses[6], ROUTER)):
            body = ip(source, to, 58, icmp(source, to, 134, 0, says), hops=255)
            yield ethernet(s.attacker.mac, destination, frames.IPV6, body)
            turn = bytes(4) + 2 * socket.inet_pton(socket.AF_INET6, "fd00:1::3")
            body = ip(source, to, 58, icmp(source, to, 137, 0, turn), hops=255)
            yield ethernet(s.attacker.mac, destination, frames.IPV6, body)
    me, to4 = s.attacker.addresses[4], s.open.addresses[4]
    quoted = ip(to4, me, 17, udp(to4, me, MARK, MARK))[:28]
    body = icmp(me, to4, 5, 1, socket.inet_aton(me) + quoted)
    yield s.attacker.frame(s.open, ip(me, to4, 1, body))


# ── forms that nobody needs ───────────────────────────────────────────────────────────────────────────


def tagged(s: Street) -> Iterator[bytes]:
    for version in (4, 6):
        me, to = s.attacker.addresses[version], s.open.addresses[version]
        kind = frames.kind_of(version)
        inner = struct.pack("!H", kind) + ip(me, to, 17, udp(me, to, 1, 2))
        for outer in (frames.VLAN, 0x88A8, 0x9100):
            for number in (0, 1, 4094):
                yield ethernet(s.attacker.mac, ROUTER, outer, struct.pack("!H", number) + inner)
                twice = struct.pack("!HHH", number, frames.VLAN, 5) + inner
                yield ethernet(s.attacker.mac, s.open.mac, outer, twice)


def odd_ethertypes(s: Street) -> Iterator[bytes]:
    me, to = s.attacker.addresses[4], s.open.addresses[4]
    for kind in (0x0001, 0x05DC, 0x0842, 0x22F0, 0x8035, 0x8847, 0x8863, 0x8864, 0x888E, 0x88CC, 0x88E5, 0xFFFF):
        for destination in (ROUTER, s.open.mac, frames.BROADCAST, "01:80:c2:00:00:0e"):
            yield ethernet(s.attacker.mac, destination, kind, ip(me, to, 17, udp(me, to, 1, 2)))


def with_options(s: Street) -> Iterator[bytes]:
    """IP options, IPv6 extension headers: source routes, router alerts, padding, and headers behind headers."""
    me, to = s.attacker.addresses[4], s.open.addresses[4]
    loose = b"\x83\x07\x04" + socket.inet_aton(s.shut.addresses[4]) + b"\0"
    for options in (
        b"\x94\4\0\0",
        b"\1\1\1\1",
        b"\0\0\0\0",
        loose,
        b"\x07\x07\x04" + bytes(5),
        b"\x44\x0c\5\0" + bytes(36),
    ):
        yield s.attacker.frame(s.open, ip(me, to, 17, udp(me, to, 1, 2), options=options))
    me, to = s.attacker.addresses[6], s.open.addresses[6]
    padding = b"\1\4\0\0\0\0"
    for header in (0, 43, 60, 135, 139, 140):
        yield s.attacker.frame(s.open, ip(me, to, header, b"\x11\0" + padding + udp(me, to, 1, 2)), 6)
        yield s.attacker.frame(s.open, fragment6(me, to, header, b"\x11\0" + padding + udp(me, to, 1, 2), 0, False), 6)
    yield s.attacker.frame(s.open, fragment6(me, to, 44, struct.pack("!BBHI", 17, 0, 0, 1) + bytes(8), 0, False), 6)


def bad_fragments(s: Street) -> Iterator[bytes]:
    """Without a first; too short for the header; beyond the longest packet; not of eight; overlapping."""
    more = 0x2000
    number = 100
    me, to = s.attacker.addresses[4], s.open.addresses[4]

    def fragment(body: bytes, flags: int, protocol: int = 17, same: bool = False) -> bytes:
        nonlocal number
        number += not same
        return s.attacker.frame(s.open, ip(me, to, protocol, body, fragment=flags, identification=number))

    whole = udp(me, to, 1, 2, bytes(56))
    yield fragment(whole[8:16], 1)  # no first
    yield fragment(whole[8:16], 1 | more)
    yield fragment(tcp(me, to, 1, 2222)[:8], more, 6)  # ports, but no flags
    yield fragment(tcp(me, to, 1, 2222)[8:], 1, 6, same=True)
    yield fragment(tcp(me, to, 1, 2222)[:16], more, 6)
    yield fragment(b"", more)
    yield fragment(whole[:13], more)  # not a multiple of eight
    yield fragment(bytes(40), 0x1FFF)  # ends beyond 65,535
    yield fragment(icmp(me, to, 3, 1, bytes(4) + bytes(24)), more, 1)  # an error in pieces
    me, to = s.attacker.addresses[6], s.open.addresses[6]
    whole = udp(me, to, 1, 2, bytes(56))
    yield s.attacker.frame(s.open, fragment6(me, to, 17, whole[8:16], 1, False, 200), 6)
    yield s.attacker.frame(s.open, fragment6(me, to, 6, tcp(me, to, 1, 2222)[:8], 0, True, 201), 6)
    yield s.attacker.frame(s.open, fragment6(me, to, 17, whole[:13], 0, True, 202), 6)
    yield s.attacker.frame(s.open, fragment6(me, to, 17, bytes(40), 0x1FFF, False, 203), 6)


def torn(s: Street) -> Iterator[bytes]:
    """Every length that a packet can be cut to, and headers that lie about lengths."""
    for version in (4, 6):
        me, to = s.attacker.addresses[version], s.open.addresses[version]
        frame = s.attacker.frame(s.open, ip(me, to, 6, tcp(me, to, 1, 2222)), version)
        for length in range(14, len(frame), 3):
            yield frame[:length]
        for at, value in (
            (14, b"\0"),
            (14, b"\x4f\0"),
            (14, b"\xf5"),
            (16, b"\xff\xff"),
            (46 if version == 4 else 66, b"\xf0"),
        ):
            if version == 4 or at != 16:
                yield frame[:at] + value + frame[at + len(value) :]


@pytest.mark.parametrize(
    "attempt",
    [
        forged_datagrams,
        forged_sources,
        to_many,
        neighbour_claims,
        dhcp_servers,
        routers,
        tagged,
        odd_ethertypes,
        with_options,
        bad_fragments,
        torn,
    ],
)
def test_nothing_of_it_reaches_even_who_lets_in_everything(
    street: Street, attempt: Callable[[Street], Iterator[bytes]]
) -> None:
    assert street.assault(*attempt(street)) == ([], [])
    assert street.others_talk()


@pytest.mark.parametrize("version", [4, 6])
def test_odd_protocols_are_judged_by_their_number(street: Street, version: int) -> None:
    """0, 59 and 255 have no ports: who lets in all gets them, who lets in TCP 2222 does not."""
    me, shut = street.attacker.addresses[version], street.shut.addresses[version]
    numbers = (0, 2, 4, 41, 47, 50, 132, 255) if version == 4 else (2, 4, 41, 47, 50, 59, 132, 255)
    sent = [street.attacker.frame(street.shut, ip(me, shut, each, bytes(40)), version) for each in numbers]
    assert street.assault(*sent) == ([], [])


@pytest.mark.parametrize("version", [4, 6])
def test_an_overlapping_fragment_ends_its_datagram(street: Street, version: int) -> None:
    """What came before the overlap has been passed on; nothing after it is, so that it is never put together."""
    me, to = street.attacker.addresses[version], street.open.addresses[version]
    whole = udp(me, to, 1, 2, bytes(range(56)))

    def piece(body: bytes, units: int, more: bool) -> bytes:
        if version == 6:
            return street.attacker.frame(street.open, fragment6(me, to, 17, body, units, more, 900), 6)
        packet = ip(me, to, 17, body, fragment=units | more << 13, identification=900)
        return street.attacker.frame(street.open, packet)

    first, over, rest = piece(whole[:16], 0, True), piece(b"\xff" * 16, 1, True), piece(whole[24:], 3, False)
    seen, _ = street.assault(first, over, rest)
    at = 34 if version == 4 else 54
    assert [each[at:] for each in seen] == [first[at:]]


# ── tampering with its own side ───────────────────────────────────────────────────────────────────────


def test_another_mac_is_of_no_use_and_ones_own_is_again(street: Street) -> None:
    me = street.attacker
    before = street.quarter.drops(DropReason.SPOOFED_MAC, me)
    with Netlink(f"/proc/{me.pid}/ns/net") as inside:
        index = links.index_of(inside, "eth0")
    me.run("ip", "link", "set", "eth0", "address", street.open.mac)
    try:
        street.know_the_way()
        with pytest.raises(OSError):
            me.connect(street.shut, 4, 2222, within_s=0.5)
        assert street.quarter.drops(DropReason.SPOOFED_MAC, me) > before
    finally:
        me.run("ip", "link", "set", "eth0", "address", me.mac)
        with Netlink(f"/proc/{me.pid}/ns/net") as inside:
            assert links.index_of(inside, "eth0") == index
    listening = street.shut.listen(4, 2222)
    me.connect(street.shut, 4, 2222).close()
    listening.close()


def test_another_address_is_of_no_use(street: Street) -> None:
    me = street.attacker
    before = street.quarter.drops(DropReason.SPOOFED_ADDRESS, me)
    me.run("ip", "address", "add", "10.0.0.77/32", "dev", "eth0")
    try:
        street.know_the_way()
        sender = me.open(4, socket.SOCK_DGRAM)
        sender.bind(("10.0.0.77", 0))
        sniffer = street.open.raw()
        sender.sendto(b"as another", (street.open.addresses[4], MARK))
        assert list(arrivals(sniffer)) == []
        assert street.quarter.drops(DropReason.SPOOFED_ADDRESS, me) > before
    finally:
        me.run("ip", "address", "del", "10.0.0.77/32", "dev", "eth0")


def test_filters_of_its_own_change_what_it_sends_and_nothing_else(street: Street) -> None:
    """A rewriting filter on its own device makes a forged sender, and is treated as one."""
    me = street.attacker
    street.know_the_way()
    sniffer = street.open.raw()
    sender = me.open(4, socket.SOCK_DGRAM)
    table = "add table ip mine; add chain ip mine out { type nat hook postrouting priority 100; }"
    rule = f"add rule ip mine out ip daddr {street.open.addresses[4]} snat to {street.shut.addresses[4]}"
    me.run("nft", f"{table}; {rule}")
    me.run("tc", "qdisc", "add", "dev", "eth0", "clsact")
    try:
        sender.sendto(b"translated", (street.open.addresses[4], MARK))
        assert list(arrivals(sniffer)) == []
        me.run("nft", "delete", "table", "ip", "mine")
        deaf = "add chain netdev mine in { type filter hook ingress device eth0 priority 0; }"
        me.run("nft", f"add table netdev mine; {deaf}; add rule netdev mine in udp dport {MARK} drop")
        for hook in ("ingress", "egress"):
            classify = ["bpf", "bytecode", "1,6 0 0 0", "flowid", "1:1"]
            me.run("tc", "filter", "add", "dev", "eth0", hook, "prio", "1", *classify)
        me.open(4, socket.SOCK_DGRAM).sendto(b"plain", (street.open.addresses[4], MARK))
        assert [each[42:] for each in arrivals(sniffer)] == [b"plain"]
    finally:
        me.run("tc", "qdisc", "del", "dev", "eth0", "clsact")
        for family in ("ip", "netdev"):
            me.run("nft", "delete", "table", family, "mine", check=False)
    # The host's own filters, on the other end, are none of its business.
    assert street.assault(*forged_datagrams(street)) == ([], [])


def test_routing_between_neighbours_is_not_to_be_had(street: Street) -> None:
    """An attacker that forwards what it is sent would send in others' names."""
    shut, to = street.shut.addresses[4], street.open.addresses[4]
    packet = ip(shut, to, 17, udp(shut, to, 1, 2))
    sniffer = street.attacker.raw()
    sender = street.shut.raw()
    sender.send(ethernet(street.shut.mac, street.attacker.mac, frames.IPV4, ip(shut, "10.0.0.88", 17, packet[20:])))
    assert list(arrivals(sniffer)) == []
    sender.close()


# ── taking away its own device ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["namespace", "container"])
def test_who_deletes_its_device_is_impaired_and_a_device_of_its_own_making_leads_nowhere(kind: str) -> None:
    with Quarter(kind) as quarter:
        quarter.group("open", *EVERYTHING)
        attacker, one, two = (quarter.launch(name, "open") for name in ("attacker", "one", "two"))
        listening = one.listen(4, 2222)
        two.connect(one, 4, 2222).close()
        assert quarter.driver.observe()[attacker.instance].observed is Observed.RUNNING

        attacker.run("ip", "link", "delete", "eth0")
        assert quarter.driver.observe()[attacker.instance].observed is Observed.IMPAIRED
        assert quarter.driver.device(attacker.instance) is None

        attacker.run("ip", "link", "add", "eth0", "address", attacker.mac, "type", "veth", "peer", "name", "other")
        for device in ("eth0", "other"):
            attacker.run("ip", "link", "set", device, "up")
        attacker.run("ip", "address", "add", f"{attacker.addresses[4]}/8", "dev", "eth0")
        with pytest.raises(OSError):
            attacker.connect(one, 4, 2222, within_s=0.5)
        assert quarter.driver.observe()[attacker.instance].observed is Observed.IMPAIRED

        two.connect(one, 4, 2222).close()
        listening.close()
        quarter.host.datapath.detach(attacker.interface)
        quarter.driver.destroy(attacker.instance)
        assert attacker.instance not in quarter.driver.observe()
        late = quarter.launch("late", "open")
        listening = late.listen(4, 2222)
        two.connect(late, 4, 2222).close()
        listening.close()

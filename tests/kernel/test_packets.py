"""Real packets between guests, the host, the world and the services: what the test run cannot show."""

import contextlib
import hashlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from kernel.ebpf_host import HOST_ADDRESS, UPLINK, WORKSTATION, EbpfHost, Guest, Place, checksum
from kernel.policies import guests_of, policy_of
from scenarios.worlds import group, instance, private_address, public_address, world
from stockade.datapath.ebpf.layout import ROUTER_MAC
from stockade.linux import links, namespaces
from stockade.linux.netlink import Netlink
from stockade.model.flow import DropReason

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("kernel-packets")]

WORLD = world(
    group("web", ingress=["tcp/80 from 0.0.0.0/0", "icmp from 0.0.0.0/0", "udp/5000 from 0.0.0.0/0"]),
    group("app", ingress=["tcp/8080 from web", "udp/8080 from web"]),
    group("apart", ingress=["tcp/80 from 0.0.0.0/0", "udp/80 from 198.18.0.0/16", "all from apart"]),
    instance("web1", "web"),
    instance("web2", "web"),
    instance("app1", "app"),
    instance("vpc1", "apart", network="vpc-a"),
    instance("vpc2", "apart", network="vpc-a"),
    instance("hidden", "apart", network="vpc-a", public=False),
)


@pytest.fixture(scope="module")
def host() -> Iterator[EbpfHost]:
    with EbpfHost(uplink=True) as made:
        yield made


@pytest.fixture(scope="module")
def guests(host: EbpfHost) -> dict[str, Guest]:
    made = guests_of(host, WORLD)
    host.datapath.apply(policy_of(WORLD))
    return made


@pytest.fixture
def drops(host: EbpfHost) -> Callable[[DropReason], int]:
    """How many packets were dropped for a reason since the test began."""
    before = dict(host.datapath.counters().drops)

    def since(reason: DropReason) -> int:
        now: int = host.datapath.counters().drops.get(reason, 0)
        return now - before.get(reason, 0)

    return since


def private(name: str) -> str:
    return str(private_address(WORLD, name))


def public(name: str) -> str:
    return str(public_address(WORLD, name))


def exchange(client: Place, server: Guest, address: str, port: int) -> tuple[str, str]:
    """Connect, send both ways; the client's address as the server and as the client sees it."""
    listening = server.listen(port)
    outgoing = client.connect(address, port)
    accepted, seen = server.accept(listening)
    outgoing.sendall(b"question")
    assert accepted.recv(64) == b"question"
    accepted.sendall(b"answer")
    assert outgoing.recv(64) == b"answer"
    assert outgoing.getpeername()[0] == address
    own = outgoing.getsockname()[0]
    for each in (outgoing, accepted, listening):
        each.close()
    return seen, own


# ── between guests ────────────────────────────────────────────────────────────────────────────────────


def test_a_group_rule_lets_members_in_and_nobody_else(host: EbpfHost, guests: dict[str, Guest]) -> None:
    assert exchange(guests["web1"], guests["app1"], private("app1"), 8080)[0] == private("web1")
    assert not host.stack.can_connect(public("app1"), 8080)
    assert not guests["app1"].can_connect(private("web1"), 8080)


def test_a_port_without_a_rule_is_silent_and_counted(
    guests: dict[str, Guest], drops: Callable[[DropReason], int]
) -> None:
    guests["web2"].listen(22)
    assert not guests["web1"].can_connect(private("web2"), 22)
    assert drops(DropReason.NO_INGRESS_RULE) >= 1


def test_an_open_port_without_a_listener_is_closed_not_filtered(guests: dict[str, Guest]) -> None:
    with pytest.raises(ConnectionRefusedError):
        guests["web2"].connect(private("web1"), 80)


def test_datagrams_are_answered_and_others_are_not(guests: dict[str, Guest]) -> None:
    server = guests["app1"].open_socket(socket.SOCK_DGRAM, ("0.0.0.0", 8080))
    client = guests["web1"].open_socket(socket.SOCK_DGRAM)
    client.sendto(b"question", (private("app1"), 8080))
    _, source = server.recvfrom(64)
    server.sendto(b"answer", source)
    assert client.recvfrom(64)[0] == b"answer"
    # A datagram to a port that asked nothing finds no flow and no rule.
    other = guests["web1"].open_socket(socket.SOCK_DGRAM, ("0.0.0.0", 7777))
    other.settimeout(0.2)
    server.sendto(b"unasked", (private("web1"), 7777))
    with pytest.raises(TimeoutError):
        other.recvfrom(64)


def test_ping_needs_a_rule(guests: dict[str, Guest]) -> None:
    assert guests["app1"].ping(private("web1"))
    assert not guests["web1"].ping(private("app1"))


def test_an_error_about_a_live_flow_comes_back(guests: dict[str, Guest]) -> None:
    client = guests["web1"].open_socket(socket.SOCK_DGRAM)
    client.connect((private("web2"), 5000))
    client.send(b"is anybody there?")
    with pytest.raises(ConnectionRefusedError):
        client.recv(64)


def test_a_frame_arrives_with_the_routers_mac_and_the_guests_own(guests: dict[str, Guest]) -> None:
    sniffer = guests["web1"].raw()
    assert guests["app1"].ping(private("web1"))
    frames = []
    while True:
        try:
            frames.append(sniffer.recv(2048))
        except TimeoutError:
            break
    requests = [each for each in frames if each[12:14] == b"\x08\0" and each[34] == 8]
    assert requests[0][:6].hex(":") == guests["web1"].mac
    assert requests[0][6:12].hex(":") == ROUTER_MAC


# ── public addresses ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("who", ["stack", "world"])
def test_outside_reaches_a_public_address_and_is_seen_as_itself(
    host: EbpfHost, guests: dict[str, Guest], who: str
) -> None:
    place, address = (host.stack, HOST_ADDRESS) if who == "stack" else (host.world, WORKSTATION)
    assert place is not None
    assert exchange(place, guests["web1"], public("web1"), 80) == (str(address), str(address))
    assert place.ping(public("web1"))


def test_classic_keeps_the_private_source_towards_a_public_address(guests: dict[str, Guest]) -> None:
    assert exchange(guests["web1"], guests["app1"], public("app1"), 8080)[0] == private("web1")


def test_a_vpc_shows_the_public_source_at_a_public_address(guests: dict[str, Guest]) -> None:
    assert exchange(guests["vpc1"], guests["vpc2"], public("vpc2"), 80)[0] == public("vpc1")
    assert exchange(guests["vpc1"], guests["vpc2"], private("vpc2"), 80)[0] == private("vpc1")
    assert exchange(guests["web1"], guests["vpc2"], public("vpc2"), 80)[0] == public("web1")


def test_without_a_public_address_no_public_address_is_reached(
    guests: dict[str, Guest], drops: Callable[[DropReason], int]
) -> None:
    assert not guests["hidden"].can_connect(public("vpc2"), 80)
    assert drops(DropReason.NO_PUBLIC_ADDRESS) >= 1


@pytest.mark.parametrize("name", ["web1", "vpc1"])
def test_a_guest_reaches_its_own_public_address(guests: dict[str, Guest], name: str) -> None:
    assert exchange(guests[name], guests[name], public(name), 80)[0] == public(name)


def test_the_same_ports_by_both_addresses_do_not_mix_two_connections_up(guests: dict[str, Guest]) -> None:
    listening = guests["app1"].listen(8080)
    first = guests["web2"].connect(private("app1"), 8080, source_port=45001)
    accepted, _ = guests["app1"].accept(listening)
    with pytest.raises(TimeoutError):
        guests["web2"].connect(public("app1"), 8080, timeout=0.3, source_port=45001)
    first.sendall(b"still here")
    assert accepted.recv(64) == b"still here"
    listening.close()


@pytest.mark.parametrize("who", ["world", "stack", "vpc1", "web2"])
def test_big_segments_survive_translation_both_ways(host: EbpfHost, guests: dict[str, Guest], who: str) -> None:
    client: Place | None = {"world": host.world, "stack": host.stack}.get(who) or guests[who]
    assert client is not None
    listening = guests["web1"].listen(80)
    outgoing = client.connect(public("web1"), 80)
    accepted, _ = guests["web1"].accept(listening)
    payload = hashlib.sha256(who.encode()).digest() * (1 << 17)  # 4 MiB
    for sender, receiver in ((outgoing, accepted), (accepted, outgoing)):
        assert hashlib.sha256(sent_through(sender, receiver, payload)).digest() == hashlib.sha256(payload).digest()
    listening.close()


@pytest.mark.parametrize("offload", ["on", "off"])
def test_datagrams_survive_translation_with_and_without_checksum_offload(
    host: EbpfHost, guests: dict[str, Guest], offload: str
) -> None:
    assert host.world is not None
    set_no_check = 1 if offload == "off" else 0
    server = guests["web1"].open_socket(socket.SOCK_DGRAM, ("0.0.0.0", 5000))
    client = host.world.open_socket(socket.SOCK_DGRAM)
    client.setsockopt(socket.SOL_SOCKET, 11, set_no_check)  # SO_NO_CHECK: a checksum of zero stays zero
    client.connect((public("web1"), 5000))
    for size in (0, 1, 63, 1400):
        client.send(b"x" * size)
        data, source = server.recvfrom(2048)
        assert (len(data), source[0]) == (size, str(WORKSTATION))
        server.sendto(data, source)
        assert client.recv(2048) == data
    server.close()


def test_an_error_is_translated_with_what_it_quotes(host: EbpfHost, guests: dict[str, Guest]) -> None:
    assert host.world is not None
    client = host.world.open_socket(socket.SOCK_DGRAM)
    client.connect((public("web1"), 5000))
    client.send(b"is anybody there?")
    # The stack believes the error only if the quoted packet is the very one it sent.
    with pytest.raises(ConnectionRefusedError):
        client.recv(64)


def test_outside_may_complain_about_what_a_guest_answered(host: EbpfHost, guests: dict[str, Guest]) -> None:
    assert host.world is not None
    server = guests["web1"].open_socket(socket.SOCK_DGRAM, ("0.0.0.0", 5000))
    client = host.world.open_socket(socket.SOCK_DGRAM)
    client.sendto(b"question", (public("web1"), 5000))
    _, source = server.recvfrom(64)
    server.connect(source)
    client.close()
    server.send(b"answer")
    with pytest.raises(ConnectionRefusedError):
        server.recv(64)
    server.close()


@pytest.mark.parametrize(("asker", "server"), [("vpc1", "vpc2"), ("web2", "web1")])
def test_the_opener_may_complain_through_a_public_address(guests: dict[str, Guest], asker: str, server: str) -> None:
    """The answer finds nobody; what the opener's stack says about it is translated, quotation and all."""
    port = 5000 if server == "web1" else 80
    answering = guests[server].open_socket(socket.SOCK_DGRAM, ("0.0.0.0", port))
    asking = guests[asker].open_socket(socket.SOCK_DGRAM)
    asking.sendto(b"question", (public(server), port))
    _, source = answering.recvfrom(64)
    answering.connect(source)
    asking.close()
    answering.send(b"answer")
    with pytest.raises(ConnectionRefusedError):
        answering.recv(64)
    answering.close()


def test_the_uplinks_other_traffic_is_the_hosts_own(host: EbpfHost, guests: dict[str, Guest]) -> None:
    assert host.world is not None
    listening = host.stack.listen(7070)
    client = host.world.connect(str(HOST_ADDRESS), 7070)
    accepted, source = host.stack.accept(listening)
    assert source == str(WORKSTATION)
    for each in (client, accepted, listening):
        each.close()
    assert host.world.ping(str(HOST_ADDRESS))


def sent_through(sender: socket.socket, receiver: socket.socket, payload: bytes) -> bytes:
    thread = threading.Thread(target=sender.sendall, args=(payload,))
    thread.start()
    received = bytearray()
    while len(received) < len(payload):
        received += receiver.recv(1 << 20)
    thread.join()
    return bytes(received)


# ── services ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_services_know_who_asks_and_answer(host: EbpfHost, guests: dict[str, Guest]) -> None:
    services = host.services
    metadata = services.open_socket(socket.SOCK_STREAM, ("169.254.169.254", 80))
    metadata.listen()
    names = services.open_socket(socket.SOCK_DGRAM, ("169.254.169.253", 53))
    for name in ("web1", "app1", "vpc1", "hidden"):
        expected = str(host.datapath.service_address(guests[name].interface))
        asking = guests[name].connect("169.254.169.254", 80)
        accepted, source = services.accept(metadata)
        asking.sendall(b"GET")
        assert (source, accepted.recv(8)) == (expected, b"GET")
        assert sent_through(accepted, asking, b"x" * 100_000) == b"x" * 100_000
        query = guests[name].open_socket(socket.SOCK_DGRAM)
        query.sendto(b"name?", ("169.254.169.253", 53))
        data, source = names.recvfrom(64)
        assert (data, source[0]) == (b"name?", expected)
        names.sendto(b"name!", source)
        assert query.recvfrom(64) == (b"name!", ("169.254.169.253", 53))
    services.close()


def test_nothing_else_in_the_services_namespace_is_reached(host: EbpfHost, guests: dict[str, Guest]) -> None:
    services = host.services
    for port in (22, 8080):
        services.listen(port)
    for address, port in (("169.254.169.254", 22), ("169.254.169.253", 80), ("169.254.169.253", 8080)):
        assert not guests["web1"].can_connect(address, port)
    with pytest.raises(OSError, match="unreachable"):
        services.connect(private("web1"), 80)
    assert not services.can_connect(str(host.datapath.service_address(guests["web1"].interface)), 80)
    services.close()


# ── forgeries ─────────────────────────────────────────────────────────────────────────────────────────


def udp_frame(source_mac: str, source: str, destination: str, port: int = 5000, source_port: int = 4000) -> bytes:
    body = struct.pack("!HHHH", source_port, port, 12, 0) + b"boo!"
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, 17, 0)
    ip += socket.inet_aton(source) + socket.inet_aton(destination)
    ip = ip[:10] + checksum(ip).to_bytes(2, "big") + ip[12:]
    return bytes.fromhex((ROUTER_MAC + source_mac).replace(":", "")) + b"\x08\0" + ip + body


def arp_frame(source_mac: str, said_mac: str, said: str, asked: str, operation: int = 1) -> bytes:
    macs = bytes.fromhex(("ff:ff:ff:ff:ff:ff" + source_mac).replace(":", ""))
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + bytes.fromhex(said_mac.replace(":", ""))
    return macs + b"\x08\x06" + body + socket.inet_aton(said) + bytes(6) + socket.inet_aton(asked)


@pytest.mark.parametrize(
    ("forged", "reason"),
    [
        (lambda me: udp_frame("02:00:00:00:00:99", str(me.address), private("web2")), DropReason.SPOOFED_MAC),
        (lambda me: udp_frame(me.mac, private("app1"), private("web2")), DropReason.SPOOFED_ADDRESS),
        (lambda me: udp_frame(me.mac, "169.254.169.254", private("web2")), DropReason.FOREIGN_REPLY),
        (lambda me: udp_frame(me.mac, "127.0.0.1", private("web2")), DropReason.SPOOFED_ADDRESS),
        (lambda me: arp_frame(me.mac, me.mac, private("app1"), private("web2")), DropReason.SPOOFED_ARP),
        (lambda me: arp_frame(me.mac, "02:00:00:00:00:99", str(me.address), private("web2")), DropReason.SPOOFED_ARP),
        (lambda me: arp_frame(me.mac, me.mac, private("web2"), private("web2"), 2), DropReason.SPOOFED_ARP),
        (lambda me: udp_frame(me.mac, str(me.address), "224.0.0.251"), DropReason.MULTICAST),
        (lambda me: udp_frame(me.mac, str(me.address), "255.255.255.255"), DropReason.MULTICAST),
        (lambda me: udp_frame(me.mac, str(me.address), str(HOST_ADDRESS)), DropReason.NO_ROUTE),
        (lambda me: udp_frame(me.mac, str(me.address), "203.0.113.9"), DropReason.NO_ROUTE),
        (lambda me: udp_frame(me.mac, str(me.address), private("web2"))[:36], DropReason.MALFORMED),
    ],
)
def test_forged_and_stray_frames_are_dropped_for_their_reason(
    guests: dict[str, Guest],
    drops: Callable[[DropReason], int],
    forged: Callable[[Guest], bytes],
    reason: DropReason,
) -> None:
    sender = guests["web1"].raw()
    sender.send(forged(guests["web1"]))
    assert drops(reason) == 1
    sender.close()


def mutated(frame: bytes, at: int, value: bytes) -> bytes:
    changed = bytearray(frame)
    changed[at : at + len(value)] = value
    return bytes(changed)


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        (12, b"\x86\xdd", DropReason.MALFORMED),  # not what the frame says it is
        (12, b"\x81\x00", DropReason.UNSUPPORTED),  # VLAN
        (12, b"\x88\xcc", DropReason.UNSUPPORTED),  # LLDP
        (14, b"\x46", DropReason.OPTIONS),
        (14, b"\x44", DropReason.MALFORMED),  # header shorter than a header
        (14, b"\x65", DropReason.MALFORMED),  # version 6 in an IPv4 frame
        (16, b"\xff\xff", DropReason.MALFORMED),  # longer than the frame
        (16, b"\x00\x13", DropReason.MALFORMED),  # shorter than its header
        (20, b"\x20\x00", DropReason.FRAGMENT),  # more fragments
        (20, b"\x00\x01", DropReason.FRAGMENT),  # a later fragment
        (38, b"\x00\x07", DropReason.MALFORMED),  # a datagram shorter than its header
        (38, b"\xff\x00", DropReason.MALFORMED),  # a datagram longer than the packet
    ],
)
def test_what_is_not_understood_is_dropped(
    guests: dict[str, Guest], drops: Callable[[DropReason], int], at: int, value: bytes, reason: DropReason
) -> None:
    me = guests["web1"]
    sender = me.raw()
    sender.send(mutated(udp_frame(me.mac, str(me.address), private("web2")), at, value))
    assert drops(reason) >= 1
    sender.close()


def test_a_member_cannot_speak_in_anothers_established_flow(guests: dict[str, Guest]) -> None:
    server = guests["app1"].open_socket(socket.SOCK_DGRAM, ("0.0.0.0", 8080))
    server.settimeout(0.2)
    client = guests["web1"].open_socket(socket.SOCK_DGRAM, ("0.0.0.0", 4000))
    client.sendto(b"mine", (private("app1"), 8080))
    assert server.recvfrom(64)[0] == b"mine"
    intruder = guests["web2"].raw()
    intruder.send(udp_frame(guests["web2"].mac, private("web1"), private("app1"), 8080, 4000))
    intruder.send(udp_frame(guests["web1"].mac, private("web1"), private("app1"), 8080, 4000))
    with pytest.raises(TimeoutError):
        server.recvfrom(64)
    server.close()
    client.close()


def test_outside_cannot_speak_as_a_member(
    host: EbpfHost, guests: dict[str, Guest], drops: Callable[[DropReason], int]
) -> None:
    assert host.world is not None
    with Netlink(host.netns) as route:
        uplink = links.find_link(route, UPLINK)
    assert uplink is not None
    sender = host.world.raw()
    for source in (private("web2"), public("web2")):
        forged = udp_frame("02:00:00:00:00:77", source, public("web1"))
        sender.send(mutated(forged, 0, bytes.fromhex(uplink.mac.replace(":", ""))))
    assert drops(DropReason.SPOOFED_ADDRESS) == 2
    sender.close()


def test_the_hosts_own_stack_gets_nothing_into_a_guest_past_the_programs(
    host: EbpfHost, guests: dict[str, Guest], drops: Callable[[DropReason], int]
) -> None:
    me = guests["web1"]
    sender = namespaces.in_netns(
        host.netns, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
    )
    sender.bind((me.device, 0))
    with contextlib.suppress(OSError):  # the hook tells the sender that nothing was sent
        sender.send(udp_frame(me.mac, private("web2"), private("web1")))
    assert drops(DropReason.NOT_OURS) == 1
    sender.close()


def test_arp_is_answered_for_everybody_but_oneself(guests: dict[str, Guest]) -> None:
    me = guests["web1"]
    probe = me.raw()
    probe.send(arp_frame(me.mac, me.mac, str(me.address), "10.99.99.99"))
    answer = next(each for each in iter(lambda: probe.recv(2048), b"") if each[12:14] == b"\x08\x06" and each[21] == 2)
    assert answer[22:28].hex(":") == ROUTER_MAC
    assert answer[28:32] == socket.inet_aton("10.99.99.99")
    probe.send(arp_frame(me.mac, me.mac, "0.0.0.0", str(me.address)))
    with pytest.raises(TimeoutError):
        while probe.recv(2048)[20:22] != b"\0\2":
            pass
    probe.close()

"""Real packets over IPv4 and over IPv6: what holds for one holds for the other."""

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from kernel.ebpf_host import HOST_ADDRESS, HOST_ADDRESS6, WORKSTATION, WORKSTATION6, EbpfHost, Guest, Place
from kernel.policies import guests_of, outer_address, own_address, policy_of
from scenarios.worlds import group, instance, world
from stockade.model.flow import DropReason

pytestmark = [
    pytest.mark.root,
    pytest.mark.xdist_group("kernel-packets"),
    pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"]),
]

OPEN = ["all to 0.0.0.0/0", "all to ::/0"]
EVERYBODY = ("0.0.0.0/0", "::/0")
WORLD = world(
    group(
        "web",
        ingress=[f"{traffic} from {peer}" for traffic in ("tcp/80", "udp/5000") for peer in EVERYBODY]
        + ["icmp from 0.0.0.0/0", "58 from ::/0"],
        egress=OPEN,
    ),
    group("app", ingress=["tcp/8080 from web", "udp/8080 from web"], egress=OPEN),
    group("apart", ingress=[*(f"tcp/80 from {peer}" for peer in EVERYBODY), "all from apart"], egress=OPEN),
    instance("web1", "web"),
    instance("web2", "web"),
    instance("app1", "app"),
    instance("vpc1", "apart", network="vpc-a"),
    instance("vpc2", "apart", network="vpc-b"),
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


def exchange(client: Place, server: Guest, address: str, port: int) -> str:
    """Connect, send both ways; the client's address as the server sees it."""
    listening = server.listen(port)
    outgoing = client.connect(address, port)
    accepted, seen = server.accept(listening)
    outgoing.sendall(b"question")
    assert accepted.recv(64) == b"question"
    accepted.sendall(b"answer")
    assert outgoing.recv(64) == b"answer"
    assert outgoing.getpeername()[0] == address
    for each in (outgoing, accepted, listening):
        each.close()
    return seen


def datagrams(server: Place, client: Place, family: int, port: int) -> tuple[socket.socket, socket.socket]:
    anywhere = "0.0.0.0" if family == 4 else "::"
    return server.open_socket(socket.SOCK_DGRAM, (anywhere, port)), client.open_socket(socket.SOCK_DGRAM, family=family)


def test_a_group_rule_lets_members_in_and_nobody_else(host: EbpfHost, guests: dict[str, Guest], family: int) -> None:
    app = own_address(WORLD, "app1", family)
    assert exchange(guests["web1"], guests["app1"], app, 8080) == own_address(WORLD, "web1", family)
    assert not host.stack.can_connect(outer_address(WORLD, "app1", family), 8080)
    assert not guests["app1"].can_connect(own_address(WORLD, "web1", family), 8080)


def test_a_port_without_a_rule_is_silent_and_counted(
    guests: dict[str, Guest], drops: Callable[[DropReason], int], family: int
) -> None:
    with guests["web2"].listen(22):
        assert not guests["web1"].can_connect(own_address(WORLD, "web2", family), 22)
    assert drops(DropReason.NO_INGRESS_RULE) >= 1


def test_an_open_port_without_a_listener_is_closed_not_filtered(guests: dict[str, Guest], family: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        guests["web2"].connect(own_address(WORLD, "web1", family), 80)


def test_datagrams_are_answered_and_others_are_not(guests: dict[str, Guest], family: int) -> None:
    server, client = datagrams(guests["app1"], guests["web1"], family, 8080)
    client.sendto(b"question", (own_address(WORLD, "app1", family), 8080))
    _, source = server.recvfrom(64)
    server.sendto(b"answer", source)
    assert client.recvfrom(64)[0] == b"answer"
    other, _ = datagrams(guests["web1"], guests["web1"], family, 7777)
    other.settimeout(0.2)
    server.sendto(b"unasked", (own_address(WORLD, "web1", family), 7777))
    with pytest.raises(TimeoutError):
        other.recvfrom(64)
    for each in (server, client, other):
        each.close()


def test_ping_needs_a_rule(guests: dict[str, Guest], family: int) -> None:
    assert guests["app1"].ping(own_address(WORLD, "web1", family))
    assert not guests["web1"].ping(own_address(WORLD, "app1", family))


def test_an_error_about_a_live_flow_comes_back(guests: dict[str, Guest], family: int) -> None:
    client = guests["web1"].open_socket(socket.SOCK_DGRAM, family=family)
    client.connect((own_address(WORLD, "web2", family), 5000))
    client.send(b"is anybody there?")
    with pytest.raises(ConnectionRefusedError):
        client.recv(64)


@pytest.mark.parametrize("size", [1400, 3000, 9000, 60_000])
def test_a_datagram_in_pieces_arrives_whole_and_so_does_its_answer(
    guests: dict[str, Guest], size: int, family: int
) -> None:
    server, client = datagrams(guests["app1"], guests["web1"], family, 8080)
    question = hashlib.sha256(bytes([size & 0xFF])).digest() * (size // 32)
    client.sendto(question, (own_address(WORLD, "app1", family), 8080))
    data, source = server.recvfrom(1 << 16)
    assert data == question
    server.sendto(data, source)
    assert client.recvfrom(1 << 16)[0] == question
    server.close()
    client.close()


def test_pieces_of_what_no_rule_allows_do_not_arrive(guests: dict[str, Guest], family: int) -> None:
    server, client = datagrams(guests["web2"], guests["web1"], family, 6000)
    server.settimeout(0.3)
    client.sendto(b"x" * 5000, (own_address(WORLD, "web2", family), 6000))
    with pytest.raises(TimeoutError):
        server.recvfrom(1 << 16)
    server.close()
    client.close()


@pytest.mark.parametrize("who", ["stack", "world"])
def test_outside_reaches_whom_it_may_and_is_seen_as_itself(
    host: EbpfHost, guests: dict[str, Guest], who: str, family: int
) -> None:
    place = host.stack if who == "stack" else host.world
    assert place is not None
    own = {("stack", 4): HOST_ADDRESS, ("stack", 6): HOST_ADDRESS6, ("world", 4): WORKSTATION}
    expected = own.get((who, family), WORKSTATION6)
    assert exchange(place, guests["web1"], outer_address(WORLD, "web1", family), 80) == str(expected)
    assert place.ping(outer_address(WORLD, "web1", family), patience=2.0)


@pytest.mark.parametrize("who", ["stack", "world"])
def test_whom_outsiders_may_not_meet_they_do_not(
    host: EbpfHost, guests: dict[str, Guest], drops: Callable[[DropReason], int], who: str, family: int
) -> None:
    place = host.stack if who == "stack" else host.world
    assert place is not None
    hidden = outer_address(WORLD, "hidden", family)
    with guests["hidden"].listen(80):
        assert not place.can_connect(hidden, 80)
    assert drops(DropReason.NO_ROUTE) >= 1


def test_another_network_is_met_as_outsiders_meet_it(guests: dict[str, Guest], family: int) -> None:
    seen = exchange(guests["vpc1"], guests["vpc2"], outer_address(WORLD, "vpc2", family), 80)
    assert seen == outer_address(WORLD, "vpc1", family)
    # Its own group there is nobody's group here.
    assert not guests["vpc1"].can_connect(outer_address(WORLD, "vpc2", family), 81)


def test_who_is_not_met_from_outside_meets_nobody_outside(
    guests: dict[str, Guest], drops: Callable[[DropReason], int], family: int
) -> None:
    assert not guests["hidden"].can_connect(outer_address(WORLD, "vpc2", family), 80)
    assert drops(DropReason.NO_PUBLIC_ADDRESS) >= 1


@pytest.mark.parametrize("who", ["world", "stack", "vpc1", "web2"])
def test_big_segments_survive_the_way_both_ways(
    host: EbpfHost, guests: dict[str, Guest], who: str, family: int
) -> None:
    client: Place | None = {"world": host.world, "stack": host.stack}.get(who) or guests[who]
    assert client is not None
    listening = guests["web1"].listen(80)
    outgoing = client.connect(outer_address(WORLD, "web1", family), 80)
    accepted, _ = guests["web1"].accept(listening)
    payload = hashlib.sha256(who.encode()).digest() * (1 << 16)  # 2 MiB
    for sender, receiver in ((outgoing, accepted), (accepted, outgoing)):
        assert hashlib.sha256(sent_through(sender, receiver, payload)).digest() == hashlib.sha256(payload).digest()
    listening.close()


def sent_through(sender: socket.socket, receiver: socket.socket, payload: bytes) -> bytes:
    thread = threading.Thread(target=sender.sendall, args=(payload,))
    thread.start()
    received = bytearray()
    while len(received) < len(payload):
        received += receiver.recv(1 << 20)
    thread.join()
    return bytes(received)


SERVICES = {4: ("169.254.169.254", "169.254.169.253"), 6: ("fd00:ec2::254", "fd00:ec2::253")}


def test_the_services_answer(host: EbpfHost, guests: dict[str, Guest], family: int) -> None:
    metadata_address, names_address = SERVICES[family]
    services = host.services
    metadata = services.open_socket(socket.SOCK_STREAM, (metadata_address, 80))
    metadata.listen()
    names = services.open_socket(socket.SOCK_DGRAM, (names_address, 53))
    seen = {}
    for name in ("web1", "vpc1", "hidden"):
        asking = guests[name].connect(metadata_address, 80)
        accepted, source = services.accept(metadata)
        asking.sendall(b"GET")
        assert accepted.recv(8) == b"GET"
        accepted.sendall(b"200")
        assert asking.recv(8) == b"200"
        query = guests[name].open_socket(socket.SOCK_DGRAM, family=family)
        query.sendto(b"name?", (names_address, 53))
        data, asker = names.recvfrom(64)
        assert (data, asker[0]) == (b"name?", source)
        names.sendto(b"name!", asker)
        assert query.recvfrom(64)[:1] == (b"name!",)
        seen[name] = source
    assert len(set(seen.values())) == 3
    assert not guests["web1"].can_connect(names_address, 80)
    services.close()

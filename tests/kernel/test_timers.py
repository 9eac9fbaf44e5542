"""How long a flow lives without a packet: entries are made older by hand, as nobody can wait five days."""

import socket
from collections.abc import Iterator

import pytest

from kernel.ebpf_host import EbpfHost, Guest
from kernel.policies import guests_of, policy_of
from scenarios.worlds import group, instance, private_address, world
from stockade.datapath.ebpf import layout, syscall
from stockade.datapath.ebpf.maps import Map

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("kernel-timers")]

WORLD = world(
    group("askers"),
    group("servers", ingress=["all from askers"]),
    instance("asker", "askers"),
    instance("server", "servers"),
)
TICK_S = (1 << 27) / 1e9
DAY = 86_400


@pytest.fixture
def host() -> Iterator[EbpfHost]:
    with EbpfHost() as made:
        yield made


@pytest.fixture
def guests(host: EbpfHost) -> dict[str, Guest]:
    made = guests_of(host, WORLD)
    host.datapath.apply(policy_of(WORLD))
    return made


def age(host: EbpfHost, seconds: float) -> None:
    """Every flow was last seen this much longer ago."""

    def older() -> None:
        for name in ("flows_tcp", "flows_other"):
            table = Map(name, syscall.open_pinned(str(host.settings.pins / name)))
            for key, raw in table.items():
                seen, *rest = layout.FLOW.unpack(raw)
                table.put(key, layout.FLOW.pack((seen - int(seconds / TICK_S)) & 0xFFFFFFFF, *rest))
            table.close()

    host.run(older)


class Datagrams:
    """An asker and a server that may only answer."""

    def __init__(self, guests: dict[str, Guest]) -> None:
        self._server = guests["server"].open_socket(socket.SOCK_DGRAM, ("0.0.0.0", 53))
        self._asker = guests["asker"].open_socket(socket.SOCK_DGRAM, ("0.0.0.0", 4053))
        self._asker.settimeout(0.3)

    def ask(self) -> None:
        self._asker.sendto(b"?", (str(private_address(WORLD, "server")), 53))
        self._server.recvfrom(16)

    def answer_arrives(self) -> bool:
        self._server.sendto(b"!", (str(private_address(WORLD, "asker")), 4053))
        try:
            return self._asker.recvfrom(16)[0] == b"!"
        except TimeoutError:
            return False


@pytest.mark.parametrize(("idle_s", "arrives"), [(0, True), (28, True), (32, False)])
def test_a_single_question_waits_half_a_minute_for_its_answer(
    host: EbpfHost, guests: dict[str, Guest], idle_s: int, arrives: bool
) -> None:
    datagrams = Datagrams(guests)
    datagrams.ask()
    age(host, idle_s)
    assert datagrams.answer_arrives() is arrives


@pytest.mark.parametrize(("idle_s", "arrives"), [(32, True), (170, True), (190, False)])
def test_an_exchange_of_datagrams_may_pause_three_minutes(
    host: EbpfHost, guests: dict[str, Guest], idle_s: int, arrives: bool
) -> None:
    datagrams = Datagrams(guests)
    datagrams.ask()
    assert datagrams.answer_arrives()
    age(host, idle_s)
    assert datagrams.answer_arrives() is arrives


@pytest.mark.parametrize(("idle_s", "arrives"), [(4.9 * DAY, True), (5.1 * DAY, False)])
def test_an_established_connection_may_rest_five_days(
    host: EbpfHost, guests: dict[str, Guest], idle_s: float, arrives: bool
) -> None:
    listening = guests["server"].listen(80)
    client = guests["asker"].connect(str(private_address(WORLD, "server")), 80)
    accepted, _ = guests["server"].accept(listening)
    client.sendall(b"?")
    assert accepted.recv(1) == b"?"
    age(host, idle_s)
    client.settimeout(0.5)
    accepted.sendall(b"!")
    assert answered(client) is arrives


def test_a_connection_that_outlived_its_entry_goes_on_when_its_opener_speaks_and_rules_allow(
    host: EbpfHost, guests: dict[str, Guest]
) -> None:
    listening = guests["server"].listen(80)
    client = guests["asker"].connect(str(private_address(WORLD, "server")), 80)
    accepted, _ = guests["server"].accept(listening)
    age(host, 6 * DAY)
    client.sendall(b"?")
    assert accepted.recv(1) == b"?"
    age(host, 6 * DAY)
    host.datapath.apply(policy_of(WORLD, ("servers",)))
    accepted.settimeout(0.5)
    client.sendall(b"?")
    assert not answered(accepted)


def answered(waiting: socket.socket) -> bool:
    try:
        return bool(waiting.recv(1))
    except TimeoutError:
        return False

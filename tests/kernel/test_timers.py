"""How long a flow lives without a packet, over both families: entries are made older by hand, as nobody can wait.

Times are those of the interfaces at both ends; a flow lives as long as both remember it.
"""

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from kernel.ebpf_host import EbpfHost, Guest
from kernel.policies import guests_of, own_address, policy_of
from scenarios.worlds import group, instance, interface_id, world
from stockade.datapath.ebpf import layout, syscall
from stockade.datapath.ebpf.maps import Map
from stockade.model.tracking import ConnectionTracking
from stockade.policy.entries import HostPolicy

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("kernel-timers")]

WORLD = world(
    group("askers", egress=["all to 0.0.0.0/0", "all to ::/0"]),
    group("servers", ingress=["all from askers"]),
    instance("asker", "askers"),
    instance("server", "servers"),
)
TICK_S = (1 << 27) / 1e9
DAY = 86_400
both_families = pytest.mark.parametrize("family", [4, 6])


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
        for name in ("flows_tcp", "flows_other", "flows6_tcp", "flows6_other"):
            table = Map(name, syscall.open_pinned(str(host.settings.pins / name)))
            for key, raw in table.items():
                seen, *rest = layout.FLOW.unpack(raw)
                table.put(key, layout.FLOW.pack((seen - int(seconds / TICK_S)) & 0xFFFFFFFF, *rest))
            table.close()

    host.run(older)


class Datagrams:
    """An asker and a server that may only answer."""

    def __init__(self, guests: dict[str, Guest], family: int) -> None:
        anywhere = "0.0.0.0" if family == 4 else "::"
        self._family = family
        self._server = guests["server"].open_socket(socket.SOCK_DGRAM, (anywhere, 53))
        self._asker = guests["asker"].open_socket(socket.SOCK_DGRAM, (anywhere, 4053))
        self._asker.settimeout(0.3)

    def ask(self) -> None:
        self._asker.sendto(b"?", (own_address(WORLD, "server", self._family), 53))
        self._server.recvfrom(16)

    def answer_arrives(self) -> bool:
        self._server.sendto(b"!", (own_address(WORLD, "asker", self._family), 4053))
        try:
            return self._asker.recvfrom(16)[0] == b"!"
        except TimeoutError:
            return False


@both_families
@pytest.mark.parametrize(("idle_s", "arrives"), [(0, True), (28, True), (32, False)])
def test_a_single_question_waits_half_a_minute_for_its_answer(
    host: EbpfHost, guests: dict[str, Guest], family: int, idle_s: int, arrives: bool
) -> None:
    datagrams = Datagrams(guests, family)
    datagrams.ask()
    age(host, idle_s)
    assert datagrams.answer_arrives() is arrives


@both_families
@pytest.mark.parametrize(("idle_s", "arrives"), [(32, True), (170, True), (190, False)])
def test_an_exchange_of_datagrams_may_pause_three_minutes(
    host: EbpfHost, guests: dict[str, Guest], family: int, idle_s: int, arrives: bool
) -> None:
    datagrams = Datagrams(guests, family)
    datagrams.ask()
    assert datagrams.answer_arrives()
    age(host, idle_s)
    assert datagrams.answer_arrives() is arrives


@both_families
@pytest.mark.parametrize(("idle_s", "arrives"), [(4.9 * DAY, True), (5.1 * DAY, False)])
def test_an_established_connection_may_rest_five_days(
    host: EbpfHost, guests: dict[str, Guest], family: int, idle_s: float, arrives: bool
) -> None:
    client, accepted = connected(guests, family)
    age(host, idle_s)
    client.settimeout(0.5)
    accepted.sendall(b"!")
    assert answered(client) is arrives


@both_families
@pytest.mark.parametrize("whose", ["asker", "server"])
def test_whichever_end_forgets_first_ends_the_flow(
    host: EbpfHost, guests: dict[str, Guest], family: int, whose: str
) -> None:
    host.datapath.apply(impatient(whose))
    client, accepted = connected(guests, family)
    age(host, 58)
    accepted.sendall(b"!")
    assert answered(client)
    age(host, 62)
    client.settimeout(0.5)
    accepted.sendall(b"!")
    assert not answered(client)


@both_families
def test_new_timers_reach_a_flow_with_its_next_packet(host: EbpfHost, guests: dict[str, Guest], family: int) -> None:
    client, accepted = connected(guests, family)
    host.datapath.apply(impatient("server"))
    age(host, 62)
    accepted.sendall(b"!")  # this one tells it
    assert answered(client)
    age(host, 62)
    client.settimeout(0.5)
    accepted.sendall(b"!")
    assert not answered(client)


def test_timers_survive_the_process(host: EbpfHost, guests: dict[str, Guest]) -> None:
    policy = impatient("server")
    host.datapath.apply(policy)
    host.restart()
    assert host.datapath.observe() == policy
    assert host.datapath.apply(policy).steps == 0


@both_families
def test_a_connection_that_outlived_its_entry_goes_on_when_its_opener_speaks_and_rules_allow(
    host: EbpfHost, guests: dict[str, Guest], family: int
) -> None:
    client, accepted = connected(guests, family)
    age(host, 6 * DAY)
    client.sendall(b"?")
    assert accepted.recv(1) == b"?"
    age(host, 6 * DAY)
    host.datapath.apply(policy_of(WORLD, ("servers",)))
    accepted.settimeout(0.5)
    client.sendall(b"?")
    assert not answered(accepted)


def test_what_idled_out_is_swept_up_and_counts_no_more(host: EbpfHost, guests: dict[str, Guest]) -> None:
    for family in (4, 6):
        Datagrams(guests, family).ask()
        client, _ = connected(guests, family)
        client.close()
    used = host.datapath.usage()[guests["asker"].interface]
    assert used.tracked + used.untracked == 4
    assert host.datapath.sweep().forgotten == 0
    age(host, 200)
    swept = host.datapath.sweep()
    assert (swept.forgotten, swept.live_tcp, swept.live_other) == (4, 0, 0)
    for guest in guests.values():
        used = host.datapath.usage()[guest.interface]
        assert (used.tracked, used.untracked) == (0, 0)


def connected(guests: dict[str, Guest], family: int) -> tuple[socket.socket, socket.socket]:
    """An established connection from the asker to the server."""
    listening = guests["server"].listen(80)
    client = guests["asker"].connect(own_address(WORLD, "server", family), 80)
    accepted, _ = guests["server"].accept(listening)
    client.sendall(b"?")
    assert accepted.recv(1) == b"?"
    listening.close()
    return client, accepted


def impatient(name: str) -> HostPolicy:
    """The policy when this instance's interface remembers connections for a minute."""
    policy = policy_of(WORLD)
    interface = interface_id(WORLD, name)
    changed = replace(policy.endpoints[interface], tracking=ConnectionTracking(tcp_established=60))
    return replace(policy, endpoints={**policy.endpoints, interface: changed})


def answered(waiting: socket.socket) -> bool:
    try:
        return bool(waiting.recv(1))
    except TimeoutError:
        return False

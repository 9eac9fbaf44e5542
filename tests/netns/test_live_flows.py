"""What a change of rules does to flows that live, and what scanners and errors tell: semantics 5.2, 5.3, 12.

Real packets between real instances, over both families.
"""

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from netns import frames
from netns.frames import icmp, ip, tcp, udp
from netns.quarter import ANY, LOUD_S, QUIET_S, Neighbour, Quarter, arrivals
from stockade.model.flow import DropReason
from stockade.model.tracking import DEFAULT_TRACKING

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

BOTH = pytest.mark.parametrize("version", [4, 6])
OPEN_OUT = ("out all 0.0.0.0/0", "out all ::/0")
NARROW = {version: f"in tcp/22 {'10.0.0.1/32' if version == 4 else 'fd00:1::1/128'}" for version in (4, 6)}
DNS_IN = {version: NARROW[version].replace("tcp/22", "udp/53") for version in (4, 6)}
WIDE = {version: f"in tcp/22 {ANY[version]}" for version in (4, 6)}
ALL_IN = {version: f"in all {ANY[version]}" for version in (4, 6)}
ALL_OUT = {version: f"out all {ANY[version]}" for version in (4, 6)}


@dataclass
class Talk:
    """A connection between two neighbours."""

    asking: socket.socket
    answering: socket.socket
    told: int = 0

    def goes_on(self) -> bool:
        """Whether both are heard by the other. Not to be asked again after a no: then it would be said twice."""
        return self._heard(self.asking, self.answering) and self._heard(self.answering, self.asking)

    def _heard(self, speaker: socket.socket, listener: socket.socket) -> bool:
        self.told += 1
        said = self.told.to_bytes(4, "big")
        speaker.sendall(said)
        listener.settimeout(LOUD_S if self.told <= 2 else 1.0)
        try:
            return listener.recv(64) == said
        except TimeoutError:
            return False


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Quarter, Neighbour, Neighbour]]:
    with Quarter() as quarter:
        quarter.group("client", *OPEN_OUT)
        quarter.group("server", *OPEN_OUT)
        yield quarter, quarter.launch("client", "client"), quarter.launch("server", "server")


@dataclass
class Scene:
    quarter: Quarter
    client: Neighbour
    server: Neighbour

    def rules(self, client: tuple[str, ...] = OPEN_OUT, server: tuple[str, ...] = OPEN_OUT) -> None:
        """These and no others from now on."""
        self.quarter.group("client", *client)
        self.quarter.group("server", *server)
        self.quarter.change(regroup=[("client", ("client",)), ("server", ("server",))])

    def allow(self, rule: str, group: str = "server") -> None:
        self.quarter.change(allow=[(group, rule)])

    def revoke(self, rule: str, group: str = "server") -> None:
        self.quarter.change(revoke=[(group, rule)])

    def talk(self, version: int) -> Talk:
        listening = self.server.listen(version, 22)
        asking = self.client.connect(self.server, version, 22)
        answering, _ = listening.accept()
        self.server.keep(answering)
        listening.close()
        made = Talk(asking, answering)
        assert made.goes_on()
        return made

    def connects(self, version: int) -> bool:
        listening = self.server.listen(version, 22)
        try:
            self.client.connect(self.server, version, 22, QUIET_S).close()
        except TimeoutError:
            return False
        finally:
            listening.close()
        return True


@pytest.fixture
def scene(pair: tuple[Quarter, Neighbour, Neighbour]) -> Iterator[Scene]:
    made = Scene(*pair)
    yield made
    made.server.tracking = DEFAULT_TRACKING
    for one in (made.client, made.server):
        one.hang_up()


# ── 5.2: live flows ───────────────────────────────────────────────────────────────────────────────────


@BOTH
def test_a_revoked_rule_leaves_a_tracked_flow_and_lets_no_new_one_in(scene: Scene, version: int) -> None:
    scene.rules(server=(NARROW[version], *OPEN_OUT))
    talk = scene.talk(version)
    scene.revoke(NARROW[version])
    assert talk.goes_on()
    assert not scene.connects(version)
    assert talk.goes_on()


@BOTH
def test_a_revoked_rule_cuts_an_untracked_flow_at_once(scene: Scene, version: int) -> None:
    scene.rules(server=(WIDE[version], *OPEN_OUT))
    talk = scene.talk(version)
    scene.revoke(WIDE[version])
    before = scene.quarter.drops(DropReason.NO_INGRESS_RULE, scene.server)
    assert not talk.goes_on()
    assert scene.quarter.drops(DropReason.NO_INGRESS_RULE, scene.server) > before


@BOTH
def test_a_narrowed_rule_cuts_an_untracked_flow_only_if_it_leaves_it_out(scene: Scene, version: int) -> None:
    scene.rules(server=(WIDE[version], *OPEN_OUT))
    talk = scene.talk(version)
    scene.quarter.change(allow=[("server", NARROW[version])], revoke=[("server", WIDE[version])])
    assert talk.goes_on()
    scene.revoke(NARROW[version])  # by now the narrow rule has made it a tracked one
    assert talk.goes_on()


@BOTH
def test_the_other_family_is_another_matter(scene: Scene, version: int) -> None:
    """Untracked needs everything open the other way in the same family."""
    scene.rules(server=(WIDE[version], ALL_OUT[10 - version]))
    talk = scene.talk(version)
    scene.revoke(WIDE[version])
    assert talk.goes_on()


@BOTH
@pytest.mark.parametrize("rules", [NARROW, WIDE], ids=["tracked", "untracked"])
def test_an_added_rule_changes_nothing_for_a_live_flow(scene: Scene, rules: dict[int, str], version: int) -> None:
    scene.rules(server=(rules[version], *OPEN_OUT))
    talk = scene.talk(version)
    scene.allow(f"in tcp/80 {ANY[version]}")
    assert talk.goes_on()
    scene.allow("in icmp client")
    assert talk.goes_on()


@BOTH
def test_swapped_groups_leave_a_tracked_flow_and_cut_an_untracked_one(scene: Scene, version: int) -> None:
    scene.rules(server=(NARROW[version], *OPEN_OUT))
    scene.quarter.group("other", *OPEN_OUT)
    talk = scene.talk(version)
    scene.quarter.change(regroup=[("server", ("other",))])
    assert talk.goes_on()
    assert not scene.connects(version)

    scene.rules(server=(WIDE[version], *OPEN_OUT))
    talk = scene.talk(version)
    scene.quarter.change(regroup=[("server", ("other",))])
    assert not talk.goes_on()


@BOTH
@pytest.mark.parametrize("packets_between", [False, True])
def test_everything_open_and_then_nothing_isolates_at_once(scene: Scene, version: int, packets_between: bool) -> None:
    scene.rules(server=(NARROW[version], *OPEN_OUT))
    talk = scene.talk(version)
    scene.allow(ALL_IN[version])
    if packets_between:
        assert talk.goes_on()
    scene.rules(server=())
    assert not talk.goes_on()


@BOTH
def test_without_the_opposite_rule_an_untracked_flow_goes_on_as_a_tracked_one(scene: Scene, version: int) -> None:
    scene.rules(server=(WIDE[version], *OPEN_OUT))
    talk = scene.talk(version)
    scene.revoke(ALL_OUT[version])
    assert talk.goes_on()
    scene.revoke(WIDE[version])
    assert talk.goes_on()


@BOTH
def test_a_revoked_egress_rule_leaves_what_its_side_tracks(scene: Scene, version: int) -> None:
    scene.rules(server=(NARROW[version], *OPEN_OUT))
    talk = scene.talk(version)
    scene.rules(client=(), server=(NARROW[version], *OPEN_OUT))
    assert talk.goes_on()
    assert not scene.connects(version)


@BOTH
def test_an_egress_rule_to_anybody_is_untracked_where_anybody_may_come_in(scene: Scene, version: int) -> None:
    scene.rules(client=(ALL_IN[version], *OPEN_OUT), server=(NARROW[version], *OPEN_OUT))
    talk = scene.talk(version)
    scene.revoke(ALL_OUT[version], "client")
    assert not talk.goes_on()


@BOTH
def test_leaving_a_group_lets_nobody_new_in_and_leaves_who_is_in(scene: Scene, version: int) -> None:
    scene.rules(server=("in tcp/22 client", *OPEN_OUT))
    scene.quarter.group("other", *OPEN_OUT)
    talk = scene.talk(version)
    scene.quarter.change(regroup=[("client", ("other",))])
    assert talk.goes_on()
    assert not scene.connects(version)


@BOTH
def test_a_tracked_ping_is_answered_after_its_rule_is_gone_and_no_new_one(scene: Scene, version: int) -> None:
    echo, reply = (8, 0) if version == 4 else (128, 129)
    name = "icmp" if version == 4 else "icmpv6"
    rule = f"in {name} {ANY[version]}"
    scene.rules(server=(rule, *OPEN_OUT))
    me, to = scene.client.addresses[version], scene.server.addresses[version]
    protocol = frames.ICMP if version == 4 else frames.ICMP6
    raw = scene.client.raw()

    def pinged(identifier: int) -> bool:
        body = icmp(me, to, echo, 0, identifier.to_bytes(2, "big") + b"\0\1")
        raw.send(scene.client.frame(scene.server, ip(me, to, protocol, body), version))
        at = 34 if version == 4 else 54
        return any(each[at] == reply and each[at + 4 : at + 6] == body[4:6] for each in arrivals(raw))

    assert pinged(1)
    scene.revoke(rule)
    assert pinged(1)
    assert not pinged(2)
    raw.close()


# ── 5.3: idle flows ───────────────────────────────────────────────────────────────────────────────────


def test_idle_flows_are_forgotten_by_the_timers_of_the_interface_at_either_end(scene: Scene) -> None:
    """The server may say nothing of its own: what it says passes only as part of a flow that is remembered."""
    scene.rules(server=(*NARROW.values(), *DNS_IN.values()))
    talks: list[Talk] = []
    once: list[tuple[socket.socket, socket.socket]] = []
    often: list[tuple[socket.socket, socket.socket]] = []
    for version in (4, 6):
        talks.append(scene.talk(version))
        for asked in (once, often):
            there = scene.server.open(version, socket.SOCK_DGRAM, 53)
            asking = scene.client.open(version, socket.SOCK_DGRAM)
            asking.connect((scene.server.addresses[version], 53))
            asking.settimeout(QUIET_S)
            asking.send(b"?")
            there.connect(there.recvfrom(8)[1])  # so that the next one may have the port for its own asker
            asked.append((asking, there))
    for asking, there in often:
        there.send(b"!")
        assert asking.recv(8) == b"!"
    scene.server.tracking = replace(DEFAULT_TRACKING, tcp_established=4, udp_stream=4, udp=1)
    scene.quarter.change()
    for talk in talks:
        assert talk.goes_on()
    for asking, there in (*once, *often):  # a timer reaches a flow with its next packet
        asking.send(b"?")
        assert there.recv(8) == b"?"
    time.sleep(2.5)
    for asking, there in often:
        there.send(b"!")
        assert asking.recv(8) == b"!"
    for talk in talks:
        assert talk.goes_on()
    for asking, there in once:
        there.send(b"late")
        with pytest.raises(TimeoutError):
            asking.recv(8)
    time.sleep(5.5)
    for asking, there in often:
        there.send(b"late")
        with pytest.raises(TimeoutError):
            asking.recv(8)
    for talk in talks:
        talk.answering.send(b"late")
        talk.asking.settimeout(QUIET_S)
        with pytest.raises(TimeoutError):
            talk.asking.recv(8)


# ── 12: errors about flows ────────────────────────────────────────────────────────────────────────────


@dataclass
class Datagrams:
    """A datagram of the client's to the server, and what may be said about it."""

    scene: Scene
    version: int
    sport: int = 4000
    dport: int = 53

    @property
    def ends(self) -> tuple[str, str]:
        return self.scene.client.addresses[self.version], self.scene.server.addresses[self.version]

    def send(self) -> None:
        me, to = self.ends
        raw = self.scene.client.raw()
        body = ip(me, to, frames.UDP, udp(me, to, self.sport, self.dport))
        raw.send(self.scene.client.frame(self.scene.server, body, self.version))
        raw.close()

    def error(self, kind: int, code: int, word: int = 0, sport: int | None = None) -> bytes:
        """The server's complaint about the datagram, or about one from another port."""
        me, to = self.ends
        quoted = ip(me, to, frames.UDP, udp(me, to, self.sport if sport is None else sport, self.dport))
        body = icmp(to, me, kind, code, word.to_bytes(4, "big") + quoted)
        packet = ip(to, me, frames.ICMP if self.version == 4 else frames.ICMP6, body)
        return self.scene.server.frame(self.scene.client, packet, self.version)

    def arrives(self, error: bytes) -> bool:
        """Whether the client gets it."""
        sniffer, sender = self.scene.client.raw(), self.scene.server.raw()
        sender.send(error)
        found = any(each[14 + (20 if self.version == 4 else 40) :] == _message(error) for each in arrivals(sniffer))
        for each in (sniffer, sender):
            each.close()
        return found


def _message(frame: bytes) -> bytes:
    return frame[34:] if frame[12:14] == b"\x08\0" else frame[54:]


UNREACHABLE = {4: (3, 3), 6: (1, 4)}
TOO_BIG = {4: (3, 4), 6: (2, 0)}
REDIRECT = {4: (5, 1), 6: (137, 0)}


@BOTH
@pytest.mark.parametrize("errors", [UNREACHABLE, TOO_BIG], ids=["unreachable", "too big"])
def test_an_error_about_a_tracked_flow_passes_without_a_rule(
    scene: Scene, version: int, errors: dict[int, tuple[int, int]]
) -> None:
    scene.rules(client=(f"out udp/53 {ANY[version]}",), server=(DNS_IN[version],))
    said = Datagrams(scene, version, sport=4100)
    said.send()
    assert said.arrives(said.error(*errors[version], word=1280))


@BOTH
def test_an_error_about_an_unknown_flow_or_another_port_does_not(scene: Scene, version: int) -> None:
    scene.rules(client=(f"out udp/53 {ANY[version]}",), server=(DNS_IN[version],))
    unknown = Datagrams(scene, version, sport=4200)
    assert not unknown.arrives(unknown.error(*UNREACHABLE[version]))
    unknown.send()
    assert not unknown.arrives(unknown.error(*UNREACHABLE[version], sport=4201))


@BOTH
def test_an_error_about_an_untracked_flow_needs_a_rule(scene: Scene, version: int) -> None:
    udp_in = f"in udp/0-65535 {ANY[version]}"
    name = "icmp" if version == 4 else "icmpv6"
    scene.rules(client=(udp_in, f"out udp/0-65535 {ANY[version]}"), server=(DNS_IN[version], *OPEN_OUT))
    said = Datagrams(scene, version, sport=4300)
    said.send()
    assert not said.arrives(said.error(*UNREACHABLE[version]))
    scene.allow(f"in {name} {ANY[version]}", "client")
    assert said.arrives(said.error(*UNREACHABLE[version]))


@BOTH
def test_a_redirect_never_passes(scene: Scene, version: int) -> None:
    everything = (ALL_IN[version], *OPEN_OUT)
    scene.rules(client=everything, server=everything)
    said = Datagrams(scene, version, sport=4400)
    said.send()
    assert not said.arrives(said.error(*REDIRECT[version]))


@BOTH
def test_an_error_from_a_closed_port_is_heard_by_who_asked(scene: Scene, version: int) -> None:
    scene.rules(client=OPEN_OUT, server=(DNS_IN[version],))
    asking = scene.client.open(version, socket.SOCK_DGRAM)
    asking.connect((scene.server.addresses[version], 53))
    asking.send(b"anybody?")
    with pytest.raises(ConnectionRefusedError):
        asking.recv(16)


@BOTH
def test_a_message_about_the_path_lowers_it(scene: Scene, version: int) -> None:
    """The client's own stack believes it: the flow is its own, and the message came through."""
    scene.rules(client=OPEN_OUT, server=(DNS_IN[version], *OPEN_OUT))
    asking = scene.client.open(version, socket.SOCK_DGRAM)
    level, discover, always, mtu = (socket.IPPROTO_IP, 10, 2, 14) if version == 4 else (socket.IPPROTO_IPV6, 23, 2, 24)
    asking.setsockopt(level, discover, always)
    there = scene.server.open(version, socket.SOCK_DGRAM, 53)
    asking.connect((scene.server.addresses[version], 53))
    asking.send(b"x" * 1300)
    assert len(there.recv(2000)) == 1300
    said = Datagrams(scene, version, sport=asking.getsockname()[1])
    assert said.arrives(said.error(*TOO_BIG[version], word=1280))
    with contextlib.suppress(OSError):  # the message itself is told to the sender first
        asking.send(b"y")
    assert asking.getsockopt(level, mtu) == 1280
    there.close()


@BOTH
def test_a_datagram_in_pieces_arrives_whole_where_its_first_piece_may(scene: Scene, version: int) -> None:
    """And so does its answer, as part of the flow."""
    scene.rules(server=(DNS_IN[version],))
    there, closed = (scene.server.open(version, socket.SOCK_DGRAM, port) for port in (53, 54))
    asking = scene.client.open(version, socket.SOCK_DGRAM)
    for port in (54, 53):
        asking.sendto(b"?" * 5000, (scene.server.addresses[version], port))
    data, source = there.recvfrom(8000)
    assert data == b"?" * 5000
    there.sendto(b"!" * 9000, source)
    assert asking.recv(10_000) == b"!" * 9000
    closed.settimeout(QUIET_S)
    with pytest.raises(TimeoutError):
        closed.recv(8000)


# ── 12: scanners ──────────────────────────────────────────────────────────────────────────────────────


def scan(scene: Scene, version: int, *how: str) -> dict[int, str]:
    """nmap's word on each port."""
    command = ["nmap", "-Pn", "-n", "--max-retries", "1", "--host-timeout", "40s", "-oG", "-", *how]
    if version == 6:
        command.append("-6")
    told = scene.client.run(*command, scene.server.addresses[version]).stdout
    line = next(each for each in told.splitlines() if "Ports:" in each)
    ports = line.partition("Ports: ")[2].partition("\t")[0].split(", ")
    return {int(each.split("/")[0]): each.split("/")[1] for each in ports}


@BOTH
def test_a_scan_finds_filtered_closed_and_open(scene: Scene, version: int) -> None:
    scene.rules(server=(f"in tcp/80-81 {ANY[version]}", *OPEN_OUT))
    listening = [scene.server.listen(version, port) for port in (22, 80)]
    found = {22: "filtered", 80: "open", 81: "closed"}
    assert scan(scene, version, "-sS", "-p22,80,81") == found
    assert scan(scene, version, "-sT", "-p22,80,81") == found
    for each in listening:
        each.close()


@BOTH
def test_a_scan_with_acknowledgements_sees_filtered_where_no_rule_is(scene: Scene, version: int) -> None:
    scene.rules(server=(f"in tcp/80-81 {ANY[version]}", *OPEN_OUT))
    listening = scene.server.listen(version, 22)
    assert scan(scene, version, "-sA", "-p22,80")[22] == "filtered"
    listening.close()


@BOTH
def test_a_closed_port_of_datagrams_shows_only_with_a_rule(scene: Scene, version: int) -> None:
    scene.rules(server=(f"in udp/53 {ANY[version]}",))
    assert scan(scene, version, "-sU", "-p53,54") == {53: "closed", 54: "open|filtered"}


@BOTH
def test_a_packet_from_the_middle_of_nowhere_is_judged_by_the_rules(scene: Scene, version: int) -> None:
    """Without state neither an ACK is answered for the guest nor an RST let through as one of a flow."""
    scene.rules(server=(WIDE[version], *OPEN_OUT))
    me, to = scene.client.addresses[version], scene.server.addresses[version]
    sender, sniffer = scene.client.raw(), scene.server.raw()
    for port in (22, 23):
        body = ip(me, to, frames.TCP, tcp(me, to, 5000, port, frames.ACK))
        sender.send(scene.client.frame(scene.server, body, version))
    at = 14 + (20 if version == 4 else 40)
    seen = [int.from_bytes(each[at + 2 : at + 4], "big") for each in arrivals(sniffer)]
    assert seen == [22]
    for each in (sender, sniffer):
        each.close()

"""One instance floods: its own allowance is used up, and nobody else's flows, old or new, notice."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from netns.agent_host import TESTS, AgentHost, Machine
from netns.live_traffic import Between, End, Flows, InThread
from netns.machines import TRACKED_PORT, UDP_PORT, UNTRACKED_PORT, clients, ends_of, items, servers
from stockade.linux import namespaces
from stockade.model.flow import DropReason

pytestmark = [pytest.mark.root, pytest.mark.alone]
SECONDS = 5
ALLOWANCE = 1024
ATTACKER, BYSTANDER = clients(2)
VICTIM, OTHER = servers(2)
EVERYBODY = [ATTACKER, BYSTANDER, VICTIM, OTHER]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[AgentHost]:
    tables = {"flows_tcp": 4 * ALLOWANCE, "flows_other": 4 * ALLOWANCE, "allowance": ALLOWANCE}
    with AgentHost(tmp_path / "host", settings=tables) as made:
        made.tell(items(EVERYBODY))
        made.start()
        made.until_running(EVERYBODY)
        yield made


@pytest.fixture
def ends(host: AgentHost) -> Iterator[dict[Machine, End]]:
    found = dict(zip(EVERYBODY, ends_of(host, EVERYBODY), strict=True))
    yield found
    for end in found.values():
        os.close(end.netns)


class NewFlows(InThread):
    """One connection after the other."""

    def __init__(self, near: End, far: End, port: int) -> None:
        super().__init__()
        self._near, self._far, self._port = near, far, port
        self._listening = namespaces.socket_in(far.netns, socket.AF_INET, socket.SOCK_STREAM)
        self._listening.bind((str(far.address), port))
        self._listening.listen(64)
        self._listening.settimeout(3)
        self.made = 0
        self.failed: list[str] = []

    def work(self) -> None:
        with self._listening:
            while not self._over.wait(0.02):
                try:
                    with namespaces.socket_in(self._near.netns, socket.AF_INET, socket.SOCK_STREAM) as calling:
                        calling.settimeout(3)
                        calling.connect((str(self._far.address), self._port))
                        answering, _ = self._listening.accept()
                        answering.close()
                    self.made += 1
                except OSError as err:
                    self.failed.append(str(err))


def inside(machine: Machine, ends: dict[Machine, End], *arguments: str) -> "subprocess.Popen[str]":
    """netns.flood in the instance's namespace."""
    netns = ends[machine].netns
    return subprocess.Popen(
        ["nsenter", f"--net=/proc/self/fd/{netns}", sys.executable, "-P", "-m", "netns.flood", *arguments],
        env=os.environ | {"PYTHONPATH": f"{TESTS.parent / 'src'}:{TESTS}"},
        pass_fds=[netns],
        stdout=subprocess.PIPE,
        text=True,
    )


@contextmanager
def echoing(machine: Machine, ends: dict[Machine, End], port: int) -> Iterator[None]:
    with inside(machine, ends, "echo", str(machine.address), str(port)) as answering:
        assert answering.stdout is not None
        assert answering.stdout.readline() == "ready\n"
        try:
            yield
        finally:
            answering.kill()


def flood(kind: str, port: int, ends: dict[Machine, End]) -> int:
    arguments = (kind, str(ATTACKER.address), str(VICTIM.address), str(port), str(SECONDS))
    with inside(ATTACKER, ends, *arguments) as flooding:
        told, _ = flooding.communicate(timeout=SECONDS + 20)
    assert flooding.returncode == 0
    return int(told)


def never_reset(end: End) -> None:
    """What a flooder does first: its own kernel must not tell the victim that nobody is there."""
    rules = """
    nft add table ip flooder
    nft add chain ip flooder out '{ type filter hook output priority 0; }'
    nft add rule ip flooder out 'tcp flags & rst == rst drop'
    """
    command = ["nsenter", f"--net=/proc/self/fd/{end.netns}", "sh", "-euc", rules]
    subprocess.run(command, pass_fds=[end.netns], check=True)


def usage_of(host: AgentHost) -> dict[str, Any]:
    """What the agent counted last, a moment after now."""
    since = time.monotonic()
    return host.until_said("usage", lambda line: bool(line["at"] > since + 1.1))


def judged(
    capsys: pytest.CaptureFixture[str], kind: str, sent: int, host: AgentHost, flows: Flows, new: list[NewFlows]
) -> int:
    """Print the counts; everybody but the attacker had what they had. How many packets were dropped for its flood."""
    usage = usage_of(host)
    tracked, untracked = usage["flows"][ATTACKER.interface]
    full = {one: usage["drops"].get(one.interface, {}).get(DropReason.CONNTRACK_FULL.name, 0) for one in EVERYBODY}
    with capsys.disabled():
        print(f"\n{kind} flood: {sent} packets in {SECONDS} s")
        print(f"  attacker: {tracked} tracked, {untracked} untracked flows of {ALLOWANCE}")
        print(f"  dropped for want of more: {full[ATTACKER]} at the attacker, {full[VICTIM]} at the victim")
        print(f"  others: {flows.answers} answers on {flows.count} flows, {len(flows.broken)} broken")
        print(f"  new flows of others: {', '.join(f'{one.made} made, {len(one.failed)} failed' for one in new)}")
    assert sent > 10 * ALLOWANCE
    assert ALLOWANCE // 2 < tracked <= ALLOWANCE
    assert full[BYSTANDER] == full[OTHER] == 0
    assert flows.broken == []
    assert flows.answers > 100
    for one in new:
        assert one.failed == []
        assert one.made > 20
    return full[ATTACKER] + full[VICTIM]


def test_a_syn_flood_uses_up_the_allowance_of_its_sender_alone(
    host: AgentHost, ends: dict[Machine, End], capsys: pytest.CaptureFixture[str]
) -> None:
    near, victim, other = ends[BYSTANDER], ends[VICTIM], ends[OTHER]
    flows = Flows([Between(near, far, 4, TRACKED_PORT) for far in (victim, other)] * 10)
    new = [NewFlows(near, far, port) for far in (other, victim) for port in (UNTRACKED_PORT, TRACKED_PORT + 1)]
    never_reset(ends[ATTACKER])
    with flows, new[0], new[1], new[2], new[3]:
        sent = flood("syn", TRACKED_PORT, ends)
        flows.until_all_answered(10)
    judged(capsys, "SYN", sent, host, flows, new)


def test_a_two_packet_udp_flood_uses_up_the_allowance_of_its_sender_alone(
    host: AgentHost, ends: dict[Machine, End], capsys: pytest.CaptureFixture[str]
) -> None:
    near, victim, other = ends[BYSTANDER], ends[VICTIM], ends[OTHER]
    with echoing(VICTIM, ends, UDP_PORT):
        flows = Flows([Between(near, far, 4, TRACKED_PORT) for far in (victim, other)] * 10)
        new = [NewFlows(near, other, port) for port in (UNTRACKED_PORT, TRACKED_PORT + 1)]
        with flows, new[0], new[1]:
            sent = flood("udp", UDP_PORT, ends)
            flows.until_all_answered(10)
    full = judged(capsys, "UDP", sent, host, flows, new)
    assert full > ALLOWANCE, "answered flows are nobody's to forget: what is beyond the allowance is dropped"

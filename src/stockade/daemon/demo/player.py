"""Plays stories: does each action, prints what was done and its real output, and judges it.

A check is one line with its step's id. A failed one does not end the story: what it could have changed fails by
itself later, and whoever reads the output wants to see all of it.
"""

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar, assert_never

from stockade.daemon.demo import probes
from stockade.daemon.demo.expectation import Unbound, bind_names, compare, fill
from stockade.daemon.demo.region import Region
from stockade.daemon.demo.script import (
    FILTERED,
    OPEN,
    Action,
    Count,
    Inside,
    LoginTimesOut,
    Running,
    Scan,
    Spoof,
    Step,
    Story,
    Telnet,
    Together,
    Tool,
    Way,
    Ways,
)
from stockade.daemon.demo.transport import Account, Answer, Transport
from stockade.daemon.demo.world import World, wait_until

T = TypeVar("T")
U = TypeVar("U")

RUNNING_S, LISTENING_S = 90.0, 60.0
SPOOFED = "spoofed_address"


@dataclass(slots=True)
class Tally:
    """What was checked so far; `failed` holds step ids in order of play."""

    checks: int = 0
    failed: list[str] = field(default_factory=list)

    @property
    def last_line(self) -> str:
        """The demo's last word."""
        return f"demo failed: {' '.join(self.failed)}" if self.failed else f"demo passed: {self.checks} checks"


class Player:
    """Plays stories in a world, by a transport, as these accounts (by name)."""

    def __init__(
        self,
        world: World,
        region: Region,
        transport: Transport,
        accounts: dict[str, Account],
        ssh_configuration: str,
        say: Callable[[str], None],
    ) -> None:
        self._world = world
        self._region = region
        self._transport = transport
        self._accounts = accounts
        self._ssh = ssh_configuration
        self._say = say
        self.tally = Tally()
        self._step = ""
        self._story_account = ""
        self._variables: dict[str, str] = {}

    def play(self, story: Story) -> None:
        """Every step of the story, in order."""
        self._story_account = story.account
        self._variables = {"ACCT": self._accounts[story.account].number}
        self._say(f"\n=== {story.title}")
        for step in story.steps:
            self.play_step(step)

    def play_step(self, step: Step) -> None:
        """One step."""
        self._step = step.id
        began = time.monotonic()
        self._say(f"\n{step.id}  {step.title}")
        for action in step.actions:
            try:
                self._act(action)
            except (Unbound, OSError, LookupError) as problem:
                self._check(f"{type(action).__name__} can be done", str(problem))
        self._say(f"     {time.monotonic() - began:.1f} s")

    def _act(self, action: Action) -> None:
        match action:
            case Tool():
                self._tool(action)
            case Running():
                self._running(action)
            case Count():
                self._count(action)
            case Scan():
                self._scans((action,))
            case Together():
                self._scans(action.scans)
            case Telnet():
                self._telnet(action)
            case LoginTimesOut():
                self._login_times_out(action)
            case Ways():
                self._ways(action.ways)
            case Inside():
                self._inside(action)
            case Spoof():
                self._spoof(action)
            case _:
                assert_never(action)

    # --- commands -------------------------------------------------------------------------------------------

    def _tool(self, tool: Tool) -> None:
        account = tool.account or self._story_account
        scope = {**self._variables, "ACCT": self._accounts[account].number}
        command = fill(tool.command, scope)
        answer = self._give(command, account)
        if tool.refused:
            words = answer.err.startswith(tool.refused) and not answer.out and answer.status != 0
            self._check(f"refused with {tool.refused.rstrip(':')}", "" if words else f"status {answer.status}")
            return
        difference = compare(tool.prints, answer.out, scope)
        if answer.status or answer.err:
            difference = f"status {answer.status}, {answer.err.strip() or 'nothing on standard error'}"
        self._variables.update({name: value for name, value in scope.items() if name != "ACCT"})
        self._check("the records are the expected ones", difference)

    def _give(self, command: str, account: str) -> Answer:
        who = "" if account == self._story_account else f"{account} "
        self._say(f"     {who}$ {command}")
        answer = self._transport.run(self._accounts[account], command)
        self._show(answer.out + answer.err)
        return answer

    def _running(self, wanted: Running) -> None:
        account = self._accounts[wanted.account or self._story_account]
        ids = {self._variable(name): name for name in wanted.instances}
        command = f"ec2-describe-instances {' '.join(ids)}"
        seen: dict[str, list[str]] = {}

        def all_running() -> bool:
            answer = self._transport.run(account, command)
            for record in (line.split("\t") for line in answer.out.splitlines()):
                if record[0] == "INSTANCE":
                    seen[record[1]] = record
            return all(name in seen and seen[name][5] in ("running", "terminated") for name in ids)

        began = time.monotonic()
        wait_until(all_running, RUNNING_S, every=0.2)
        states = {name: seen[instance][5] if instance in seen else "unknown" for instance, name in ids.items()}
        others = {name: state for name, state in states.items() if state != "running"}
        for instance, name in ids.items():
            if instance in seen:
                bind_names(name, seen[instance][3], seen[instance][4], self._variables)
        took = f"after {time.monotonic() - began:.1f} s"
        self._check(f"{_listed(wanted.instances)} running {took}", f"{others}" if others else "")
        if not others:
            self._listening(wanted)

    def _listening(self, wanted: Running) -> None:
        """Seen from inside each, so that no rule matters."""

        def waits(name: str) -> bool:
            network = self._network(name)
            return wait_until(
                lambda: probes.connect(network, ("127.0.0.1", wanted.port), 1.0) == OPEN, LISTENING_S, every=0.05
            )

        deaf = [name for name, is_up in self._at_once(waits, wanted.instances) if not is_up]
        self._check(f"{_listed(wanted.instances)} listening on {wanted.port}", f"not: {deaf}" if deaf else "")

    def _count(self, count: Count) -> None:
        answer = self._transport.run(self._accounts[self._story_account], "ec2-describe-instances")
        records = [line.split("\t") for line in answer.out.splitlines()]
        running = sum(record[0] == "INSTANCE" and record[5] == "running" for record in records)
        self._check(f"{count.running} instances run", "" if running == count.running else f"{running} do")

    # --- looking from outside -------------------------------------------------------------------------------

    def _scans(self, scans: Sequence[Scan]) -> None:
        def scan(wanted: Scan) -> tuple[list[str], str]:
            command = probes.scan_command(fill(wanted.target, self._variables), wanted.ports)
            done = self._world.outside[wanted.place].run(command, timeout_s=probes.SCAN_S)
            return command, done.stdout + done.stderr

        for wanted, (command, output) in self._at_once(scan, scans):
            self._say(f"     {wanted.place}$ {shlex.join(command)}")
            self._show(output)
            scanned = probes.read_scan(output)
            first, _, last = wanted.ports.partition("-")
            total = int(last or first) - int(first) + 1
            expected = {FILTERED: total - len(wanted.open)} if total > len(wanted.open) else {}
            good = scanned.open == wanted.open and scanned.others == expected
            claim = f"{', '.join(wanted.open) or 'nothing'} open to the {wanted.place}, the rest filtered"
            self._check(claim, "" if good else f"open: {scanned.open or 'none'}, others: {scanned.others or 'none'}")

    def _telnet(self, wanted: Telnet) -> None:
        host, address = fill(wanted.target, self._variables), fill(wanted.address, self._variables)
        command = ["telnet", host, str(wanted.port)]
        if wanted.inside:
            command = probes.ssh_command(self._ssh, fill(wanted.inside, self._variables), *command)
        self._say(f"     workstation$ {shlex.join(command)}")
        output = probes.telnet(self._world.outside["workstation"], command)
        self._show(output)
        expected = f"Trying {address}...\nConnected to {host}.\nEscape character is '^]'.\n"
        self._check(f"telnet connects to {address} by its name", "" if output == expected else "another output")

    def _login_times_out(self, wanted: LoginTimesOut) -> None:
        command = probes.ssh_command(self._ssh, fill(wanted.target, self._variables), "true")
        self._say(f"     workstation$ {shlex.join(command)}")
        done = self._world.outside["workstation"].run(command)
        self._show(done.stdout + done.stderr)
        good = done.returncode == 255 and "timed out" in done.stderr
        self._check("a new ssh times out", "" if good else f"status {done.returncode}")

    # --- attempts between instances -------------------------------------------------------------------------

    def _ways(self, ways: Sequence[Way]) -> None:
        def attempt(way: Way) -> tuple[str, str]:
            outside = way.source in self._world.outside
            network = self._world.outside[way.source].network if outside else self._network(way.source)
            address = self._variable(f"{'IP' if outside or way.public else 'PIP'}{way.target}")
            return address, probes.attempt(network, address, way.what)

        for way, (address, verdict) in self._at_once(attempt, ways):
            claim = f"{way.source} > {way.target} ({address}) {way.what} {way.verdict}"
            self._check(claim, "" if verdict == way.verdict else f"it is {verdict}")

    def _inside(self, wanted: Inside) -> None:
        instance = self._variable(wanted.instance)
        self._say(f"     {wanted.instance}# {wanted.command}")
        enter = ["nsenter", "-t", str(self._region.first_process(instance))]
        enter += ["-U", "-S", "0", "-G", "0", "-m", "-n", "-p", "--", "/bin/sh", "-c", wanted.command]
        done = self._world.host.run(enter)
        self._show(done.stdout + done.stderr)
        self._check(f"done on {wanted.instance}", f"status {done.returncode}" if done.returncode else "")

    def _spoof(self, wanted: Spoof) -> None:
        pretended, target = self._variable(f"PIP{wanted.pretends}"), self._variable(f"PIP{wanted.target}")
        sender, honest = self._network(wanted.sender), self._network(wanted.pretends)
        before = self._region.drops(SPOOFED)
        sniffer = probes.Sniffer(self._network(wanted.target))
        try:
            self._say(f"     {wanted.sender}# 3 SYN {pretended} > {target}:{wanted.port}, from a raw socket")
            probes.send_raw(sender, [probes.syn(pretended, target, 40000 + n, wanted.port) for n in range(3)], target)
            stray = sniffer.syns_from(pretended, wanted.port, 2.0)
            self._check(f"a sniffer in {wanted.target} sees none of them", f"it sees {stray}" if stray else "")
            probes.connect(honest, (target, wanted.port), probes.ATTEMPT_S)
            seen = sniffer.syns_from(pretended, wanted.port, probes.ATTEMPT_S)
            self._check(f"it sees a true one of {wanted.pretends}", "" if seen else "it sees nothing")
        finally:
            sniffer.close()
        counted = wait_until(lambda: self._region.drops(SPOOFED) == before + 3, 5.0)
        now = self._region.drops(SPOOFED) - before
        self._check("three drops are counted as spoofed", "" if counted else f"{now} are")

    def _at_once(self, function: Callable[[T], U], items: Sequence[T]) -> list[tuple[T, U]]:
        """The function of every item, all at the same time."""
        with ThreadPoolExecutor(max(1, len(items))) as pool:
            try:
                return list(zip(items, pool.map(function, items), strict=True))
            except KeyboardInterrupt:
                self._world.end_programs()
                raise

    # --- saying ---------------------------------------------------------------------------------------------

    def _check(self, claim: str, wrong: str) -> None:
        self.tally.checks += 1
        if wrong and self._step not in self.tally.failed:
            self.tally.failed.append(self._step)
        self._say(f"  {'✗' if wrong else '✓'}  {self._step:<4} {claim}{': ' + wrong if wrong else ''}")

    def _show(self, text: str) -> None:
        for line in text.splitlines():
            self._say(f"     {line}".rstrip(" "))

    def _variable(self, name: str) -> str:
        return fill(f"{{{name}}}", self._variables)

    def _network(self, name: str) -> int:
        return self._region.network(self._variable(name))


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def say_plainly(line: str) -> None:
    """On a terminal or file of whatever encoding: a sign that it lacks must not end the demo."""
    encoding = sys.stdout.encoding or "ascii"
    print(line.encode(encoding, "replace").decode(encoding), flush=True)

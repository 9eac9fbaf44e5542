"""What plays the steps of a world: every engine that works from compiled entries, asked the same way."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from fuzz.traffic import FIRST, Sent, Step, Wait
from stockade.datapath.contract import DeviceName
from stockade.datapath.simulated.datapath import SimulatedDatapath
from stockade.model.flow import DropReason, Gate, Verdict
from stockade.model.host_view import HostView
from stockade.policy.entries import HostPolicy
from stockade.policy.evaluate import evaluate

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Said:
    """What an engine said of a frame. `reason` None: it dropped without a word; `rules` None: it named none."""

    passed: bool
    reason: DropReason | None
    rules: tuple[int, int] | None


def said(verdict: Verdict) -> Said:
    named = {hop.gate: hop.rule or 0 for hop in verdict.hops}
    rules = (named.get(Gate.EGRESS, 0), named.get(Gate.INGRESS, 0))
    return Said(verdict.passed, verdict.reason or DropReason.NONE, rules)


def agree(wanted: Said, given: Said, whose: bool) -> bool:
    """Whether an engine says what the rules say. `whose`: the frame is for somebody here, or from here."""
    if wanted.passed != given.passed:
        return False
    if not wanted.passed:
        if given.reason is None:
            return not whose or wanted.reason is DropReason.NONE
        # At the gate that refuses, the rules of the gates before it are known: the sender's.
        return wanted.reason is given.reason and _same(wanted.rules, given.rules, 1)
    return _same(wanted.rules, given.rules, 2)


def _same(wanted: tuple[int, int] | None, given: tuple[int, int] | None, gates: int) -> bool:
    return given is None or wanted is None or wanted[:gates] == given[:gates]


class Engine(Protocol):
    """Judges frame after frame by a compiled policy, and remembers flows."""

    def begin(self) -> None:
        """Another world: nothing is remembered."""

    def enforce(self, policy: HostPolicy) -> None: ...

    def play(self, steps: list[Step]) -> list[Said | None]:
        """One answer for each frame sent; None for one that it cannot be asked about."""


class SimulatedEngine:
    """The simulated datapath, with state."""

    def begin(self) -> None:
        self.datapath = SimulatedDatapath(START)
        self._policy = HostPolicy()

    def enforce(self, policy: HostPolicy) -> None:
        for gone in self._policy.endpoints.keys() - policy.endpoints.keys():
            self.datapath.detach(gone)
        self.datapath.apply(policy)
        for endpoint in policy.endpoints:
            self.datapath.attach(endpoint, DeviceName(f"veth-{endpoint}"))
        self._policy = policy

    def play(self, steps: list[Step]) -> list[Said | None]:
        answers: list[Said | None] = []
        for step in steps:
            if isinstance(step, Wait):
                self.datapath.advance(step.seconds)
            else:
                answers.append(said(self.datapath.send_frame(step.frame, step.sender)))
        return answers


def entries_differ(view: HostView, datapath: SimulatedDatapath, step: Sent) -> str | None:
    """What the entries alone say of a first packet that the rules do not, hop by hop; None: nothing."""
    if step.sort != FIRST or step.packet is None:
        return None
    wanted, given = evaluate(view, step.packet, step.sender), datapath.judge(step.packet, step.sender)
    return None if wanted == given else f"{step.packet}\n  rules: {wanted}\n  entries: {given}"

"""Explain: a question in a caller's words becomes one about a snapshot, and policy answers it.

names -> directory -> sides        the cell -> whole_view -> Reachability        answer: every packet tried,
                                                                                  one of them with its reasons
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Protocol

from stockade.model import ports
from stockade.model.addresses import EVERYWHERE_V4, EVERYWHERE_V6, Cidr
from stockade.model.errors import ParametersConflict
from stockade.model.flow import Gate, Hop
from stockade.model.host_view import HostView, ViewGroup, ViewInterface
from stockade.model.ids import SecurityGroupId
from stockade.model.resources import Resources
from stockade.model.rule import CidrPeer, Direction, GroupPeer, Peer, PrefixListPeer, Rule
from stockade.model.security_group import DEFAULT_NAME
from stockade.model.traffic import Traffic
from stockade.policy.questions.expectations import Expectation, read_expectations
from stockade.policy.questions.explain import Explanation, GateAnswer, Lacks
from stockade.policy.questions.matrix import open_traffic
from stockade.policy.questions.reach import At, Outside, Reach, Reachability, Side, Tried
from stockade.policy.questions.tracking import Tracking, tracking_at
from stockade.service.caller import Caller
from stockade.service.cell import CellSettings
from stockade.service.directory import Directory, Named
from stockade.service.imagined import Imagination
from stockade.service.whole_view import whole_view

MOST_PAIRS = 2_500


@dataclass(frozen=True, slots=True)
class Remedy:
    """The rule that would open the gate that stayed closed."""

    group: SecurityGroupId
    direction: Direction
    traffic: Traffic
    peer: Peer


@dataclass(frozen=True, slots=True)
class Question:
    """Who to whom, with what. `hoped`: whether it should pass; what is otherwise is shown first."""

    source: Named
    destination: Named
    traffic: Traffic
    hoped: bool = True


@dataclass(frozen=True, slots=True)
class NearRule:
    """A rule that opens a gate, or came near: `lacks` says in words what it does not cover (port, protocol, peer)."""

    group: ViewGroup
    rule: Rule
    lacks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnsweredHop:
    """What one gate said. `rules` None: no rule was asked. `tracking` of what a rule let through."""

    hop: Hop
    rules: tuple[NearRule, ...] | None
    tracking: Tracking | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of every packet that the question stands for, and why of the one shown.

    Shown is the first that is not as hoped, or else the first; None when there was none to try.
    """

    question: Question
    view: HostView
    reach: Reach
    shown: Tried | None
    explanation: Explanation | None
    remedy: Remedy | None

    @property
    def open(self) -> tuple[Traffic, ...]:
        """The part of the traffic that passes everywhere."""
        return open_traffic(self.reach)

    @property
    def hops(self) -> tuple[AnsweredHop, ...]:
        """The way of the packet shown."""
        if self.explanation is None:
            return ()
        gates = {gate.hop: gate for gate in self.explanation.gates}
        return tuple(
            AnsweredHop(hop, _near_rules(gates.get(hop)), self._tracking(hop)) for hop in self.explanation.verdict.hops
        )

    def _tracking(self, hop: Hop) -> Tracking | None:
        if not hop.rule or hop.interface is None or self.shown is None:
            return None
        direction = Direction.EGRESS if hop.gate is Gate.EGRESS else Direction.INGRESS
        return tracking_at(self.view, self.view.interfaces[hop.interface], direction, self.shown.packet)


def _near_rules(gate: GateAnswer | None) -> tuple[NearRule, ...] | None:
    if gate is None:
        return None
    return tuple(
        NearRule(
            one.group,
            one.rule,
            tuple(part.name.lower() for part in Lacks if part in one.lacks and part.name is not None),
        )
        for one in gate.rules
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """An expectation of a test file, and what was found."""

    expected: Expectation
    answer: Answer


class Known(Protocol):
    """What is asked about: a cell, or what a file describes."""

    @property
    def resources(self) -> Resources:
        """Everything there is."""

    @property
    def settings(self) -> CellSettings:
        """Of these the regions."""


class Answers:
    """Use cases of questions. Nothing here changes anything."""

    def __init__(self, cell: Known) -> None:
        self._cell = cell

    @property
    def resources(self) -> Resources:
        """What the answers are about."""
        return self._cell.resources

    def directory(self, caller: Caller) -> Directory:
        """What the caller may name now."""
        return Directory(self._cell.resources, caller)

    def region(self, asked: str | None) -> str:
        """The region a request speaks of; the first one for clients that guess it from the endpoint's name."""
        regions = self._cell.settings.regions
        return asked if asked is not None and asked in regions else next(iter(regions))

    async def explain(self, caller: Caller, source: str, destination: str, traffic: Traffic) -> Answer:
        """Raises ParameterInvalid (a name), ParametersConflict (neither side is the caller's, or too many pairs)."""
        directory = self.directory(caller)
        question = Question(directory.find("source", source), directory.find("destination", destination), traffic)
        (answer,) = await self.ask(caller, [question])
        return answer

    async def matrix(self, caller: Caller, traffic: Traffic) -> tuple[list[Named], list[Answer]]:
        """The world and every group that has members, each asked about each: parties, and answers row by row."""
        directory = self.directory(caller)
        groups = [directory.named(group.name, group) for group in directory.groups()]
        members = [one for one in groups if one.sides]
        parties = [*self._worlds(traffic, members), *members]
        return parties, await self.ask(caller, [Question(source, to, traffic) for source in parties for to in members])

    def _worlds(self, traffic: Traffic, groups: Sequence[Named]) -> list[Named]:
        """Everybody outside, by family: over IPv6 only where some member can be met over it."""
        interfaces = self._cell.resources.interfaces
        sides = [side for group in groups for side in group.sides if isinstance(side, At)]
        six = any(address.version == 6 for side in sides for address in interfaces[side.interface].addresses)
        blocks: list[Cidr] = [] if traffic.protocol == ports.ICMPV6 and six else [EVERYWHERE_V4]
        if six and traffic.protocol != ports.ICMP:
            blocks.append(EVERYWHERE_V6)
        return [Named(str(block), (Outside(block),)) for block in blocks]

    async def test(self, caller: Caller, document: Any) -> list[Outcome]:
        """Each expectation of a test file with what was found. Raises InvalidInput."""
        expected = read_expectations(document)
        directory = self.directory(caller)
        questions = [
            Question(
                directory.find("from", one.source),
                directory.find("destination", one.destination),
                one.traffic,
                hoped=one.accept,
            )
            for one in expected
        ]
        answers = await self.ask(caller, questions)
        return [Outcome(one, answer) for one, answer in zip(expected, answers, strict=True)]

    async def ask(self, caller: Caller, questions: Sequence[Question]) -> list[Answer]:
        """All at the same moment. Groups that lack members are given imagined ones."""
        imagination = Imagination(whole_view(self._cell.resources), self._cell.resources)
        sided = [_sides(question, imagination) for question in questions]
        asked = Reachability(imagination.view)
        sided = [(asked.telling(sources), asked.telling(destinations)) for sources, destinations in sided]
        if sum(len(sources) * len(destinations) for sources, destinations in sided) > MOST_PAIRS:
            raise ParametersConflict(f"That is more than {MOST_PAIRS} pairs: name fewer at a time.")
        directory = self.directory(caller)
        for sources, destinations in sided:
            _check_concerned(directory, imagination.view, [*sources, *destinations])
        # Hundreds of milliseconds for a large question: other requests are served meanwhile.
        return await asyncio.to_thread(_answers, asked, imagination.view, questions, sided)


def _sides(question: Question, imagination: Imagination) -> tuple[tuple[Side, ...], tuple[Side, ...]]:
    sources, destinations = question.source.sides, question.destination.sides
    if question.source.group is not None and not sources:
        sources = (imagination.member_of(question.source.group),)
    same = set(sources) == set(destinations) and len(destinations) == 1
    if question.destination.group is not None and (not destinations or same):
        destinations = (imagination.member_of(question.destination.group),)
    return sources, destinations


def _check_concerned(directory: Directory, view: HostView, sides: Sequence[Side]) -> None:
    """What others let in from others is not the caller's to ask."""
    if not any(
        isinstance(side, At) and directory.sees_account(view.interfaces[side.interface].account) for side in sides
    ):
        raise ParametersConflict("Neither the source nor the destination is yours.")


def _answers(
    asked: Reachability,
    view: HostView,
    questions: Sequence[Question],
    sided: Sequence[tuple[tuple[Side, ...], tuple[Side, ...]]],
) -> list[Answer]:
    answers = []
    for question, (sources, destinations) in zip(questions, sided, strict=True):
        reach = asked.reach(sources, destinations, question.traffic)
        shown = reach.first(not question.hoped) or reach.first(question.hoped)
        explanation = asked.explain(shown) if shown is not None else None
        remedy = _remedy(question, view, explanation) if explanation is not None else None
        answers.append(Answer(question, view, reach, shown, explanation, remedy))
    return answers


def _remedy(question: Question, view: HostView, explanation: Explanation) -> Remedy | None:
    closed = next((gate for gate in explanation.gates if gate.hop.reason is not None), None)
    if closed is None or closed.hop.interface is None:
        return None
    own = view.interfaces[closed.hop.interface]
    group = _telling(view, own.groups)
    if group is None:
        return None
    direction = Direction.EGRESS if closed.hop.gate is Gate.EGRESS else Direction.INGRESS
    side = question.destination if direction is Direction.EGRESS else question.source
    return Remedy(group, direction, question.traffic, _peer(view, side, closed, own))


def _peer(view: HostView, side: Named, closed: GateAnswer, own: ViewInterface) -> Peer:
    if side.prefix_list is not None:
        return PrefixListPeer(side.prefix_list.id)
    for one in side.sides:
        if isinstance(one, Outside):
            return CidrPeer(one.block)
    group = side.group.id if side.group is not None and side.group.id in closed.peer.groups else None
    group = group or _telling(view, tuple(sorted(closed.peer.groups)))
    if group is not None:
        return GroupPeer(group, own.account)
    return CidrPeer(ip_network(closed.peer.address))


def _telling(view: HostView, groups: Sequence[SecurityGroupId]) -> SecurityGroupId | None:
    """The group a person would name: any but `default`, which others are in too."""
    known = [group for group in groups if group in view.groups]
    return next((group for group in known if view.groups[group].name != DEFAULT_NAME), known[0] if known else None)

"""Explain with packets: what the engine says of a question, held against what the kernel does with real packets.

answer -> the packets that stand for the question -> those between real interfaces of one host -> its agent -> results
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from stockade.model import ports
from stockade.model.flow import DropReason
from stockade.model.host_view import HostView
from stockade.model.ids import HostId, NetworkInterfaceId
from stockade.model.probe import MOST_PROBES, ProbeOutcome, ProbePacket, ProbeResult
from stockade.policy.questions.reach import Tried
from stockade.service.answers import Answer, Question
from stockade.service.caller import Caller
from stockade.service.cell import Cell
from stockade.service.directory import Directory
from stockade.service.flows import FlowSource

MOST_OF_ONE = 24
"""Packets sent for one question. Those left out differ from one sent only by a rule, and the answer says how many."""

_LATELY = timedelta(seconds=10)
_NOT_YOURS = "packets are sent for you only from interfaces of your own"

SendProbes = Callable[[HostId, tuple[ProbePacket, ...]], Awaitable[tuple[ProbeResult, ...]]]


@dataclass(frozen=True, slots=True)
class Probed:
    """A packet that the engine was asked about, and what became of it in the kernel.

    `attached`: it left or was to reach an attached device, where somebody else forwards. `full`: the kernel told that
    it dropped such a packet because an allowance of flows is used up.
    """

    tried: Tried
    result: ProbeResult
    attached: bool = False
    full: bool = False

    @property
    def sent(self) -> bool:
        return self.result.outcome is not ProbeOutcome.UNTRIED

    @property
    def agrees(self) -> bool | None:
        """None: no packet was sent, or what it did tells nothing of the rules."""
        if self.undecided is not None:
            return None
        return self.tried.passed is self._arrived

    @property
    def undecided(self) -> str | None:
        """Why it says neither yes nor no."""
        protocol = self.tried.packet.protocol
        if not self.sent:
            return self.result.why or "it was not sent"
        if self._arrived and not self.tried.passed and protocol not in (*ports.PORTED, *ports.TYPED):
            return f"a tracked flow of protocol {protocol} between the two may go on, and it would be part of that"
        if self.tried.passed and not self._arrived and self.full:
            return "an allowance of flows is used up: what rules allow is dropped until flows end"
        if self.tried.passed and not self._arrived and self.attached:
            return "whoever forwards between the two may have dropped it"
        return None

    @property
    def _arrived(self) -> bool:
        return self.result.outcome is ProbeOutcome.ARRIVED


@dataclass(frozen=True, slots=True)
class ProbedAnswer:
    """An answer with its packets. `left_out`: packets of the question that were not sent, being many."""

    answer: Answer
    packets: tuple[Probed, ...]
    left_out: int

    @property
    def sent(self) -> int:
        return sum(one.sent for one in self.packets)

    @property
    def agrees(self) -> bool | None:
        """Whether the kernel did with every packet what the engine said. None: no packet decided that."""
        said = [one.agrees for one in self.packets if one.agrees is not None]
        return all(said) if said else None

    @property
    def undecided(self) -> str | None:
        """Why the first of those that decided nothing did not."""
        if not self.packets:
            return "no packet can stand for the question"
        return next((one.undecided for one in self.packets if one.undecided is not None), None)


class Probing:
    """Use cases with packets. They open flows as any packet would, and change nothing else."""

    def __init__(self, cell: Cell, send: SendProbes, flows: FlowSource, told_within_s: float = 0.6) -> None:
        """`flows` tells of drops, at latest after `told_within_s`."""
        self._cell = cell
        self._send = send
        self._flows = flows
        self._told_within_s = told_within_s

    async def probe(
        self, caller: Caller, answers: Sequence[Answer], ask: Callable[[Sequence[Question]], Awaitable[list[Answer]]]
    ) -> list[ProbedAnswer]:
        """Each answer with its packets. What may not be sent for the caller is not sent, and says so.

        Where both differ, both are asked once more: rules may have changed between the two.
        """
        found = [await self._probe(caller, answer) for answer in answers]
        differing = [at for at, one in enumerate(found) if one.agrees is False]
        again = await ask([found[at].answer.question for at in differing]) if differing else []
        for at, answer in zip(differing, again, strict=True):
            found[at] = await self._probe(caller, answer)
        if any(one.agrees is False for one in found):
            await asyncio.sleep(self._told_within_s)
            found = [self._with_full(one) if one.agrees is False else one for one in found]
        return found

    def _with_full(self, probed: ProbedAnswer) -> ProbedAnswer:
        """With those marked that the kernel dropped for want of room, as it told lately."""
        since = self._cell.now() - _LATELY
        full = {
            (logged.event.packet.source, logged.event.packet.protocol, logged.event.packet.port)
            for logged in self._flows.since()
            if logged.event.reason is DropReason.CONNTRACK_FULL and logged.event.at >= since
        }
        packets = (
            replace(one, full=(one.tried.packet.source, one.tried.packet.protocol, one.tried.packet.port) in full)
            for one in probed.packets
        )
        return replace(probed, packets=tuple(packets))

    async def _probe(self, caller: Caller, answer: Answer) -> ProbedAnswer:
        chosen = _chosen(answer)
        directory = Directory(self._cell.resources, caller)
        aims = [
            self._aim(answer.view, tried) if self._may_send(caller, directory, tried) else _NOT_YOURS
            for tried in chosen
        ]
        results: list[ProbeResult | None] = [None if isinstance(aim, tuple) else _untried(aim) for aim in aims]
        hosts = {aim[0] for aim in aims if isinstance(aim, tuple)}
        for host in hosts:
            places = [at for at, aim in enumerate(aims) if isinstance(aim, tuple) and aim[0] == host]
            packets = tuple(aim[1] for aim in aims if isinstance(aim, tuple) and aim[0] == host)
            for start in range(0, len(packets), MOST_PROBES):
                part = slice(start, start + MOST_PROBES)
                for at, result in zip(places[part], await self._send(host, packets[part]), strict=True):
                    results[at] = result
        probed = (
            Probed(tried, result, self._is_attached(aim))
            for tried, aim, result in zip(chosen, aims, results, strict=True)
            if result is not None
        )
        return ProbedAnswer(answer, tuple(probed), len(answer.reach.tried) - len(chosen))

    def _is_attached(self, aim: tuple[HostId, ProbePacket] | str) -> bool:
        ends = () if isinstance(aim, str) else (aim[1].sender, aim[1].receiver)
        found = (self._cell.resources.interfaces.get(end) for end in ends if end is not None)
        return any(one is not None and one.device is not None for one in found)

    def _may_send(self, caller: Caller, directory: Directory, tried: Tried) -> bool:
        """From interfaces of the caller's own, and for administrators also from outside."""
        if tried.sender is None:
            return caller.account.is_admin
        interface = self._cell.resources.interfaces.get(tried.sender)
        return interface is None or directory.sees_account(interface.account)

    def _aim(self, view: HostView, tried: Tried) -> tuple[HostId, ProbePacket] | str:
        """Which host is to send it to whom, or why nobody can."""
        interfaces = self._cell.resources.interfaces
        receiver = _receiver(view, tried)
        if receiver is None:
            return f"{tried.packet.destination} is no interface's address: nobody could see it arrive"
        there = interfaces.get(receiver)
        here = interfaces.get(tried.sender) if tried.sender is not None else None
        if there is None or (here is None and tried.sender is not None):
            return f"the {'receiver' if there is None else 'sender'} is imagined: its group has no member that could"
        if here is None and there.device is not None:
            return f"whoever forwards to {there.device} is not ours to send as"
        if here is not None and here.host != there.host:
            return "sender and receiver are on different hosts"
        return there.host, ProbePacket(tried.packet, tried.sender, receiver)


def _chosen(answer: Answer) -> list[Tried]:
    """The packet shown, and others of the question: as many of each verdict as may be."""
    tried = [one for one in answer.reach.tried if one is not answer.shown]
    by_verdict = ([one for one in tried if one.passed], [one for one in tried if not one.passed])
    half = MOST_OF_ONE // 2
    first = by_verdict[0][: max(half, MOST_OF_ONE - 1 - len(by_verdict[1]))]
    rest = by_verdict[1][: MOST_OF_ONE - 1 - len(first)]
    return ([] if answer.shown is None else [answer.shown]) + first + rest


def _receiver(view: HostView, tried: Tried) -> NetworkInterfaceId | None:
    """Whose address the packet is sent to, as its sender can mean it."""
    sender = None if tried.sender is None else view.interfaces[tried.sender]
    address = tried.packet.destination
    own = [
        one.id
        for one in view.interfaces.values()
        if (sender is not None and one.vpc == sender.vpc and address in one.addresses)
    ]
    public = [
        one.id
        for one in view.interfaces.values()
        if one.public == address
        or (address in one.addresses and ((one.public6 and address.version == 6) or one.device is not None))
    ]
    return next(iter([*own, *public]), None)


def _untried(why: str) -> ProbeResult:
    return ProbeResult(ProbeOutcome.UNTRIED, why)

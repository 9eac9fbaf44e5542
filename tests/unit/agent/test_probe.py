"""The agent's answers to requests that nothing can be sent for: each is answered, none ends the answering."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_address

from scenarios.worlds import group, instance, view, world
from stockade.agent.probe import Prober
from stockade.model.flow import Packet
from stockade.model.host_view import ViewInterface
from stockade.model.ids import NetworkInterfaceId
from stockade.model.probe import MOST_PROBES, ProbeAnswer, ProbeOutcome, ProbePacket, ProbeRequest
from unit.agent.host import ScriptedStream

OFFICE = view(world(group("web"), group("app"), instance("web"), instance("app")))
WEB, APP = sorted(OFFICE.interfaces)
PACKET = Packet(OFFICE.interfaces[APP].addresses[0], OFFICE.interfaces[WEB].addresses[0], 6, 80)
ONE = ProbePacket(PACKET, APP, WEB)


class Asking(ScriptedStream):
    """A feed that asks for these, one after the other, and keeps what it is told."""

    def __init__(self, *requests: ProbeRequest) -> None:
        super().__init__()
        self.requests = requests
        self.answers: list[ProbeAnswer] = []

    async def probes(self) -> AsyncIterator[ProbeRequest]:
        for request in self.requests:
            yield request

    async def probed(self, answer: ProbeAnswer) -> None:
        self.answers.append(answer)


async def told(*packets: tuple[ProbePacket, ...], device: str | None = None) -> list[str]:
    """Why the first packet of each request was not tried, with this device for every interface."""

    def device_of(_interface: ViewInterface) -> str | None:
        return device

    stream = Asking(*(ProbeRequest(number, each) for number, each in enumerate(packets, 1)))
    async with asyncio.timeout(10):
        await Prober(device_of, "nosuch-gw").serve(stream, lambda: OFFICE)
    assert [(one.number, len(one.results)) for one in stream.answers] == [
        (number, len(each)) for number, each in enumerate(packets, 1)
    ]
    assert {result.outcome for one in stream.answers for result in one.results} <= {ProbeOutcome.UNTRIED}
    return [str(one.results[0].why) for one in stream.answers if one.results]


async def test_every_request_is_answered_whatever_is_wrong_with_it() -> None:
    nobody = replace(ONE, receiver=NetworkInterfaceId("eni-0badbad0"))
    impossible = replace(ONE, packet=replace(PACKET, port=1 << 20))
    error = replace(ONE, packet=replace(PACKET, protocol=1, port=3 << 8))
    families = replace(ONE, packet=replace(PACKET, source=ip_address("2001:db8::1")))
    said = await told((), (ONE,) * (MOST_PROBES + 1), (nobody,), (impossible,), (error,), (families,), (ONE,))
    assert said == [
        f"more than {MOST_PROBES} packets at once",
        "eni-0badbad0 is no interface of this host",
        f"{WEB} has no device now",
        "an ICMP error is judged by the flow it is about",
        "source and destination are of different families",
        f"{WEB} has no device now",
    ]


async def test_a_device_that_is_not_there_or_has_no_other_end() -> None:
    [gone] = await told((ONE,), device="nosuch0")
    assert "could not send" in gone or "no other end" in gone
    [loopback] = await told((ONE,), device="lo")
    assert loopback == "lo has no other end in another network namespace"

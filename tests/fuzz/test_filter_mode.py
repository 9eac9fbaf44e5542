"""Filter mode by chance: what goes in and out of devices that others forward for, simulated and in the kernel."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import pytest

from fuzz.engines import START, agree, said
from scenarios.frames import frame_of
from scenarios.random_frames import FLAGS, fragments, mutated, neighbour_talk
from scenarios.random_worlds import random_frame, random_packet, random_view
from stockade.datapath.contract import DeviceName
from stockade.datapath.simulated.datapath import SimulatedDatapath
from stockade.model import ports
from stockade.model.addresses import MacAddress
from stockade.model.flow import Packet
from stockade.model.host_view import HostView, apply_frame
from stockade.model.ids import NetworkInterfaceId
from stockade.policy.compile import compile_host
from stockade.policy.dissect import QUERIES

if TYPE_CHECKING:
    from fuzz.kernel_engine import KernelEngine

BRIDGE = MacAddress("02:00:00:00:00:aa")
OUT, IN = "from_endpoint", "to_endpoint"
Sent = tuple[bytes, NetworkInterfaceId, str]


@pytest.fixture(scope="module")
def kernel() -> "Iterator[KernelEngine]":
    from fuzz.kernel_engine import KernelEngine  # noqa: PLC0415 - needs root

    with KernelEngine() as engine:
        yield engine


def adopted(view: HostView) -> HostView:
    """The view with every interface on a device that was there before."""
    interfaces = {name: replace(each, device=f"veth-{name}") for name, each in view.interfaces.items()}
    return replace(view, interfaces=interfaces)


def turned(packet: Packet) -> Packet:
    """What answers it."""
    queries = QUERIES[packet.source.version]
    answers = queries | {reply: query for query, reply in queries.items()}
    if packet.protocol in ports.TYPED:
        kind = answers.get(packet.port >> 8, packet.port >> 8)
        return Packet(packet.destination, packet.source, packet.protocol, kind << 8, packet.source_port)
    return Packet(packet.destination, packet.source, packet.protocol, packet.source_port, packet.port)


def traffic(chance: Random, view: HostView, earlier: list[tuple[Packet, NetworkInterfaceId, str]]) -> Iterator[Sent]:
    """A packet out of or into a device, one that goes on with an earlier one, or a broken one."""
    if earlier and chance.random() < 0.5:
        packet, name, hook = chance.choice(earlier[-20:])
        if chance.random() < 0.6:
            packet, hook = turned(packet), IN if hook == OUT else OUT
        flags = chance.choice(FLAGS)
    else:
        packet, sender = random_packet(chance, view)
        name = sender or chance.choice(sorted(view.interfaces))
        hook, flags = OUT, FLAGS[0]
        if sender is None or chance.random() < 0.4:
            own = [each for each in view.interfaces[name].addresses if each.version == packet.source.version]
            packet, hook = replace(packet, destination=chance.choice(own or [packet.destination])), IN
        earlier.append((packet, name, hook))
    if name not in view.interfaces:
        return
    mac = view.interfaces[name].mac if hook == OUT else BRIDGE
    chances = chance.random()
    if chances < 0.7:
        yield frame_of(packet, mac, flags=flags), name, hook
    elif chances < 0.8:
        yield from ((frame, name, hook) for frame in fragments(chance, packet, mac))
    elif chances < 0.85:
        yield neighbour_talk(chance, view.interfaces[name]), name, hook
    else:
        yield mutated(chance, packet, mac), name, hook


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
@pytest.mark.parametrize("seed", range(25))
def test_devices_of_others_are_judged_alike(kernel: "KernelEngine", seed: int) -> None:
    from fuzz.kernel_engine import may_be_run  # noqa: PLC0415 - needs root

    chance = Random(f"filter/{seed}")
    datapath = SimulatedDatapath(START)
    kernel.begin()
    view = random_view(chance)
    earlier: list[tuple[Packet, NetworkInterfaceId, str]] = []
    for number in range(3):
        view = apply_frame(view, random_frame(chance, view)) if number else view
        policy = compile_host(adopted(view))
        kernel.enforce(policy)
        for gone in datapath.observe().endpoints.keys() - policy.endpoints.keys():
            datapath.detach(gone)
        datapath.apply(policy)
        for interface in view.interfaces:
            datapath.attach(interface, DeviceName(f"veth-{interface}"))
        for _ in range(120 if view.interfaces else 0):
            for frame, name, hook in traffic(chance, view, earlier):
                if not may_be_run(frame):
                    continue
                wanted = datapath.send_frame(frame, name) if hook == OUT else datapath.receive_frame(frame, name)
                given, _ = kernel.ask(frame, name, hook)
                assert agree(said(wanted), given, whose=True), (number, hook, name, frame.hex(), wanted, given)

"""Probes: packets sent from where a sender's would come, and looked for where they would arrive.

    sender's own device, inside its namespace ─▶ our programs ─▶ receiver's own device, inside its namespace
      a frame with its MAC and address                             every frame that comes in is looked at

Nothing of it asks the rules: what arrives has passed the kernel, and what is sent again and again without
arriving has not. A packet from outside is put on the link by which this host's own stack and what it forwards
reach the instances.
"""

import asyncio
import contextlib
import logging
import secrets
import select
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from stockade.agent.next_hop import next_hop
from stockade.agent.probe_frames import Probe, cannot_be_sent, frame_of, is_probe
from stockade.feed.contract import ViewStream
from stockade.linux.far_end import FarEnd, NoFarEnd, far_end
from stockade.linux.links import find_link, list_links
from stockade.linux.namespaces import socket_in
from stockade.linux.netlink import Netlink
from stockade.model.host_view import HostView, ViewInterface
from stockade.model.ids import NetworkInterfaceId
from stockade.model.probe import (
    MOST_PROBES,
    ProbeAnswer,
    ProbeOutcome,
    ProbePacket,
    ProbeRequest,
    ProbeResult,
    untried,
)

_log = logging.getLogger(__name__)
_ROUNDS_S = (0.05, 0.1, 0.25)
"""How long is waited after each sending. A device that has just come up loses a packet now and then."""

_EVERY_KIND = 0x0003
_OUTGOING = 4
_MOST_FRAMES = 20_000  # looked at in one round, of a receiver that is flooded

DeviceOf = Callable[[ViewInterface], str | None]


@dataclass(frozen=True, slots=True)
class _Ready:
    """A probe that can be sent: its frame, by which socket, and where it would be seen."""

    probe: Probe
    frame: bytes
    by: socket.socket
    receiver: NetworkInterfaceId


class Prober:
    """Sends what the control process asks for, one request at a time."""

    def __init__(self, device_of: DeviceOf, gateway: str) -> None:
        """`device_of`: the host's end of an interface's link. `gateway`: by which packets from outside come in."""
        self._device_of = device_of
        self._gateway = gateway

    async def serve(self, stream: ViewStream, view: Callable[[], HostView]) -> None:
        """Answer every request of the stream, until it ends."""
        async for request in stream.probes():
            try:
                answer = await asyncio.to_thread(self.probe, request, view())
            except Exception as err:
                # Whatever is asked, the next question is answered too.
                _log.warning("probe_failed", exc_info=True)
                answer = untried(request, f"this host could not send it: {err}")
            with contextlib.suppress(OSError):
                await stream.probed(answer)

    def probe(self, request: ProbeRequest, view: HostView) -> ProbeAnswer:
        """Blocks for under a second. Raises OSError."""
        if len(request.packets) > MOST_PROBES:
            return untried(request, f"more than {MOST_PROBES} packets at once")
        with ExitStack() as stack:
            ends = _Ends(stack, self._device_of, self._gateway, view)
            made = [_prepared(ends, packet) for packet in request.packets]
            ready = {at: one for at, one in enumerate(made) if isinstance(one, _Ready)}
            arrived = _arrivals(ready, {one.receiver: ends.listener(one.receiver) for one in ready.values()})
        return ProbeAnswer(
            request.number,
            tuple(
                ProbeResult(ProbeOutcome.UNTRIED, one)
                if isinstance(one, str)
                else ProbeResult(ProbeOutcome.ARRIVED if at in arrived else ProbeOutcome.LOST)
                for at, one in enumerate(made)
            ),
        )


class _Ends:
    """The devices that packets of one request leave and reach, each opened once, all closed together."""

    def __init__(self, stack: ExitStack, device_of: DeviceOf, gateway: str, view: HostView) -> None:
        self._stack = stack
        self._device_of = device_of
        self._gateway = gateway
        self._view = view
        self._route = stack.enter_context(Netlink())
        self._ends: dict[NetworkInterfaceId, FarEnd] = {}
        self._listeners: dict[NetworkInterfaceId, socket.socket] = {}
        self._senders: dict[NetworkInterfaceId | None, socket.socket] = {}

    def interface(self, id: NetworkInterfaceId) -> ViewInterface:
        """Raises NoFarEnd."""
        found = self._view.interfaces.get(id)
        if found is None:
            raise NoFarEnd(f"{id} is no interface of this host")
        return found

    def end(self, id: NetworkInterfaceId) -> FarEnd:
        """Where its guest has it. Raises NoFarEnd, OSError."""
        if id not in self._ends:
            device = self._device_of(self.interface(id))
            if device is None:
                raise NoFarEnd(f"{id} has no device now")
            self._ends[id] = self._stack.enter_context(far_end(self._route, device))
            if not self._ends[id].up:
                raise NoFarEnd(f"{id}'s guest has its device down")
        return self._ends[id]

    def listener(self, id: NetworkInterfaceId) -> socket.socket:
        """Hears every frame that comes in there, from now on."""
        if id not in self._listeners:
            end = self.end(id)
            heard = socket_in(end.netns, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_KIND))
            self._stack.callback(heard.close)
            heard.bind((end.name, _EVERY_KIND))
            heard.setblocking(False)
            self._listeners[id] = heard
        return self._listeners[id]

    def sender(self, id: NetworkInterfaceId | None) -> socket.socket:
        """Sends frames as this interface would; None: as whoever is outside."""
        if id not in self._senders:
            if id is None:
                name, made = self._gateway, socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
            else:
                end = self.end(id)
                name, made = end.name, socket_in(end.netns, socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._stack.callback(made.close)
            made.bind((name, 0))
            self._senders[id] = made
        return self._senders[id]

    def macs(self, packet: ProbePacket) -> tuple[bytes, bytes]:
        """Source and destination of the frame. Raises NoFarEnd, OSError."""
        if packet.sender is None:
            gateway = find_link(self._route, self._gateway)
            links = {link.index: link for link in list_links(self._route)}
            if gateway is None or gateway.peer not in links:
                raise NoFarEnd("this host has no link for packets from outside")
            return _octets(gateway.mac), _octets(links[gateway.peer].mac)
        sender, end = self.interface(packet.sender), self.end(packet.sender)
        own = _octets(sender.mac)
        if sender.device is None:
            device = find_link(self._route, self._device_of(sender) or "")
            if device is None:
                raise NoFarEnd(f"{sender.id} has no device now")
            return own, _octets(device.mac)  # our end of its link is its router
        with Netlink(end.netns) as inside:
            hop = next_hop(inside, end, packet.packet.destination, packet.packet.source)
        if hop is None:
            raise NoFarEnd(f"{sender.id} has no next hop to {packet.packet.destination} that answers")
        return own, hop


def _prepared(ends: _Ends, packet: ProbePacket) -> _Ready | str:
    """What can be sent, or why it cannot. Whoever is to receive it listens from here on."""
    refused = cannot_be_sent(packet.packet)
    if refused is not None:
        return refused
    probe = Probe(packet.packet, secrets.randbits(32))
    try:
        ends.listener(packet.receiver)
        return _Ready(probe, frame_of(probe, *ends.macs(packet)), ends.sender(packet.sender), packet.receiver)
    except NoFarEnd as err:
        return str(err)


def _arrivals(ready: Mapping[int, _Ready], listeners: Mapping[NetworkInterfaceId, socket.socket]) -> set[int]:
    """Those that were seen where they should arrive, sent up to three times."""
    arrived: set[int] = set()
    for wait_s in _ROUNDS_S:
        missing = {at: one for at, one in ready.items() if at not in arrived}
        if not missing:
            break
        for one in missing.values():
            with contextlib.suppress(BlockingIOError):
                one.by.send(one.frame)
        deadline = time.monotonic() + wait_s
        looked = 0
        while len(arrived) < len(ready) and looked < _MOST_FRAMES and (left := deadline - time.monotonic()) > 0:
            readable, _, _ = select.select(list(listeners.values()), [], [], left)
            for receiver, heard in listeners.items():
                if heard in readable:
                    frames = _incoming(heard)
                    looked += len(frames)
                    arrived |= {
                        at
                        for at, one in missing.items()
                        if one.receiver == receiver and any(is_probe(frame, one.probe) for frame in frames)
                    }
    return arrived


def _incoming(heard: socket.socket) -> list[bytes]:
    frames: list[bytes] = []
    with contextlib.suppress(BlockingIOError):
        while len(frames) < 256:
            frame, sender = heard.recvfrom(256)
            if sender[2] != _OUTGOING:
                frames.append(frame)
    return frames


def _octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))

"""Frames as an instance's root may write them, shown to every engine at once.

    wire = Wire(world, judge)
    assert wire.send(frame, "web") == "SPOOFED_MAC"

A `Wire` keeps what each engine remembers between frames, and holds the evaluator, the simulated datapath and (with a
KernelJudge) the kernel to one answer. Interfaces have an address of each family and may be met from outside by both.
"""

import struct
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address

from kernel.judging import TC_ACT_REDIRECT, KernelJudge
from netns.frames import IPV4, IPV6, ROUTER, ethernet, ip, kind_of
from scenarios.worlds import World, interface_id, view
from stockade.datapath.contract import DeviceName
from stockade.datapath.ebpf import syscall
from stockade.datapath.simulated.datapath import SimulatedDatapath
from stockade.model.flow import DropReason, Verdict
from stockade.model.host_view import HostView
from stockade.policy.compile import compile_host
from stockade.policy.entries import HostPolicy
from stockade.policy.flows import judge_frame
from stockade.policy.memory import Memory, advance

PASSED, IGNORED = "passed", "ignored"
OUTSIDE = "outside"
GATEWAY_MAC = "02:00:00:00:00:01"
SHORTEST_RUN = {IPV4: 34, IPV6: 54}
"""By ethertype: BPF_PROG_TEST_RUN takes no frame without its IP header, and none without content."""


def ipv6_of(world: World, name: str) -> IPv6Address:
    return IPv6Address("fd00:1::") + 16 + [guest.name for guest in world.guests].index(name)


def dual(world: World) -> HostView:
    """The world's view with an address of each family for everybody."""
    seen = view(world)
    extra = {interface_id(world, guest.name): ipv6_of(world, guest.name) for guest in world.guests}
    members = {name: replace(one, addresses=(*one.addresses, extra[name])) for name, one in seen.members.items()}
    interfaces = {
        name: replace(one, addresses=(*one.addresses, extra[name]), public6=one.public is not None)
        for name, one in seen.interfaces.items()
    }
    return replace(seen, members=members, interfaces=interfaces)


@dataclass(frozen=True, slots=True)
class Face:
    """What an instance knows of itself."""

    mac: str
    four: IPv4Address
    six: IPv6Address

    def __getitem__(self, version: int) -> IPv4Address | IPv6Address:
        return self.four if version == 4 else self.six


class Wire:
    """All engines with one policy, and what each has seen so far."""

    def __init__(self, world: World, judge: KernelJudge | None = None) -> None:
        self.world = world
        self._judge = judge
        self._datapath = SimulatedDatapath(datetime(2026, 1, 1, tzinfo=UTC))
        self._memory = Memory()
        self.enforce(dual(world))

    def enforce(self, seen: HostView) -> None:
        """This is the view from now on, and nothing is remembered in the kernel."""
        self.change(seen)
        if self._judge is not None:
            self._judge.forget_flows()

    def change(self, seen: HostView) -> None:
        """This is the view from now on; what was remembered stays."""
        self.seen = seen
        policy = self.policy_of(seen)
        for name in policy.endpoints:
            self._datapath.attach(name, DeviceName(f"veth-{name}"))
        self._datapath.apply(policy)
        self._memory = advance(self._memory, seen)
        if self._judge is not None:
            self._judge.enforce(policy)

    @staticmethod
    def policy_of(seen: HostView) -> HostPolicy:
        return compile_host(seen)

    def face(self, name: str) -> Face:
        own = self.seen.interfaces[interface_id(self.world, name)]
        four, six = own.addresses[0], own.addresses[-1]
        assert isinstance(four, IPv4Address) and isinstance(six, IPv6Address)
        return Face(own.mac, four, six)

    @property
    def gateway_mac(self) -> str:
        """Whom outsiders send to."""
        return ROUTER if self._judge is None else self._judge._gateway.mac

    def send(self, frame: bytes, sender: str) -> str:
        """`passed`, `ignored` (heard and left at that), or the reason of the drop; all engines alike."""
        name = None if sender == OUTSIDE else interface_id(self.world, sender)
        verdict, self._memory = judge_frame(self.seen, self._memory, 0.0, frame, name)
        assert self._datapath.send_frame(frame, name) == verdict
        if self._judge is not None and len(frame) >= SHORTEST_RUN.get(int.from_bytes(frame[12:14], "big"), 15):
            given = self._in_kernel(self._judge, frame, sender)
            assert given == said(verdict), f"the kernel says {given}, the rules {said(verdict)}: {frame.hex()}"
        return said(verdict)

    def _in_kernel(self, judge: KernelJudge, frame: bytes, sender: str) -> str:
        name = None if sender == OUTSIDE else interface_id(self.world, sender)
        device = judge._gateway.index if name is None else judge._devices[name]
        program = judge._programs["from_gateway" if name is None else "from_endpoint"]
        context = struct.pack("=40xI", device).ljust(192, b"\0")  # struct __sk_buff with its ifindex
        before = judge.datapath.counters().drops
        action = judge.host.run(lambda: syscall.test_run(program, frame, context).action)
        drops = judge.datapath.counters().drops  # what was never a packet is counted and not told
        reasons = [reason for reason in drops if drops[reason] != before.get(reason, 0)]
        if action == TC_ACT_REDIRECT:
            assert reasons == []
            return PASSED
        assert len(reasons) <= 1
        return reasons[0].name if reasons else IGNORED


def said(verdict: Verdict) -> str:
    reason = verdict.hops[-1].reason
    if reason is None:
        return PASSED
    return IGNORED if reason is DropReason.NONE else reason.name


def packet(source: object, destination: object, protocol: int, body: bytes, mac: str, to: str = ROUTER) -> bytes:
    """A frame with a whole packet in it."""
    found = IPv4Address(str(source)) if ":" not in str(source) else IPv6Address(str(source))
    return ethernet(mac, to, kind_of(found.version), ip(str(source), str(destination), protocol, body))

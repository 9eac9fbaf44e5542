"""The programs in the kernel as an engine: frames by BPF_PROG_TEST_RUN, time by making what is remembered older."""

import struct
from collections.abc import Iterator

from fuzz.engines import Said
from fuzz.traffic import Sent, Step, Wait
from kernel.judging import KernelJudge
from stockade.datapath.ebpf import layout, syscall
from stockade.datapath.ebpf.maps import Map
from stockade.model.flow import DropReason, Packet
from stockade.model.ids import NetworkInterfaceId
from stockade.policy.entries import HostPolicy

TC_ACT_REDIRECT, TC_ACT_UNSPEC = 7, 0xFFFFFFFF
PASSES = (TC_ACT_REDIRECT, TC_ACT_UNSPEC)
"""To where it is for; or, in filter mode, on to whatever else is attached there."""
TICK_NS = 1 << 27
ETHERNET = 14
HEADERS = {b"\x08\x00": 20, b"\x86\xdd": 40}
FLOWS = ("flows_tcp", "flows_other", "flows6_tcp", "flows6_other")
DATAGRAM_SEEN = 36
"""Where a datagram keeps when it was begun: behind two addresses and an identification."""
SILENT = (DropReason.MALFORMED, DropReason.UNSUPPORTED, DropReason.OPTIONS, DropReason.SPOOFED_ARP)
"""Reasons for frames that were never read as packets, and so are counted but not told."""


class KernelEngine:
    """A host whose endpoints have devices that lead nowhere."""

    def __init__(self) -> None:
        self._judge = KernelJudge()
        host = self._judge.host
        self._maps: dict[str, Map] = host.run(self._open_maps)
        self._kernel = host.datapath._kernel  # no door leads there: only tests run the programs by hand
        self._networks: dict[NetworkInterfaceId, int] = {}
        self._counted = {reason: self._count(reason) for reason in SILENT}

    def _open_maps(self) -> dict[str, Map]:
        pins = self._judge.host.settings.pins
        return {name: Map(name, syscall.open_pinned(str(pins / name))) for name in (*FLOWS, "datagrams")}

    def begin(self) -> None:
        self._judge.forget_flows()

    def enforce(self, policy: HostPolicy) -> None:
        """An endpoint in another network is another one."""
        for endpoint in policy.endpoints.values():
            if self._networks.get(endpoint.id, endpoint.vpc) != endpoint.vpc:
                self._judge.datapath.detach(endpoint.id)
                self._judge.datapath.attach(endpoint.id, self._judge.device(endpoint.id))
        self._judge.enforce(policy)
        self._networks = {endpoint.id: endpoint.vpc for endpoint in policy.endpoints.values()}

    def play(self, steps: list[Step]) -> list[Said | None]:
        return self._judge.host.run(lambda: list(self._play(steps)))

    def _play(self, steps: list[Step]) -> Iterator[Said | None]:
        for step in steps:
            if isinstance(step, Wait):
                self._grow_older(step.seconds)
            else:
                yield self._send(step) if may_be_run(step.frame) else None

    def ask(
        self, frame: bytes, sender: NetworkInterfaceId | None, program: str = "from_endpoint"
    ) -> tuple[Said, Packet | None]:
        """What becomes of one frame, and the packet that the kernel says it saw. `program`: at which hook."""
        return self._judge.host.run(lambda: self._run(frame, sender, program))

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self._judge.host.run(lambda: self._grow_older(seconds))

    def play_and_tell(self, frames: list[bytes], sender: NetworkInterfaceId) -> list[tuple[Said, Packet | None] | None]:
        """The same for frames of one sender, each with the packet that the kernel says it saw."""

        def play() -> list[tuple[Said, Packet | None] | None]:
            return [self._run(frame, sender) if may_be_run(frame) else None for frame in frames]

        return self._judge.host.run(play)

    def _send(self, step: Sent) -> Said:
        return self._run(step.frame, step.sender)[0]

    def _run(
        self, frame: bytes, sender: NetworkInterfaceId | None, program: str = "from_endpoint"
    ) -> tuple[Said, Packet | None]:
        if sender is None:
            program, device = "from_gateway", self._judge._gateway.index
            frame = bytes.fromhex(self._judge._gateway.mac.replace(":", "")) + frame[6:]
        else:
            device = self._judge._devices[sender]
        context = struct.pack("=40xI", device).ljust(192, b"\0")  # struct __sk_buff with its ifindex
        action = syscall.test_run(self._kernel.programs[program], frame, context).action
        told = list(self._judge.host.datapath._target.flows())
        if told:
            assert len(told) == 1, told
            assert told[0].passed == (action in PASSES), (action, told)
            if told[0].reason in SILENT:  # some of their kind had addresses to tell of
                self._counted[told[0].reason] = self._count(told[0].reason)
            return Said(told[0].passed, told[0].reason, told[0].rules), told[0].packet
        if action in PASSES:
            return Said(True, DropReason.NONE, None), None
        return Said(False, self._silent_reason(), None), None

    def _silent_reason(self) -> DropReason | None:
        """The counter that has grown; None: no counter did."""
        for reason in SILENT:
            count = self._count(reason)
            if count != self._counted[reason]:
                self._counted[reason] = count
                return reason
        return None

    def _count(self, reason: DropReason) -> int:
        return sum(layout.COUNT.unpack(each)[0] for each in self._kernel.per_cpu["drops"].get(reason))

    def _grow_older(self, seconds: float) -> None:
        ticks = int(seconds * 1_000_000_000) // TICK_NS
        for name, table in self._maps.items():
            at = DATAGRAM_SEEN if name == "datagrams" else 0
            for key, value in list(table.items()):
                (seen,) = struct.unpack_from("=I", value, at)
                older = struct.pack("=I", (seen - ticks) & 0xFFFFFFFF)
                table.put(key, value[:at] + older + value[at + 4 :])

    def close(self) -> None:
        for table in self._maps.values():
            table.close()
        self._judge.close()

    def __enter__(self) -> "KernelEngine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def may_be_run(frame: bytes) -> bool:
    """A test run takes no frame whose IP header is cut short; those are sent for real in tests/kernel."""
    return len(frame) - ETHERNET >= HEADERS.get(frame[12:14], 0)

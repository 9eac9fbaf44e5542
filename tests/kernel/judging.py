"""Packets judged by the programs in the kernel, without sending any: BPF_PROG_TEST_RUN and the event it leaves.

    with KernelJudge() as judge:
        judge.enforce(compile_host(view))
        assert judge.judge(packet, sender) == ruling(evaluate(view, packet, sender))

An event names one gate and two rules, not hops with interfaces; a `Ruling` is that much of a verdict.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import cast

from kernel.ebpf_host import EbpfHost, checksum
from stockade.datapath.contract import Datapath, DeviceName
from stockade.datapath.ebpf import layout, syscall
from stockade.datapath.ebpf.maps import Map
from stockade.datapath.simulated.conntrack import Tcp
from stockade.linux import links
from stockade.linux.netlink import Netlink
from stockade.model.flow import DropReason, FlowEvent, Gate, Packet, Verdict
from stockade.model.ids import NetworkInterfaceId
from stockade.model.ports import ICMP, ICMPV6, TCP, UDP
from stockade.policy.entries import HostPolicy

MEMORY = ("flows_tcp", "flows_other", "flows6_tcp", "flows6_other", "candidates", "datagrams")
"""What the programs remember of packets."""
TC_ACT_SHOT, TC_ACT_REDIRECT = 2, 7
UNLIMITED = 0xFFFFFFFF
ETHERTYPES = {4: 0x0800, 6: 0x86DD}
NOBODYS_MAC = "02:00:00:00:00:02"


@dataclass(frozen=True, slots=True)
class Ruling:
    """The last gate that spoke, what it said, and the rules (egress, ingress) that opened gates before."""

    gate: Gate
    reason: DropReason
    rules: tuple[int, int]


PASSED_UNASKED = Ruling(Gate.ROUTE, DropReason.NONE, (0, 0))
NO_WAY = Ruling(Gate.ROUTE, DropReason.NO_ROUTE, (0, 0))


def ruling(verdict: Verdict) -> Ruling:
    """As much of a verdict as an event can tell."""
    said = {hop.gate: hop.rule or 0 for hop in verdict.hops}
    return Ruling(
        verdict.hops[-1].gate,
        verdict.reason or DropReason.NONE,
        (said.get(Gate.EGRESS, 0), said.get(Gate.INGRESS, 0)),
    )


def frame(packet: Packet, source_mac: str, destination_mac: str, flags: Tcp = Tcp.SYN) -> bytes:
    """The packet as an Ethernet frame, with every checksum right."""
    macs = bytes.fromhex((destination_mac + source_mac).replace(":", ""))
    return macs + ETHERTYPES[packet.source.version].to_bytes(2, "big") + ip_packet(packet, flags)


def ip_packet(packet: Packet, flags: Tcp = Tcp.SYN) -> bytes:
    """What stands behind the Ethernet header."""
    payload = _payload(packet, flags)
    addresses = packet.source.packed + packet.destination.packed
    if packet.source.version == 6:
        return struct.pack("!IHBB", 6 << 28, len(payload), packet.protocol, 64) + addresses + payload
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, packet.protocol, 0) + addresses
    return ip[:10] + checksum(ip).to_bytes(2, "big") + ip[12:] + payload


def _payload(packet: Packet, flags: Tcp) -> bytes:
    pseudo = packet.source.packed + packet.destination.packed
    icmp = ICMP if packet.source.version == 4 else ICMPV6
    match packet.protocol:
        case protocol if protocol == TCP:
            body = struct.pack("!HHIIBBHHH", packet.source_port, packet.port, 1, 0, 0x50, flags.value, 64240, 0, 0)
            return _with_checksum(body, 16, pseudo + struct.pack("!HH", TCP, len(body)))
        case protocol if protocol == UDP:
            body = struct.pack("!HHHH", packet.source_port, packet.port, 16, 0) + b"stockade"
            return _with_checksum(body, 6, pseudo + struct.pack("!HH", UDP, len(body)))
        case protocol if protocol == icmp:
            body = struct.pack("!HHHH", packet.port, 0, packet.source_port, 1) + b"stockade"
            return _with_checksum(body, 2, b"" if icmp == ICMP else pseudo + struct.pack("!II", len(body), ICMPV6))
        case _:
            return b"stockade" * 2


def _with_checksum(body: bytes, at: int, pseudo: bytes) -> bytes:
    return body[:at] + checksum(pseudo + body).to_bytes(2, "big") + body[at + 2 :]


class KernelJudge:
    """A host whose endpoints have devices that lead nowhere, so that packets can only be judged."""

    def __init__(self) -> None:
        self.host = EbpfHost(settings={"event_limit": UNLIMITED})
        self.macs: dict[NetworkInterfaceId, str] = {}
        self.told: list[FlowEvent] = []
        self._devices: dict[NetworkInterfaceId, int] = {}
        self._maps: dict[str, Map] = self.host.run(self._open_maps)
        self._gateway = self.host.run(lambda: self._link(self.host.settings.gateway_peer))
        self._programs = self.host.datapath._kernel.programs  # no door leads to them: only tests run them by hand

    def _open_maps(self) -> dict[str, Map]:
        pins = self.host.settings.pins
        return {name: Map(name, syscall.open_pinned(str(pins / name))) for name in MEMORY}

    @staticmethod
    def _link(name: str) -> links.Link:
        with Netlink() as route:
            found = links.find_link(route, name)
        assert found is not None
        return found

    @property
    def datapath(self) -> Datapath:
        return cast("Datapath", self.host.datapath)

    def enforce(self, policy: HostPolicy) -> None:
        """Exactly these endpoints are attached, each to a device of its own, and the policy is applied."""
        for gone in self._devices.keys() - policy.endpoints.keys():
            self.datapath.detach(gone)
            del self._devices[gone]
        for endpoint in sorted(policy.endpoints.keys() - self._devices.keys()):
            self.datapath.attach(endpoint, self.device(endpoint))
        self.datapath.apply(policy)
        self.macs = {endpoint.id: endpoint.mac for endpoint in policy.endpoints.values()}

    def device(self, endpoint: NetworkInterfaceId, copy: int = 0) -> DeviceName:
        """A device for this endpoint, from which its packets come from now on."""
        name = f"t{copy}{endpoint[-8:]}"

        def find_or_make() -> int:
            with Netlink() as route:
                if links.find_link(route, name) is None:
                    links.create_veth(route, name, f"p{copy}{endpoint[-8:]}")
                return links.index_of(route, name)

        self._devices[endpoint] = self.host.run(find_or_make)
        return DeviceName(name)

    def send(self, packet: Packet, sender: NetworkInterfaceId | None, flags: Tcp = Tcp.SYN) -> Ruling:
        """What becomes of this packet, with the flows that others before it have opened."""
        return self.host.run(lambda: self._ruling(self._run(packet, sender, flags)))

    def judge(self, packet: Packet, sender: NetworkInterfaceId | None) -> Ruling:
        """What becomes of the first packet of a flow."""
        return self.host.run(lambda: self._judge([(packet, sender)]))[0]

    def judge_all(self, packets: Iterable[tuple[Packet, NetworkInterfaceId | None]]) -> list[Ruling]:
        """Each as if it were the first packet ever."""
        listed = list(packets)
        return self.host.run(lambda: self._judge(listed))

    def _judge(self, packets: list[tuple[Packet, NetworkInterfaceId | None]]) -> list[Ruling]:
        found = []
        for packet, sender in packets:
            self._forget_flows()
            found.append(self._ruling(self._run(packet, sender, Tcp.SYN)))
        return found

    def forget_flows(self) -> None:
        """As after a long time."""
        self.host.run(self._forget_flows)

    def _forget_flows(self) -> None:
        for table in self._maps.values():
            table.remove_all([key for key, _ in table.items()])
        usages = self.host.datapath._target._kernel.shared["usages"].memory
        usages[:] = bytes(len(usages))

    def _run(self, packet: Packet, sender: NetworkInterfaceId | None, flags: Tcp) -> int:
        if sender is None:
            bytes_, device = frame(packet, "02:00:00:00:00:01", self._gateway.mac, flags), self._gateway.index
        else:
            mac = self.macs.get(sender, NOBODYS_MAC)
            bytes_, device = frame(packet, mac, layout.ROUTER_MAC, flags), self._devices[sender]
        program = self._programs["from_gateway" if sender is None else "from_endpoint"]
        context = struct.pack("=40xI", device).ljust(192, b"\0")  # struct __sk_buff with its ifindex
        return syscall.test_run(program, bytes_, context).action

    def _ruling(self, action: int) -> Ruling:
        told = list(self.host.datapath._target.flows())
        self.told += told
        if not told:
            return PASSED_UNASKED if action == TC_ACT_REDIRECT else NO_WAY
        assert len(told) == 1, told
        assert told[0].passed == (action == TC_ACT_REDIRECT), (action, told)
        return Ruling(told[0].gate, told[0].reason, told[0].rules)

    def close(self) -> None:
        for table in self._maps.values():
            table.close()
        self.host.close()

    def __enter__(self) -> "KernelJudge":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

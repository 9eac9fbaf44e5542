"""A quarter of neighbours: instances of a driver of ours on a host with the eBPF datapath, under rules that change.

    with Quarter() as quarter:
        quarter.group("web", "in tcp/80 0.0.0.0/0", "out all 0.0.0.0/0")
        web = quarter.launch("web", "web")
        quarter.change(revoke=[("web", "in tcp/80 0.0.0.0/0")])

No daemon: what the agent does in the order of architecture I3 is done here by hand. Every neighbour has an address
of each family. Nothing of the machine's own network is touched.
"""

import contextlib
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path
from types import TracebackType

from kernel.ebpf_host import EbpfHost
from netns import frames
from stockade.datapath.contract import DeviceName
from stockade.instances.container.driver import ContainerDriver
from stockade.instances.container.runtime import find_runtime
from stockade.instances.contract import InstanceSpec
from stockade.instances.images.build import Images
from stockade.instances.images.recipes import MICRO
from stockade.instances.namespace.driver import NamespaceDriver
from stockade.linux.namespaces import in_netns, open_netns
from stockade.model.addresses import mac_of, parse_cidr
from stockade.model.change import Revision
from stockade.model.flow import DropReason
from stockade.model.host_view import Frame, HostView, ViewGroup, ViewInterface, ViewMember, apply_frame
from stockade.model.ids import AccountId, HostId, InstanceId, NetworkInterfaceId, RuleId, SecurityGroupId
from stockade.model.journal import NoJournal
from stockade.model.ports import check_ports, parse_protocol
from stockade.model.rule import CidrPeer, Direction, GroupPeer, Peer, Rule
from stockade.model.tracking import DEFAULT_TRACKING, ConnectionTracking
from stockade.policy.compile import compile_host

ACCOUNT, HERE = AccountId("598916040194"), HostId("host-here")
NETWORK = IPv4Network("10.0.0.0/8")
RESOLVER = IPv4Address("10.255.0.2")
"""The network's own name for the resolver."""
LIBRARY = Path("/var/lib/stockade/images")
QUIET_S, LOUD_S = 0.3, 5.0
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
ANY = {4: "0.0.0.0/0", 6: "::/0"}


@dataclass(kw_only=True)
class Neighbour:
    """An instance, seen by whoever is inside."""

    name: str
    interface: NetworkInterfaceId
    instance: InstanceId
    mac: str
    pid: int
    netns: int
    addresses: dict[int, str]
    groups: tuple[str, ...]
    tracking: ConnectionTracking = DEFAULT_TRACKING
    _open: list[socket.socket] = field(default_factory=list)

    def block(self, version: int) -> str:
        """Its own address as a rule has it."""
        return f"{self.addresses[version]}/{32 if version == 4 else 128}"

    def open(self, version: int, kind: int, port: int = 0, protocol: int = 0) -> socket.socket:
        made = in_netns(self.netns, lambda: socket.socket(FAMILIES[version], kind, protocol))
        self._open.append(made)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if port:
            made.bind((self.addresses[version], port))
        made.settimeout(LOUD_S)
        return made

    def listen(self, version: int, port: int) -> socket.socket:
        made = self.open(version, socket.SOCK_STREAM, port)
        made.listen(16)
        return made

    def connect(self, to: "Neighbour", version: int, port: int, within_s: float = LOUD_S) -> socket.socket:
        made = self.open(version, socket.SOCK_STREAM)
        made.settimeout(within_s)
        made.connect((to.addresses[version], port))
        return made

    def raw(self) -> socket.socket:
        """Frames as they are, out of eth0 and into it."""
        made = in_netns(self.netns, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))
        self._open.append(made)
        made.bind(("eth0", 0))
        made.settimeout(QUIET_S)
        return made

    def frame(self, to: "Neighbour", body: bytes, version: int = 4, source_mac: str | None = None) -> bytes:
        return frames.ethernet(source_mac or self.mac, frames.ROUTER, frames.kind_of(version), body)

    def run(self, *command: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """A command with its network, as root there: in a container the root of its own user namespace."""
        user, own = (os.stat(f"/proc/{pid}/ns/user").st_ino for pid in (self.pid, "self"))
        whole = ["nsenter", *([f"--user=/proc/{self.pid}/ns/user"] if user != own else [])]
        whole += [f"--net=/proc/{self.pid}/ns/net", *command]
        return subprocess.run(whole, capture_output=True, text=True, timeout=60, check=check)

    def keep(self, accepted: socket.socket) -> None:
        """To be closed with the others."""
        self._open.append(accepted)

    def hang_up(self) -> None:
        """Close every socket that was opened here."""
        while self._open:
            self._open.pop().close()

    def close(self) -> None:
        self.hang_up()
        os.close(self.netns)


def arrivals(sniffer: socket.socket) -> Iterator[bytes]:
    """What came in, until nothing does for a while; what the neighbour sent itself is left out.

    So are the host's answers to its own questions, where somebody lives.
    """
    while True:
        try:
            data, (_, _, kind, *_) = sniffer.recvfrom(65535)
        except TimeoutError:
            return
        if kind != socket.PACKET_OUTGOING and not _is_routers_answer(data):
            yield data


def _is_routers_answer(data: bytes) -> bool:
    router = frames.mac(frames.ROUTER)
    if data[6:12] != router:
        return False
    if data[12:14] == b"\x08\x06":
        return data[20:22] == b"\0\2" and data[22:28] == router
    return data[12:14] == b"\x86\xdd" and data[20] == 58 and data[54] == 136 and data[-6:] == router


class Quarter:
    """`kind`: which driver runs the instances, "namespace" or "container"."""

    def __init__(self, kind: str = "namespace", uplink: bool = False) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="stockade-test-")
        self.host = EbpfHost(uplink=uplink)
        self._rules: dict[str, dict[str, Rule]] = {}
        self.neighbours: dict[str, Neighbour] = {}
        self._numbers = iter(range(1, 10_000))
        make = self._containers if kind == "container" else self._processes
        self.driver = self.host.run(make)

    def _processes(self) -> NamespaceDriver:
        folder = Path(self._folder.name) / "instances"
        return NamespaceDriver("test", directory=folder, command=["sleep", "1000"], journal=NoJournal())

    def _containers(self) -> ContainerDriver:
        images = Images(LIBRARY, NoJournal())
        images.ensure(MICRO)
        folder = Path(self._folder.name)
        return ContainerDriver(
            f"skq{os.getpid() % 10000}",
            directory=folder / "instances",
            runtime=find_runtime(folder / "oci"),
            images=images,
            journal=NoJournal(),
        )

    # --- rules --------------------------------------------------------------------------------------------------

    def group(self, name: str, *rules: str) -> None:
        self._rules[name] = {}
        for text in rules:
            self._allow(name, text)

    def _allow(self, group: str, text: str) -> None:
        """`in tcp/22 10.0.0.1/32`, `out all ::/0`, `in icmp web`."""
        way, traffic, peer = text.split()
        protocol_name, _, ports = traffic.partition("/")
        protocol = parse_protocol(protocol_name)
        first, _, last = ports.partition("-")
        low, high = (int(first), int(last or first)) if ports else (-1, -1)
        said = check_ports(protocol, *((low, high) if ports or protocol in (1, 58) else (None, None)))
        number = next(self._numbers)
        to: Peer = CidrPeer(parse_cidr(peer)) if "/" in peer else GroupPeer(_group_id(peer), ACCOUNT)
        direction = Direction.INGRESS if way == "in" else Direction.EGRESS
        self._rules[group][text] = Rule(RuleId(f"sgr-{number:017x}"), number, direction, protocol, *said, to)

    def change(
        self,
        *,
        allow: Iterable[tuple[str, str]] = (),
        revoke: Iterable[tuple[str, str]] = (),
        regroup: Iterable[tuple[str, tuple[str, ...]]] = (),
    ) -> None:
        """One step of policy: all of it at once, and in force when this returns."""
        for group, text in revoke:
            del self._rules[group][text]
        for group, text in allow:
            self._allow(group, text)
        for name, groups in regroup:
            self.neighbours[name].groups = groups
        self.host.datapath.apply(compile_host(self.view()))

    def view(self) -> HostView:
        groups = [ViewGroup(_group_id(name), name, tuple(rules.values())) for name, rules in self._rules.items()]
        put: list[ViewGroup | ViewMember | ViewInterface] = list(groups)
        for number, one in enumerate(self.neighbours.values(), start=1):
            addresses = (IPv4Address(one.addresses[4]), IPv6Address(one.addresses[6]))
            mine = tuple(_group_id(each) for each in one.groups)
            put.append(ViewMember(one.interface, 1, addresses, mine, HERE))
            put.append(
                ViewInterface(
                    *(one.interface, number, ACCOUNT, 1, False, NETWORK, mac_of(number), addresses, mine, None, True),
                    one.instance,
                    tracking=one.tracking,
                    resolver=RESOLVER,
                )
            )
        return apply_frame(HostView(HERE), Frame(Revision(1), put=tuple(put), whole=True))

    # --- neighbours ---------------------------------------------------------------------------------------------

    def launch(self, name: str, *groups: str) -> Neighbour:
        """Made, policed, then started, as the agent does it; rules are in force when this returns."""
        number = len(self.neighbours) + 1
        addresses = {4: f"10.0.0.{number}", 6: f"fd00:1::{number:x}"}
        spec = InstanceSpec(
            id=InstanceId(f"i-{0x01000000 + number:08x}"),
            interface=NetworkInterfaceId(f"eni-01{number:06x}"),
            number=number,
            recipe="micro",
            mac=mac_of(number),
            address=IPv4Address(addresses[4]),
            network=NETWORK,
            hostname=f"ip-10-0-0-{number}.stockade.internal",
            addresses6=(IPv6Address(addresses[6]),),
        )
        device = self.host.run(lambda: self.driver.create(spec))
        self.host.datapath.attach(spec.interface, DeviceName(device))
        self.host.run(lambda: self.driver.start(spec.id))
        process = self.driver.process(spec.id)
        assert process is not None
        made = Neighbour(
            name=name,
            interface=spec.interface,
            instance=spec.id,
            mac=spec.mac,
            pid=process.pid,
            netns=open_netns(process.pid),
            addresses=addresses,
            groups=groups,
        )
        self.neighbours[name] = made
        self.change()
        return made

    def drops(self, reason: DropReason, of: Neighbour | None = None) -> int:
        """How many packets so far, of one neighbour or of all."""
        counters = self.host.datapath.counters()
        where = counters.drops if of is None else counters.endpoint_drops.get(of.interface, {})
        return int(where.get(reason, 0))

    def close(self) -> None:
        for one in self.neighbours.values():
            one.close()
            with contextlib.suppress(Exception):
                self.host.datapath.detach(one.interface)
            self.host.run(lambda gone=one.instance: self.driver.destroy(gone))
        self.host.run(self.driver.close)
        self.host.close()
        self._folder.cleanup()

    def __enter__(self) -> "Quarter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _group_id(name: str) -> SecurityGroupId:
    return SecurityGroupId(f"sg-{int.from_bytes(name.encode()[:4].ljust(4), 'big'):08x}")

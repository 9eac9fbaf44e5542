"""A host for the eBPF datapath to live on: network and mount namespaces of its own, guests, a world outside.

    with EbpfHost() as host:
        web = host.add_guest(1, "10.0.0.16", public="198.18.1.0")
        host.datapath.apply(policy)
        web.listen(80); host.can_connect("198.18.1.0", 80)

A network namespace belongs to a thread, so the host is a thread: the datapath lives in it, and what is asked
of `host.datapath` is done there. Needs root. Nothing of the machine's own network is touched.
"""

import contextlib
import os
import queue
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from stockade.datapath.contract import DeviceName
from stockade.datapath.ebpf.datapath import EbpfDatapath
from stockade.datapath.ebpf.settings import EbpfSettings
from stockade.linux import links, mounts, namespaces
from stockade.linux.netlink import Netlink
from stockade.model.addresses import mac_of
from stockade.model.ids import NetworkInterfaceId

T = TypeVar("T")
PUBLIC_POOL = IPv4Network("198.18.0.0/16")
PUBLIC_POOL6 = IPv6Network("2001:db8:5c::/48")
WORLD_NETWORK = IPv4Network("192.168.1.0/24")
WORLD_NETWORK6 = IPv6Network("fd99:1::/64")
WORKSTATION = IPv4Address("192.168.1.130")
HOST_ADDRESS = IPv4Address("192.168.1.1")
WORKSTATION6, HOST_ADDRESS6 = IPv6Address("fd99:1::130"), IPv6Address("fd99:1::1")
ROUTER6 = IPv6Address("fe80::1")
"""The next hop of every guest over IPv6; the programs answer for it as for any other address."""
UPLINK = "uplink0"
QUIET_S = 0.3
"""How long to wait for what must not come."""
LOUD_S = 5.0
"""How long to wait for what must come, on a machine that is busy with other things."""


class NamespaceThread:
    """A thread that stays in its namespaces and does there what it is handed."""

    def __init__(self, enter: Callable[[], None]) -> None:
        self._work: queue.Queue[tuple[Callable[[], Any], Future[Any]] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._serve, args=(enter,), daemon=True)
        self._thread.start()
        self.run(lambda: None)

    def run(self, function: Callable[[], T]) -> T:
        future: Future[T] = Future()
        self._work.put((function, future))
        return future.result()

    def close(self) -> None:
        self._work.put(None)
        self._thread.join()

    def _serve(self, enter: Callable[[], None]) -> None:
        failure: BaseException | None = None
        try:
            enter()
        except BaseException as err:
            failure = err
        while (item := self._work.get()) is not None:
            function, future = item
            if failure is not None:
                future.set_exception(failure)
                continue
            try:
                future.set_result(function())
            except BaseException as err:
                future.set_exception(err)


class _InThread:
    """An object whose methods run in a thread of namespaces; generators are drained there."""

    def __init__(self, thread: NamespaceThread, target: Any) -> None:
        self._thread = thread
        self._target = target

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._target, name)
        if not callable(attribute):
            return attribute

        def call(*args: Any, **named: Any) -> Any:
            def there() -> Any:
                result = attribute(*args, **named)
                return iter(list(result)) if isinstance(result, Iterator) else result

            return self._thread.run(there)

        return call


@dataclass(kw_only=True)
class Place:
    """A network namespace with somebody in it: a guest, the host's stack, the world."""

    netns: int
    _open: list[socket.socket] = field(default_factory=list)

    def open_socket(self, kind: int, bind: tuple[str, int] | None = None, family: int = 4) -> socket.socket:
        """`family` matters where there is no address to bind to."""
        version = family if bind is None else ip_address(bind[0]).version
        made = namespaces.socket_in(self.netns, socket.AF_INET if version == 4 else socket.AF_INET6, kind)
        self._open.append(made)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if bind is not None:
            made.bind(bind)
        made.settimeout(LOUD_S)
        return made

    def listen(self, port: int) -> socket.socket:
        """By whatever address and family."""
        server = self.open_socket(socket.SOCK_STREAM, family=6)
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind(("::", port))
        server.listen(64)
        return server

    def accept(self, listening: socket.socket) -> tuple[socket.socket, str]:
        """The next connection, and the address it comes from."""
        made, (source, *_) = listening.accept()
        self._open.append(made)
        made.settimeout(LOUD_S)
        return made, source.removeprefix("::ffff:")

    def connect(self, address: str, port: int, timeout: float = LOUD_S, source_port: int = 0) -> socket.socket:
        version = ip_address(address).version
        client = self.open_socket(socket.SOCK_STREAM, family=version)
        if source_port:
            client.bind(("" if version == 4 else "::", source_port))
        client.settimeout(timeout)
        client.connect((address, port))
        return client

    def can_connect(self, address: str, port: int) -> bool:
        """Silence means no; a refusal by the other side is an error of the test."""
        try:
            self.connect(address, port, QUIET_S).close()
        except TimeoutError:
            return False
        return True

    def raw(self, device: str = "eth0") -> socket.socket:
        """Frames as they are, in and out."""
        made = namespaces.in_netns(
            self.netns, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        )
        self._open.append(made)
        made.bind((device, 0))
        made.settimeout(QUIET_S)
        return made

    def ping(self, address: str, patience: float = QUIET_S) -> bool:
        """An echo request by a socket of our own, so that no tool is needed.

        `patience`: more, where the neighbour entry is still waiting for an answer that was dropped.
        """
        if ip_address(address).version == 6:
            return self._ping6(address, patience)
        probe = namespaces.in_netns(
            self.netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        )
        self._open.append(probe)
        probe.settimeout(patience)
        identifier = 0x5C00 | (id(probe) >> 4 & 0xFF)
        body = bytes([8, 0, 0, 0]) + identifier.to_bytes(2, "big") + b"\0\1stockade"
        probe.sendto(body[:2] + checksum(body).to_bytes(2, "big") + body[4:], (address, 0))
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            try:
                answer, (source, _) = probe.recvfrom(2048)
            except TimeoutError:
                return False
            if source == address and answer[20] == 0 and answer[24:26] == identifier.to_bytes(2, "big"):
                return True
        return False

    def _ping6(self, address: str, patience: float) -> bool:
        probe = namespaces.in_netns(
            self.netns, lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        )
        self._open.append(probe)
        probe.settimeout(patience)
        identifier = (0x6C00 | (id(probe) >> 4 & 0xFF)).to_bytes(2, "big")
        probe.sendto(bytes([128, 0, 0, 0]) + identifier + b"\0\1stockade", (address, 0))
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            try:
                answer, (source, *_) = probe.recvfrom(2048)
            except TimeoutError:
                return False
            if source == address and answer[0] == 129 and answer[4:6] == identifier:
                return True
        return False

    def close(self) -> None:
        for each in self._open:
            each.close()
        os.close(self.netns)


@dataclass(kw_only=True)
class Guest(Place):
    """An instance: eth0 with its address in a namespace of its own, the other end policed."""

    interface: NetworkInterfaceId
    device: DeviceName
    address: IPv4Address
    mac: str
    address6: IPv6Address | None = None

    def delete_device(self) -> None:
        """What an instance's root can do at any time."""
        with Netlink(self.netns) as route:
            links.delete_link(route, "eth0")


class EbpfHost:
    """One host with a datapath."""

    def __init__(self, *, uplink: bool = False, fault: str = "", settings: dict[str, Any] | None = None) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="stockade-test-")
        top = Path(self._directory.name)
        self._bpffs = top / "bpf"
        self._bpffs.mkdir()
        self._thread = NamespaceThread(self._enter)
        self.netns = self._thread.run(lambda: os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        self.stack = Place(netns=os.dup(self.netns))
        self.world: Place | None = self._make_world() if uplink else None
        self.settings = EbpfSettings(
            **{
                "site": "test",
                "pins": self._bpffs / "test",
                "public_pool": PUBLIC_POOL,
                "public_pool6": PUBLIC_POOL6,
                "services_namespace": top / "services.netns",
                "uplinks": (UPLINK,) if uplink else (),
                "fault": fault,
                "flows_tcp": 4096,
                "flows_other": 4096,
                **(settings or {}),
            }
        )
        self.guests: list[Guest] = []
        self.datapath: Any = self.start()

    def _enter(self) -> None:
        namespaces.unshare(namespaces.NEWNS | namespaces.NEWNET)
        mounts.mount("none", "/", None, mounts.REC | mounts.PRIVATE)
        mounts.mount("bpf", str(self._bpffs), "bpf")
        with Netlink() as route:
            links.set_up(route, "lo")

    def start(self) -> Any:
        """A datapath in this host, which adopts what an earlier one left."""
        return _InThread(self._thread, self._thread.run(lambda: EbpfDatapath(self.settings)))

    def restart(self) -> None:
        """The process ends and another begins; the kernel keeps what it has."""
        self.datapath.close()
        self.datapath = self.start()

    def run(self, function: Callable[[], T]) -> T:
        """Do it in the host's namespaces."""
        return self._thread.run(function)

    @property
    def services(self) -> Place:
        """The services namespace."""
        return Place(netns=self._thread.run(lambda: namespaces.open_netns(str(self.settings.services_namespace))))

    def add_guest(
        self,
        number: int,
        address: str,
        *,
        network: str = "10.0.0.0/8",
        attach: bool = True,
        interface: NetworkInterfaceId | None = None,
        index: int | None = None,
        address6: str | None = None,
    ) -> Guest:
        """A guest with the interface of this number, policed before it is up. `index`: what its device gets."""
        netns = namespaces.new_netns()
        device = DeviceName(f"test-i{number:x}")
        guest = Guest(
            netns=netns,
            interface=interface or NetworkInterfaceId(f"eni-01{number:06x}"),
            device=device,
            address=IPv4Address(address),
            mac=mac_of(number),
            address6=None if address6 is None else IPv6Address(address6),
        )
        with Netlink(self.netns) as route:
            if index is None:
                links.create_veth(route, device, "eth0", peer_mac=guest.mac, peer_netns=netns)
            else:
                self.run(lambda: create_veth_with_index(device, index, guest.mac, netns))
        if attach:
            self.datapath.attach(guest.interface, device)
        with Netlink(self.netns) as route:
            links.set_up(route, device)
        with Netlink(netns) as route:
            links.set_up(route, "lo")
            links.set_up(route, "eth0")
            index = links.index_of(route, "eth0")
            links.add_address(route, index, IPv4Interface((address, IPv4Network(network).prefixlen)))
            links.add_route(route, IPv4Network("0.0.0.0/0"), index)
            if address6 is not None:
                links.add_address(route, index, IPv6Interface(address6))
                links.add_route(route, IPv6Network("::/0"), index, gateway=ROUTER6)
        self.guests.append(guest)
        return guest

    def _make_world(self) -> Place:
        world = Place(netns=namespaces.new_netns())
        with Netlink(self.netns) as route:
            links.create_veth(route, UPLINK, "eth0", peer_netns=world.netns)
            links.set_up(route, UPLINK)
            index = links.index_of(route, UPLINK)
            links.add_address(route, index, IPv4Interface((HOST_ADDRESS, WORLD_NETWORK.prefixlen)))
            links.add_address(route, index, IPv6Interface((HOST_ADDRESS6, WORLD_NETWORK6.prefixlen)))
        with Netlink(world.netns) as route:
            links.set_up(route, "lo")
            links.set_up(route, "eth0")
            index = links.index_of(route, "eth0")
            links.add_address(route, index, IPv4Interface((WORKSTATION, WORLD_NETWORK.prefixlen)))
            links.add_route(route, PUBLIC_POOL, index, gateway=HOST_ADDRESS)
            links.add_address(route, index, IPv6Interface((WORKSTATION6, WORLD_NETWORK6.prefixlen)))
            links.add_route(route, PUBLIC_POOL6, index, gateway=HOST_ADDRESS6)
        return world

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.datapath.remove()
        for place in (*self.guests, self.stack, *([self.world] if self.world else [])):
            place.close()
        os.close(self.netns)
        self._thread.close()
        self._directory.cleanup()

    def __enter__(self) -> "EbpfHost":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def create_veth_with_index(device: str, index: int, mac: str, netns: int) -> None:
    """What `links.create_veth` does not offer, as nobody but a test chooses an index."""
    at = ["ip", "link", "add", device, "index", str(index), "type", "veth"]
    peer = ["peer", "name", "eth0", "address", mac, "netns", f"/proc/{os.getpid()}/fd/{netns}"]
    subprocess.run([*at, *peer], check=True)


def checksum(data: bytes) -> int:
    """The Internet checksum."""
    padded = data + bytes(len(data) % 2)
    total = sum(int.from_bytes(padded[place : place + 2], "big") for place in range(0, len(padded), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

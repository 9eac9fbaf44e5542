"""The services of one host together: metadata, names and time inside, names outside.

The composition root opens the sockets (`open_inside`, `open_outside`), feeds `view_changed`, and starts and
closes this with the agent. The services namespace and its links are made by whoever owns the datapath.
"""

import errno
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from stockade.instances.network.askers import PacketAllowance
from stockade.instances.network.clock import time_server
from stockade.instances.network.items import Subject
from stockade.instances.network.metadata import DEFAULT_OPTIONS, MetadataServer, Options
from stockade.instances.network.names import Names
from stockade.instances.network.resolver import Forward, Resolver, View
from stockade.linux.namespaces import in_netns
from stockade.linux.reuseport import sockets_by_source
from stockade.model.addresses import Address
from stockade.model.host_view import HostView, ViewInterface, ViewMember
from stockade.model.ids import HostId, InstanceId, NetworkInterfaceId
from stockade.model.persistent_map import changed_keys

METADATA: tuple[Address, ...] = (IPv4Address("169.254.169.254"), IPv6Address("fd00:ec2::254"))
RESOLVER: tuple[Address, ...] = (IPv4Address("169.254.169.253"), IPv6Address("fd00:ec2::253"))
TIME: tuple[Address, ...] = (IPv4Address("169.254.169.123"), IPv6Address("fd00:ec2::123"))

_IP_FREEBIND, _IPV6_FREEBIND = 15, 78
_QUEUES = 32

ServiceAddress = Callable[[NetworkInterfaceId], IPv4Address | None]
"""The source under which the services namespace sees this interface now, None when it is not attached."""


@dataclass(frozen=True, slots=True)
class InsideSockets:
    """Bound in the services namespace, not yet listening: for IPv4, and for IPv6 if there is any."""

    metadata: tuple[socket.socket, ...]
    names_udp: tuple[socket.socket, ...]
    names_tcp: tuple[socket.socket, ...]
    time: tuple[socket.socket, ...]


def open_inside(services_netns: int) -> InsideSockets:
    """The sockets of the services namespace behind that descriptor. Its addresses may come later."""

    def inside() -> InsideSockets:
        families = 2 if _has_ipv6() else 1
        return InsideSockets(
            metadata=tuple(_bound(socket.SOCK_STREAM, each, 80, early=True) for each in METADATA[:families]),
            names_udp=tuple(one for each in RESOLVER[:families] for one in _by_asker(each, 53)),
            names_tcp=tuple(_bound(socket.SOCK_STREAM, each, 53, early=True) for each in RESOLVER[:families]),
            time=tuple(one for each in TIME[:families] for one in _by_asker(each, 123)),
        )

    return in_netns(services_netns, inside)


def open_outside(addresses: Iterable[IPv4Address], port: int = 53) -> list[tuple[socket.socket, socket.socket]]:
    """A UDP and a TCP socket for each address, in the caller's network namespace."""
    pairs = []
    for address in addresses:
        udp = _bound(socket.SOCK_DGRAM, address, port)
        pairs.append((udp, _bound(socket.SOCK_STREAM, address, port)))
    return pairs


def _has_ipv6() -> bool:
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()
    except OSError as err:
        if err.errno != errno.EAFNOSUPPORT:
            raise
        return False
    return True


def _by_asker(address: Address, port: int) -> list[socket.socket]:
    """Several queues, so that who fills one does not fill the others'."""
    return sockets_by_source(lambda: _bound(socket.SOCK_DGRAM, address, port, early=True, shared=True), _QUEUES)


def _bound(kind: int, address: Address, port: int, *, early: bool = False, shared: bool = False) -> socket.socket:
    is_v4 = address.version == 4
    opened = socket.socket(socket.AF_INET if is_v4 else socket.AF_INET6, kind | socket.SOCK_NONBLOCK)
    try:
        if kind == socket.SOCK_STREAM:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if early:
            early_option = (socket.IPPROTO_IP, _IP_FREEBIND) if is_v4 else (socket.IPPROTO_IPV6, _IPV6_FREEBIND)
            opened.setsockopt(*early_option, 1)
        opened.bind((str(address), port))
    except OSError:
        opened.close()
        raise
    return opened


class Services:
    """What the instances of one host find around them. Runs in the agent's event loop."""

    def __init__(
        self,
        *,
        names: Names,
        public_pool: IPv4Network,
        service_address: ServiceAddress,
        options: Options = DEFAULT_OPTIONS,
        secret: bytes | None = None,
        forward: Forward | None = None,
    ) -> None:
        """`forward` serves the outside only: inside there is no uplink."""
        self._names = names
        self._service_address = service_address
        self._view = HostView(HostId(""))
        self._sources: dict[IPv4Address, NetworkInterfaceId] = {}
        self._private: dict[tuple[int, IPv4Address], IPv4Address] = {}
        self._owners: dict[tuple[int, Address | InstanceId], tuple[Address, ...]] = {}
        self._allowance = PacketAllowance()
        self._metadata = MetadataServer(self.subject_of, options, secret)
        self._inside = Resolver(View(names, public_pool, self), allowance=self._allowance)
        self._time = time_server(self._allowance)
        self._outside = Resolver(View(names, public_pool), forward)

    def view_changed(self, view: HostView) -> None:
        """Answers follow this view from here on."""
        before, self._view = self._view, view
        moved = {*changed_keys(before.members, view.members), *changed_keys(before.interfaces, view.interfaces)}
        for name in moved:
            self._forget(before.members.get(name))
            self._forget(before.interfaces.get(name))
        for name in moved:
            self._learn(view.members.get(name))
            self._learn(view.interfaces.get(name))

    def _learn(self, item: ViewMember | ViewInterface | None) -> None:
        if item is None:
            return
        private = _private(item.addresses)
        if item.public is not None and private is not None:
            self._private[item.vpc, item.public] = private
        for place in _places(item):
            self._owners[place] = item.addresses

    def _forget(self, item: ViewMember | ViewInterface | None) -> None:
        if item is None:
            return
        # What has become another's meanwhile stays the other's.
        if item.public is not None and self._private.get((item.vpc, item.public)) == _private(item.addresses):
            del self._private[item.vpc, item.public]
        for place in _places(item):
            if self._owners.get(place) == item.addresses:
                del self._owners[place]

    def hostname(self, interface: ViewInterface) -> str:
        """The name an instance with this interface calls itself."""
        private = _private(interface.addresses)
        assert private is not None  # an instance is not launched without
        return self._names.private(private)

    @property
    def exceeded(self) -> Counter[NetworkInterfaceId]:
        """Packets to names and time beyond the allowance so far, of each interface of now that sent such."""
        beyond = self._allowance.exceeded
        if not beyond:
            return Counter()
        now = {interface: self._service_address(interface) for interface in self._view.interfaces}
        return Counter(
            {name: beyond[source] for name, source in now.items() if source is not None and source in beyond}
        )

    def subject_of(self, source: IPv4Address) -> Subject | None:
        """Whose metadata this service source may see."""
        interface = self._interface_of(source)
        if interface is None or interface.instance is None:
            return None
        instance = self._view.instances.get(interface.instance)
        if instance is None:
            return None
        groups = {group.id: group.name for group in self._view.groups.values()}
        return Subject(instance, interface, self._names, groups)

    def private_of(self, source: IPv4Address, public: IPv4Address) -> IPv4Address | None:
        """The private address behind a public one, seen from this service source: only in its own network."""
        interface = self._interface_of(source)
        return None if interface is None else self._private.get((interface.vpc, public))

    def addresses_of(self, source: IPv4Address, whose: IPv4Address | InstanceId) -> tuple[Address, ...]:
        """All addresses of the interface that has this one, or of the instance, in the asker's network."""
        interface = self._interface_of(source)
        return () if interface is None else self._owners.get((interface.vpc, whose), ())

    def owner_of(self, source: IPv4Address, address: IPv6Address) -> IPv4Address | None:
        """The private IPv4 address of the interface that has this one, in the asker's network."""
        interface = self._interface_of(source)
        return None if interface is None else _private(self._owners.get((interface.vpc, address), ()))

    def _interface_of(self, source: IPv4Address) -> ViewInterface | None:
        known = self._sources.get(source)
        # Service addresses are given out again: what is remembered is checked each time, or a new
        # instance would be taken for the one before it.
        if known is None or self._service_address(known) != source:
            self._sources = {}
            for candidate in self._view.interfaces:
                address = self._service_address(candidate)
                if address is not None:
                    self._sources[address] = candidate
            known = self._sources.get(source)
        return None if known is None else self._view.interfaces.get(known)

    async def start(self, inside: InsideSockets, outside: Iterable[tuple[socket.socket, socket.socket]] = ()) -> None:
        """Serve on these sockets; they are ours from here on."""
        for tcp in inside.metadata:
            await self._metadata.serve(tcp)
        for udp in inside.names_udp:
            self._inside.serve_datagrams(udp)
        for tcp in inside.names_tcp:
            await self._inside.serve_connections(tcp)
        for udp in inside.time:
            self._time.serve(udp)
        for udp, tcp in outside:
            await self._outside.serve(udp, tcp)

    async def close(self) -> None:
        """Stop serving. Instances keep running and find us again when the next process serves."""
        await self._metadata.close()
        await self._inside.close()
        await self._outside.close()
        self._time.close()


def _private(addresses: Iterable[Address]) -> IPv4Address | None:
    """The primary one."""
    return next((one for one in addresses if isinstance(one, IPv4Address)), None)


def _places(item: ViewMember | ViewInterface) -> Iterator[tuple[int, Address | InstanceId]]:
    """What it can be asked for by, in its network."""
    yield from ((item.vpc, address) for address in item.addresses)
    if isinstance(item, ViewInterface) and item.instance is not None:
        yield item.vpc, item.instance

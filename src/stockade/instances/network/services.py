"""The services of one host together: metadata and names inside, names outside.

The composition root opens the sockets (`open_inside`, `open_outside`), feeds `view_changed`, and starts and
closes this with the agent. The services namespace and its links are made by whoever owns the datapath.
"""

import logging
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from stockade.instances.network.items import Subject
from stockade.instances.network.metadata import DEFAULT_OPTIONS, MetadataServer, Options
from stockade.instances.network.names import Names
from stockade.instances.network.resolver import Forward, Resolver, View
from stockade.linux.namespaces import in_netns
from stockade.model.host_view import HostView, ViewInterface, ViewMember
from stockade.model.ids import HostId, NetworkInterfaceId

METADATA = IPv4Address("169.254.169.254")
RESOLVER = IPv4Address("169.254.169.253")

ServiceAddress = Callable[[NetworkInterfaceId], IPv4Address | None]
"""The source under which the services namespace sees this interface now, None when it is not attached."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InsideSockets:
    """Bound in the services namespace, not yet listening."""

    metadata: socket.socket
    dns_udp: socket.socket
    dns_tcp: socket.socket


def open_inside(services_netns: int) -> InsideSockets:
    """The sockets of the services namespace behind that descriptor, whose addresses must be there already."""

    def inside() -> InsideSockets:
        return InsideSockets(
            metadata=_bound(socket.SOCK_STREAM, METADATA, 80),
            dns_udp=_bound(socket.SOCK_DGRAM, RESOLVER, 53),
            dns_tcp=_bound(socket.SOCK_STREAM, RESOLVER, 53),
        )

    return in_netns(services_netns, inside)


def open_outside(addresses: Iterable[IPv4Address], port: int = 53) -> list[tuple[socket.socket, socket.socket]]:
    """A UDP and a TCP socket for each address, in the caller's network namespace."""
    pairs = []
    for address in addresses:
        udp = _bound(socket.SOCK_DGRAM, address, port)
        pairs.append((udp, _bound(socket.SOCK_STREAM, address, port)))
    return pairs


def _bound(kind: int, address: IPv4Address, port: int) -> socket.socket:
    opened = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
    try:
        if kind == socket.SOCK_STREAM:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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
        self._metadata = MetadataServer(self.subject_of, options, secret)
        self._inside = Resolver(View(names, public_pool, self.private_of))
        self._outside = Resolver(View(names, public_pool), forward)

    def view_changed(self, view: HostView) -> None:
        """Answers follow this view from here on."""
        self._view = view
        behind: dict[tuple[int, IPv4Address], IPv4Address] = {}
        items: tuple[ViewMember | ViewInterface, ...] = (*view.members.values(), *view.interfaces.values())
        for item in items:
            private = next((one for one in item.addresses if isinstance(one, IPv4Address)), None)
            if item.public is not None and private is not None:
                behind[item.vpc, item.public] = private
        self._private = behind

    def hostname(self, interface: ViewInterface) -> str:
        """The name an instance with this interface calls itself."""
        private = next(address for address in interface.addresses if isinstance(address, IPv4Address))
        return self._names.private(private)

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
        await self._metadata.serve(inside.metadata)
        await self._inside.serve(inside.dns_udp, inside.dns_tcp)
        for udp, tcp in outside:
            await self._outside.serve(udp, tcp)

    async def close(self) -> None:
        """Stop serving. Instances keep running and find us again when the next process serves."""
        await self._metadata.close()
        await self._inside.close()
        await self._outside.close()

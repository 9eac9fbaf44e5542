"""The services as an instance meets them: through its own device, over both families, at exact addresses."""

import asyncio
import http.client
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

import dns.message
import dns.query
import dns.rcode
import dns.reversename
import pytest

from kernel.ebpf_host import PUBLIC_POOL
from netns.quarter import LOUD_S, QUIET_S, RESOLVER, Neighbour, Quarter
from stockade.instances.network.askers import PACKETS_A_SECOND
from stockade.instances.network.metadata import Options
from stockade.instances.network.names import Names
from stockade.instances.network.services import Services, open_inside
from stockade.linux.namespaces import in_netns, open_netns
from stockade.model.change import Revision
from stockade.model.host_view import Frame, ViewInstance, apply_frame
from stockade.model.ids import NetworkInterfaceId

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

NAMES = {4: "169.254.169.253", 6: "fd00:ec2::253"}
METADATA = {4: "169.254.169.254", 6: "fd00:ec2::254"}
TIME = {4: "169.254.169.123", 6: "fd00:ec2::123"}
BOTH = pytest.mark.parametrize("version", [4, 6])


class Serving:
    """Services in a loop of their own, on a thread."""

    def __init__(self, quarter: Quarter, options: Options) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

        def service_address(interface: NetworkInterfaceId) -> IPv4Address | None:
            found: IPv4Address = quarter.host.datapath.service_address(interface)
            return found

        self.services = Services(
            names=Names(), public_pool=PUBLIC_POOL, service_address=service_address, options=options
        )
        view = quarter.view()
        instances = [
            ViewInstance(
                *(one.instance, one.account, one.id, True, "ami-eca54085", "micro", "m1.small", "us-east-1a"),
                *("us-east-1", "r-01000001", 0, None, None, None, ("quiet",)),
            )
            for one in view.interfaces.values()
            if one.instance is not None
        ]
        self.services.view_changed(apply_frame(view, Frame(Revision(2), put=tuple(instances))))
        inside = quarter.host.run(lambda: open_netns(str(quarter.host.settings.services_namespace)))
        try:
            sockets = open_inside(inside)
        finally:
            os.close(inside)
        asyncio.run_coroutine_threadsafe(self.services.start(sockets), self._loop).result(10)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self.services.close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass
class Site:
    services: Services
    one: Neighbour
    two: Neighbour


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Two instances without a single rule, so that nothing but the exemption lets them ask."""
    with Quarter() as quarter:
        quarter.group("quiet")
        one, two = quarter.launch("one", "quiet"), quarter.launch("two", "quiet")
        serving = Serving(quarter, Options(ipv6=True))
        try:
            yield Site(serving.services, one, two)
        finally:
            serving.close()


def asked(who: Neighbour, name: str, kind: str, server: str, tcp: bool = False) -> list[str]:
    question = dns.message.make_query(name, kind)
    ask = dns.query.tcp if tcp else dns.query.udp
    reply = in_netns(who.netns, lambda: ask(question, server, LOUD_S))  # asked once: a lost question shows
    return [record.to_text() for group in reply.answer for record in group]


def metadata(who: Neighbour, version: int, path: str) -> tuple[int, str]:
    def get() -> tuple[int, str]:
        connection = http.client.HTTPConnection(METADATA[version], 80, timeout=LOUD_S)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.status, reply.read().decode()
        finally:
            connection.close()

    return in_netns(who.netns, get)


@BOTH
@pytest.mark.parametrize("tcp", [False, True])
def test_names_are_answered_in_both_families_over_both(site: Site, version: int, tcp: bool) -> None:
    two = site.two.addresses
    assert asked(site.one, "ip-10-0-0-2.stockade.internal.", "A", NAMES[version], tcp) == [two[4]]
    assert asked(site.one, "ip-10-0-0-2.stockade.internal.", "AAAA", NAMES[version], tcp) == [two[6]]
    assert asked(site.one, f"{site.two.instance}.stockade.internal.", "AAAA", NAMES[version], tcp) == [two[6]]
    for address in two.values():
        backwards = dns.reversename.from_address(address).to_text()
        assert asked(site.one, backwards, "PTR", NAMES[version], tcp) == ["ip-10-0-0-2.stockade.internal."]


@pytest.mark.parametrize("tcp", [False, True])
def test_the_networks_own_name_for_the_resolver_is_the_resolver(site: Site, tcp: bool) -> None:
    name = "ip-10-0-0-2.stockade.internal."
    assert asked(site.one, name, "AAAA", str(RESOLVER), tcp) == [site.two.addresses[6]]


@BOTH
def test_each_instance_reads_its_own_metadata(site: Site, version: int) -> None:
    for who in (site.one, site.two):
        assert metadata(who, version, "/latest/meta-data/instance-id") == (200, who.instance)
        assert metadata(who, version, "/latest/meta-data/ipv6") == (200, who.addresses[6])


@BOTH
def test_the_time_service_tells_the_hosts_time(site: Site, version: int) -> None:
    asking = site.one.open(version, socket.SOCK_DGRAM)
    asking.connect((TIME[version], 123))
    asking.send(struct.pack("!B39xQ", 4 << 3 | 3, 77))
    reply = asking.recv(128)
    assert (reply[0] & 7, len(reply), struct.unpack_from("!Q", reply, 24)[0]) == (4, 48, 77)
    told = struct.unpack_from("!I", reply, 40)[0] - 2_208_988_800
    assert abs(told - time.time()) < 5


@BOTH
def test_nothing_beside_the_exact_addresses_and_ports_is_there(site: Site, version: int) -> None:
    for address, port in (
        (NAMES[version], 80),
        (METADATA[version], 53),
        (METADATA[version], 22),
        (TIME[version], 123),  # TCP
        ("169.254.169.252" if version == 4 else "fd00:ec2::252", 53),
    ):
        tried = site.one.open(version, socket.SOCK_STREAM)
        tried.settimeout(QUIET_S)
        with pytest.raises(OSError):
            tried.connect((address, port))
    for address, port in ((TIME[version], 53), (NAMES[version], 123), (METADATA[version], 123)):
        asking = site.one.open(version, socket.SOCK_DGRAM)
        asking.settimeout(QUIET_S)
        asking.connect((address, port))
        asking.send(struct.pack("!B39xQ", 4 << 3 | 3, 77))
        with pytest.raises(TimeoutError):
            asking.recv(128)
    site.one.hang_up()


FLOOD = """
import socket, sys
flood = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
flood.connect((sys.argv[1], 53))
print("begun", flush=True)
while True:
    try:
        flood.send(bytes(40))
    except OSError:
        pass
"""


def test_who_asks_without_end_is_answered_less_and_others_as_ever(site: Site) -> None:
    """The allowance is one interface's, and so is the queue; what is beyond is counted."""
    network = f"--net=/proc/{site.one.pid}/ns/net"
    command = ["nsenter", network, sys.executable, "-c", FLOOD, NAMES[4]]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as flood:
        assert flood.stdout is not None
        assert flood.stdout.readline() == b"begun\n"
        try:
            begun = time.monotonic()
            while not site.services.exceeded.get(site.one.interface):
                assert time.monotonic() - begun < LOUD_S
            for _ in range(20):
                found = asked(site.two, "ip-10-0-0-1.stockade.internal.", "A", NAMES[4])
                assert found == [site.one.addresses[4]]
        finally:
            flood.kill()
    assert site.services.exceeded[site.one.interface] > PACKETS_A_SECOND
    assert site.two.interface not in site.services.exceeded

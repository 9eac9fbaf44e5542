"""fakecloud, pull request 2101, and the notes of CloudStack and Incus: frames between two ports of one bridge never met
a filter that needs the kernel's bridge filter, which may be absent, off or on.

Two devices on somebody else's bridge, in filter mode: the rules hold between them with the bridge filter as this
kernel has it, and off and on where it has one. A third device, which is nobody's, shows that the bridge itself would
forward everything.
"""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kernel.ebpf_host import EbpfHost, Guest
from scenarios.worlds import group, instance, interface_id, private_address, view, world
from stockade.policy.compile import compile_host

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("kernel-bridge")]

BRIDGE_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
SERVER, CLIENT, NOBODY = "server", "client", "nobody"
THREE = (instance(SERVER), instance(CLIENT), instance(NOBODY, CLIENT))
WORLD = world(group(SERVER, ingress=["tcp/80 from client"]), group(CLIENT), *THREE)


@pytest.fixture
def host() -> Iterator[EbpfHost]:
    with EbpfHost() as made:
        yield made


def on_one_bridge(host: EbpfHost) -> dict[str, Guest]:
    """As a container engine would connect them."""
    found = {}
    host.run(lambda: subprocess.run(["ip", "link", "add", "theirs0", "type", "bridge"], check=True))
    host.run(lambda: subprocess.run(["ip", "link", "set", "theirs0", "up"], check=True))
    for number, name in enumerate((SERVER, CLIENT, NOBODY), start=1):
        address = str(private_address(WORLD, name))
        guest = host.add_guest(number, address, attach=False, interface=interface_id(WORLD, name))
        plug = ["ip", "link", "set", guest.device, "master", "theirs0"]
        host.run(lambda plug=plug: subprocess.run(plug, check=True))
        found[name] = guest
    return found


def adopt(host: EbpfHost, guests: dict[str, Guest]) -> None:
    """The server and the client are policed where they are."""
    seen = view(WORLD)
    ours = {
        one.interface: replace(seen.interfaces[one.interface], device=one.device)
        for one in (guests[SERVER], guests[CLIENT])
    }
    for one in ours:
        host.datapath.attach(one, next(guest.device for guest in guests.values() if guest.interface == one))
    host.datapath.apply(compile_host(replace(seen, interfaces=ours)))


@pytest.mark.parametrize("bridge_filter", ["as it is", "0", "1"])
def test_frames_that_never_leave_the_bridge_meet_the_rules(host: EbpfHost, bridge_filter: str) -> None:
    guests = on_one_bridge(host)
    to = str(private_address(WORLD, SERVER))
    for port in (80, 81):
        guests[SERVER].listen(port)
        guests[CLIENT].connect(to, port).close()  # the bridge forwards, before anybody is policed
    if bridge_filter != "as it is" and host.run(BRIDGE_FILTER.exists):
        host.run(lambda: BRIDGE_FILTER.write_text(bridge_filter, encoding="ascii"))
    adopt(host, guests)
    assert guests[CLIENT].can_connect(to, 80)
    assert not guests[CLIENT].can_connect(to, 81)
    elsewhere = str(private_address(WORLD, NOBODY))
    guests[NOBODY].listen(81)
    assert guests[CLIENT].can_connect(elsewhere, 81)
    assert not guests[NOBODY].can_connect(to, 81)

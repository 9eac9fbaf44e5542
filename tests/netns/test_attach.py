"""Existing devices of a host put under groups: what is known of them, and that they are given back as they were."""

import subprocess
from collections.abc import Iterator

import pytest

from netns.site import TestSite
from stockade.agent.device_loop import HostDevices, refusal
from stockade.linux.netlink import Netlink
from stockade.linux.peers import peer_mac

pytestmark = [pytest.mark.root, pytest.mark.alone]

GUEST_MAC = "02:aa:00:00:00:01"


@pytest.fixture
def site() -> Iterator[TestSite]:
    made = TestSite()
    yield made
    made.end()


class Guest:
    """What a container engine makes: a namespace whose eth0 is the far end of a veth on a bridge."""

    def __init__(self, site: TestSite, name: str, mac: str, address: str) -> None:
        self.name = f"{site.netns}{name}"
        self.device = f"veth-{name}"
        self._site = site
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        site.ip(
            *("link", "add", self.device, "type", "veth", "peer", "name", "eth0"),
            *("netns", self.name, "address", mac),
        )
        site.ip("link", "set", self.device, "up")
        self.run("ip", "link", "set", "eth0", "up")
        self.run("ip", "address", "add", address, "dev", "eth0")

    def run(self, *command: str) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(["nsenter", f"--net=/run/netns/{self.name}", *command], check=True, capture_output=True)

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], check=True)


@pytest.fixture
def guest(site: TestSite) -> Iterator[Guest]:
    made = Guest(site, "a", GUEST_MAC, "172.30.0.2/24")
    yield made
    made.remove()


def test_the_mac_of_a_guest_is_read_across_namespaces(site: TestSite, guest: Guest) -> None:
    site.ip("link", "add", "left", "type", "veth", "peer", "name", "right", "address", "02:bb:00:00:00:02")
    site.ip("link", "add", "bridge0", "type", "bridge")

    def ask(device: str) -> str | None:
        with Netlink() as route:
            return peer_mac(route, device)

    assert site.inside(lambda: ask(guest.device)) == GUEST_MAC
    assert site.inside(lambda: ask("left")) == "02:bb:00:00:00:02"
    assert site.inside(lambda: ask("bridge0")) is None
    assert site.inside(lambda: ask("none")) is None


def test_the_way_out_of_a_host_is_not_adopted_but_a_bridge_port_is(site: TestSite, guest: Guest) -> None:
    site.ip("link", "add", "bridge0", "type", "bridge")
    site.ip("link", "set", "bridge0", "up")
    site.ip("address", "add", "172.30.0.1/24", "dev", "bridge0")
    site.ip("link", "set", guest.device, "master", "bridge0")
    site.ip("route", "add", "default", "via", "172.30.0.254", "dev", "bridge0")
    host = site.inside(HostDevices.now)

    def why(name: str) -> str | None:
        return refusal(name, host, lambda _name: False)

    assert "default route" in str(why("bridge0"))
    assert "loopback" in str(why("lo"))
    assert why(guest.device) is None

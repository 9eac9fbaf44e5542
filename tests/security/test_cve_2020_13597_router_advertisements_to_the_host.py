"""Calico, CVE-2020-13597 (OSSN-0069 is its like): the host took router advertisements from a workload, and sent its
own IPv6 traffic there.

The host's side of an instance's link believes nothing: no address of its own, no advertisements, and what an instance
says in a router's name, well formed and often, leaves routes, addresses and neighbours of the host as they were.
"""

import socket
import struct
from pathlib import Path

import pytest

from kernel.ebpf_host import EbpfHost, Guest
from kernel.policies import guests_of, policy_of
from netns.frames import IPV6, ROUTER, ethernet, icmp, ip, mac
from scenarios.worlds import group, instance, world
from stockade.linux import links
from stockade.linux.netlink import Netlink
from stockade.model.flow import DropReason

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("kernel-ra")]

OPEN = group("open", ingress=["all from 0.0.0.0/0", "all from ::/0"], egress=["all to 0.0.0.0/0", "all to ::/0"])
WORLD = world(OPEN, instance("attacker", "open"), instance("other", "open"))


def advertisement(guest: Guest, source: str, to: str, destination: str) -> bytes:
    prefix = b"\3\4\x40\xc0" + struct.pack("!III", 86400, 86400, 0) + socket.inet_pton(socket.AF_INET6, "fd66::")
    says = struct.pack("!BBHII", 64, 0, 1800, 0, 0) + prefix + b"\1\1" + mac(guest.mac)
    return ethernet(guest.mac, destination, IPV6, ip(source, to, 58, icmp(source, to, 134, 0, says), hops=255))


def state(host: EbpfHost) -> tuple[object, ...]:
    with Netlink(host.netns) as route:
        routes = [each for each in links.list_routes(route) if each.destination.version == 6]
    addresses = host.run(lambda: Path("/proc/net/if_inet6").read_text(encoding="ascii"))
    table = host.run(lambda: Path("/proc/net/ipv6_route").read_text(encoding="ascii"))
    # The seventh column counts references and the eighth uses, which come and go.
    return routes, addresses, [line.split()[:6] + line.split()[8:] for line in table.splitlines()]


def test_the_host_believes_no_instance_that_plays_router() -> None:
    with EbpfHost() as host:
        guests = guests_of(host, WORLD)
        host.datapath.apply(policy_of(WORLD))
        before = state(host)
        me = guests["attacker"]
        sender = me.raw()
        for source in ("fe80::1", "fe80::5c:ff:fe00:1", "fd00:1::10"):
            for to, destination in (("ff02::1", "33:33:00:00:00:01"), ("ff02::1", ROUTER), ("fe80::1", ROUTER)):
                for _ in range(20):
                    sender.send(advertisement(me, source, to, destination))
        assert state(host) == before
        assert "fd660000" not in str(state(host))
        assert host.datapath.counters().drops.get(DropReason.FOREIGN_REPLY, 0) > 0


@pytest.mark.parametrize("setting", ["accept_ra", "autoconf", "accept_redirects"])
def test_the_hosts_side_of_a_link_listens_to_no_router(setting: str) -> None:
    with EbpfHost() as host:
        guests = guests_of(host, WORLD)
        device = guests["attacker"].device
        at = Path("/proc/sys/net/ipv6/conf") / device

        def read() -> tuple[str, str]:
            is_off = (at / "disable_ipv6").read_text(encoding="ascii").strip()
            return is_off, (at / setting).read_text(encoding="ascii").strip()

        is_off, value = host.run(read)
        assert is_off == "1" or value == "0"
        addresses = host.run(lambda: Path("/proc/net/if_inet6").read_text(encoding="ascii"))
        assert device not in addresses

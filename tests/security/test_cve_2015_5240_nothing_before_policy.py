"""Neutron, CVE-2015-5240: in the moment between making a port and applying its rules, a device owner that the tenant
itself could set switched the anti-spoofing off.

Before an interface has its policy, nothing of it passes, whatever it sends; and nothing that a tenant can set on a
launch changes how it is policed, apart from what EC2 gives it to set.
"""

import contextlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from kernel.ebpf_host import EbpfHost
from netns import frames
from netns.frames import ROUTER, arp, ethernet, tcp, udp
from scenarios.worlds import group, instance, interface_id, world
from security.engines import launch, make_group, refused, stored
from security.wire import Wire, dual, packet
from serving import ControlPlane
from stockade.datapath.contract import DeviceName
from stockade.datapath.simulated.datapath import SimulatedDatapath
from stockade.policy.compile import compile_host
from stockade.policy.entries import HostPolicy

OPEN = group("open", ingress=["all from 0.0.0.0/0", "all from ::/0"], egress=["all to 0.0.0.0/0", "all to ::/0"])
WORLD = world(OPEN, instance("early", "open"), instance("there", "open"))
NAMES = ("network:router_interface", "network:dhcp", "stockade:trusted", "aws:cloudformation")


def first_frames(wire: Wire) -> list[bytes]:
    me, to = wire.face("early"), wire.face("there")
    made = [
        packet(me[version], to[version], number, make(me[version], to[version], 1024, 53), me.mac)
        for version in (4, 6)
        for number, make in ((frames.TCP, tcp), (frames.UDP, udp))
    ]
    made.append(packet(me.four, "169.254.169.254", frames.TCP, tcp(me.four, "169.254.169.254", 1024, 80), me.mac))
    made.append(
        packet("0.0.0.0", "255.255.255.255", 17, udp("0.0.0.0", "255.255.255.255", 68, 67), me.mac, frames.BROADCAST)
    )
    made.append(ethernet(me.mac, frames.BROADCAST, frames.ARP, arp(me.mac, me.four, to.four)))
    return [*made, ethernet(me.mac, ROUTER, 0x88CC, bytes(46))]


def test_a_device_without_policy_sends_nothing() -> None:
    wire, name = Wire(WORLD), interface_id(WORLD, "early")
    policy = compile_host(dual(WORLD))
    without = replace(policy, endpoints={each: one for each, one in policy.endpoints.items() if each != name})
    for known in (HostPolicy(), without):
        datapath = SimulatedDatapath(datetime(2026, 1, 1, tzinfo=UTC))
        for each in policy.endpoints:
            datapath.attach(each, DeviceName(f"veth-{each}"))
        datapath.apply(known)
        assert not any(datapath.send_frame(frame, name).passed for frame in first_frames(wire))
        datapath.apply(policy)
        assert datapath.send_frame(first_frames(wire)[0], name).passed


@pytest.mark.root
@pytest.mark.xdist_group("kernel-early")
def test_nor_does_it_in_the_kernel_from_its_first_packet_on() -> None:
    """With a real device that is up: what it sends is dropped and counted until its policy is there."""
    with EbpfHost() as host:
        early = host.add_guest(1, "10.0.0.16", interface=interface_id(WORLD, "early"))
        there = host.add_guest(2, "10.0.0.17", interface=interface_id(WORLD, "there"))
        there.listen(80)
        sniffer, sender = there.raw(), early.raw()
        sniffer.settimeout(0.3)
        said = udp("10.0.0.16", "10.0.0.17", 1, 2, b"too early")
        sender.send(packet("10.0.0.16", "10.0.0.17", frames.UDP, said, early.mac))
        assert not early.can_connect("10.0.0.17", 80)
        heard = []
        with contextlib.suppress(TimeoutError):
            while True:
                heard.append(sniffer.recv(2048))
        assert [frame for frame in heard if b"too early" in frame] == []
        assert sum(host.datapath.counters().drops.values()) > 0
        host.datapath.apply(compile_host(dual(WORLD)))
        early.connect("10.0.0.17", 80).close()


@pytest.mark.parametrize("name", NAMES)
def test_no_name_and_no_tag_changes_how_an_interface_is_policed(plane: ControlPlane, mary: Any, name: str) -> None:
    made = make_group(mary, name)
    plain = launch(mary, make_group(mary, "plain"))
    tagged = launch(mary, made)
    if not name.startswith("aws:"):
        instance_id = stored(plane).interfaces[tagged].instance
        mary.create_tags(Resources=[instance_id, made], Tags=[{"Key": name, "Value": "true"}])
    endpoints = compile_host(stored(plane)).endpoints
    one, other = endpoints[plain], endpoints[tagged]
    free = ("id", "mac", "addresses", "public", "identity", "rule_set")  # rules have numbers of their own
    assert replace(other, **{field: getattr(one, field) for field in free}) == one
    assert one.source_dest_check


def test_what_only_the_cloud_may_set_is_refused_on_launch(mary: Any) -> None:
    asked = {"ImageId": "ami-eca54085", "MinCount": 1, "MaxCount": 1}
    attached = [{"DeviceIndex": 0, "NetworkInterfaceId": "eni-0123456789abcdef0"}]
    code = refused(mary.run_instances, **asked, NetworkInterfaces=attached)
    assert code in ("UnsupportedOperation", "InvalidNetworkInterfaceID.NotFound")

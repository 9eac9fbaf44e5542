"""Calico, CVE-2022-28224: an annotation for a floating address was honoured although the feature was off, so a tenant
could draw anybody's traffic to itself.

An address is an interface's own because the API gave it, and it gives none that is another's: not by launch, not by a
tag, a name or user data; and sending from it or announcing it changes nothing.
"""

from typing import Any

import pytest

from kernel.judging import KernelJudge
from netns import frames
from netns.frames import arp, ethernet, udp
from scenarios.worlds import group, instance, interface_id, world
from security.engines import launch, make_group, refused, stored
from security.wire import PASSED, Wire, packet
from serving import ControlPlane

ANNOTATIONS = ("cni.projectcalico.org/floatingIPs", "elastic-ip", "stockade:public", "aws:ec2:public-ip")


def subnet_of(ec2: Any) -> str:
    return str(ec2.describe_subnets()["Subnets"][0]["SubnetId"])


def test_an_address_in_use_or_beyond_the_subnet_is_given_to_nobody(plane: ControlPlane, mary: Any) -> None:
    present = launch(mary, make_group(mary, "web"))
    taken = stored(plane).interfaces[present].addresses[0]
    asked = {"ImageId": "ami-eca54085", "MinCount": 1, "MaxCount": 1, "SubnetId": subnet_of(mary)}
    before = plane.world.cache.resources.revision
    for address in (str(taken), "198.18.0.1", "169.254.169.254", "10.0.0.1", "127.0.0.1", "0.0.0.0"):
        code = refused(mary.run_instances, **asked, PrivateIpAddress=address)
        assert code.startswith("Invalid"), address
    assert plane.world.cache.resources.revision == before


@pytest.mark.parametrize("key", ANNOTATIONS)
def test_no_annotation_gives_an_address(plane: ControlPlane, mary: Any, mallory: Any, key: str) -> None:
    present = launch(mary, make_group(mary, "web"))
    victim = stored(plane).interfaces[present]
    wanted = f'["{victim.public}", "{victim.addresses[0]}"]'
    mine = launch(mallory, make_group(mallory, f"group {victim.public}"))
    before = stored(plane).interfaces[mine]
    if key.startswith("aws:"):
        code = refused(mallory.create_tags, Resources=[before.instance], Tags=[{"Key": key, "Value": wanted}])
        assert code == "InvalidParameterValue"
    else:
        mallory.create_tags(Resources=[before.instance], Tags=[{"Key": key, "Value": wanted}])
    assert stored(plane).interfaces[mine] == before


def claims(wire: Wire) -> None:
    """Sending from the victim's addresses, or saying that they are its own, moves nothing."""
    me, victim, peer = (wire.face(name) for name in ("mallory", "victim", "peer"))
    public = wire.seen.interfaces[interface_id(wire.world, "victim")].public
    for source in (victim.four, public, victim.six):
        to = peer[6 if ":" in str(source) else 4]
        for _ in range(3):
            told = wire.send(packet(source, to, frames.UDP, udp(str(source), to, 53, 53), me.mac), "mallory")
            assert told == "SPOOFED_ADDRESS"
    for address in (victim.four, public):
        told = wire.send(
            ethernet(me.mac, frames.BROADCAST, frames.ARP, arp(me.mac, str(address), str(address))), "mallory"
        )
        assert told == "SPOOFED_ARP"
    answer = packet(peer.four, victim.four, frames.UDP, udp(peer.four, victim.four, 53, 53), peer.mac)
    assert wire.send(answer, "peer") == PASSED


OPEN = group("open", ingress=["all from 0.0.0.0/0", "all from ::/0"], egress=["all to 0.0.0.0/0", "all to ::/0"])
WORLD = world(OPEN, *(instance(name, "open") for name in ("mallory", "victim", "peer")))


def test_claiming_an_address_on_the_wire_moves_nothing() -> None:
    claims(Wire(WORLD))


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
def test_nor_in_the_kernel(judge: KernelJudge) -> None:
    claims(Wire(WORLD, judge))

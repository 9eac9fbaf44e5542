"""The packet proof: before `up` says ready, one packet has passed and one was dropped, both for real.

Two throw-away namespaces become two endpoints of a network whose number no VPC ever gets. The receiver's group
admits one UDP port from the sender's group; the sender sends to another port, then to that one. The same
compiler, programs and maps judge them that judge every instance. The proof holds when the second datagram
arrived, the first did not although it was sent earlier on the same path, and the kernel counted the drop
against the receiver for want of a rule. Then all of it is taken away.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from stockade.daemon.problems import Problem
from stockade.datapath.contract import ApplyFailed, Datapath, DeviceName
from stockade.linux import links, namespaces
from stockade.linux.netlink import Netlink
from stockade.model.addresses import mac_of
from stockade.model.flow import DropReason
from stockade.model.host_view import HostView, ViewGroup, ViewInterface, ViewMember
from stockade.model.ids import AccountId, NetworkInterfaceId, RuleId, SecurityGroupId
from stockade.model.journal import HostObject, Journal
from stockade.model.ports import UDP
from stockade.model.rule import CidrPeer, Direction, GroupPeer, Rule
from stockade.policy.entries import HostPolicy

RESERVED_VPC = (1 << 23) - 1  # stores count VPCs from 1 and never reach it
_NETWORK = IPv4Network("192.0.2.0/24")
_ALLOWED, _REFUSED = 7001, 7002
_PATIENCE_S = 3.0
_NOBODY = AccountId("000000000000")


@dataclass(frozen=True, slots=True)
class Proof:
    """What the packets did."""

    passed: int
    dropped: int
    took_ms: float


@dataclass(frozen=True, slots=True)
class _Actor:
    """One of the two ends."""

    interface: NetworkInterfaceId
    number: int
    address: IPv4Address
    group: SecurityGroupId
    device: str


def prove(
    datapath: Datapath, compile_view: Callable[[HostView], HostPolicy], base: HostView, prefix: str, journal: Journal
) -> Proof:
    """Raises Problem (exit 5) when a packet does other than it must. `base` is enforced before, meanwhile and after."""
    began = time.monotonic()
    sender = _Actor(
        NetworkInterfaceId("eni-00000001"), 0xFFFFFFFE, _NETWORK[1], SecurityGroupId("sg-00000001"), f"{prefix}-pa"
    )
    receiver = _Actor(
        NetworkInterfaceId("eni-00000002"), 0xFFFFFFFF, _NETWORK[2], SecurityGroupId("sg-00000002"), f"{prefix}-pb"
    )
    actors = (sender, receiver)
    spaces: dict[str, int] = {}
    try:
        for actor in actors:
            spaces[actor.device] = _make(actor, journal)
            datapath.attach(actor.interface, DeviceName(actor.device))
        datapath.apply(compile_view(_with_actors(base, sender, receiver)))
        for actor in actors:
            _bring_up(actor, spaces[actor.device])
        dropped = _send_both(datapath, sender, receiver, spaces)
    except (OSError, ApplyFailed) as err:
        raise Problem(
            "enforcement could not be proven",
            why=f"the two test endpoints could not be set up: {err}",
            see="stockade doctor",
        ) from err
    finally:
        _clean_up(datapath, actors, spaces, journal)
        with contextlib.suppress(ApplyFailed):
            datapath.apply(compile_view(base))
    return Proof(passed=1, dropped=dropped, took_ms=(time.monotonic() - began) * 1000)


def _make(actor: _Actor, journal: Journal) -> int:
    """The namespace of an actor, with a device in it whose other end is on the host, down."""
    space = namespaces.new_netns()
    journal.making(HostObject("link", actor.device))
    with Netlink() as route:
        links.delete_link(route, actor.device)  # of a proof that was killed
        links.create_veth(route, actor.device, "eth0", peer_mac=mac_of(actor.number), peer_netns=space)
    return space


def _bring_up(actor: _Actor, space: int) -> None:
    with Netlink(space) as route:
        device = links.index_of(route, "eth0")
        links.add_address(route, device, IPv4Interface((actor.address, _NETWORK.prefixlen)))
        links.set_up(route, device)
    with Netlink() as route:
        links.set_up(route, actor.device)


def _clean_up(datapath: Datapath, actors: tuple[_Actor, ...], spaces: dict[str, int], journal: Journal) -> None:
    for actor in actors:
        with contextlib.suppress(OSError, ApplyFailed, KeyError):
            datapath.detach(actor.interface)
        with Netlink() as route:
            links.delete_link(route, actor.device)
        journal.removed(HostObject("link", actor.device))
        space = spaces.pop(actor.device, None)
        if space is not None:
            os.close(space)


def _send_both(datapath: Datapath, sender: _Actor, receiver: _Actor, spaces: dict[str, int]) -> int:
    """The number of datagrams that were dropped as they must."""
    before = _refusals(datapath, receiver)
    there = spaces[receiver.device]
    with (
        namespaces.socket_in(there, socket.AF_INET, socket.SOCK_DGRAM) as allowed,
        namespaces.socket_in(there, socket.AF_INET, socket.SOCK_DGRAM) as refused,
        namespaces.socket_in(spaces[sender.device], socket.AF_INET, socket.SOCK_DGRAM) as source,
    ):
        allowed.bind((str(receiver.address), _ALLOWED))
        refused.bind((str(receiver.address), _REFUSED))
        refused.setblocking(False)
        allowed.settimeout(0.05)
        deadline = time.monotonic() + _PATIENCE_S
        # Sent again until one arrives: a device that has just come up loses a packet now and then.
        while True:
            source.sendto(b"must not arrive", (str(receiver.address), _REFUSED))
            source.sendto(b"must arrive", (str(receiver.address), _ALLOWED))
            with contextlib.suppress(TimeoutError):
                allowed.recv(64)
                break
            if time.monotonic() > deadline:
                raise Problem(
                    "enforcement is not proven: a packet that a rule allows did not arrive",
                    why=_drops_of(datapath, sender, receiver),
                    attempt="stockade down --force && stockade up",
                    see="stockade doctor",
                )
        with contextlib.suppress(BlockingIOError):
            refused.recv(64)
            raise Problem(
                "enforcement is not proven: a packet that no rule allows arrived",
                why="the kernel programs are not the ones that this version ships, or something redirects around them",
                attempt="stockade down --force && stockade up",
                see="stockade doctor",
            )
    dropped = _refusals(datapath, receiver) - before
    if dropped < 1:
        raise Problem(
            "enforcement is not proven: a packet vanished, but the kernel did not count it as refused",
            why=_drops_of(datapath, sender, receiver),
            see="stockade doctor",
        )
    return dropped


def _refusals(datapath: Datapath, actor: _Actor) -> int:
    return datapath.counters().endpoint_drops.get(actor.interface, {}).get(DropReason.NO_INGRESS_RULE, 0)


def _drops_of(datapath: Datapath, *actors: _Actor) -> str:
    drops = datapath.counters().endpoint_drops
    told = [
        f"{name}: {reason.name.lower()} {count}"
        for name, actor in zip(("sender", "receiver"), actors, strict=True)
        for reason, count in drops.get(actor.interface, {}).items()
    ]
    return "dropped at " + ", ".join(told) if told else "the kernel counted no drop at either end"


def _with_actors(base: HostView, sender: _Actor, receiver: _Actor) -> HostView:
    """The view with the two endpoints in it, spelled as the feed would."""
    leave = Rule(RuleId("sgr-00000001"), 0xFFFFFFFE, Direction.EGRESS, UDP, _ALLOWED, _REFUSED, CidrPeer(_NETWORK))
    enter = Rule(
        RuleId("sgr-00000002"), 0xFFFFFFFF, Direction.INGRESS, UDP, _ALLOWED, _ALLOWED, GroupPeer(sender.group, _NOBODY)
    )
    groups = {
        sender.group: ViewGroup(sender.group, "proof sender", (leave,)),
        receiver.group: ViewGroup(receiver.group, "proof receiver", (enter,)),
    }
    members = {
        actor.interface: ViewMember(actor.interface, RESERVED_VPC, (actor.address,), (actor.group,), base.host)
        for actor in (sender, receiver)
    }
    interfaces = {actor.interface: _interface(actor) for actor in (sender, receiver)}
    return replace(
        base,
        groups={**base.groups, **groups},
        members={**base.members, **members},
        interfaces={**base.interfaces, **interfaces},
    )


def _interface(actor: _Actor) -> ViewInterface:
    return ViewInterface(
        id=actor.interface,
        number=actor.number,
        account=_NOBODY,
        vpc=RESERVED_VPC,
        classic=False,
        network=_NETWORK,
        mac=mac_of(actor.number),
        addresses=(actor.address,),
        groups=(actor.group,),
        public=None,
        source_dest_check=True,
        instance=None,
    )

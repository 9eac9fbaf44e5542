"""Who is gone leaves nothing behind: no service, no address, and no entry in a table that all share."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from kernel.ebpf_host import EbpfHost, Guest
from kernel.judging import KernelJudge, frame, ip_packet
from kernel.policies import dual_view, guests_of, own_address, policy_of
from scenarios.worlds import group, instance, interface_id, public_address, world
from stockade.datapath.ebpf import layout
from stockade.datapath.simulated.conntrack import Tcp
from stockade.model.flow import DropReason, Packet
from stockade.model.ports import TCP, UDP
from stockade.policy.compile import compile_host

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("kernel-left-behind")]
OPEN = ["all to 0.0.0.0/0", "all to ::/0"]
WORLD = world(
    group(
        "inside", ingress=["tcp/80 from inside", "udp/53 from inside"], egress=["tcp/80 to inside", "udp/53 to inside"]
    ),
    instance("one", "inside"),
    instance("other", "inside"),
)
ALLOWANCE = 16
SHARED = ("candidates", "datagrams", "endpoint_drops")
"""Tables of the programs in which endpoints have entries by their slot."""


def first_fragment(guest: Guest, source: str, destination: str) -> bytes:
    whole = ip_packet(Packet(ip_address(source), ip_address(destination), UDP, 53, 1024))
    macs = bytes.fromhex((layout.ROUTER_MAC + guest.mac).replace(":", ""))
    return macs + b"\x08\x00" + whole[:6] + b"\x20\x00" + whole[8:]


def entries(host: EbpfHost, slot: int) -> dict[str, int]:
    maps = host.datapath._kernel.maps  # no door leads to them: only tests count what others wrote
    return {name: sum(int.from_bytes(key[:4], "little") == slot for key, _ in maps[name].items()) for name in SHARED}


def test_an_endpoint_that_is_gone_has_no_entry_in_a_table_that_all_share() -> None:
    with EbpfHost(settings={"allowance": ALLOWANCE}) as host:
        guests = guests_of(host, WORLD)
        host.datapath.apply(policy_of(WORLD))
        one, target = guests["one"], own_address(WORLD, "other", 4)
        source = own_address(WORLD, "one", 4)
        with one.raw() as raw:
            raw.send(first_fragment(one, source, target))
            for port in range(2 * ALLOWANCE):
                call = Packet(ip_address(source), ip_address(target), TCP, 80, 1024 + port)
                raw.send(frame(call, one.mac, layout.ROUTER_MAC, Tcp.SYN))
            raw.send(frame(replace(call, port=22), one.mac, layout.ROUTER_MAC, Tcp.SYN))
        slot = host.datapath._endpoints.slot(one.interface).number
        assert all(entries(host, slot).values())
        host.datapath.apply(replace(policy_of(WORLD), endpoints={}))
        host.datapath.detach(one.interface)
        assert entries(host, slot) == dict.fromkeys(SHARED, 0)


@pytest.mark.parametrize("service", ["169.254.169.254", "fd00:ec2::254"])
def test_who_is_not_in_the_policy_any_more_has_no_services_either(service: str) -> None:
    with KernelJudge() as judge:
        policy = compile_host(dual_view(WORLD))
        judge.enforce(policy)
        one = interface_id(WORLD, "one")
        family = ip_address(service).version
        call = Packet(ip_address(own_address(WORLD, "one", family)), ip_address(service), TCP, 80, 1024)
        assert judge.judge(call, one).reason is DropReason.NONE
        judge.datapath.apply(replace(policy, endpoints={}))
        assert judge.judge(call, one).reason is DropReason.NO_POLICY


ROUTED = world(
    group("open", ingress=["udp/53 from 0.0.0.0/0"], egress=OPEN),
    instance("router", "open", network="theirs", source_dest_check=False),
    instance("heir", "open", network="mine"),
    instance("peer", "open", network="yours"),
)


@pytest.mark.parametrize("calls", ["router", "peer"])
def test_a_router_too_loses_what_it_began_by_an_address_that_is_anothers_now(calls: str) -> None:
    """Its public address moves: answers to it are the heir's, and it answers by it no more."""
    with KernelJudge() as judge:
        policy = compile_host(dual_view(ROUTED))
        judge.enforce(policy)
        router, heir, peer = (policy.endpoints[interface_id(ROUTED, name)] for name in ("router", "heir", "peer"))
        inside = {each.id: each.addresses[0] for each in (router, peer)}
        outer, peers = public_address(ROUTED, "router"), public_address(ROUTED, "peer")
        if calls == "router":
            call = Packet(inside[router.id], peers, UDP, 53, 1024)
            answer = Packet(inside[peer.id], outer, UDP, 1024, 53)
            caller, answerer = router.id, peer.id
        else:
            call = Packet(inside[peer.id], outer, UDP, 53, 1024)
            answer = Packet(inside[router.id], peers, UDP, 1024, 53)
            caller, answerer = peer.id, router.id
        assert judge.send(call, caller).reason is DropReason.NONE
        assert judge.send(answer, answerer).reason is DropReason.NONE
        moved = {router.id: replace(router, public=None), heir.id: replace(heir, public=outer)}
        judge.datapath.apply(replace(policy, endpoints={**policy.endpoints, **moved}))
        said = judge.send(answer, answerer).reason
        assert said is (DropReason.NO_INGRESS_RULE if calls == "router" else DropReason.NO_PUBLIC_ADDRESS)

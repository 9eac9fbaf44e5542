"""Cilium, CVE-2025-64715: a policy that named cloud groups which do not exist, or have no interface, lost its address
part when it went through JSON (an empty list was left out) and then allowed more than it said.

A reference to nobody matches nobody: a group without members, one that is gone, one only referred to, a prefix list
without entries. Through the store's text and back, through the frames to a host and back, and in every engine.
"""

import json
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from kernel.judging import KernelJudge, ruling
from scenarios.rules import EMPTY_REFERENCE
from scenarios.worlds import interface_id, parse_packet, public_address, view
from security.engines import agreed, expected, from_outside, launch, make_group, stored, told_by_all, told_by_kernel
from serving import ControlPlane
from stockade.agent.view_file import whole_frame
from stockade.model.flow import DropReason
from stockade.model.host_view import Frame, HostView, ViewPrefixList, apply_frame
from stockade.model.ids import PrefixListId
from stockade.model.plain import from_plain, to_plain
from stockade.model.rule import PrefixListPeer
from stockade.policy.compile import compile_host
from stockade.policy.evaluate import evaluate

OUTSIDER = ip_address("198.51.100.7")
LIST = PrefixListId("pl-01000001")
TRAFFIC = ("tcp/80", "udp/53", "icmp/8:0", "47")


def through_text_and_back(seen: HostView) -> HostView:
    """As the agent gets it: written as a frame and read again."""
    text = json.dumps(to_plain(whole_frame(seen), Frame))
    return apply_frame(HostView(seen.host), from_plain(json.loads(text), Frame))


def test_rules_and_entries_let_nobody_in() -> None:
    assert told_by_all(EMPTY_REFERENCE) == expected(EMPTY_REFERENCE)


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
def test_the_kernel_lets_nobody_in(judge: KernelJudge) -> None:
    assert told_by_kernel(judge, EMPTY_REFERENCE) == expected(EMPTY_REFERENCE)


def test_a_frame_keeps_a_reference_to_nobody() -> None:
    seen = view(EMPTY_REFERENCE.world)
    again = through_text_and_back(seen)
    assert (again.groups, again.members, again.interfaces) == (seen.groups, seen.members, seen.interfaces)
    assert compile_host(again) == compile_host(seen)


def test_a_group_whose_last_member_goes_lets_nobody_in(plane: ControlPlane, mary: Any) -> None:
    app = make_group(mary, "app")
    everything = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": app}]}
    database = launch(mary, make_group(mary, "database", everything))
    member = launch(mary, app)
    seen = stored(plane)
    packet = parse_packet("tcp/3306", seen.interfaces[member].addresses[0], seen.interfaces[database].addresses[0])
    assert agreed(seen, packet, member).passed
    instance = seen.interfaces[member].instance
    mary.terminate_instances(InstanceIds=[instance])
    mary.get_waiter("instance_terminated").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    emptied = stored(plane)
    assert member not in emptied.interfaces
    for traffic in TRAFFIC:
        assert from_outside(emptied, database, traffic, OUTSIDER) is DropReason.NO_INGRESS_RULE


def with_list(*blocks: str) -> HostView:
    """The world whose rules name a prefix list in place of the vanished group; `blocks` is what is in it."""
    seen = view(EMPTY_REFERENCE.world)
    groups = {
        name: replace(group, rules=tuple(replace(rule, peer=PrefixListPeer(LIST)) for rule in group.rules))
        if group.name == "web"
        else group
        for name, group in seen.groups.items()
    }
    lists = {LIST: ViewPrefixList(LIST, tuple(map(ip_network, blocks)))}
    return replace(seen, groups=groups, prefix_lists=lists)


def outcomes(seen: HostView) -> set[bool]:
    web = public_address(EMPTY_REFERENCE.world, "web")
    return {agreed(seen, parse_packet(traffic, OUTSIDER, web), None).passed for traffic in TRAFFIC}


def test_a_prefix_list_without_entries_matches_nothing() -> None:
    assert outcomes(with_list("198.51.100.0/24")) == {True}
    assert outcomes(with_list()) == {False}
    assert outcomes(through_text_and_back(with_list())) == {False}


def test_a_prefix_list_that_is_not_known_matches_nothing() -> None:
    assert outcomes(replace(with_list("198.51.100.0/24"), prefix_lists={})) == {False}


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
def test_nor_does_it_in_the_kernel(judge: KernelJudge) -> None:
    web = public_address(EMPTY_REFERENCE.world, "web")
    for seen in (with_list(), replace(with_list("198.51.100.0/24"), prefix_lists={}), with_list("198.51.100.7/32")):
        judge.enforce(compile_host(seen))
        for traffic in TRAFFIC:
            packet = parse_packet(traffic, OUTSIDER, web)
            assert judge.judge(packet, None) == ruling(evaluate(seen, packet, None))
    assert interface_id(EMPTY_REFERENCE.world, "web") in judge.datapath.observe().endpoints

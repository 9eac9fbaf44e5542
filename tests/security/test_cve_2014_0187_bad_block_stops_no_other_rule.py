"""Neutron's Open vSwitch agent, CVE-2014-0187: an invalid block in one rule stopped every rule behind it.

Blocks that cannot be are refused at the door, whole call and all; blocks that only look odd are applied; and a policy
that an engine refuses leaves the one before in force for everybody.
"""

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from scenarios.worlds import group, instance, interface_id, parse_packet, public_address, view, world
from security.engines import from_outside, launch, make_group, refused, simulated, stored
from serving import ControlPlane
from stockade.datapath.contract import ApplyFailed
from stockade.model.flow import DropReason
from stockade.policy.compile import compile_host
from stockade.policy.entries import RuleSetId

OUTSIDER = ip_address("198.51.100.7")
BAD = (
    *("10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0", "10.0.0/8", "10.0.0.256/8", "0x0a.0.0.0/8", "010.0.0.0/8"),
    *("10.0.0.0/255.0.0.0", "10.0.0.0/8/8", "::/0", "", " 10.0.0.0/8", "10.0.0.0/8 ", "any", "0/0", "1e1.0.0.0/8"),
)
BAD6 = ("::/129", "2001:db8::", "2001:db8::g/64", "fe80::1%eth0/64", "2001:db8:::/48", "10.0.0.0/8", "::/-0")
OTHERS = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}


def rule(block: str, port: int = 80) -> dict[str, Any]:
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": block}]}


@pytest.mark.parametrize("block", BAD)
def test_a_block_that_cannot_be_is_refused_with_its_whole_call(mary: Any, block: str) -> None:
    target = make_group(mary, "web")
    add = mary.authorize_security_group_ingress
    code = refused(add, GroupId=target, IpPermissions=[rule("192.0.2.0/24"), rule(block), rule("192.0.2.0/25")])
    assert code in ("InvalidParameterValue", "MissingParameter")
    assert mary.describe_security_groups(GroupIds=[target])["SecurityGroups"][0]["IpPermissions"] == []


@pytest.mark.parametrize("block", BAD6)
def test_the_same_for_ipv6(mary: Any, block: str) -> None:
    target = make_group(mary, "web")
    six = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "Ipv6Ranges": [{"CidrIpv6": block}]}
    assert refused(mary.authorize_security_group_ingress, GroupId=target, IpPermissions=[six]) == (
        "InvalidParameterValue"
    )


def test_odd_blocks_of_one_tenant_leave_the_rules_of_others_and_their_own_in_force(
    plane: ControlPlane, mary: Any, mallory: Any
) -> None:
    odd = ["0.0.0.0/0", "255.255.255.255/32", "0.0.0.0/32", "127.0.0.0/8", "224.0.0.0/4", "10.255.255.255/1"]
    poisoned = launch(mallory, make_group(mallory, "odd", *(rule(block, 80 + n) for n, block in enumerate(odd))))
    sound = launch(mary, make_group(mary, "web", OTHERS))
    seen = stored(plane)
    assert from_outside(seen, sound, "tcp/443", OUTSIDER) is DropReason.NONE
    assert from_outside(seen, sound, "tcp/80", OUTSIDER) is DropReason.NO_INGRESS_RULE
    assert from_outside(seen, poisoned, "tcp/80", OUTSIDER) is DropReason.NONE
    assert from_outside(seen, poisoned, "tcp/83", OUTSIDER) is DropReason.NO_INGRESS_RULE
    assert from_outside(seen, poisoned, "tcp/443", OUTSIDER) is DropReason.NO_INGRESS_RULE


TWO = world(
    group("web", ingress=["tcp/80 from 0.0.0.0/0"]),
    group("other", ingress=["tcp/22 from 0.0.0.0/0"]),
    instance("web"),
    instance("other"),
)


def test_a_policy_that_is_refused_leaves_the_one_before_in_force() -> None:
    seen = view(TWO)
    datapath = simulated(seen)
    before = datapath.observe()
    poisoned = compile_host(seen)
    broken = replace(poisoned.endpoints[interface_id(TWO, "other")], rule_set=RuleSetId(1))
    with pytest.raises(ApplyFailed):
        datapath.apply(replace(poisoned, endpoints={**poisoned.endpoints, broken.id: broken}))
    assert datapath.observe() == before
    packet = parse_packet("tcp/80", OUTSIDER, public_address(TWO, "web"))
    assert datapath.judge(packet, None).passed

"""Every engine without root asked at once: the evaluator, and the compiled entries in the simulated datapath.

And what a tenant has to do with: regions to call, views of what is stored, verdicts of all that.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from kernel.judging import KernelJudge, ruling
from scenarios.worlds import Scenario, cases, outcome, parse_packet, view
from serving import ControlPlane
from stockade.datapath.contract import DeviceName
from stockade.datapath.simulated.datapath import SimulatedDatapath
from stockade.model.addresses import Address
from stockade.model.flow import DropReason, Packet, Verdict
from stockade.model.host_view import HostView
from stockade.model.ids import NetworkInterfaceId
from stockade.policy.compile import compile_host
from stockade.policy.evaluate import evaluate
from stockade.service.whole_view import whole_view

START = datetime(2026, 1, 1, tzinfo=UTC)


def simulated(seen: HostView) -> SimulatedDatapath:
    """A datapath in memory that enforces this view, every interface attached."""
    datapath = SimulatedDatapath(START)
    policy = compile_host(seen)
    for endpoint in policy.endpoints:
        datapath.attach(endpoint, DeviceName(f"veth-{endpoint}"))
    datapath.apply(policy)
    return datapath


def agreed(seen: HostView, packet: Packet, sender: NetworkInterfaceId | None) -> Verdict:
    """The one verdict of the rules and of the entries made from them."""
    told = evaluate(seen, packet, sender)
    assert simulated(seen).judge(packet, sender) == told
    return told


def told_by_all(scenario: Scenario) -> Mapping[str, DropReason]:
    """The verdict of each row, after all engines without root have agreed on it."""
    seen = view(scenario.world)
    datapath = simulated(seen)
    told = {}
    for case in cases(scenario):
        verdict = evaluate(seen, case.packet, case.sender)
        assert datapath.judge(case.packet, case.sender) == verdict, case.name
        told[case.name] = outcome(verdict)
    return told


def told_by_kernel(judge: KernelJudge, scenario: Scenario) -> Mapping[str, DropReason]:
    """The verdict of each row in the kernel, which must name the gates and rules that the evaluator names."""
    seen = view(scenario.world)
    judge.enforce(compile_host(seen))
    told = {}
    for case in cases(scenario):
        given = judge.judge(case.packet, case.sender)
        assert given == ruling(evaluate(seen, case.packet, case.sender)), case.name
        told[case.name] = given.reason
    return told


def expected(scenario: Scenario) -> Mapping[str, DropReason]:
    """What the table says of each row."""
    return {case.name: case.expected for case in cases(scenario)}


# ── through the API ───────────────────────────────────────────────────────────────────────────────────


def stored(plane: ControlPlane) -> HostView:
    """All that the API has been told, as a host would be shown it."""

    async def read() -> HostView:
        return whole_view(plane.world.cache.resources)

    return plane.inside(read())


def launch(ec2: Any, *groups: str) -> NetworkInterfaceId:
    """A running instance in these groups (ids); its network interface."""
    run = ec2.run_instances(ImageId="ami-eca54085", MinCount=1, MaxCount=1, SecurityGroupIds=list(groups))
    interface = run["Instances"][0]["NetworkInterfaces"][0]
    return NetworkInterfaceId(interface["NetworkInterfaceId"])


def make_group(ec2: Any, name: str, *permissions: Mapping[str, Any]) -> str:
    """A group's id; `permissions` are its ingress rules."""
    made = str(ec2.create_security_group(GroupName=name, Description="-")["GroupId"])
    if permissions:
        ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=list(permissions))
    return made


def from_outside(seen: HostView, receiver: NetworkInterfaceId, traffic: str, source: Address) -> DropReason:
    """What becomes of this traffic to the interface's public address."""
    public = seen.interfaces[receiver].public
    assert public is not None
    return outcome(agreed(seen, parse_packet(traffic, source, public), None))


def refused(call: Any, **given: Any) -> str:
    """The code of the error that the call must end with."""
    with pytest.raises(ClientError) as caught:
        call(**given)
    return str(caught.value.response["Error"]["Code"])

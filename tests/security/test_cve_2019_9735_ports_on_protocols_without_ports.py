"""Neutron's iptables driver, CVE-2019-9735: ports on a protocol without ports made iptables refuse the whole batch.

Ports given with such a protocol count for nothing, as EC2 has it: the rule opens the protocol, and it and every rule
beside it are in force, in the entries and in the kernel.
"""

from ipaddress import ip_address
from typing import Any

import pytest

from kernel.judging import KernelJudge
from scenarios.worlds import PASS, scenario, world
from security.engines import expected, from_outside, launch, make_group, stored, told_by_all, told_by_kernel
from serving import ControlPlane
from stockade.model.flow import DropReason

OUTSIDER = ip_address("198.51.100.7")
PORTLESS = (2, 4, 47, 50, 51, 89, 112, 132)
CLOSED = DropReason.NO_INGRESS_RULE


def rule(protocol: str, first: int, last: int) -> dict[str, Any]:
    return {"IpProtocol": protocol, "FromPort": first, "ToPort": last, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}


@pytest.mark.parametrize("number", PORTLESS)
@pytest.mark.parametrize(("first", "last"), [(80, 80), (0, 65535), (-1, -1), (70000, -5), (443, 22)])
def test_ports_are_ignored_and_the_rest_of_the_call_is_in_force(
    plane: ControlPlane, mary: Any, number: int, first: int, last: int
) -> None:
    made = make_group(mary, "tunnel", rule("tcp", 22, 22), rule(str(number), first, last), rule("udp", 53, 53))
    interface = launch(mary, made)
    permissions = mary.describe_security_groups(GroupIds=[made])["SecurityGroups"][0]["IpPermissions"]
    shown = next(each for each in permissions if each["IpProtocol"] == str(number))
    assert "FromPort" not in shown or shown["FromPort"] == shown["ToPort"] == -1
    seen = stored(plane)
    for traffic in ("tcp/22", str(number), "udp/53"):
        assert from_outside(seen, interface, traffic, OUTSIDER) is DropReason.NONE
    for traffic in ("tcp/80", "udp/80", "icmp/8:0", "254"):
        assert from_outside(seen, interface, traffic, OUTSIDER) is CLOSED


BESIDE = scenario(
    "protocols without ports beside those with",
    world(
        "mixed", ingress=["tcp/22 from 0.0.0.0/0", *(f"{n} from 0.0.0.0/0" for n in PORTLESS), "udp/53 from 0.0.0.0/0"]
    ),
    [
        *((str(OUTSIDER), "mixed", str(number), PASS) for number in PORTLESS),
        *((str(OUTSIDER), "mixed", str(number), CLOSED) for number in (0, 3, 46, 133, 255)),
        (str(OUTSIDER), "mixed", "tcp/22", PASS),
        (str(OUTSIDER), "mixed", "tcp/50", CLOSED),
        (str(OUTSIDER), "mixed", "udp/53", PASS),
        (str(OUTSIDER), "mixed", "udp/132", CLOSED),
    ],
)


def test_rules_and_entries_tell_protocols_and_ports_apart() -> None:
    assert told_by_all(BESIDE) == expected(BESIDE)


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
def test_the_kernel_tells_protocols_and_ports_apart(judge: KernelJudge) -> None:
    assert told_by_kernel(judge, BESIDE) == expected(BESIDE)

"""Nova's EC2 API, CVE-2012-2654: a protocol not in lower case passed the check and then bound nothing as meant.

Every spelling of a protocol is one stored rule with one verdict: a second spelling is a duplicate, and the opened
port is open and its neighbours closed, however the rule was written.
"""

from ipaddress import ip_address
from typing import Any

import pytest

from security.engines import from_outside, launch, make_group, refused, stored
from serving import ControlPlane
from stockade.model.flow import DropReason

SPELLINGS = {
    "tcp": ("tcp", "TCP", "Tcp", "tCp", "6"),
    "udp": ("udp", "UDP", "uDp", "17"),
    "icmp": ("icmp", "ICMP", "Icmp", "1"),
    "icmpv6": ("icmpv6", "ICMPV6", "IcmpV6", "58"),
}
ALL = [(name, spelling) for name, spellings in SPELLINGS.items() for spelling in spellings]
OUTSIDER = ip_address("198.51.100.7")


def rule(protocol: str, block: str = "0.0.0.0/0") -> dict[str, Any]:
    first, last = (8, 0) if "icmp" in protocol.lower() or protocol in ("1", "58") else (80, 80)
    return {"IpProtocol": protocol, "FromPort": first, "ToPort": last, "IpRanges": [{"CidrIp": block}]}


@pytest.mark.parametrize(("name", "spelling"), ALL)
def test_every_spelling_is_stored_as_one(mary: Any, name: str, spelling: str) -> None:
    group = make_group(mary, "web", rule(spelling))
    (shown,) = mary.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    assert shown["IpProtocol"] == name
    for other in SPELLINGS[name]:
        add = mary.authorize_security_group_ingress
        assert refused(add, GroupId=group, IpPermissions=[rule(other)]) == "InvalidPermission.Duplicate"


@pytest.mark.parametrize(("name", "spelling"), [each for each in ALL if each[0] != "icmpv6"])
def test_every_spelling_opens_what_it_says_and_no_more(
    plane: ControlPlane, mary: Any, name: str, spelling: str
) -> None:
    interface = launch(mary, make_group(mary, "web", rule(spelling)))
    seen = stored(plane)
    opened = "icmp/8:0" if name == "icmp" else f"{name}/80"
    asked = ("tcp/80", "udp/80", "icmp/8:0", "tcp/79", "udp/81", "icmp/8:1", "47")
    told = {traffic for traffic in asked if from_outside(seen, interface, traffic, OUTSIDER) is DropReason.NONE}
    assert told == {opened}


@pytest.mark.parametrize("other", ["tcp ", " tcp", "TCP/80", "t\u0441p", "0x6", "+6", "6.0", "256", "-2", "\u0666"])
def test_what_only_looks_like_a_protocol_is_refused(mary: Any, other: str) -> None:
    group = make_group(mary, "web")
    code = refused(mary.authorize_security_group_ingress, GroupId=group, IpPermissions=[rule(other)])
    assert code == "InvalidParameterValue"
    assert mary.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"] == []

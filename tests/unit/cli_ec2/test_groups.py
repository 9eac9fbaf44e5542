"""Security group tools: requests as the era's Query API wants them, records as scripts have parsed them."""

from collections.abc import Callable

import pytest

from stockade.cli.ec2.main import main

RETURN = "<return>true</return>"
OWNER = "598916040194"


def group_item(name: str, description: str, permissions: str = "") -> str:
    return (
        f"<item><ownerId>{OWNER}</ownerId><groupName>{name}</groupName>"
        f"<groupDescription>{description}</groupDescription><ipPermissions>{permissions}</ipPermissions></item>"
    )


def group_grant(protocol: str, first: str, last: str, name: str, owner: str = OWNER) -> str:
    return (
        f"<item><ipProtocol>{protocol}</ipProtocol><fromPort>{first}</fromPort><toPort>{last}</toPort>"
        f"<groups><item><userId>{owner}</userId><groupName>{name}</groupName></item></groups><ipRanges/></item>"
    )


def cidr_grant(protocol: str, first: str, last: str, *cidrs: str) -> str:
    ranges = "".join(f"<item><cidrIp>{cidr}</cidrIp></item>" for cidr in cidrs)
    return (
        f"<item><ipProtocol>{protocol}</ipProtocol><fromPort>{first}</fromPort><toPort>{last}</toPort>"
        f"<groups/><ipRanges>{ranges}</ipRanges></item>"
    )


def everything_from(name: str) -> str:
    whole = [("tcp", "1", "65535"), ("udp", "1", "65535"), ("icmp", "-1", "-1")]
    return "".join(group_grant(*rule, name) for rule in whole)


def sent(service, number: int = 0) -> dict[str, str]:
    """A request's own parameters, without those that every request has."""
    common = ("Version", "AWSAccessKeyId", "SignatureVersion", "SignatureMethod", "Timestamp", "Signature")
    return {name: value for name, value in service.requests[number].fields.items() if name not in common}


def test_add_group_has_no_account_column(service, tool: Callable) -> None:
    service.will_answer("CreateSecurityGroup", RETURN)
    done = tool("ec2-add-group", "apache", "-d", "Mary's Apache group")
    assert (done.status, done.err) == (0, "")
    assert done.records == [["GROUP", "apache", "Mary's Apache group"]]
    assert sent(service) == {
        "Action": "CreateSecurityGroup",
        "GroupName": "apache",
        "GroupDescription": "Mary's Apache group",
    }


def test_default_group_shows_its_three_rules_as_one_line(service, tool: Callable) -> None:
    item = group_item("default", "default group", everything_from("default"))
    service.will_answer("DescribeSecurityGroups", f"<securityGroupInfo>{item}</securityGroupInfo>")
    done = tool("ec2-describe-group", "default")
    assert done.records == [
        ["GROUP", OWNER, "default", "default group"],
        ["PERMISSION", OWNER, "default", "ALLOWS", "all", "", "", "FROM", "USER", OWNER, "GRPNAME", "default"],
    ]
    assert sent(service) == {"Action": "DescribeSecurityGroups", "GroupName.1": "default"}


def test_2009_tools_print_the_three_rules(service, tool: Callable) -> None:
    item = group_item("default", "default group", everything_from("default"))
    service.will_answer("DescribeSecurityGroups", f"<securityGroupInfo>{item}</securityGroupInfo>", "2009-11-30")
    done = tool("ec2dgrp", "--api-version", "2009-11-30")
    assert [record[4:7] for record in done.records[1:]] == [
        ["tcp", "1", "65535"],
        ["udp", "1", "65535"],
        ["icmp", "-1", "-1"],
    ]
    assert service.requests[0].fields["Version"] == "2009-11-30"


def test_a_rule_for_all_protocols_is_printed_as_all(service, tool: Callable) -> None:
    item = group_item("default", "VPC group", group_grant("-1", "", "", "default"))
    service.will_answer("DescribeSecurityGroups", f"<securityGroupInfo>{item}</securityGroupInfo>")
    assert [record[4:7] for record in tool("ec2-describe-group").records[1:]] == [["all", "", ""]]


def test_partial_grants_of_a_group_are_not_folded(service, tool: Callable) -> None:
    permissions = group_grant("tcp", "1", "65535", "web") + group_grant("udp", "53", "53", "web")
    service.will_answer(
        "DescribeSecurityGroups", f"<securityGroupInfo>{group_item('app', 'x', permissions)}</securityGroupInfo>"
    )
    done = tool("ec2-describe-group", "app")
    assert [record[4:7] for record in done.records[1:]] == [["tcp", "1", "65535"], ["udp", "53", "53"]]


def test_describe_prints_a_line_for_each_source(service, tool: Callable) -> None:
    permissions = cidr_grant("tcp", "80", "80", "0.0.0.0/0", "10.0.0.0/8") + everything_from("apache")
    items = group_item("apache", "Mary's Apache group", permissions) + group_item("empty", "nothing")
    service.will_answer("DescribeSecurityGroups", f"<securityGroupInfo>{items}</securityGroupInfo>")
    assert tool("ec2-describe-group").records == [
        ["GROUP", OWNER, "apache", "Mary's Apache group"],
        ["PERMISSION", OWNER, "apache", "ALLOWS", "tcp", "80", "80", "FROM", "CIDR", "0.0.0.0/0"],
        ["PERMISSION", OWNER, "apache", "ALLOWS", "tcp", "80", "80", "FROM", "CIDR", "10.0.0.0/8"],
        ["PERMISSION", OWNER, "apache", "ALLOWS", "all", "", "", "FROM", "USER", OWNER, "GRPNAME", "apache"],
        ["GROUP", OWNER, "empty", "nothing"],
    ]


def test_delete_group_prints_its_name(service, tool: Callable) -> None:
    service.will_answer("DeleteSecurityGroup", RETURN)
    assert tool("ec2delgrp", "apache").records == [["GROUP", "apache"]]


@pytest.mark.parametrize(
    ("name", "action"),
    [("ec2-authorize", "AuthorizeSecurityGroupIngress"), ("ec2-revoke", "RevokeSecurityGroupIngress")],
)
def test_authorize_and_revoke_print_the_same_lines_with_an_empty_account(service, tool, name, action) -> None:
    service.will_answer(action, RETURN)
    done = tool(name, "default", "-P", "tcp", "-p", "22", "-s", "192.168.1.130/32")
    assert done.out == "GROUP\t\tdefault\nPERMISSION\t\tdefault\tALLOWS\ttcp\t22\t22\tFROM\tCIDR\t192.168.1.130/32\n"
    assert sent(service) == {
        "Action": action,
        "GroupName": "default",
        "IpProtocol": "tcp",
        "FromPort": "22",
        "ToPort": "22",
        "CidrIp": "192.168.1.130/32",
    }


def test_group_source_of_a_named_account(service, tool: Callable) -> None:
    service.will_answer("AuthorizeSecurityGroupIngress", RETURN)
    done = tool("ec2-authorize", "appserver", "-o", "apache", "-u", "4952-1993-3132")
    assert done.records[1] == [
        *("PERMISSION", "", "appserver", "ALLOWS", "all", "", "", "FROM"),
        *("USER", "495219933132", "GRPNAME", "apache"),
    ]
    assert sent(service) == {
        "Action": "AuthorizeSecurityGroupIngress",
        "GroupName": "appserver",
        "SourceSecurityGroupName": "apache",
        "SourceSecurityGroupOwnerId": "495219933132",
    }


def test_group_source_without_account_means_the_callers(service, tool: Callable) -> None:
    info = f"<securityGroupInfo>{group_item('appserver', 'x')}</securityGroupInfo>"
    service.will_answer("DescribeSecurityGroups", info)
    service.will_answer("AuthorizeSecurityGroupIngress", RETURN)
    done = tool("ec2-authorize", "appserver", "-o", "apache")
    assert done.records[1][-4:] == ["USER", OWNER, "GRPNAME", "apache"]
    assert sent(service, 1)["SourceSecurityGroupOwnerId"] == OWNER


def test_several_ranges_are_one_call(service, tool: Callable) -> None:
    service.will_answer("AuthorizeSecurityGroupIngress", RETURN)
    done = tool("ec2auth", "web", "-p", "80-90", "-s", "10.0.0.0/8", "-s", "192.168.0.0/16")
    assert [record[4:] for record in done.records[1:]] == [
        ["tcp", "80", "90", "FROM", "CIDR", "10.0.0.0/8"],
        ["tcp", "80", "90", "FROM", "CIDR", "192.168.0.0/16"],
    ]
    assert sent(service) == {
        "Action": "AuthorizeSecurityGroupIngress",
        "GroupName": "web",
        "IpPermissions.1.IpProtocol": "tcp",
        "IpPermissions.1.FromPort": "80",
        "IpPermissions.1.ToPort": "90",
        "IpPermissions.1.IpRanges.1.CidrIp": "10.0.0.0/8",
        "IpPermissions.1.IpRanges.2.CidrIp": "192.168.0.0/16",
    }


def test_several_groups_pair_with_their_accounts(service, tool: Callable) -> None:
    service.will_answer("AuthorizeSecurityGroupIngress", RETURN)
    done = tool("ec2auth", "db", "-o", "app", "-u", "111111111111", "-o", "batch", "-u", "222222222222")
    assert [record[-3::2] for record in done.records[1:]] == [["111111111111", "app"], ["222222222222", "batch"]]
    assert sent(service)["IpPermissions.3.Groups.2.UserId"] == "222222222222"


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (["-p", "22"], ["tcp", "22", "22", "FROM", "CIDR", "0.0.0.0/0"]),
        (["-Ptcp", "-p80"], ["tcp", "80", "80", "FROM", "CIDR", "0.0.0.0/0"]),
        (["-P", "udp", "--port-range=53-54"], ["udp", "53", "54", "FROM", "CIDR", "0.0.0.0/0"]),
        (["-P", "icmp", "-t", "-1:-1"], ["icmp", "-1", "-1", "FROM", "CIDR", "0.0.0.0/0"]),
        (["-t8:0", "--cidr", "10.0.0.0/8"], ["icmp", "8", "0", "FROM", "CIDR", "10.0.0.0/8"]),
        (["-P", "icmp"], ["icmp", "-1", "-1", "FROM", "CIDR", "0.0.0.0/0"]),
        (["-P", "tpc", "-p", "70000"], ["tpc", "70000", "70000", "FROM", "CIDR", "0.0.0.0/0"]),
    ],
)
def test_rule_spellings(service, tool: Callable, words: list[str], rule: list[str]) -> None:
    service.will_answer("RevokeSecurityGroupIngress", RETURN)
    assert tool("ec2-revoke", *words, "default").records[1][4:] == rule
    assert [sent(service)[name] for name in ("IpProtocol", "FromPort", "ToPort", "CidrIp")] == [*rule[:3], rule[5]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Required parameter 'GROUP' missing (-h for usage)"),
        (["web"], "Required option '-p, --port-range PORT_RANGE' missing (-h for usage)"),
        (["web", "-p", "ssh"], "Invalid argument for option '-p, --port-range PORT_RANGE': 'ssh' (-h for usage)"),
        (["web", "-t", "8"], "Invalid argument for option '-t, --icmp-type-code TYPE:CODE': '8' (-h for usage)"),
        (["web", "-p"], "Option '-p, --port-range PORT_RANGE' needs a value (-h for usage)"),
        (["web", "-q"], "Unknown option '-q' (-h for usage)"),
        (
            ["web", "-o", "app", "-P", "tcp"],
            "Option '-P, --protocol PROTOCOL' does not apply to a source group, "
            "which is let in by every protocol (-h for usage)",
        ),
    ],
)
def test_argument_errors_ask_nobody(service, tool: Callable, words: list[str], message: str) -> None:
    done = tool("ec2-authorize", *words)
    assert (done.status, done.out, done.err) == (1, "", message + "\n")
    assert service.requests == []


def test_a_missing_description_is_named(tool: Callable) -> None:
    expected = "Required option '-d, --description DESCRIPTION' missing (-h for usage)\n"
    assert tool("ec2-create-group", "apache").err == expected


def test_extra_parameters_are_a_warning(service, tool: Callable) -> None:
    service.will_answer("DeleteSecurityGroup", RETURN)
    done = tool("ec2-delete-group", "apache", "stray")
    assert done.err == "WARNING: Ignoring extra parameter(s): [ stray ]\n"
    assert (done.status, done.records) == (0, [["GROUP", "apache"]])


def test_main_is_quiet_about_what_it_was_not_asked(service, environment, capsys: pytest.CaptureFixture[str]) -> None:
    service.will_answer("DescribeSecurityGroups", "<securityGroupInfo/>")
    assert main("/some/where/ec2-describe-group", []) == 0
    assert capsys.readouterr() == ("", "")


def test_revoke_may_ask_to_end_live_connections(service, tool: Callable) -> None:
    for _ in range(2):
        service.will_answer("RevokeSecurityGroupIngress", RETURN)
    rule = ("-P", "tcp", "-p", "22", "-s", "0.0.0.0/0")
    assert tool("ec2-revoke", "apache", *rule, "--cut").status == 0
    assert tool("ec2-revoke", "apache", *rule).status == 0
    assert [request.cut for request in service.requests] == ["true", None]
    assert sent(service, 0) == sent(service, 1)
    assert "Unknown option '--cut'" in tool("ec2-authorize", "apache", *rule, "--cut").err

"""Rules read from files: the same policy as `aws ec2 describe-...` prints it and as a Terraform plan has it."""

from typing import Any

import pytest

from stockade.daemon import offline
from stockade.daemon.problems import Problem

TESTS = {
    "version": 1,
    "names": {"world": "0.0.0.0/0", "world6": "::/0", "laptop": "192.168.1.130/32"},
    "tests": [
        {"from": "world", "accept": ["web:tcp/80"], "deny": ["web:tcp/23", "app:tcp/8080", "db:all"]},
        {"from": "world6", "accept": ["web:tcp/443", "web:icmpv6/128"], "deny": ["web:tcp/80", "app:all"]},
        {"from": "laptop", "accept": ["web:tcp/22"]},
        {"from": "web", "accept": ["app:tcp/8080"], "deny": ["db:tcp/3306"]},
        {"from": "app", "accept": ["db:tcp/3306", "db:50"], "deny": ["web:tcp/22"]},
        {"from": "203.0.113.7", "accept": ["app:udp/53"], "deny": ["app:udp/54"]},
        {"from": "203.0.114.7", "deny": ["app:udp/53"]},
    ],
}
EVERYBODY = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}], "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}


def group(id: str, name: str, *permissions: dict[str, Any]) -> dict[str, Any]:
    return {
        "GroupId": id,
        "GroupName": name,
        "OwnerId": "111122223333",
        "VpcId": "vpc-1",
        "IpPermissions": list(permissions),
        "IpPermissionsEgress": [EVERYBODY],
    }


def permission(protocol: str, low: int | None = None, high: int | None = None, **peers: Any) -> dict[str, Any]:
    ports = {} if low is None else {"FromPort": low, "ToPort": low if high is None else high}
    return {"IpProtocol": protocol, **ports, **peers}


def of(*groups: str) -> dict[str, Any]:
    return {"UserIdGroupPairs": [{"GroupId": group, "UserId": "111122223333"} for group in groups]}


AWS = {
    "SecurityGroups": [
        group(
            "sg-1",
            "web",
            permission("tcp", 80, IpRanges=[{"CidrIp": "0.0.0.0/0"}]),
            permission("tcp", 443, Ipv6Ranges=[{"CidrIpv6": "::/0"}]),
            permission("icmpv6", 128, -1, Ipv6Ranges=[{"CidrIpv6": "::/0"}]),
            permission("tcp", 22, IpRanges=[{"CidrIp": "192.168.1.130/32"}]),
        ),
        group(
            "sg-2",
            "app",
            permission("tcp", 8080, **of("sg-1")),
            permission("udp", 53, PrefixListIds=[{"PrefixListId": "pl-1"}]),
        ),
        group("sg-3", "db", permission("tcp", 3306, **of("sg-2")), permission("50", **of("sg-2"))),
    ],
    "PrefixLists": [{"PrefixListId": "pl-1", "PrefixListName": "partners", "Cidrs": ["203.0.113.0/24"]}],
}
INSTANCES = {
    "Reservations": [
        {
            "Instances": [
                {
                    "InstanceId": "i-1",
                    "VpcId": "vpc-1",
                    "State": {"Name": "running"},
                    "PrivateIpAddress": "10.0.0.11",
                    "PublicIpAddress": "198.51.100.11",
                    "SecurityGroups": [{"GroupId": "sg-1"}],
                    "NetworkInterfaces": [
                        {
                            "PrivateIpAddresses": [{"PrivateIpAddress": "10.0.0.11"}],
                            "Ipv6Addresses": [{"Ipv6Address": "2001:db8::11"}],
                            "Groups": [{"GroupId": "sg-1"}],
                            "Association": {"PublicIp": "198.51.100.11"},
                        }
                    ],
                    "Tags": [{"Key": "Name", "Value": "web1"}],
                }
            ]
        }
    ]
}


def planned(kind: str, name: str, values: dict[str, Any], module: str = "") -> dict[str, Any]:
    prefix = f"{module}." if module else ""
    return {"address": f"{prefix}{kind}.{name}", "mode": "managed", "type": kind, "name": name, "values": values}


def written(kind: str, name: str, **references: str) -> dict[str, Any]:
    expressions = {attribute: {"references": [f"{to}.id", to]} for attribute, to in references.items()}
    return {"address": f"{kind}.{name}", "expressions": expressions}


ANY4 = {"protocol": "-1", "from_port": 0, "to_port": 0, "cidr_blocks": ["0.0.0.0/0"], "ipv6_cidr_blocks": ["::/0"]}
SINGLE = "aws_vpc_security_group_ingress_rule"
PLAN: dict[str, Any] = {
    "format_version": "1.2",
    "terraform_version": "1.9.0",
    "planned_values": {
        "root_module": {
            "resources": [
                planned("aws_vpc", "main", {"cidr_block": "10.20.0.0/16", "assign_generated_ipv6_cidr_block": True}),
                planned(
                    "aws_security_group",
                    "web",
                    {
                        "name": "web",
                        "ingress": [
                            {"protocol": "tcp", "from_port": 80, "to_port": 80, "cidr_blocks": ["0.0.0.0/0"]},
                            {"protocol": "tcp", "from_port": 443, "to_port": 443, "ipv6_cidr_blocks": ["::/0"]},
                            {"protocol": "icmpv6", "from_port": 128, "to_port": -1, "ipv6_cidr_blocks": ["::/0"]},
                        ],
                        "egress": [ANY4],
                    },
                ),
                planned("aws_security_group", "app", {"name": "app", "egress": [ANY4]}),
                planned("aws_security_group", "db", {"name": "db"}),
                planned(
                    "aws_ec2_managed_prefix_list",
                    "partners",
                    {"name": "partners", "entry": [{"cidr": "203.0.113.0/24"}]},
                ),
                planned(
                    SINGLE,
                    "ssh",
                    {"ip_protocol": "tcp", "from_port": 22, "to_port": 22, "cidr_ipv4": "192.168.1.130/32"},
                ),
                planned(SINGLE, "app", {"ip_protocol": "tcp", "from_port": 8080, "to_port": 8080}),
                planned(SINGLE, "dns", {"ip_protocol": "udp", "from_port": 53, "to_port": 53}),
                planned(
                    "aws_security_group_rule",
                    "db",
                    {"type": "ingress", "protocol": "tcp", "from_port": 3306, "to_port": 3306},
                ),
                planned(SINGLE, "esp", {"ip_protocol": "50"}),
                planned("aws_instance", "web1", {"tags": {"Name": "web1"}}),
            ]
        }
    },
    "configuration": {
        "root_module": {
            "resources": [
                written("aws_security_group", "web", vpc_id="aws_vpc.main"),
                written("aws_security_group", "app", vpc_id="aws_vpc.main"),
                written("aws_security_group", "db", vpc_id="aws_vpc.main"),
                written(SINGLE, "ssh", security_group_id="aws_security_group.web"),
                written(
                    SINGLE,
                    "app",
                    security_group_id="aws_security_group.app",
                    referenced_security_group_id="aws_security_group.web",
                ),
                written(
                    SINGLE,
                    "dns",
                    security_group_id="aws_security_group.app",
                    prefix_list_id="aws_ec2_managed_prefix_list.partners",
                ),
                written(
                    "aws_security_group_rule",
                    "db",
                    security_group_id="aws_security_group.db",
                    source_security_group_id="aws_security_group.app",
                ),
                written(
                    SINGLE,
                    "esp",
                    security_group_id="aws_security_group.db",
                    referenced_security_group_id="aws_security_group.app",
                ),
                written("aws_instance", "web1", vpc_security_group_ids="aws_security_group.web"),
            ]
        }
    },
}


def failing(*documents: Any) -> list[str]:
    state = offline.described([(f"file{at}", document) for at, document in enumerate(documents)])
    results = offline.test(state, TESTS)["results"]
    assert len(results) == 17
    return [
        f"{one['source']} {one['destination']} {one['traffic']} {one['verdict']}" for one in results if not one["ok"]
    ]


def test_the_same_policy_holds_however_it_is_told() -> None:
    assert failing(AWS) == []
    assert failing(AWS, INSTANCES) == []
    assert failing(PLAN) == []


def test_what_is_not_in_the_file_is_not_allowed() -> None:
    without = {**AWS, "SecurityGroups": [AWS["SecurityGroups"][0], group("sg-2", "app"), AWS["SecurityGroups"][2]]}
    assert failing(without) == ["web app tcp/8080 blocked", "203.0.113.7 app udp/53 blocked"]


def test_an_instance_of_the_file_is_named_by_its_tag() -> None:
    state = offline.described([("a", AWS), ("b", INSTANCES)])
    document = {"version": 1, "tests": [{"from": "203.0.113.1", "accept": ["web1:tcp/80"], "deny": ["web1:tcp/22"]}]}
    assert [one["ok"] for one in offline.test(state, document)["results"]] == [True, True]


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"SecurityGroups": {}},
        {"SecurityGroups": [{"GroupName": "web"}]},
        {"SecurityGroups": [group("sg-1", "web", permission("tcp", 80, IpRanges=[{"CidrIp": "nowhere"}]))]},
        {"SecurityGroups": [group("sg-1", "web", permission("tcp", IpRanges=[{"CidrIp": "0.0.0.0/0"}]))]},
        {
            "planned_values": {
                "root_module": {
                    "resources": [
                        planned(
                            "aws_security_group", "w", {"ingress": [{"protocol": "tcp", "from_port": 1, "to_port": 1}]}
                        )
                    ]
                }
            }
        },
    ],
)
def test_a_file_that_cannot_be_understood_is_refused(document: Any) -> None:
    with pytest.raises(Problem):
        offline.described([("file", document)])


def test_a_plan_that_refers_by_blocks_and_counts() -> None:
    """Inline blocks refer to groups not made yet; of several the one with the same index."""
    inline = {"protocol": "tcp", "from_port": 8080, "to_port": 8080}
    web = [
        planned("aws_security_group", "web", {"name": f"web{at}", "egress": [ANY4]})
        | {"address": f"aws_security_group.web[{at}]", "index": at}
        for at in range(2)
    ]
    app = [
        planned("aws_security_group", "app", {"name": f"app{at}", "ingress": [inline]})
        | {"address": f"aws_security_group.app[{at}]", "index": at}
        for at in range(2)
    ]
    references = {"security_groups": {"references": ["aws_security_group.web"]}}
    plan = {
        "planned_values": {"root_module": {"resources": web + app}},
        "configuration": {
            "root_module": {
                "resources": [{"address": "aws_security_group.app", "expressions": {"ingress": [references]}}]
            }
        },
    }
    tests = [
        {"from": "web0", "accept": ["app0:tcp/8080"], "deny": ["app1:tcp/8080"]},
        {"from": "web1", "accept": ["app1:tcp/8080"], "deny": ["app0:tcp/8080"]},
    ]
    found = offline.test(offline.described([("plan", plan)]), {"version": 1, "tests": tests})["results"]
    assert [one["ok"] for one in found] == [True] * 4

"""Requests at random to every action that is built: always an answer, and an error changes nothing."""

from pathlib import Path
from random import Random
from urllib.parse import urlencode

import pytest

from serving import World
from stockade.api.aws.auth.authenticate import AuthRules
from stockade.api.aws.registry import built
from stockade.api.aws.request import HttpRequest
from stockade.api.aws.wire.service_model import ListOf, Scalar, ServiceModel, Structure
from stockade.model import keys
from stockade.model.account import Account, Platform
from stockade.service.call import calling
from stockade.service.caller import Caller
from stockade.service.instances import LaunchRequest

WIRE = Path(__file__).parents[2] / "src" / "stockade" / "api" / "aws" / "wire"
EC2 = ServiceModel((WIRE / "ec2_model.json.gz").read_bytes())
WORDS = [
    *("", "x", "-1", "0", "1", "2", "65536", "tcp", "icmpv6", "-1", "all", "IPv4", "IPv6", "true", "false", "default"),
    *("0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "::/0", "2001:db8::/33", "10.0.0.1", "::1", "fe80::/64", "1.2.3.4/33"),
    *(
        "sg-00000000",
        "i-0",
        "groupSet",
        "sourceDestCheck",
        "é\x00",
        "a" * 300,
        "group-id",
        "tag:a",
        "*",
        "ami-eca54085",
    ),
    *("security-group", "prefix-list", "instance", "vpc", "us-east-1a", "use1-az1", "subnet-", "pl-00000000"),
]
REQUESTS = 2_500


class Requests:
    """Parameters for an action: mostly few, mostly of things that are there."""

    def __init__(self, chance: Random, world: World) -> None:
        self._chance = chance
        self._world = world

    def parameters(self, action: str) -> dict[str, str]:
        found = EC2.action(action)
        assert found is not None
        given: dict[str, str] = {}
        if found.input is not None:
            self._fill(found.input, "", given, known=built(sts=False)[action].reads)
        if given and self._chance.random() < 0.05:
            given.pop(self._chance.choice(list(given)))
        return given

    def _fill(self, shape: str, path: str, given: dict[str, str], known: frozenset[str] | None = None) -> None:
        match EC2.shape(shape):
            case Structure(members, required):
                for member in members:
                    likely = 0.9 if member.name in required else 0.4 if known and member.name in known else 0.02
                    if known is None:
                        likely = max(likely, 0.5)
                    if self._chance.random() < likely:
                        self._fill(member.shape, f"{path}.{member.parameter}" if path else member.parameter, given)
            case ListOf(member, _):
                for number in range(1, self._chance.choice([2, 2, 2, 3])):
                    self._fill(member, f"{path}.{number}", given)
            case Scalar(kind):
                given[path] = self._value(kind, path)

    def _value(self, kind: str, path: str) -> str:
        if kind == "boolean" and self._chance.random() < 0.9:
            return self._chance.choice(["true", "false"])
        if kind in ("integer", "long") and self._chance.random() < 0.9:
            return str(self._chance.choice([-1, 0, 1, 2, 5, 10, 22, 80, 255, 1000, 65535]))
        fitting = [word for part, words in self._fitting() if part in path for word in words]
        if fitting and self._chance.random() < 0.8:
            return self._chance.choice(fitting)
        return self._chance.choice(WORDS)

    def _fitting(self) -> list[tuple[str, list[str]]]:
        """What may stand where a parameter is called like this."""
        resources = self._world.cell.resources
        groups = list(resources.groups.values())
        return [
            ("GroupId", [group.id for group in groups]),
            ("GroupName", [group.name for group in groups] + ["web", "app"]),
            ("SecurityGroup", [group.id for group in groups]),
            ("RuleId", [rule.id for group in groups for rule in group.rules]),
            ("VpcId", [*map(str, resources.vpcs)]),
            ("SubnetId", [*map(str, resources.subnets)]),
            ("InstanceId", [*map(str, resources.instances)]),
            ("NetworkInterfaceId", [*map(str, resources.interfaces)]),
            ("PrefixListId", [*map(str, resources.prefix_lists)]),
            ("PrefixListName", ["office"]),
            ("Resource", [*map(str, resources.instances), *(group.id for group in groups)]),
            ("ImageId", ["ami-eca54085"]),
            ("Protocol", ["tcp", "udp", "icmp", "icmpv6", "-1", "50"]),
            ("CidrIpv6", ["::/0", "2001:db8::/32"]),
            ("Ipv6CidrBlock", [str(vpc.ipv6).replace("/56", "/64") for vpc in resources.vpcs.values()]),
            ("Cidr", ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.0.0/24"]),
            ("Family", ["IPv4", "IPv6"]),
            ("Description", ["d", "web servers"]),
            ("ResourceType", ["security-group", "security-group-rule", "instance", "vpc", "subnet", "prefix-list"]),
        ]


def state(world: World) -> dict[str, object]:
    """All there is but how far numbers were given out."""
    resources = world.cell.resources
    return {key: resources.value(key) for key in resources.all_keys() if keys.kind_of(key) != "meta"}


@pytest.mark.parametrize("platform", list(Platform))
async def test_every_request_is_answered_and_an_error_changes_nothing(platform: Platform) -> None:
    whom: list[Account] = []
    world = await World.open(auth=AuthRules(anyone=lambda: whom[0]))
    whom.append((await world.services.accounts.create("mary", platform=platform)).account)
    caller = Caller(whom[0], "us-east-1")
    with calling(wait_s=0):
        for family in (4, 6):
            await world.services.prefix_lists.create(caller, "office", family, 5)
        for count in (1, 2):
            await world.services.instances.run(caller, LaunchRequest("ami-eca54085", max_count=count))
    chance = Random(20)
    requests = Requests(chance, world)
    codes: dict[str, int] = {}
    for _ in range(REQUESTS):
        action = chance.choice(sorted(built(sts=False)))
        parameters = requests.parameters(action)
        query = urlencode({"Action": action, "Version": "2016-11-15", **parameters})
        before = state(world)
        headers = (("host", "127.0.0.1:8773"), ("x-stockade-wait", "off"))
        answer = await world.gateway.answer(HttpRequest("GET", "/", query, headers, loopback=True))
        assert answer.status < 500, (query, answer.document)
        codes[answer.code] = codes.get(answer.code, 0) + 1
        assert answer.status == 200 or state(world) == before, query
    await world.close()
    assert codes["OK"] > REQUESTS / 8
    assert len(codes) > 15

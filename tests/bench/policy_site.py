"""The two sides of "authorize until enforced": a real site with 1,000 interfaces' worth of policy, and moto's server.

Both are filled by the same calls of the same client: 120 groups of 8 rules. The site then has 1,000 interfaces in
240 sets of one to three of them, which no API call makes without 1,000 instances: they are written into its state
while it is down, and their policy waits in the kernel for devices that never come.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import boto3
from botocore.config import Config

from bench.moto_server import PORT, answers, running
from netns.site import TestSite
from stockade.daemon.wiring.names import THIS_HOST
from stockade.model.addresses import mac_of
from stockade.model.ids import NetworkInterfaceId, SecurityGroupId
from stockade.model.network_interface import NetworkInterface
from stockade.service import network_interfaces
from stockade.store.cache import Cache
from stockade.store.sqlite.store import SqliteStore

GROUPS, RULES, SETS, INTERFACES = 120, 8, 240, 1000
_FIRST_NUMBER = 1_000_000


@dataclass(frozen=True, slots=True)
class Side:
    """Whom to call, and the groups it has."""

    ec2: Any
    groups: list[str]

    def authorize(self, turn: int) -> None:
        self.ec2.authorize_security_group_ingress(**self._permission(turn))

    def revoke(self, turn: int) -> None:
        self.ec2.revoke_security_group_ingress(**self._permission(turn))

    def _permission(self, turn: int) -> dict[str, Any]:
        port = 10_000 + turn
        ranges = [{"CidrIp": "192.0.2.0/24"}]
        permission = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": ranges}
        return {"GroupId": self.groups[turn % len(self.groups)], "IpPermissions": [permission]}


@contextmanager
def both_sides() -> Iterator[tuple[TestSite, dict[str, Side]]]:
    """Both on one host namespace; call them from inside it."""
    with ExitStack() as opened:
        site = TestSite()
        opened.callback(site.end)
        site.up()
        groups = site.inside(lambda: _fill(site.client().plain))
        site.stockade("down")
        _add_interfaces(Path(site.environment["STOCKADE_STATE"]), groups)
        site.up()
        opened.enter_context(running(site))
        answers(site)
        theirs = boto3.client(
            "ec2",
            endpoint_url=f"http://127.0.0.1:{PORT}",
            aws_access_key_id="x",
            aws_secret_access_key="x",
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}),
        )
        sides = {
            "stockade": Side(site.client().plain, groups),
            "moto": Side(theirs, site.inside(lambda: _fill(theirs))),
        }
        yield site, sides
        site.stockade("down")


def _fill(ec2: Any) -> list[str]:
    """The groups, each with rules for addresses and for other groups."""
    groups = [
        ec2.create_security_group(GroupName=f"bench-{number}", Description="bench")["GroupId"]
        for number in range(GROUPS)
    ]
    chance = Random(7)
    for group in groups:
        permissions = []
        for turn in range(RULES):
            peer: dict[str, Any] = {"UserIdGroupPairs": [{"GroupId": chance.choice(groups)}]}
            if turn % 2:
                peer = {"IpRanges": [{"CidrIp": f"198.51.{turn}.0/24"}]}
            permissions.append({"IpProtocol": "tcp", "FromPort": 20 + turn, "ToPort": 20 + turn, **peer})
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=permissions)
    return groups


def _add_interfaces(state: Path, groups: list[str]) -> None:
    """Into the state of a site that is down, as its service would write them."""
    owner = state.stat()
    asyncio.run(_write_interfaces(state, groups))
    for file in state.parent.glob(f"{state.name}*"):
        os.chown(file, owner.st_uid, owner.st_gid)


async def _write_interfaces(state: Path, groups: list[str]) -> None:
    store = await SqliteStore.open(state)
    cache = await Cache.open(store)
    own = [cache.resources.groups[SecurityGroupId(group)] for group in groups]
    vpc = cache.resources.vpcs[own[0].vpc]
    subnet = next((each for each in cache.resources.subnets.values() if each.vpc == vpc.id), None)
    block = subnet.cidr if subnet else vpc.cidr
    chance = Random(7)
    sets = [chance.sample(own, chance.choice((1, 2, 3))) for _ in range(SETS)]
    for number in range(INTERFACES):
        interface = NetworkInterface(
            id=NetworkInterfaceId(f"eni-{_FIRST_NUMBER + number:08x}"),
            number=_FIRST_NUMBER + number,
            account=own[0].account,
            vpc=vpc.id,
            subnet=subnet.id if subnet else None,
            host=THIS_HOST,
            mac=mac_of(_FIRST_NUMBER + number),
            addresses=(block[2000 + number],),
            groups=tuple(each.id for each in sets[number % SETS]),
        )
        await cache.commit(network_interfaces.guards_of_new(interface), network_interfaces.created(interface))
    await cache.close()
    await store.close()

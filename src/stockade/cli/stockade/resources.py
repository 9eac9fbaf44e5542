"""`stockade groups`, `ps` and `run`: short answers over the EC2 API that everything else uses too."""

import os
import sys
import time
from collections.abc import Sequence

from stockade.cli.ec2.answer import Node
from stockade.cli.stockade.connection import Ec2, calling_as, native
from stockade.cli.stockade.durations import seconds
from stockade.cli.stockade.tables import print_json, print_table
from stockade.daemon.problems import REFUSED, TIMED_OUT, Problem

_POLL_S = 0.1


def groups(as_json: bool, quiet: bool, headers: bool) -> int:
    """Each group with its rules counted and the instances that are in it."""
    ec2 = Ec2(calling_as())
    found = list(ec2.call("DescribeSecurityGroups").items("securityGroupInfo"))
    used: dict[str, int] = {}
    for instance in _instances(ec2):
        for group in instance.items("groupSet"):
            used[group.text("groupId")] = used.get(group.text("groupId"), 0) + 1
    devices = _devices()
    rows = [_group_row(group, used, devices) for group in found]
    if as_json:
        names = ("id", "name", "instances", "devices", "rules", "vpc_id", "description")
        print_json({"groups": [dict(zip(names, row, strict=True)) for row in rows]})
    elif quiet:
        print(*(row[0] for row in rows), sep="\n")
    else:
        columns = ("group", "name", "instances", "devices", "rules", "vpc", "description")
        print_table(columns, [tuple("-" if cell == "" else str(cell) for cell in row) for row in rows], headers)
    return 0


def _devices() -> dict[str, str]:
    """Attached devices by group, for administrators: nobody else may know them."""
    told = native(calling_as(), "GET", "attachments")
    found: dict[str, list[str]] = {}
    for one in told.document.get("attachments", []):
        for group in one["groups"]:
            found.setdefault(group["group_id"], []).append(one["device"])
    return {group: ",".join(sorted(names)) for group, names in found.items()}


def _group_row(group: Node, used: dict[str, int], devices: dict[str, str]) -> tuple[str, str, int, str, int, str, str]:
    rules = sum(_grants(permission) for permission in group.items("ipPermissions"))
    rules += sum(_grants(permission) for permission in group.items("ipPermissionsEgress"))
    id = group.text("groupId")
    counts = used.get(id, 0), devices.get(id, ""), rules
    return id, group.text("groupName"), *counts, group.text("vpcId"), group.text("groupDescription")


def _grants(permission: Node) -> int:
    return sum(len(list(permission.items(peers))) for peers in ("ipRanges", "ipv6Ranges", "prefixListIds", "groups"))


def instances(as_json: bool, quiet: bool, headers: bool) -> int:
    """Each instance that is not gone."""
    found = [one for one in _instances(Ec2(calling_as())) if one.text("instanceState/name") != "terminated"]
    _print_instances(found, as_json=as_json, quiet=quiet, headers=headers)
    return 0


def run(
    groups: Sequence[str], count: int, *, name: str | None, image: str, wait: str, as_json: bool, quiet: bool
) -> int:
    """Launch, then wait until all run. 124: not in time; what was launched is listed all the same."""
    within_s = seconds(wait)
    ec2 = Ec2(calling_as())
    parameters = {"ImageId": image, "MinCount": str(count), "MaxCount": str(count)}
    ids = [group for group in groups if group.startswith("sg-")]
    names = [group for group in groups if not group.startswith("sg-")]
    parameters |= {f"SecurityGroupId.{number}": group for number, group in enumerate(ids, 1)}
    parameters |= {f"SecurityGroup.{number}": group for number, group in enumerate(names, 1)}
    if name is not None:
        parameters |= {
            "TagSpecification.1.ResourceType": "instance",
            "TagSpecification.1.Tag.1.Key": "Name",
            "TagSpecification.1.Tag.1.Value": name,
        }
    wanted = [one.text("instanceId") for one in ec2.call("RunInstances", parameters).items("instancesSet")]
    deadline = time.monotonic() + within_s
    while True:
        found = _instances(ec2, wanted)
        pending = [one for one in found if one.text("instanceState/name") == "pending"]
        _progress(len(found) - len(pending), len(wanted))
        if not pending or time.monotonic() > deadline:
            break
        time.sleep(_POLL_S)
    _print_instances(found, as_json=as_json, quiet=quiet, headers=True)
    failed = [one for one in found if one.text("instanceState/name") == "terminated"]
    if failed:
        raise Problem(
            f"{len(failed)} of {len(wanted)} instances did not start",
            why=failed[0].text("stateReason/message") or failed[0].text("reason"),
            code=REFUSED,
        )
    return TIMED_OUT if pending else 0


def _progress(running: int, wanted: int) -> None:
    if sys.stderr.isatty() and not os.environ.get("CI"):
        print(f"\rrunning {running}/{wanted}", end="" if running < wanted else "\n", file=sys.stderr, flush=True)


def _instances(ec2: Ec2, ids: Sequence[str] = ()) -> list[Node]:
    parameters = {f"InstanceId.{number}": id for number, id in enumerate(ids, 1)}
    reservations = ec2.call("DescribeInstances", parameters).items("reservationSet")
    return [instance for reservation in reservations for instance in reservation.items("instancesSet")]


def _print_instances(found: Sequence[Node], as_json: bool, quiet: bool, headers: bool) -> None:
    rows = [_instance_row(one) for one in found]
    names = ("id", "name", "state", "private_address", "public_address", "groups", "image")
    if as_json:
        print_json({"instances": [dict(zip(names, row, strict=True)) for row in rows]})
    elif quiet:
        print(*(row[0] for row in rows), sep="\n")
    else:
        columns = ("instance", "name", "state", "private", "public", "groups", "image")
        print_table(columns, [tuple(cell or "-" for cell in row) for row in rows], headers)


def _instance_row(one: Node) -> tuple[str, ...]:
    tags = {tag.text("key"): tag.text("value") for tag in one.items("tagSet")}
    groups = ",".join(group.text("groupName") or group.text("groupId") for group in one.items("groupSet"))
    return (
        one.text("instanceId"),
        tags.get("Name", ""),
        one.text("instanceState/name"),
        one.text("privateIpAddress"),
        one.text("ipAddress"),
        groups,
        one.text("imageId"),
    )

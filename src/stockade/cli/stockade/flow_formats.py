"""One flow as a line: a row of the table, AWS's default record, or a format with AWS's field names."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from stockade.daemon.problems import USAGE, Problem

Flow = Mapping[str, Any]
Line = Callable[[Flow], str]

AWS_DEFAULT = (
    *("version", "account-id", "interface-id", "srcaddr", "dstaddr", "srcport", "dstport", "protocol"),
    *("packets", "bytes", "start", "end", "action", "log-status"),
)
"""The 14 fields of version 2, in AWS's order."""

COLUMNS = ("time", "verdict", "source", "destination", "port", "why")
_WIDTHS = (8, 7, 22, 22, 12)
_UTC_WIDTH = len("2026-01-01T00:00:00.000Z")


def _second(flow: Flow) -> int:
    return int(datetime.fromisoformat(flow["at"]).timestamp())


def _deciding(flow: Flow) -> str | None:
    """The rule that let it in, else the one that let it out."""
    rules = flow["rules"]
    named = rules["ingress"] or rules["egress"]
    return named["rule_id"] if named else None


_NOT_HERE = (
    *("az-id", "sublocation-type", "sublocation-id", "pkt-src-aws-service", "pkt-dst-aws-service", "traffic-path"),
    *("ecs-cluster-arn", "ecs-cluster-name", "ecs-container-instance-arn", "ecs-container-instance-id"),
    *("ecs-container-id", "ecs-second-container-id", "ecs-service-name", "ecs-task-definition-arn"),
    *("ecs-task-arn", "ecs-task-id", "reject-reason", "resource-id", "encryption-status"),
)
"""AWS's fields about what does not exist here: they print `-`, as AWS does where they do not apply."""

FIELDS: Mapping[str, Callable[[Flow], Any]] = {
    "version": lambda flow: 2,
    "account-id": lambda flow: flow["account_id"],
    "interface-id": lambda flow: flow["interface_id"],
    "srcaddr": lambda flow: flow["source"]["address"],
    "dstaddr": lambda flow: flow["destination"]["address"],
    # As in AWS: 0 for protocols that have no ports.
    "srcport": lambda flow: flow["source_port"] or 0,
    "dstport": lambda flow: flow["destination_port"] or 0,
    "protocol": lambda flow: flow["protocol"],
    "packets": lambda flow: 1,  # a record is told when the flow opens or the packet is dropped
    "bytes": lambda flow: None,
    "start": _second,
    "end": _second,
    "action": lambda flow: flow["verdict"],
    "log-status": lambda flow: "OK",
    "vpc-id": lambda flow: flow["vpc_id"],
    "subnet-id": lambda flow: flow["subnet_id"],
    "instance-id": lambda flow: flow["instance_id"],
    "tcp-flags": lambda flow: None,
    "type": lambda flow: "IPv6" if ":" in flow["source"]["address"] else "IPv4",
    "pkt-srcaddr": lambda flow: flow["source"]["address"],
    "pkt-dstaddr": lambda flow: flow["destination"]["address"],
    "region": lambda flow: flow["region"],
    "flow-direction": lambda flow: flow["direction"],
    **dict.fromkeys(_NOT_HERE, lambda flow: None),
    "stk-rule-id": _deciding,
    "stk-direction": lambda flow: flow["gate"] if flow["gate"] in ("egress", "ingress") else None,
    "stk-reason": lambda flow: flow["reason"],
}


def aws_line(flow: Flow) -> str:
    """AWS's default record."""
    return " ".join(_text(FIELDS[name](flow)) for name in AWS_DEFAULT)


def formatted(template: str) -> Line:
    """A line for a format such as '${srcaddr} ${dstport}'. Raises Problem for a field nobody knows."""
    unknown = [name for name in re.findall(r"\$\{([^}]*)\}", template) if name not in FIELDS]
    if unknown:
        raise Problem(f"no flow has a field {unknown[0]!r}", why=f"there are: {' '.join(FIELDS)}", code=USAGE)
    return lambda flow: re.sub(r"\$\{([^}]*)\}", lambda found: _text(FIELDS[found[1]](flow)), template)


def row(flow: Flow, utc: bool = False) -> tuple[str, ...]:
    """The columns of the table; the time is local and of today, or exact."""
    at = datetime.fromisoformat(flow["at"]).astimezone()
    source, destination = _side(flow["source"]), _side(flow["destination"])
    return flow["at"] if utc else f"{at:%H:%M:%S}", flow["verdict"], source, destination, flow["traffic"], flow["why"]


def padded(cells: tuple[str, ...], utc: bool = False) -> str:
    """A line of a table whose later lines are not known yet."""
    widths = (_UTC_WIDTH, *_WIDTHS[1:]) if utc else _WIDTHS
    fixed = [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)]
    return "  ".join([*fixed, *cells[len(_WIDTHS) :]]).rstrip()


def _side(side: Mapping[str, Any]) -> str:
    return f"{side['name']} {side['address']}" if side["name"] else str(side["address"])


def _text(value: Any) -> str:
    return "-" if value is None else str(value)

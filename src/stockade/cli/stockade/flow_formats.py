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


def _second(flow: Flow) -> int:
    return int(datetime.fromisoformat(flow["at"]).timestamp())


def _deciding(flow: Flow) -> str | None:
    """The rule that let it in, else the one that let it out."""
    rules = flow["rules"]
    named = rules["ingress"] or rules["egress"]
    return named["rule_id"] if named else None


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


def row(flow: Flow) -> tuple[str, ...]:
    """The columns of the table; the time is local."""
    at = datetime.fromisoformat(flow["at"]).astimezone()
    source, destination = _side(flow["source"]), _side(flow["destination"])
    return f"{at:%H:%M:%S}", flow["verdict"], source, destination, flow["traffic"], flow["why"]


def padded(cells: tuple[str, ...]) -> str:
    """A line of a table whose later lines are not known yet."""
    fixed = [cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=False)]
    return "  ".join([*fixed, *cells[len(_WIDTHS) :]]).rstrip()


def _side(side: Mapping[str, Any]) -> str:
    return f"{side['name']} {side['address']}" if side["name"] else str(side["address"])


def _text(value: Any) -> str:
    return "-" if value is None else str(value)

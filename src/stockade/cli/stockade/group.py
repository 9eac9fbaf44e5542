"""`stockade group`: one group, its rules with what they let through, its members, and who refers to it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from stockade.cli.stockade.connection import calling_as, native
from stockade.cli.stockade.durations import ago
from stockade.cli.stockade.refusals import accepted
from stockade.cli.stockade.tables import print_json, print_table

_RULES = ("rule", "way", "traffic", "peer", "packets", "bytes", "first hit", "last hit", "description")
_MEMBERS = ("member", "interface", "address", "public")


def group(name: str, as_json: bool, utc: bool = False) -> int:
    """0 when there is one of that name."""
    told = accepted(native(calling_as(), "GET", "group", query={"name": name})).document
    if as_json:
        print_json(told)
        return 0
    print(f"{told['group_name']}  {told['group_id']}  {told['vpc_id']}  account {told['account_id']}")
    if told["description"]:
        print(told["description"])
    print()
    now = None if utc else datetime.now(UTC)
    print_table(_RULES, [rule_row(rule, now) for rule in told["rules"]])
    print()
    print_table(_MEMBERS, [_member_row(member) for member in told["members"]])
    named_by = ", ".join(f"{one['group_name']} ({one['group_id']})" for one in told["referred_to_by"])
    print(f"\nreferred to by: {named_by or 'no other group'}")
    return 0


def rule_row(rule: Mapping[str, Any], now: datetime | None) -> tuple[str, ...]:
    """A rule with its counts. Times are relative to `now`, or exact without it."""
    peer = rule["peer"]
    who = next(
        str(peer[key])
        for key in ("cidr", "prefix_list_name", "prefix_list_id", "group_name", "group_id")
        if peer.get(key)
    )
    way = "in" if rule["direction"] == "ingress" else "out"
    hits = (_hit(rule, "first_hit", now), _hit(rule, "last_hit", now))
    counts = (str(rule["packets"]), size(rule["bytes"]))
    return rule["rule_id"], way, rule["traffic"], who, *counts, *hits, rule["description"] or "-"


def _hit(rule: Mapping[str, Any], name: str, now: datetime | None) -> str:
    at = rule[name]
    if not at:
        return "earlier" if rule["packets"] else "-"
    return str(at) if now is None else f"{ago(now - datetime.fromisoformat(at))} ago"


def size(octets: int) -> str:
    """Bytes in the largest unit that gives at least one."""
    if octets < 1024:
        return f"{octets} B"
    if octets < 1024**2:
        return f"{octets / 1024:.1f} KiB"
    return f"{octets / 1024**2:.1f} MiB"


def _member_row(member: Mapping[str, Any]) -> tuple[str, ...]:
    return member["name"], member["interface_id"], member["address"], member["public_address"] or "-"

"""`stockade explain`: would it pass, and why."""

import sys
from typing import Any

from stockade.cli.stockade.connection import calling_as, native
from stockade.cli.stockade.refusals import accepted
from stockade.cli.stockade.tables import coloured, print_json, unicode_marks

_NEAREST = 3


def explain(source: str, destination: str, traffic: str, as_json: bool) -> int:
    """0: all of it passes; 1: it does not, or not all of it."""
    question = {"source": source, "destination": destination, "traffic": traffic}
    answer = accepted(native(calling_as(), "POST", "explain", question)).document
    if as_json:
        print_json(answer)
    else:
        print("\n".join(explanation_lines(answer, unicode=unicode_marks(sys.stdout))))
    return 0 if answer["verdict"] == "pass" else 1


def explanation_lines(answer: dict[str, Any], unicode: bool = True) -> list[str]:
    """An answer as people read it; also what a failed policy test prints."""
    arrow = "→" if unicode else "->"
    source, destination = (_side(answer[side]) for side in ("source", "destination"))
    lines = [f"{source} {arrow} {destination}  {answer['traffic']}"]
    if answer["verdict"] == "partly":
        lines.append(f"  partly: {answer['passed']} of {answer['tried']} cases pass; shown is {answer['shown']}")
    for hop in answer["hops"]:
        lines += _hop_lines(hop, answer, unicode)
    if not answer["hops"]:
        lines.append("  nobody there can send that")
    lines.append(_verdict_line(answer))
    if answer.get("to_allow"):
        lines.append(f"To allow it: {answer['to_allow']['command']}")
    return lines


def _verdict_line(answer: dict[str, Any]) -> str:
    if answer["verdict"] == "pass":
        return coloured("PASSES", "green", sys.stdout)
    said = "BLOCKED" if answer["verdict"] == "blocked" else "PARTLY BLOCKED"
    line = coloured(said, "red", sys.stdout)
    if answer["reason"] is not None:
        line += f"  {answer['aws_reason'] or answer['reason']}"
    recent = answer.get("recent")
    if recent and recent["rejected"]:
        line += f"     last seen: {recent['rejected']} rejected in {recent['seconds'] // 60} m"
    return line


def _side(side: dict[str, Any]) -> str:
    parts = [side.get("name"), side.get("instance_id"), side.get("address")]
    return " ".join(dict.fromkeys(part for part in parts if part)) or side["asked"]


def _hop_lines(hop: dict[str, Any], answer: dict[str, Any], unicode: bool) -> list[str]:
    marks = ("✓", "✗") if unicode else ("ok", "XX")
    mark = coloured(marks[0], "green", sys.stdout) if hop["passed"] else coloured(marks[1], "red", sys.stdout)
    interface = hop["interface"] or {}
    who = interface.get("name") or interface.get("address") or ""
    if hop["gate"] not in ("egress", "ingress"):
        said = "a service of the host, no rule asked" if hop["passed"] else _plain_reason(hop["reason"])
        return [f"  {mark} {said}"]
    head = f"  {mark} {'leaves' if hop['gate'] == 'egress' else 'enters'} {who}"
    if hop.get("hidden"):
        return [f"{head}   by the rules of another account"]
    rules = hop["rules"]
    if hop["passed"]:
        return [f"{head}   {_rule(rules[0], unicode)}"] if rules else [head]
    groups = ", ".join(f"{group['group_name']} ({group['group_id']})" for group in interface.get("groups", []))
    if hop["reason"] not in ("NO_EGRESS_RULE", "NO_INGRESS_RULE"):
        return [f"{head}   {_plain_reason(hop['reason'])}"]
    if not rules:
        return [f"{head}   no rule of {groups or 'any group'} matches; there is none for this direction"]
    lines = [f"{head}   no rule of {groups} matches; nearest: {_rule(rules[0], unicode)}, {_lack(rules[0])}"]
    lines += [f"{' ' * (len(who) + 14)}then: {_rule(rule, unicode)}, {_lack(rule)}" for rule in rules[1:_NEAREST]]
    return lines


def _rule(rule: dict[str, Any], unicode: bool) -> str:
    peer = rule["peer"]
    who = peer.get("cidr") or f"{peer['group_id']}" + (f" (group {peer['group_name']})" if peer["group_name"] else "")
    if rule["direction"] == "egress":
        way = "→" if unicode else "->"
        return f"{rule['rule_id']}  group {rule['group_name']}   {rule['traffic']} {way} {who}"
    return f"{rule['rule_id']}  group {rule['group_name']}   {rule['traffic']} from {who}"


def _lack(rule: dict[str, Any]) -> str:
    return "another " + " and ".join(rule["lacks"])


def _plain_reason(reason: str) -> str:
    """DropReason's name as a sentence."""
    return {
        "SPOOFED_ADDRESS": "that source address is not the sender's to use",
        "FOREIGN_REPLY": "link-local addresses are the host's own",
        "NO_ROUTE": "the destination is nobody's",
        "NO_PUBLIC_ADDRESS": "the sender has no public address to be seen by",
        "MULTICAST": "multicast and broadcast are not delivered",
        "UNSUPPORTED": "that kind of packet is never passed",
        "INVALID_STATE": "it belongs to no flow and may not open one",
    }.get(reason, reason.lower().replace("_", " "))

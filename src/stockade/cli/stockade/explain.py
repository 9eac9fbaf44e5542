"""`stockade explain`: would it pass, and why."""

import sys
from typing import Any

from stockade.cli.stockade.connection import calling_as, native
from stockade.cli.stockade.refusals import accepted
from stockade.cli.stockade.tables import coloured, print_json, unicode_marks
from stockade.daemon.problems import DEGRADED, OUR_BUG

_NEAREST = 3


def explain(source: str, destination: str, traffic: str, as_json: bool, probe: bool = False) -> int:
    """0: all of it passes; 1: it does not, or not all of it.

    With real packets also 70: they do otherwise than the engine says; 6: none could be sent.
    """
    question = {"source": source, "destination": destination, "traffic": traffic, **({"probe": True} if probe else {})}
    answer = accepted(native(calling_as(), "POST", "explain", question)).document
    if as_json:
        print_json(answer)
    else:
        print("\n".join(explanation_lines(answer, unicode=unicode_marks(sys.stdout))))
    probed = answer.get("probe")
    if probed is not None and probed["agrees"] is not True:
        return DEGRADED if probed["agrees"] is None else OUR_BUG
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
    if answer.get("probe"):
        lines += probe_lines(answer["probe"], unicode)
    return lines


def probe_lines(probe: dict[str, Any], unicode: bool = True) -> list[str]:
    """What real packets did, and whether that is what the engine says."""
    arrow = "→" if unicode else "->"
    sent = f"{probe['sent']} packet{'s' * (probe['sent'] != 1)} sent, {probe['arrived']} arrived"
    if probe["agrees"] is None:
        said = f"{sent}, which decides nothing" if probe["sent"] else "no packet sent"
        return [coloured(f"Probe: {said}: {probe['undecided']}", "yellow", sys.stdout)]
    more = f"; {probe['left_out']} more of the question not sent" if probe["left_out"] else ""
    silent = sum(one["agrees"] is None for one in probe["packets"])
    more += f"; {silent} decided nothing: {probe['undecided']}" if silent else ""
    if probe["agrees"]:
        return [f"Probe: {sent}, as the rules say{more}"]
    lines = [coloured(f"Probe: {sent}: the kernel does otherwise than the rules say{more}", "red", sys.stdout)]
    for one in probe["packets"]:
        if one["agrees"] is False:
            said = f"the rules say {one['expected']}, the kernel {one['outcome']}"
            lines.append(f"  {one['traffic']} {one['source']} {arrow} {one['destination']}: {said}")
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
        said = _plain_reason(hop["reason"]) if not hop["passed"] else "a service of the host, no rule asked"
        if hop["passed"] and interface.get("device"):
            said = f"left to whoever forwards for {interface['device']}"
        return [f"  {mark} {said}"]
    head = f"  {mark} {'leaves' if hop['gate'] == 'egress' else 'enters'} {who}"
    if hop.get("hidden"):
        return [f"{head}   by the rules of another account"]
    rules = hop["rules"]
    if hop["passed"]:
        passed = [f"{head}   {rule_text(rules[0], unicode)}"] if rules else [head]
        return passed + [
            f"{' ' * (len(who) + 14)}{line}" for line in _tracking_lines(hop) + _interface_notes(interface)
        ]
    groups = ", ".join(f"{group['group_name']} ({group['group_id']})" for group in interface.get("groups", []))
    if hop["reason"] not in ("NO_EGRESS_RULE", "NO_INGRESS_RULE"):
        return [f"{head}   {_plain_reason(hop['reason'])}"]
    if not rules:
        return [f"{head}   no rule of {groups or 'any group'} matches; there is none for this direction"]
    lines = [f"{head}   no rule of {groups} matches; nearest: {rule_text(rules[0], unicode)}, {_lack(rules[0])}"]
    lines += [f"{' ' * (len(who) + 14)}then: {rule_text(rule, unicode)}, {_lack(rule)}" for rule in rules[1:_NEAREST]]
    return lines


def _tracking_lines(hop: dict[str, Any]) -> list[str]:
    """Whether state keeps the flow alive when its rule goes."""
    tracking = hop.get("tracking")
    if tracking is None or tracking["always"]:
        return []
    opener, back = tracking["opened_by"], tracking["all_back_by"]
    if not tracking["tracked"]:
        return [f"untracked: {opener} opens it to everybody and {back} all ports back: a revoke cuts it at once"]
    why = "no rule opens it to everybody" if opener is None else "no one rule opens all ports back to everybody"
    return [f"tracked: {why}; a revoke leaves it until it ends"]


def _interface_notes(interface: dict[str, Any]) -> list[str]:
    notes = []
    if interface.get("device"):
        notes.append(f"filtered at the attached device {interface['device']}")
    if interface.get("source_dest_check") is False:
        notes.append("source/destination check off: it may send from other addresses")
    return notes


def peer_text(peer: dict[str, Any]) -> str:
    """Whom a rule names: a block, a group or a prefix list."""
    if "cidr" in peer:
        return str(peer["cidr"])
    if "prefix_list_id" in peer:
        name = peer["prefix_list_name"]
        return str(peer["prefix_list_id"]) + (f" (prefix list {name})" if name else "")
    return str(peer["group_id"]) + (f" (group {peer['group_name']})" if peer["group_name"] else "")


def rule_text(rule: dict[str, Any], unicode: bool) -> str:
    """A rule in a line."""
    who = peer_text(rule["peer"])
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

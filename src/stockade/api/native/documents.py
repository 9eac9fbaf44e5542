"""Answers as JSON: stable keys, ids beside names, nothing of what is another account's."""

from datetime import UTC
from typing import Any

from stockade.model import ports
from stockade.model.flow import DropReason, Packet, RuleTraffic
from stockade.model.host_view import HostView
from stockade.model.ids import NetworkInterfaceId
from stockade.model.resources import Resources
from stockade.model.rule import CidrPeer, Direction, GroupPeer, Peer, PrefixListPeer, Rule
from stockade.model.security_group import SecurityGroup
from stockade.model.traffic import Traffic, traffic_text
from stockade.service.answers import Answer, AnsweredHop, NearRule, Remedy
from stockade.service.directory import Directory
from stockade.service.usage import GroupUse

AWS_REASONS = {
    DropReason.NO_EGRESS_RULE: "ENI_SG_RULES_MISMATCH",
    DropReason.NO_INGRESS_RULE: "ENI_SG_RULES_MISMATCH",
    DropReason.NO_ROUTE: "NO_ROUTE_TO_DESTINATION",
}
"""What EC2's reachability answers call it, where they have a word for it."""


def verdict_of(answer: Answer) -> str:
    """pass: all of it; blocked: none of it; partly."""
    return "pass" if answer.reach.all_pass else "blocked" if answer.reach.none_pass else "partly"


MOST_NAMES = 200


def names_document(directory: Directory, prefix: str) -> dict[str, list[str]]:
    """What a person may mean who has typed so much: all names, and those of groups and of attached devices."""
    found = [(name, one) for name, one in directory.begins(prefix) if prefix.count("-") or not _is_id(name)]
    kinds = {"names": found}
    kinds["groups"] = [(name, one) for name, one in found if isinstance(one, SecurityGroup)]
    kinds["devices"] = [(name, one) for name, one in found if getattr(one, "device", None) is not None]
    return {kind: list(dict.fromkeys(name for name, _ in named))[:MOST_NAMES] for kind, named in kinds.items()}


def _is_id(name: str) -> bool:
    return name.partition("-")[0] in ("i", "sg", "eni", "pl") and "-" in name


class Documents:
    """Makes them for one caller, at one moment."""

    def __init__(self, resources: Resources, directory: Directory) -> None:
        self._resources = resources
        self._directory = directory

    def answer(self, answer: Answer) -> dict[str, Any]:
        """One question with its verdict: pass (all of it), blocked (all of it) or partly."""
        reach, question = answer.reach, answer.question
        shown = answer.shown
        document: dict[str, Any] = {
            "source": {"asked": question.source.text},
            "destination": {"asked": question.destination.text},
            "traffic": str(question.traffic),
            "verdict": verdict_of(answer),
            "tried": len(reach.tried),
            "passed": sum(one.passed for one in reach.tried),
            "reason": None,
            "aws_reason": None,
            "hops": [],
            "to_allow": self._remedy(answer.remedy) if answer.remedy is not None else None,
        }
        if shown is None or answer.explanation is None:
            return document
        document["source"] |= self._source(answer.view, shown.packet, shown.sender)
        document["destination"] |= self._destination(answer)
        document |= {"shown": str(shown.stretch), "shown_passed": shown.passed}
        reason = answer.explanation.verdict.reason
        if reason is not None:
            document |= {"reason": reason.name, "aws_reason": AWS_REASONS.get(reason)}
        document["hops"] = [self._hop(answer.view, hop) for hop in answer.hops]
        return document

    def rule(self, rule: Rule, group_id: str, group_name: str) -> dict[str, Any]:
        """A rule with the group it is of."""
        low, high = rule.interval
        peer: dict[str, Any]
        match rule.peer:
            case CidrPeer(cidr=cidr):
                peer = {"cidr": str(cidr)}
            case GroupPeer(group=group, account=account):
                found = self._resources.groups.get(group)
                peer = {"group_id": group, "group_name": found.name if found else None, "account_id": account}
            case PrefixListPeer(prefix_list=id):
                listed = self._resources.prefix_lists.get(id)
                peer = {
                    "prefix_list_id": id,
                    "prefix_list_name": listed.name if listed else None,
                    "blocks": [str(block) for block in listed.cidrs] if listed else [],
                }
        return {
            "rule_id": rule.id,
            "number": rule.number,
            "group_id": group_id,
            "group_name": group_name,
            "direction": rule.direction.value,
            "protocol": ports.protocol_name(rule.protocol),
            "from_port": rule.from_port,
            "to_port": rule.to_port,
            "traffic": traffic_text(rule.protocol, low, high),
            "peer": peer,
            "description": rule.description,
        }

    def group(self, use: GroupUse) -> dict[str, Any]:
        """A group with its rules and what they let through, its members, and who names it."""
        group = use.group
        rules = [
            {**self.rule(rule, group.id, group.name), **_traffic(use.traffic[rule.number])}
            for rule in group.rules
            if rule.number in use.traffic
        ]
        return {
            "group_id": group.id,
            "group_name": group.name,
            "description": group.description,
            "account_id": group.account,
            "vpc_id": group.vpc,
            "rules": rules,
            "members": [
                {
                    "name": self._directory.name_of(one),
                    "instance_id": one.instance,
                    "interface_id": one.id,
                    "address": str(one.addresses[0]),
                    "public_address": str(one.public) if one.public is not None else None,
                }
                for one in use.members
            ],
            "referred_to_by": [{"group_id": one.id, "group_name": one.name} for one in use.referrers],
        }

    def interface(self, view: HostView, id: NetworkInterfaceId) -> dict[str, Any]:
        """Whose it is, as far as the caller may know."""
        seen = view.interfaces[id]
        document: dict[str, Any] = {"address": str(seen.addresses[0])}
        if not self._directory.sees_account(seen.account):
            return document | {"name": None, "account_id": seen.account}
        live = self._resources.interfaces.get(id)
        groups = [view.groups[group] for group in seen.groups if group in view.groups]
        return document | {
            "name": self._directory.name_of(live) if live is not None else f"a member of {groups[0].name}",
            "imagined": live is None,
            "instance_id": seen.instance,
            "interface_id": id if live is not None else None,
            "public_address": str(seen.public) if seen.public is not None and live is not None else None,
            "account_id": seen.account,
            "source_dest_check": seen.source_dest_check,
            "device": seen.device,
            "groups": [{"group_id": group.id, "group_name": group.name} for group in groups],
        }

    def _source(self, view: HostView, packet: Packet, sender: NetworkInterfaceId | None) -> dict[str, Any]:
        known = {} if sender is None else self.interface(view, sender)
        return known | {"address": str(packet.source)}

    def _destination(self, answer: Answer) -> dict[str, Any]:
        assert answer.shown is not None
        address = answer.shown.packet.destination
        sender = None if answer.shown.sender is None else answer.view.interfaces[answer.shown.sender]
        own = [
            one.id
            for one in answer.view.interfaces.values()
            if one.public == address
            or (address in one.addresses and (one.public6 if sender is None else sender.vpc == one.vpc))
            or (address in one.addresses and one.device is not None)
        ]
        known = self.interface(answer.view, own[0]) if own else {}
        return known | {"address": str(address)}

    def _hop(self, view: HostView, answered: AnsweredHop) -> dict[str, Any]:
        interface, reason = answered.hop.interface, answered.hop.reason
        document: dict[str, Any] = {
            "gate": answered.hop.gate.value,
            "interface": self.interface(view, interface) if interface is not None else None,
            "passed": reason is None,
            "reason": None if reason is None else reason.name,
            "rules": [],
        }
        if answered.rules is None or interface is None:
            return document
        if not self._directory.sees_account(view.interfaces[interface].account):
            return document | {"hidden": True}
        document["rules"] = [self._near(one) for one in answered.rules]
        return document | _tracking(answered)

    def _near(self, near: NearRule) -> dict[str, Any]:
        return {**self.rule(near.rule, near.group.id, near.group.name), "lacks": list(near.lacks)}

    def _remedy(self, remedy: Remedy) -> dict[str, Any] | None:
        if not self._directory.sees_group(remedy.group):
            return None
        return {
            "direction": remedy.direction.value,
            "group_id": remedy.group,
            "traffic": str(remedy.traffic),
            "peer": _peer(remedy.peer),
            "command": _command(remedy),
        }


def _traffic(seen: RuleTraffic) -> dict[str, Any]:
    first, last = (
        None if at is None else at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for at in (seen.first_at, seen.last_at)
    )
    return {"packets": seen.packets, "bytes": seen.bytes, "first_hit": first, "last_hit": last}


def _command(remedy: Remedy) -> str:
    """For the aws command line. Its short options know IPv4 blocks, and groups for ingress; nothing else."""
    traffic, peer = remedy.traffic, remedy.peer
    protocol = ports.protocol_name(traffic.protocol)
    first, last = _port_pair(traffic)
    action = f"aws ec2 authorize-security-group-{remedy.direction.value} --group-id {remedy.group}"
    who = _short_option(peer, remedy.direction)
    if traffic.protocol not in ports.TYPED and who is not None:
        port = "" if first is None else f" --port {first}" if first == last else f" --port {first}-{last}"
        return f"{action} --protocol {protocol}{port} {who}"
    numbers = "" if first is None else f",FromPort={first},ToPort={last}"
    return f"{action} --ip-permissions 'IpProtocol={protocol}{numbers},{_peer_field(peer)}'"


def _short_option(peer: Peer, direction: Direction) -> str | None:
    match peer:
        case CidrPeer(cidr=cidr) if cidr.version == 4:
            return f"--cidr {cidr}"
        case GroupPeer(group=group) if direction is Direction.INGRESS:
            return f"--source-group {group}"
        case _:
            return None


def _peer_field(peer: Peer) -> str:
    match peer:
        case CidrPeer(cidr=cidr):
            return f"IpRanges=[{{CidrIp={cidr}}}]" if cidr.version == 4 else f"Ipv6Ranges=[{{CidrIpv6={cidr}}}]"
        case GroupPeer(group=group):
            return f"UserIdGroupPairs=[{{GroupId={group}}}]"
        case PrefixListPeer(prefix_list=id):
            return f"PrefixListIds=[{{PrefixListId={id}}}]"


def _peer(peer: Peer) -> dict[str, str]:
    match peer:
        case CidrPeer(cidr=cidr):
            return {"cidr": str(cidr)}
        case GroupPeer(group=group):
            return {"group_id": group}
        case PrefixListPeer(prefix_list=id):
            return {"prefix_list_id": id}


def _tracking(hop: AnsweredHop) -> dict[str, Any]:
    """`opened_by` and `all_back_by`: the rules that keep the flow from being tracked; both, or it is tracked."""
    seen = hop.tracking
    if seen is None:
        return {}
    said = {
        "tracked": seen.tracked,
        "always": seen.always,
        "opened_by": None if seen.opener is None else seen.opener.rule.id,
        "all_back_by": None if seen.way_back is None else seen.way_back.rule.id,
    }
    return {"tracking": said}


def _port_pair(traffic: Traffic) -> tuple[int | None, int | None]:
    """FromPort and ToPort as EC2 takes them."""
    if traffic.protocol in ports.PORTED:
        return traffic.low, traffic.high
    if traffic.protocol in ports.TYPED:
        if (traffic.low, traffic.high) == (0, ports.LAST):
            return -1, -1
        return traffic.low >> 8, traffic.low & 0xFF if traffic.low == traffic.high else -1
    return None, None

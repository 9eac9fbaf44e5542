"""IpPermission <-> model.Rule, both ways, and the flat form of 2006."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from stockade.api.aws.wire.faults import Fault
from stockade.model import ports
from stockade.model.addresses import Cidr, parse_cidr
from stockade.model.errors import CidrMalformed, ProtocolUnknown
from stockade.model.ids import SecurityGroupId
from stockade.model.rule import CidrPeer, Direction, GroupPeer, PrefixListPeer, Rule
from stockade.model.security_group import SecurityGroup
from stockade.service.rules import ListRef, RuleRequest, whole_group
from stockade.service.security_groups import GroupRef

NameOf = Callable[[SecurityGroupId], str | None]

_FLAT = ("IpProtocol", "FromPort", "ToPort", "CidrIp")
_FLAT_GROUP = ("SourceSecurityGroupName", "SourceSecurityGroupOwnerId")
_PEERS = ("CidrIpv4", "CidrIpv6", "PrefixListId", "ReferencedGroupId")
_ACCOUNT = re.compile(r"[0-9]{12}")
_DESCRIPTION = re.compile(r"[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]{0,255}")


def requests_of(given: Mapping[str, Any], direction: Direction, classic: bool) -> list[RuleRequest]:
    """The rules that an authorize or revoke speaks of, flat or structured; empty when it names none.

    Raises Fault for a mixture of the forms, and what parse_cidr and parse_protocol raise.
    """
    flat = [name for name in (*_FLAT, *_FLAT_GROUP) if name in given]
    structured = given.get("IpPermissions")
    if structured and flat:
        raise _combination("ipPermissions", flat[0])
    if structured:
        return [request for permission in structured for request in _of_permission(permission, classic)]
    if not flat:
        return []
    if direction is Direction.EGRESS:
        raise Fault("InvalidParameterValue", f"The parameter {flat[0]} is not supported: use IpPermissions for egress.")
    return _of_flat(given, classic)


def request_of_rule(given: Mapping[str, Any], classic: bool) -> RuleRequest:
    """The rule that a SecurityGroupRuleRequest spells: one peer, named in one of four ways. Raises Fault."""
    named = [name for name in _PEERS if given.get(name)]
    if not named:
        raise Fault("MissingParameter", f"The request must contain one of {', '.join(_PEERS)}")
    if len(named) > 1:
        raise _combination(named[0], named[1])
    text = given[named[0]]
    peer: Cidr | GroupRef | ListRef
    match named[0]:
        case "CidrIpv4":
            peer = _block(text, "CidrIpv4", 4)
        case "CidrIpv6":
            peer = _block(text, "CidrIpv6", 6)
        case "PrefixListId":
            peer = ListRef(text)
        case _:
            peer = _group({"GroupId": text})
    protocol = _protocol(given.get("IpProtocol", ""), classic)
    return RuleRequest(protocol, given.get("FromPort"), given.get("ToPort"), peer, _description(given))


def permissions_of(rules: Iterable[Rule], name_of: NameOf | None) -> list[dict[str, Any]]:
    """Rules as EC2 lists them: one permission for each protocol and ports, with all its peers.

    With `name_of`, peer groups carry their names, as classic groups do.
    """
    merged: dict[tuple[int, int | None, int | None], dict[str, Any]] = {}
    for rule in rules:
        key = (rule.protocol, rule.from_port, rule.to_port)
        if key not in merged:
            merged[key] = {
                "IpProtocol": ports.protocol_name(rule.protocol),
                "FromPort": rule.from_port,
                "ToPort": rule.to_port,
                "UserIdGroupPairs": [],
                "IpRanges": [],
                "Ipv6Ranges": [],
                "PrefixListIds": [],
            }
        _add_peer(merged[key], rule, name_of)
    return list(merged.values())


def rule_of(rule: Rule, group: SecurityGroup, region: str) -> dict[str, Any]:
    """A rule as SecurityGroupRule, with its own id."""
    shown = _single(rule) | {
        "GroupId": group.id,
        "GroupOwnerId": group.account,
        "SecurityGroupRuleArn": f"arn:aws:ec2:{region}:{group.account}:security-group-rule/{rule.id}",
    }
    if isinstance(rule.peer, GroupPeer):
        shown["ReferencedGroupInfo"] = {"GroupId": rule.peer.group, "UserId": rule.peer.account}
    return shown


def revoked_of(rule: Rule, group: SecurityGroup) -> dict[str, Any]:
    """A rule that went, as RevokedSecurityGroupRule."""
    shown = _single(rule) | {"GroupId": group.id}
    if isinstance(rule.peer, GroupPeer):
        shown["ReferencedGroupId"] = rule.peer.group
    return shown


def unknown_of(request: RuleRequest) -> dict[str, Any]:
    """A request that matched nothing, as the permission it was."""
    shown: dict[str, Any] = {
        "IpProtocol": ports.protocol_name(request.protocol),
        "FromPort": request.from_port,
        "ToPort": request.to_port,
    }
    if isinstance(request.peer, GroupRef):
        pair = {"GroupId": request.peer.id, "GroupName": request.peer.name, "UserId": request.peer.account}
        return shown | {"UserIdGroupPairs": [pair]}
    if isinstance(request.peer, ListRef):
        return shown | {"PrefixListIds": [{"PrefixListId": request.peer.id}]}
    if request.peer.version == 4:
        return shown | {"IpRanges": [{"CidrIp": str(request.peer)}]}
    return shown | {"Ipv6Ranges": [{"CidrIpv6": str(request.peer)}]}


def account_of(text: str | None) -> str | None:
    """An account id as callers write it (hyphens are taken out); None when there is none. Raises Fault."""
    if not text:
        return None
    plain = text.replace("-", "")
    if not _ACCOUNT.fullmatch(plain):
        raise Fault("InvalidUserID.Malformed", f'Invalid user id: "{text}"')
    return plain


def _single(rule: Rule) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "SecurityGroupRuleId": rule.id,
        "IsEgress": rule.direction is Direction.EGRESS,
        "IpProtocol": ports.protocol_name(rule.protocol),
        "FromPort": ports.ANY if rule.from_port is None else rule.from_port,
        "ToPort": ports.ANY if rule.to_port is None else rule.to_port,
        "Description": rule.description,
    }
    if isinstance(rule.peer, CidrPeer):
        shown["CidrIpv4" if rule.peer.cidr.version == 4 else "CidrIpv6"] = str(rule.peer.cidr)
    if isinstance(rule.peer, PrefixListPeer):
        shown["PrefixListId"] = rule.peer.prefix_list
    return shown


def _add_peer(permission: dict[str, Any], rule: Rule, name_of: NameOf | None) -> None:
    match rule.peer:
        case GroupPeer(group, account):
            pair = {"Description": rule.description, "UserId": account, "GroupId": group}
            if name_of is not None:
                pair["GroupName"] = name_of(group)
            permission["UserIdGroupPairs"].append(pair)
        case CidrPeer(cidr) if cidr.version == 4:
            permission["IpRanges"].append({"CidrIp": _text(cidr), "Description": rule.description})
        case CidrPeer(cidr):
            permission["Ipv6Ranges"].append({"CidrIpv6": _text(cidr), "Description": rule.description})
        case PrefixListPeer(prefix_list):
            permission["PrefixListIds"].append({"PrefixListId": prefix_list, "Description": rule.description})


@lru_cache(maxsize=65536)
def _text(cidr: Cidr) -> str:
    """Spelling a block out takes a third of the time of describing a thousand groups."""
    return str(cidr)


def _of_permission(permission: Mapping[str, Any], classic: bool) -> list[RuleRequest]:
    protocol = _protocol(permission.get("IpProtocol", ""), classic)
    low, high = permission.get("FromPort"), permission.get("ToPort")
    peers: list[tuple[Cidr | GroupRef | ListRef, str | None]] = []
    for entry in permission.get("IpRanges", ()):
        peers.append((_block(entry.get("CidrIp"), "CidrIp", 4), _description(entry)))
    for entry in permission.get("Ipv6Ranges", ()):
        peers.append((_block(entry.get("CidrIpv6"), "CidrIpv6", 6), _description(entry)))
    for pair in permission.get("UserIdGroupPairs", ()):
        peers.append((_group(pair), _description(pair)))
    for entry in permission.get("PrefixListIds", ()):
        if not entry.get("PrefixListId"):
            raise Fault("MissingParameter", "The request must contain the parameter PrefixListId")
        peers.append((ListRef(entry["PrefixListId"]), _description(entry)))
    if not peers:
        raise Fault(
            "MissingParameter", "The request must contain the parameter IpRanges, Ipv6Ranges, PrefixListIds or Groups"
        )
    return [RuleRequest(protocol, low, high, peer, description) for peer, description in peers]


def _of_flat(given: Mapping[str, Any], classic: bool) -> list[RuleRequest]:
    source = given.get("SourceSecurityGroupName")
    if source is not None or "SourceSecurityGroupOwnerId" in given:
        # Some clients send an any-address block beside a group; obeying it would open the group to the world.
        for name in _FLAT:
            if name in given:
                raise _combination("sourceSecurityGroupName", name)
        if not source:
            raise Fault("MissingParameter", "The request must contain the parameter SourceSecurityGroupName")
        account = account_of(given.get("SourceSecurityGroupOwnerId"))
        return list(whole_group(GroupRef(name=source, account=account), classic))
    for name in ("IpProtocol", "CidrIp"):
        if not given.get(name):
            raise Fault("MissingParameter", f"The request must contain the parameter {name}")
    block = _block(given["CidrIp"], "CidrIp", None)
    return [RuleRequest(_protocol(given["IpProtocol"], classic), given.get("FromPort"), given.get("ToPort"), block)]


def _protocol(text: str, classic: bool) -> int:
    """In classic, only the three protocols of its rules (and -1, which stands for all three)."""
    protocol = ports.parse_protocol(text)
    if classic and protocol not in (ports.TCP, ports.UDP, ports.ICMP, ports.ANY):
        raise ProtocolUnknown(text)
    return protocol


def _block(text: str | None, parameter: str, version: int | None) -> Cidr:
    if not text:
        raise Fault("MissingParameter", f"The request must contain the parameter {parameter}")
    block = parse_cidr(text)
    if version is not None and block.version != version:
        raise CidrMalformed(text)
    return block


def _group(pair: Mapping[str, Any]) -> GroupRef:
    if pair.get("VpcPeeringConnectionId"):
        raise Fault("UnsupportedOperation", "Groups of peered VPCs are not supported by Stockade.")
    group, account = pair.get("GroupId"), account_of(pair.get("UserId"))
    if group and "/" in group:  # 123456789012/sg-1a2b3c4d, as the console of AWS writes it
        owner, _, group = group.partition("/")
        account = account_of(owner)
    if not group and not pair.get("GroupName"):
        raise Fault("MissingParameter", "The request must contain the parameter GroupId or GroupName")
    return GroupRef(id=group or None, name=None if group else pair.get("GroupName"), account=account)


def _description(entry: Mapping[str, Any]) -> str | None:
    text: str | None = entry.get("Description")
    if text and not _DESCRIPTION.fullmatch(text):
        allowed = "a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*"
        raise Fault(
            "InvalidParameterValue",
            "Invalid rule description. Valid descriptions are strings less than 256 characters from the "
            f"following set: {allowed}",
        )
    return text or None


def _combination(one: str, other: str) -> Fault:
    spelled = other[0].lower() + other[1:]
    text = f"The parameter '{one}' may not be used in combination with '{spelled}'"
    return Fault("InvalidParameterCombination", text)


def group_ref(given: Mapping[str, Any]) -> GroupRef:
    """The group that GroupId or GroupName names; raises Fault when neither or both do."""
    group, name = given.get("GroupId"), given.get("GroupName")
    if group and name:
        raise Fault("InvalidParameterCombination", "The parameter GroupName cannot be used with the parameter GroupId")
    if not group and not name:
        raise Fault("MissingParameter", "The request must contain the parameter GroupName or GroupId")
    return GroupRef(id=group or None, name=name or None)


def described_rules(group: SecurityGroup, direction: Direction) -> Sequence[Rule]:
    """A group's rules of one direction."""
    return [rule for rule in group.rules if rule.direction is direction]

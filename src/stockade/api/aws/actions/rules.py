"""Authorize and revoke, ingress and egress."""

from typing import Any

from stockade.api.aws.actions import tags
from stockade.api.aws.actions.permissions import group_ref, requests_of, revoked_of, rule_of, unknown_of
from stockade.api.aws.registry import Asked, action
from stockade.api.aws.wire.faults import Fault
from stockade.model.rule import Direction
from stockade.service.rules import Revoked, RuleRequest
from stockade.service.security_groups import GroupRef

_RULES = (
    *("GroupId", "IpPermissions", "IpProtocol", "FromPort", "ToPort", "CidrIp"),
    *("SourceSecurityGroupName", "SourceSecurityGroupOwnerId"),
)


@action("AuthorizeSecurityGroupIngress", reads=(*_RULES, "GroupName", "TagSpecifications"))
async def authorize_ingress(asked: Asked) -> dict[str, Any]:
    return await _authorize(asked, Direction.INGRESS)


@action("AuthorizeSecurityGroupEgress", reads=(*_RULES, "TagSpecifications"))
async def authorize_egress(asked: Asked) -> dict[str, Any]:
    return await _authorize(asked, Direction.EGRESS)


@action("RevokeSecurityGroupIngress", reads=(*_RULES, "GroupName", "SecurityGroupRuleIds"))
async def revoke_ingress(asked: Asked) -> dict[str, Any]:
    return await _revoke(asked, Direction.INGRESS)


@action("RevokeSecurityGroupEgress", reads=(*_RULES, "SecurityGroupRuleIds"))
async def revoke_egress(asked: Asked) -> dict[str, Any]:
    return await _revoke(asked, Direction.EGRESS)


async def _authorize(asked: Asked, direction: Direction) -> dict[str, Any]:
    services, caller = asked.services, asked.caller
    ref = group_ref(asked.input)
    wanted = tags.specified(asked, "security-group-rule")
    requests = _requests(asked, ref, direction)
    made = await services.rules.authorize(caller, ref, direction, requests)
    if wanted:
        await services.tags.create(caller, [rule.id for rule in made], wanted)
    group = services.groups.find(caller, ref)
    shown = [rule_of(rule, group, caller.region) | {"Tags": tags.shown(wanted)} for rule in made]
    return {"Return": True, "SecurityGroupRules": shown}


async def _revoke(asked: Asked, direction: Direction) -> dict[str, Any]:
    services, caller = asked.services, asked.caller
    ref = group_ref(asked.input)
    ids = asked.input.get("SecurityGroupRuleIds")
    if ids and any(name in asked.input for name in _RULES if name != "GroupId"):
        said = "The parameter SecurityGroupRuleId cannot be used with the parameters of a rule"
        raise Fault("InvalidParameterCombination", said)
    revoked: Revoked
    if ids:
        revoked = await services.rules.revoke_by_id(caller, ref, direction, ids)
    else:
        revoked = await services.rules.revoke(caller, ref, direction, _requests(asked, ref, direction))
    group = services.groups.find(caller, ref)
    return {
        "Return": True,
        "RevokedSecurityGroupRules": [revoked_of(rule, group) for rule in revoked.removed],
        "UnknownIpPermissions": [unknown_of(request) for request in revoked.unknown],
    }


def _requests(asked: Asked, ref: GroupRef, direction: Direction) -> list[RuleRequest]:
    """The rules asked for, spelled as the group's platform has them."""
    group = asked.services.groups.find(asked.caller, ref)
    requests = requests_of(asked.input, direction, asked.services.groups.is_classic(group))
    if not requests:
        raise Fault("MissingParameter", "The request must contain the parameter IpPermissions")
    return requests

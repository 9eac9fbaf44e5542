"""DescribeSecurityGroupRules, ModifySecurityGroupRules, and the descriptions of rules."""

from collections.abc import Mapping, Sequence
from typing import Any

from stockade.api.aws.actions import tags
from stockade.api.aws.actions.filters import Table, keep, member
from stockade.api.aws.actions.pages import page, refuse_with
from stockade.api.aws.actions.permissions import group_ref, request_of_rule, requests_of, rule_of
from stockade.api.aws.registry import Asked, action
from stockade.api.aws.wire.faults import Fault
from stockade.model import ports
from stockade.model.rule import Direction

_FILTERS: Table = {
    "group-id": member("GroupId"),
    "security-group-rule-id": member("SecurityGroupRuleId"),
}
_DESCRIPTIONS = ("GroupId", "GroupName", "IpPermissions", "SecurityGroupRuleDescriptions")


@action("DescribeSecurityGroupRules", reads=("SecurityGroupRuleIds", "Filters", "MaxResults", "NextToken"))
async def describe_security_group_rules(asked: Asked) -> dict[str, Any]:
    given, services = asked.input, asked.services
    refuse_with(given, "SecurityGroupRuleIds", "securityGroupRuleIds")
    found = await services.rule_edits.describe(
        asked.caller, given.get("SecurityGroupRuleIds", ()), _named_groups(given.get("Filters", ()))
    )
    items = (
        rule_of(rule, group, asked.caller.region) | {"Tags": tags.shown(services.tags.of(rule.id))}
        for rule, group in found
    )
    return page(keep(items, given.get("Filters"), _FILTERS), given, "SecurityGroupRuleId", "SecurityGroupRules")


@action("ModifySecurityGroupRules", reads=("GroupId", "SecurityGroupRules"))
async def modify_security_group_rules(asked: Asked) -> dict[str, Any]:
    ref = group_ref(asked.input)
    classic = asked.services.groups.is_classic(asked.services.groups.find(asked.caller, ref))
    changes = {}
    for one in asked.input["SecurityGroupRules"]:
        id = one["SecurityGroupRuleId"]
        if id in changes:
            raise Fault("InvalidParameterValue", f"The security group rule ID '{id}' was given more than once.")
        changes[id] = request_of_rule(one.get("SecurityGroupRule", {}), classic)
    await asked.services.rule_edits.modify(asked.caller, ref, changes)
    return {"Return": True}


@action("UpdateSecurityGroupRuleDescriptionsIngress", reads=_DESCRIPTIONS)
async def update_security_group_rule_descriptions_ingress(asked: Asked) -> dict[str, Any]:
    return await _describe(asked, Direction.INGRESS)


@action("UpdateSecurityGroupRuleDescriptionsEgress", reads=_DESCRIPTIONS)
async def update_security_group_rule_descriptions_egress(asked: Asked) -> dict[str, Any]:
    return await _describe(asked, Direction.EGRESS)


async def _describe(asked: Asked, direction: Direction) -> dict[str, Any]:
    given, services = asked.input, asked.services
    ref = group_ref(given)
    by_id, permissions = given.get("SecurityGroupRuleDescriptions", ()), given.get("IpPermissions", ())
    if bool(by_id) == bool(permissions):
        raise Fault(
            "InvalidParameterCombination" if by_id else "MissingParameter",
            "The request must contain either IpPermissions or SecurityGroupRuleDescriptions",
        )
    if by_id:
        texts = {one.get("SecurityGroupRuleId", ""): one.get("Description") for one in by_id}
        await services.rule_edits.describe_by_id(asked.caller, ref, direction, texts)
        return {"Return": True}
    for permission in permissions:
        if permission.get("IpProtocol") == ports.protocol_name(ports.ANY) and "FromPort" in permission:
            raise Fault("InvalidParameterValue", "When protocol is ALL, you cannot specify from-port.")
    classic = services.groups.is_classic(services.groups.find(asked.caller, ref))
    requests = requests_of(given, direction, classic)
    await services.rule_edits.describe_as(asked.caller, ref, direction, requests)
    return {"Return": True}


def _named_groups(filters: Sequence[Mapping[str, Any]]) -> list[str] | None:
    """The groups that a filter names outright, so that no others are gone through; None: any."""
    for one in filters:
        values = one.get("Values") or ()
        if one.get("Name") == "group-id" and values and not any(set("*?\\") & set(value) for value in values):
            return list(values)
    return None

"""CreateTags, DeleteTags, DescribeTags, and the tags that other actions take and show."""

from collections.abc import Mapping, Sequence
from typing import Any

from stockade.api.aws.actions.filters import Table, keep, member
from stockade.api.aws.actions.pages import page
from stockade.api.aws.registry import Asked, action
from stockade.api.aws.wire.faults import Fault

_FILTERS: Table = {
    "key": member("Key"),
    "value": member("Value"),
    "resource-id": member("ResourceId"),
    "resource-type": member("ResourceType"),
}


def shown(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """A resource's tags as answers list them."""
    return [{"Key": key, "Value": tags[key]} for key in sorted(tags)]


def named(tags: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Tags of a request; a key without a value has an empty one. Raises Fault for a key given twice."""
    found: dict[str, str] = {}
    for tag in tags:
        key = tag.get("Key")
        if not key:
            raise Fault("MissingParameter", "The request must contain the parameter Tag.Key")
        if key in found:
            raise Fault("InvalidParameterValue", f"Duplicate tag key '{key}' specified.")
        found[key] = tag.get("Value", "")
    return found


def specified(asked: Asked, kind: str) -> dict[str, str]:
    """The tags of TagSpecification for the kind of resource that is being made; other kinds are refused."""
    found: dict[str, str] = {}
    for specification in asked.input.get("TagSpecifications", ()):
        wanted = specification.get("ResourceType")
        if wanted != kind:
            said = f"'{wanted}' is not a valid taggable resource type for this operation."
            raise Fault("InvalidParameterValue", said)
        tags = named(specification.get("Tags", ()))
        if found.keys() & tags.keys():
            raise Fault("InvalidParameterValue", "Duplicate tag key specified.")
        found |= tags
    return found


@action("CreateTags", reads=("Resources", "Tags"))
async def create_tags(asked: Asked) -> dict[str, Any]:
    await asked.services.tags.create(asked.caller, asked.input["Resources"], named(asked.input["Tags"]))
    return {}


@action("DeleteTags", reads=("Resources", "Tags"))
async def delete_tags(asked: Asked) -> dict[str, Any]:
    """A key alone: whatever its value. Without tags: all that there are."""
    given: dict[str, str | None] = {}
    for tag in asked.input.get("Tags", ()):
        if not tag.get("Key"):
            raise Fault("MissingParameter", "The request must contain the parameter Tag.Key")
        given[tag["Key"]] = tag.get("Value")
    await asked.services.tags.delete(asked.caller, asked.input["Resources"], given)
    return {}


@action("DescribeTags", reads=("Filters", "MaxResults", "NextToken"))
async def describe_tags(asked: Asked) -> dict[str, Any]:
    found = await asked.services.tags.describe(asked.caller)
    items: list[dict[str, Any]] = [
        {
            "Key": tag.key,
            "ResourceId": tag.resource,
            "ResourceType": tag.kind,
            "Value": tag.value,
            "Tags": [{"Key": tag.key, "Value": tag.value}],  # what tag:KEY filters read
            "order": f"{tag.resource}\0{tag.key}",
        }
        for tag in found
    ]
    return page(keep(items, asked.input.get("Filters"), _FILTERS), asked.input, "order", "Tags")

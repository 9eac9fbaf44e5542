"""Managed prefix lists: create, describe, their entries, modify, delete."""

from collections.abc import Mapping, Sequence
from typing import Any

from stockade.api.aws.actions import tags
from stockade.api.aws.actions.filters import Table, keep, member
from stockade.api.aws.actions.pages import page
from stockade.api.aws.registry import Asked, action
from stockade.api.aws.wire.faults import Fault
from stockade.model.addresses import parse_cidr
from stockade.model.prefix_list import FAMILIES, ListEntry, PrefixList
from stockade.service.prefix_lists import ListChange

_FILTERS: Table = {
    "owner-id": member("OwnerId"),
    "prefix-list-id": member("PrefixListId"),
    "prefix-list-name": member("PrefixListName"),
}


@action(
    "CreateManagedPrefixList",
    reads=("PrefixListName", "Entries", "MaxEntries", "AddressFamily", "TagSpecifications", "ClientToken"),
)
async def create_managed_prefix_list(asked: Asked) -> dict[str, Any]:
    given = asked.input
    families = {name.lower(): family for family, name in FAMILIES.items()}
    family = families.get(given["AddressFamily"].lower())
    if family is None:
        said = f"Value ({given['AddressFamily']}) for parameter AddressFamily is invalid. It must be IPv4 or IPv6."
        raise Fault("InvalidParameterValue", said)
    made = await asked.services.prefix_lists.create(
        asked.caller,
        given["PrefixListName"],
        family,
        given["MaxEntries"],
        _entries(given.get("Entries", ())),
        tags.specified(asked, "prefix-list"),
        given.get("ClientToken") or None,
    )
    return {"PrefixList": _shown(asked, made)}


@action("DescribeManagedPrefixLists", reads=("PrefixListIds", "Filters", "MaxResults", "NextToken"))
async def describe_managed_prefix_lists(asked: Asked) -> dict[str, Any]:
    given = asked.input
    found = await asked.services.prefix_lists.describe(asked.caller, given.get("PrefixListIds", ()))
    kept = keep((_shown(asked, one) for one in found), given.get("Filters"), _FILTERS)
    return page(kept, given, "PrefixListId", "PrefixLists")


@action("GetManagedPrefixListEntries", reads=("PrefixListId", "TargetVersion", "MaxResults", "NextToken"))
async def get_managed_prefix_list_entries(asked: Asked) -> dict[str, Any]:
    given = asked.input
    found = await asked.services.prefix_lists.entries(asked.caller, given["PrefixListId"], given.get("TargetVersion"))
    entries = [{"Cidr": str(entry.cidr), "Description": entry.description} for entry in found]
    return page(entries, given, "Cidr", "Entries")


@action(
    "ModifyManagedPrefixList",
    reads=("PrefixListId", "CurrentVersion", "PrefixListName", "AddEntries", "RemoveEntries", "MaxEntries"),
)
async def modify_managed_prefix_list(asked: Asked) -> dict[str, Any]:
    given = asked.input
    change = ListChange(
        name=given.get("PrefixListName"),
        max_entries=given.get("MaxEntries"),
        add=_entries(given.get("AddEntries", ())),
        remove=tuple(parse_cidr(entry.get("Cidr", "")) for entry in given.get("RemoveEntries", ())),
        current_version=given.get("CurrentVersion"),
    )
    after = await asked.services.prefix_lists.modify(asked.caller, given["PrefixListId"], change)
    return {"PrefixList": _shown(asked, after)}


@action("DeleteManagedPrefixList", reads=("PrefixListId",))
async def delete_managed_prefix_list(asked: Asked) -> dict[str, Any]:
    gone = await asked.services.prefix_lists.delete(asked.caller, asked.input["PrefixListId"])
    return {"PrefixList": _shown(asked, gone) | {"State": "delete-complete"}}


def _entries(given: Sequence[Mapping[str, Any]]) -> tuple[ListEntry, ...]:
    return tuple(ListEntry(parse_cidr(entry.get("Cidr", "")), entry.get("Description") or None) for entry in given)


def _shown(asked: Asked, one: PrefixList) -> dict[str, Any]:
    return {
        "PrefixListId": one.id,
        "AddressFamily": FAMILIES[one.family],
        "State": "modify-complete" if one.modified else "create-complete",
        "PrefixListArn": f"arn:aws:ec2:{one.region}:{one.account}:prefix-list/{one.id}",
        "PrefixListName": one.name,
        "MaxEntries": one.max_entries,
        "Version": one.version,
        "Tags": tags.shown(asked.services.tags.of(one.id)),
        "OwnerId": one.account,
    }

"""Managed prefix lists: create, describe, modify, delete. Rules follow the newest version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from stockade.model import keys
from stockade.model.addresses import Cidr
from stockade.model.errors import (
    ParameterInvalid,
    ParametersConflict,
    PrefixListInUse,
    PrefixListVersionMismatch,
    QuotaExceeded,
    ResourceNotFound,
    TokenReused,
)
from stockade.model.ids import PrefixListId, check_id
from stockade.model.prefix_list import FAMILIES, LONGEST_NAME, ListEntry, PrefixList, in_order, version_of
from stockade.model.resources import Change, drop, put
from stockade.model.rule import Direction
from stockade.model.tag import TagSet
from stockade.service.budgets import Planned
from stockade.service.caller import Caller
from stockade.service.cell import Cell, Decision
from stockade.service.cuts import cut_if_asked
from stockade.service.rule_quota import check_rules
from stockade.service.tags import check_tags
from stockade.store.contract import Empty, Guard

LONGEST_DESCRIPTION = 255
MOST_AT_ONCE = 100
_RESERVED = "com.amazonaws"
_TOKENS = "pl "  # apart from those of launches


@dataclass(frozen=True, slots=True)
class ListChange:
    """What ModifyManagedPrefixList asks. What goes goes before what comes."""

    name: str | None = None
    max_entries: int | None = None
    add: tuple[ListEntry, ...] = ()
    remove: tuple[Cidr, ...] = ()
    current_version: int | None = None


class PrefixLists:
    """Use cases of prefix lists. A list is its account's own."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    async def create(
        self,
        caller: Caller,
        name: str,
        family: int,
        max_entries: int,
        entries: Sequence[ListEntry] = (),
        tags: Mapping[str, str] | None = None,
        client_token: str | None = None,
    ) -> PrefixList:
        """At version 1. The same client token again gives the same list.

        Raises ParameterInvalid, QuotaExceeded, TokenReused.
        """
        _check_name(name)
        self._check_size(max_entries)
        check_tags(tags or {})

        def decide() -> Decision[PrefixList]:
            cell = self._cell
            before = self._made_with(caller, client_token)
            if before is not None:
                if (before.name, before.family) != (name, family):
                    raise TokenReused(str(client_token))
                return Decision([], [], before)
            have, limit = len(self._all(caller)), cell.settings.quotas.prefix_lists
            if have >= limit:
                raise QuotaExceeded("prefix_lists", limit, 1, have)
            id = PrefixListId(cell.mint("pl", caller.account))
            empty = PrefixList(
                id, caller.account.id, caller.region, name, family, max_entries, client_token=client_token
            )
            made = replace(empty, entries=_edited(empty, entries, ()))
            changes: list[Change] = [put(made), put(version_of(made))]
            if tags:
                changes.append(put(TagSet(id, caller.account.id, dict(tags))))
            if client_token:
                changes.append(Change(_token(made, client_token), id))
            return Decision([cell.unchanged(change.key) for change in changes], changes, made)

        return await self._cell.write(decide, on=f"prefix lists {caller.account.id}", enforced=False)

    async def describe(self, caller: Caller, ids: Sequence[str] = ()) -> list[PrefixList]:
        """The caller's lists of its region, all or those named. Raises ResourceNotFound, IdMalformed."""
        found = [self.find(caller, id) for id in dict.fromkeys(ids)] if ids else self._all(caller)
        return sorted(found, key=lambda one: (one.name, one.id))

    async def entries(self, caller: Caller, id: str, version: int | None = None) -> tuple[ListEntry, ...]:
        """Of the newest version, or of an older one. Raises ResourceNotFound, ParameterInvalid."""
        found = self.find(caller, id)
        if version is None:
            return found.entries
        kept = self._cell.resources.version_of(found.id, version)
        if kept is None:
            raise ParameterInvalid("TargetVersion", str(version), "There is no such version of the prefix list.")
        return kept.entries

    async def modify(self, caller: Caller, id: str, change: ListChange) -> PrefixList:
        """All or nothing. New or removed entries make a version, a name or size does not.

        Raises ResourceNotFound, ParameterInvalid, ParametersConflict, PrefixListVersionMismatch, QuotaExceeded,
        CapacityExceeded.
        """
        edits = bool(change.add or change.remove)
        if not edits and change.name is None and change.max_entries is None:
            raise ParametersConflict("There is nothing to modify in the request.")
        if edits and change.max_entries is not None:
            raise ParametersConflict(
                "You cannot modify the entries and the maximum entries for the prefix list in the same request."
            )
        if max(len(change.add), len(change.remove)) > MOST_AT_ONCE:
            raise ParameterInvalid("entries", str(len(change.add)), f"At most {MOST_AT_ONCE} entries in one request.")
        if change.name is not None:
            _check_name(change.name)
        if change.max_entries is not None:
            self._check_size(change.max_entries)
        named = self.find(caller, id)

        def decide() -> Decision[PrefixList]:
            before = self.find(caller, named.id)
            if change.current_version not in (None, before.version):
                raise PrefixListVersionMismatch(before.id, change.current_version or 0, before.version)
            after = _changed(before, change)
            guards: list[Guard] = [self._cell.unchanged(put(before).key)]
            changes: list[Change] = [put(after)]
            if after.max_entries > before.max_entries:
                guards += self._check_users(after)
            if after.version != before.version:
                self._cell.budgets.check(Planned(lists={after.id: after}))
                changes += [put(version_of(after)), *self._outlived(after)]
                users = [group.id for group in self._cell.resources.users_of(after.id)]
                more_guards, more_changes = cut_if_asked(self._cell, users)
                guards += more_guards
                changes += more_changes
            return Decision(guards, changes, after)

        return await self._cell.write(decide, on=named.id)

    async def delete(self, caller: Caller, id: str) -> PrefixList:
        """The list that was. Raises ResourceNotFound, PrefixListInUse."""
        named = self.find(caller, id)

        def decide() -> Decision[PrefixList]:
            found = self.find(caller, named.id)
            resources = self._cell.resources
            users = tuple(sorted(group.id for group in resources.users_of(found.id)))
            if users:
                raise PrefixListInUse(found.id, users)
            versions = [keys.prefix_list_version(found.id, number) for number in resources.versions_of(found.id)]
            gone = [drop(found).key, *versions, keys.document("tag", found.id)]
            if found.client_token:
                gone.append(_token(found, found.client_token))
            guards: list[Guard] = [self._cell.unchanged(gone[0]), Empty(keys.references(found.id))]
            return Decision(guards, [Change(key, None) for key in gone], found)

        return await self._cell.write(decide, on=named.id, enforced=False)

    def find(self, caller: Caller, id: str) -> PrefixList:
        """The caller's list. Raises ResourceNotFound, IdMalformed."""
        found = self._cell.resources.prefix_lists.get(PrefixListId(check_id(id, "pl")))
        if found is None or found.account != caller.account.id or found.region != caller.region:
            raise ResourceNotFound(id)
        return found

    def _made_with(self, caller: Caller, token: str | None) -> PrefixList | None:
        """The list that this client token made."""
        if not token:
            return None
        key = keys.client_token(caller.account.id, caller.region, f"{_TOKENS}{token}")
        id = self._cell.resources.claims.get(key)
        return self._cell.resources.prefix_lists.get(PrefixListId(id)) if id else None

    def _all(self, caller: Caller) -> list[PrefixList]:
        mine = self._cell.resources.prefix_lists_of(caller.account.id)
        return [one for one in mine if one.region == caller.region]

    def _check_size(self, max_entries: int) -> None:
        limit = self._cell.settings.quotas.prefix_list_entries
        if not 1 <= max_entries <= limit:
            raise ParameterInvalid("MaxEntries", str(max_entries), f"It must be between 1 and {limit}.")

    def _check_users(self, after: PrefixList) -> list[Guard]:
        """A list that grows may not take a group over its quota; and no group may change meanwhile."""
        resources = self._cell.resources
        guards: list[Guard] = []

        def newest(id: PrefixListId) -> PrefixList | None:
            return after if id == after.id else resources.prefix_lists.get(id)

        for group in resources.users_of(after.id):
            for direction in Direction:
                check_rules(group, direction, False, self._cell.settings.quotas, newest)
            guards.append(self._cell.unchanged(put(group).key))
        return guards

    def _outlived(self, after: PrefixList) -> list[Change]:
        """The oldest versions go when there are more than are kept."""
        numbers = self._cell.resources.versions_of(after.id)
        surplus = len(numbers) + 1 - self._cell.settings.quotas.prefix_list_versions
        return [Change(keys.prefix_list_version(after.id, number), None) for number in numbers[: max(0, surplus)]]


def _token(made: PrefixList, token: str) -> str:
    return keys.client_token(made.account, made.region, f"{_TOKENS}{token}")


def _changed(before: PrefixList, change: ListChange) -> PrefixList:
    entries = _edited(before, change.add, change.remove)
    size = change.max_entries or before.max_entries
    if len(entries) > size:
        raise ParameterInvalid("MaxEntries", str(size), f"The prefix list has {len(entries)} entries.")
    return replace(
        before,
        name=change.name or before.name,
        max_entries=size,
        entries=entries,
        version=before.version + bool(change.add or change.remove),
        modified=True,
    )


def _edited(before: PrefixList, add: Sequence[ListEntry], remove: Sequence[Cidr]) -> tuple[ListEntry, ...]:
    """The entries after the change. Raises ParameterInvalid, QuotaExceeded."""
    entries = {entry.cidr: entry for entry in before.entries}
    for cidr in remove:
        if entries.pop(cidr, None) is None:
            raise ParameterInvalid("RemoveEntry", str(cidr), "The prefix list has no such entry.")
    for entry in add:
        _check_entry(entry, before.family)
        if entry.cidr in entries:
            raise ParameterInvalid("Entry", str(entry.cidr), "The prefix list has this entry already.")
        entries[entry.cidr] = entry
    if len(entries) > before.max_entries:
        raise QuotaExceeded("entries_per_prefix_list", before.max_entries, len(add), len(before.entries))
    return in_order(entries.values())


def _check_entry(entry: ListEntry, family: int) -> None:
    if entry.cidr.version != family:
        raise ParameterInvalid("Cidr", str(entry.cidr), f"The prefix list is of the family {FAMILIES[family]}.")
    if entry.description is not None and len(entry.description) > LONGEST_DESCRIPTION:
        raise ParameterInvalid("Description", entry.description, "At most 255 characters.")


def _check_name(name: str) -> None:
    if not 0 < len(name) <= LONGEST_NAME:
        raise ParameterInvalid("PrefixListName", name, "It has 1 to 255 characters.")
    if name.lower().startswith(_RESERVED):
        raise ParameterInvalid("PrefixListName", name, f"Names that begin with {_RESERVED} are reserved.")

"""Tags: create, delete, describe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stockade.model import keys
from stockade.model.errors import ParameterInvalid, QuotaExceeded, ResourceNotFound
from stockade.model.ids import AccountId
from stockade.model.image import Image
from stockade.model.instance import Instance
from stockade.model.network_interface import NetworkInterface
from stockade.model.prefix_list import PrefixList
from stockade.model.resources import Change, Value, drop, put
from stockade.model.security_group import SecurityGroup
from stockade.model.tag import TagSet
from stockade.model.vpc import Subnet, Vpc
from stockade.service.caller import Caller
from stockade.service.cell import Cell, Decision
from stockade.store.contract import Exists, Guard

MOST_PER_RESOURCE = 50
LONGEST_KEY, LONGEST_VALUE = 127, 255

KINDS: Mapping[str, tuple[str, str]] = {
    "i": ("instance", "inst"),
    "sg": ("security-group", "sg"),
    "vpc": ("vpc", "vpc"),
    "subnet": ("subnet", "subnet"),
    "eni": ("network-interface", "eni"),
    "ami": ("image", "ami"),
    "pl": ("prefix-list", "pl"),
}
"""Prefix of an id -> EC2's word for the kind, and the first part of its store key."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag as DescribeTags shows it. `kind` is EC2's word: instance, security-group, image, key-pair, ..."""

    resource: str
    kind: str
    key: str
    value: str


class Tags:
    """Use cases of tags."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    async def create(self, caller: Caller, resources: Sequence[str], tags: Mapping[str, str]) -> None:
        """Raises ResourceNotFound, ParameterInvalid, QuotaExceeded."""
        check_tags(tags)

        def decide() -> Decision[None]:
            guards, changes = [], []
            for id in dict.fromkeys(resources):
                document = self._document(caller, id)
                now = {**self.of(id), **tags}
                if len(now) > MOST_PER_RESOURCE:
                    raise QuotaExceeded("tags_per_resource", MOST_PER_RESOURCE, len(tags), len(self.of(id)))
                guards += self._guards(id, document)
                changes.append(put(TagSet(id, caller.account.id, now)))
            return Decision(guards, changes, None)

        await self._cell.write(decide, on=f"tags {caller.account.id}", enforced=False)

    async def delete(self, caller: Caller, resources: Sequence[str], tags: Mapping[str, str | None]) -> None:
        """A value of None: whatever it is. No tags: all of them. Raises ResourceNotFound."""

        def decide() -> Decision[None]:
            guards: list[Guard] = []
            changes: list[Change] = []
            for id in dict.fromkeys(resources):
                document = self._document(caller, id)
                before = self.of(id)
                now = {k: v for k, v in before.items() if tags and (k not in tags or tags[k] not in (None, v))}
                if now == before:
                    continue
                guards += self._guards(id, document)
                kept = TagSet(id, caller.account.id, now)
                changes.append(put(kept) if now else drop(kept))
            return Decision(guards, changes, None)

        await self._cell.write(decide, on=f"tags {caller.account.id}", enforced=False)

    async def describe(self, caller: Caller) -> list[Tag]:
        """All of the caller's tags, by resource then key."""
        mine = [tagged for tagged in self._cell.resources.tags.values() if tagged.account == caller.account.id]
        return [
            Tag(tagged.resource, kind_of(tagged.resource), key, value)
            for tagged in sorted(mine, key=lambda tagged: tagged.resource)
            for key, value in sorted(tagged.tags.items())
        ]

    def of(self, resource: str) -> Mapping[str, str]:
        """A resource's tags; empty when it has none."""
        tagged = self._cell.resources.tags.get(resource)
        return tagged.tags if tagged else {}

    def _document(self, caller: Caller, id: str) -> str:
        """The store key of the caller's resource with this id. Raises ResourceNotFound."""
        resources, prefix = self._cell.resources, id.partition("-")[0]
        if prefix == "key":
            for key, pair in resources.key_pairs.items():
                if pair.id == id and pair.account == caller.account.id:
                    return key
        elif prefix == "sgr":
            for group in resources.groups_of(caller.account.id):
                if any(rule.id == id for rule in group.rules):
                    return keys.document("sg", group.id)
        elif prefix in KINDS:
            key = keys.document(KINDS[prefix][1], id)
            if _owner(resources.value(key)) == caller.account.id:
                return key
        raise ResourceNotFound(id)

    def _guards(self, id: str, document: str) -> list[Guard]:
        return [Exists(document), self._cell.unchanged(keys.document("tag", id))]


def kind_of(resource: str) -> str:
    """EC2's word for what an id names."""
    prefix = resource.partition("-")[0]
    if prefix in KINDS:
        return KINDS[prefix][0]
    return {"key": "key-pair", "sgr": "security-group-rule"}.get(prefix, prefix)


def check_tags(tags: Mapping[str, str]) -> None:
    """Raises ParameterInvalid for a tag EC2 refuses."""
    for key, value in tags.items():
        if not 0 < len(key) <= LONGEST_KEY:
            raise ParameterInvalid("key", key, "a tag's key has 1 to 127 characters")
        if key.lower().startswith("aws:"):
            raise ParameterInvalid("key", key, "keys that begin with aws: are reserved")
        if len(value) > LONGEST_VALUE:
            raise ParameterInvalid("value", value, "a tag's value has at most 255 characters")


def _owner(document: Value | None) -> AccountId | None:
    match document:
        case Image():
            return document.owner
        case Instance() | SecurityGroup() | Vpc() | Subnet() | NetworkInterface() | PrefixList():
            return document.account
        case _:
            return None

"""Tags: a name and a value on a resource."""

from collections.abc import Mapping
from dataclasses import dataclass

from stockade.model.ids import AccountId


@dataclass(frozen=True, slots=True)
class TagSet:
    """All tags of one resource, apart from it, so that a tag edit wakes no agent."""

    resource: str
    account: AccountId
    tags: Mapping[str, str]

"""Managed prefix lists: named sets of blocks that rules follow, with their history."""

from collections.abc import Iterable
from dataclasses import dataclass

from stockade.model.addresses import Cidr
from stockade.model.ids import AccountId, PrefixListId

LONGEST_NAME = 255
MOST_ENTRIES = 1000
FAMILIES = {4: "IPv4", 6: "IPv6"}


@dataclass(frozen=True, slots=True)
class ListEntry:
    """One block of a list."""

    cidr: Cidr
    description: str | None = None


@dataclass(frozen=True, slots=True)
class PrefixList:
    """A list at its newest version, which is what rules mean. All blocks are of one family (4 or 6).

    A rule that names the list weighs `max_entries` against the quota of its group, however many there are.
    """

    id: PrefixListId
    account: AccountId
    region: str
    name: str
    family: int
    max_entries: int
    version: int = 1
    entries: tuple[ListEntry, ...] = ()
    modified: bool = False
    """Whether it was changed since it was made, also in what makes no version; EC2 tells the two apart."""
    client_token: str | None = None

    @property
    def cidrs(self) -> tuple[Cidr, ...]:
        """The blocks, in their order."""
        return tuple(entry.cidr for entry in self.entries)


@dataclass(frozen=True, slots=True)
class PrefixListVersion:
    """What a list held at one version, the newest too."""

    prefix_list: PrefixListId
    number: int
    entries: tuple[ListEntry, ...] = ()


def version_of(prefix_list: PrefixList) -> PrefixListVersion:
    """The newest version as history keeps it."""
    return PrefixListVersion(prefix_list.id, prefix_list.version, prefix_list.entries)


def in_order(entries: Iterable[ListEntry]) -> tuple[ListEntry, ...]:
    """By address and length, so that equal lists are equal values."""
    return tuple(sorted(entries, key=lambda entry: (int(entry.cidr.network_address), entry.cidr.prefixlen)))

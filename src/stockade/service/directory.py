"""Who is meant: instances, groups, interfaces and addresses as a person names them.

An address or block is taken as it is; an id is an id; then group names and Name tags, and at last the beginning
of an id. What could mean two things is refused with all that it could mean. A caller finds its own things in the
region it speaks of, an administrator everybody's.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TypeAlias

from stockade.model.addresses import Address, Cidr
from stockade.model.errors import ParameterInvalid
from stockade.model.ids import AccountId, NetworkInterfaceId, SecurityGroupId, VpcId
from stockade.model.network_interface import NetworkInterface
from stockade.model.prefix_list import PrefixList
from stockade.model.resources import Resources
from stockade.model.security_group import SecurityGroup
from stockade.policy.questions.reach import At, Outside, Side
from stockade.service.caller import Caller

_ADDRESS = re.compile(r"[0-9a-fA-F:.]*[.:][0-9a-fA-F:.]*(/\d+)?")
_ID_START = re.compile(r"(i|sg|eni|pl)-[0-9a-f]+")
MOST_LISTED = 8

Thing: TypeAlias = NetworkInterface | SecurityGroup | PrefixList


@dataclass(frozen=True, slots=True)
class Named:
    """What a name stands for. `group` is set when it is a group's: then the sides are its members, maybe none.

    `prefix_list` is set when it is one's: then the sides are its blocks.
    """

    text: str
    sides: tuple[Side, ...]
    group: SecurityGroup | None = None
    prefix_list: PrefixList | None = None

    @property
    def interfaces(self) -> tuple[NetworkInterfaceId, ...]:
        """Those among the sides."""
        return tuple(side.interface for side in self.sides if isinstance(side, At))


class Directory:
    """What one caller may name, at one moment."""

    def __init__(self, resources: Resources, caller: Caller) -> None:
        self._resources = resources
        self._caller = caller

    def find(self, parameter: str, text: str) -> Named:
        """Raises ParameterInvalid: nothing is called that, or several things are."""
        text = text.strip()
        if _ADDRESS.fullmatch(text):
            return self._addressed(parameter, text)
        found = self._by_id(text) or self._by_name(text) or self._by_start(text)
        if len(found) > 1:
            may_be = [self._described(one) for one in found]
            more = f", and {len(may_be) - MOST_LISTED} more" if len(may_be) > MOST_LISTED else ""
            raise ParameterInvalid(parameter, text, f"It may be {', '.join(may_be[:MOST_LISTED])}{more}.")
        if not found:
            raise ParameterInvalid(
                parameter, text, "No instance, group, interface or prefix list of yours is called that."
            )
        return self.named(text, found[0])

    def find_group(self, parameter: str, text: str) -> SecurityGroup:
        """Only groups. Raises ParameterInvalid."""
        found = [one for one in self._by_id(text) or self._by_name(text) or self._by_start(text) if _is_group(one)]
        if len(found) != 1:
            may_be = ", ".join(self._described(one) for one in found[:MOST_LISTED])
            why = f"It may be {may_be}." if found else "No group of yours is called that."
            raise ParameterInvalid(parameter, text, why)
        group = found[0]
        assert isinstance(group, SecurityGroup)
        return group

    def named(self, text: str, thing: Thing) -> Named:
        """The sides of a thing that was found."""
        if isinstance(thing, PrefixList):
            return Named(text, tuple(Outside(block) for block in thing.cidrs), prefix_list=thing)
        if isinstance(thing, NetworkInterface):
            return Named(text, (At(thing.id),))
        return Named(text, tuple(At(one.id) for one in self._resources.members_of(thing.id)), thing)

    def groups(self) -> list[SecurityGroup]:
        """All that the caller may see, by name."""
        found = (group for group in self._resources.groups.values() if self._is_visible(group.account, group.vpc))
        return sorted(found, key=lambda group: (group.name, group.id))

    def interfaces(self) -> Iterator[NetworkInterface]:
        """All that the caller may see."""
        return (one for one in self._resources.interfaces.values() if self._is_visible(one.account, one.vpc))

    def sees(self, interface: NetworkInterfaceId) -> bool:
        """Whether what its groups say may be told to the caller."""
        found = self._resources.interfaces.get(interface)
        return found is not None and self.sees_account(found.account)

    def sees_account(self, account: AccountId) -> bool:
        """Whether the account's things are the caller's to know."""
        return self._caller.account.is_admin or account == self._caller.account.id

    def sees_group(self, group: SecurityGroupId) -> bool:
        """Whether the group's rules may be told to the caller."""
        found = self._resources.groups.get(group)
        return found is not None and self.sees_account(found.account)

    def name_of(self, interface: NetworkInterface) -> str:
        """What a person calls it: the instance's Name tag, else its id; an attached device's own name."""
        if interface.instance is None:
            return self._tag(interface.id) or interface.device or interface.id
        return self._tag(interface.instance) or interface.instance

    def begins(self, prefix: str) -> list[tuple[str, Thing]]:
        """Names, tags and ids that begin so, each with what it means. For people who are still typing."""
        found = [
            (name, one)
            for one in self._everything()
            for name in (*self._names(one), *_ids(one))
            if name is not None and name.startswith(prefix)
        ]
        return sorted(dict.fromkeys((name, one) for name, one in found), key=lambda each: each[0])

    def _is_visible(self, account: AccountId, vpc: VpcId) -> bool:
        return self.sees_account(account) and self._resources.vpcs[vpc].region == self._caller.region

    def _addressed(self, parameter: str, text: str) -> Named:
        try:
            block: Cidr = ip_network(text, strict=False)
        except ValueError:
            raise ParameterInvalid(parameter, text, "It is neither an address nor a block of addresses.") from None
        if block.num_addresses > 1:
            return Named(text, (Outside(block),))
        address = block.network_address
        found = [one for one in self.interfaces() if address in one.addresses or address == one.public]
        if len(found) > 1:
            may_be = ", ".join(self._described(one) for one in found[:MOST_LISTED])
            raise ParameterInvalid(parameter, text, f"Several have this address: {may_be}.")
        if found:
            return Named(text, (At(found[0].id, address),))
        stranger = self._stranger_at(address)
        if stranger is not None and parameter != "destination":
            raise ParameterInvalid(parameter, text, "An instance of another account has this address.")
        return Named(text, (Outside(block) if stranger is None else At(stranger.id, address),))

    def _stranger_at(self, address: Address) -> NetworkInterface | None:
        """Whoever of another account can be called by this address: publicly, or in the shared classic network."""
        if address.version == 4:
            public = self._resources.owner_of_public(address)
            if public is not None:
                return public
        classic = self._resources.classic_network(self._caller.region)
        shares = classic is not None and self._caller.account.platform.value == "classic"
        return self._resources.owner_of(classic.id, address) if classic is not None and shares else None

    def _by_id(self, text: str) -> list[Thing]:
        return [one for one in self._everything() if text in _ids(one)]

    def _by_name(self, text: str) -> list[Thing]:
        return [one for one in self._everything() if text in self._names(one)]

    def _by_start(self, text: str) -> list[Thing]:
        if not _ID_START.fullmatch(text):
            return []
        return [one for one in self._everything() if any(id.startswith(text) for id in _ids(one))]

    def _everything(self) -> Iterator[Thing]:
        yield from self.groups()
        yield from self.interfaces()
        yield from (one for one in self._resources.prefix_lists.values() if self._is_listed(one))

    def _is_listed(self, one: PrefixList) -> bool:
        return self.sees_account(one.account) and one.region == self._caller.region

    def _names(self, thing: Thing) -> tuple[str | None, ...]:
        if isinstance(thing, SecurityGroup | PrefixList):
            return thing.name, self._tag(thing.id)
        return (self._tag(thing.id), self._tag(thing.instance) if thing.instance else None, thing.device)

    def _tag(self, resource: str) -> str | None:
        tags = self._resources.tags.get(resource)
        return tags.tags.get("Name") if tags is not None else None

    def _described(self, thing: Thing) -> str:
        if isinstance(thing, PrefixList):
            return f"{thing.id} (prefix list {thing.name}, account {thing.account})"
        if isinstance(thing, SecurityGroup):
            return f"{thing.id} (group {thing.name}, account {thing.account})"
        return f"{thing.instance or thing.device or thing.id} ({thing.addresses[0]}, account {thing.account})"


def _is_group(thing: Thing) -> bool:
    return isinstance(thing, SecurityGroup)


def _ids(thing: Thing) -> tuple[str, ...]:
    if isinstance(thing, SecurityGroup | PrefixList) or thing.instance is None:
        return (thing.id,)
    return (thing.id, thing.instance)

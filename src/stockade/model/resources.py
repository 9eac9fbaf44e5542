"""Resources: everything of a cell at one moment, with the indexes that questions need.

Kept current by one writer (store/cache.py) that applies whole transactions; readers on the same thread see
no half of one. Readers never change it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, TypeAlias

from stockade.model import keys
from stockade.model.account import AccessKey, Account, KeyPair
from stockade.model.addresses import Address
from stockade.model.change import Revision
from stockade.model.ids import (
    AccessKeyId,
    AccountId,
    HostId,
    ImageId,
    InstanceId,
    NetworkInterfaceId,
    PrefixListId,
    SecurityGroupId,
    SubnetId,
    VpcId,
)
from stockade.model.image import Image
from stockade.model.instance import Instance, InstanceStatus
from stockade.model.network_interface import NetworkInterface
from stockade.model.prefix_list import PrefixList, PrefixListVersion
from stockade.model.rule import GroupPeer, PrefixListPeer
from stockade.model.security_group import SecurityGroup
from stockade.model.tag import TagSet
from stockade.model.vpc import Subnet, Vpc

Document: TypeAlias = (
    Account
    | AccessKey
    | KeyPair
    | Vpc
    | Subnet
    | SecurityGroup
    | NetworkInterface
    | Instance
    | InstanceStatus
    | Image
    | TagSet
    | PrefixList
    | PrefixListVersion
)
Value: TypeAlias = Document | str
"""A document, or the text of a claim."""

KINDS: Mapping[str, type[Any]] = {
    "acct": Account,
    "key": AccessKey,
    "keypair": KeyPair,
    "vpc": Vpc,
    "subnet": Subnet,
    "sg": SecurityGroup,
    "eni": NetworkInterface,
    "inst": Instance,
    "seen": InstanceStatus,
    "ami": Image,
    "tag": TagSet,
    "pl": PrefixList,
    "plv": PrefixListVersion,
}
"""The first part of a document's key, and what is kept there. Every other key is a claim."""

_KIND_OF = {kind: name for name, kind in KINDS.items()}


@dataclass(frozen=True, slots=True)
class Change:
    """One key's new value; None: it goes."""

    key: str
    value: Value | None


@dataclass(frozen=True, slots=True)
class Edit:
    """A change as it happened: what was there, what is there now."""

    key: str
    old: Value | None
    new: Value | None


def key_of(document: Document) -> str:
    """The key a document is kept under."""
    kind = _KIND_OF[type(document)]
    match document:
        case KeyPair():
            return keys.key_pair(document.account, document.region, document.name)
        case InstanceStatus():
            return keys.document(kind, document.instance)
        case TagSet():
            return keys.document(kind, document.resource)
        case PrefixListVersion():
            return keys.prefix_list_version(document.prefix_list, document.number)
        case _:
            return keys.document(kind, document.id)


def put(document: Document) -> Change:
    """The change that writes the document."""
    return Change(key_of(document), document)


def drop(document: Document) -> Change:
    """The change that deletes the document."""
    return Change(key_of(document), None)


class Resources:
    """Documents by id, claims by key, and what leads from one to the other."""

    def __init__(self) -> None:
        self.revision = Revision(0)
        self.accounts: dict[AccountId, Account] = {}
        self.access_keys: dict[AccessKeyId, AccessKey] = {}
        self.key_pairs: dict[str, KeyPair] = {}  # by store key
        self.vpcs: dict[VpcId, Vpc] = {}
        self.subnets: dict[SubnetId, Subnet] = {}
        self.groups: dict[SecurityGroupId, SecurityGroup] = {}
        self.interfaces: dict[NetworkInterfaceId, NetworkInterface] = {}
        self.instances: dict[InstanceId, Instance] = {}
        self.statuses: dict[InstanceId, InstanceStatus] = {}
        self.images: dict[ImageId, Image] = {}
        self.tags: dict[str, TagSet] = {}
        self.prefix_lists: dict[PrefixListId, PrefixList] = {}
        self.prefix_list_versions: dict[str, PrefixListVersion] = {}  # by store key
        self.claims: dict[str, str] = {}
        self._revisions: dict[str, Revision] = {}
        self._values: dict[str, Value] = {}
        self._members: dict[SecurityGroupId, dict[NetworkInterfaceId, None]] = {}
        self._members_on: dict[tuple[SecurityGroupId, HostId], dict[NetworkInterfaceId, None]] = {}
        self._referrers: dict[SecurityGroupId, dict[SecurityGroupId, None]] = {}
        self._users: dict[PrefixListId, dict[SecurityGroupId, None]] = {}
        self._versions: dict[PrefixListId, dict[int, None]] = {}
        self._by_host: dict[HostId, dict[NetworkInterfaceId, None]] = {}
        self._by_place: dict[tuple[HostId, VpcId], dict[NetworkInterfaceId, None]] = {}
        self._vpcs_of: dict[tuple[AccountId | None, str], dict[VpcId, None]] = {}
        self._by_vpc: dict[VpcId, dict[NetworkInterfaceId, None]] = {}
        self._instances_on: dict[HostId, dict[InstanceId, None]] = {}
        self._instances_of: dict[AccountId, dict[InstanceId, None]] = {}
        self._groups_of: dict[AccountId, dict[SecurityGroupId, None]] = {}
        self._groups_in: dict[VpcId, dict[SecurityGroupId, None]] = {}
        self._interfaces_of: dict[AccountId, dict[NetworkInterfaceId, None]] = {}
        self._lists_of: dict[AccountId, dict[PrefixListId, None]] = {}
        self._subnets_in: dict[VpcId, dict[SubnetId, None]] = {}
        self._tables: dict[str, dict[Any, Any]] = {
            "acct": self.accounts,
            "key": self.access_keys,
            "keypair": self.key_pairs,
            "vpc": self.vpcs,
            "subnet": self.subnets,
            "sg": self.groups,
            "eni": self.interfaces,
            "inst": self.instances,
            "seen": self.statuses,
            "ami": self.images,
            "tag": self.tags,
            "pl": self.prefix_lists,
            "plv": self.prefix_list_versions,
        }

    # --- asking -------------------------------------------------------------------------------------------

    def revision_of(self, key: str) -> Revision:
        """When the key was last written; 0 when it is not there."""
        return self._revisions.get(key, Revision(0))

    def value(self, key: str) -> Value | None:
        """What is kept under the key."""
        return self._values.get(key)

    def all_keys(self) -> list[str]:
        """Every key there is."""
        return list(self._values)

    def members_of(self, group: SecurityGroupId) -> list[NetworkInterface]:
        """The interfaces in a group."""
        return [self.interfaces[id] for id in self._members.get(group, ())]

    def has_member_on(self, group: SecurityGroupId, host: HostId) -> bool:
        """Whether an interface of the host is in the group."""
        return (group, host) in self._members_on

    def referrers_of(self, group: SecurityGroupId) -> list[SecurityGroup]:
        """Other groups whose rules name the group."""
        return [self.groups[id] for id in self._referrers.get(group, ())]

    def users_of(self, prefix_list: PrefixListId) -> list[SecurityGroup]:
        """The groups whose rules name the prefix list."""
        return [self.groups[id] for id in self._users.get(prefix_list, ())]

    def versions_of(self, prefix_list: PrefixListId) -> list[int]:
        """The numbers of a prefix list's versions that are kept, ascending."""
        return sorted(self._versions.get(prefix_list, ()))

    def version_of(self, prefix_list: PrefixListId, number: int) -> PrefixListVersion | None:
        """What a prefix list held at that version."""
        return self.prefix_list_versions.get(keys.prefix_list_version(prefix_list, number))

    def prefix_lists_of(self, account: AccountId) -> list[PrefixList]:
        """An account's prefix lists."""
        return [self.prefix_lists[id] for id in self._lists_of.get(account, ())]

    def interfaces_of(self, account: AccountId) -> list[NetworkInterface]:
        """An account's interfaces."""
        return [self.interfaces[id] for id in self._interfaces_of.get(account, ())]

    def groups_in(self, vpc: VpcId) -> list[SecurityGroup]:
        """The groups of a network."""
        return [self.groups[id] for id in self._groups_in.get(vpc, ())]

    def subnets_in(self, vpc: VpcId) -> list[Subnet]:
        """The subnets of a network."""
        return [self.subnets[id] for id in self._subnets_in.get(vpc, ())]

    def interfaces_on(self, host: HostId) -> list[NetworkInterface]:
        """The interfaces that live on a host."""
        return [self.interfaces[id] for id in self._by_host.get(host, ())]

    def interfaces_in(self, vpc: VpcId) -> list[NetworkInterface]:
        """The interfaces of a network, wherever they live."""
        return [self.interfaces[id] for id in self._by_vpc.get(vpc, ())]

    def is_used_on(self, vpc: VpcId, host: HostId) -> bool:
        """Whether the host has an interface in the network."""
        return (host, vpc) in self._by_place

    def instances_on(self, host: HostId) -> list[Instance]:
        """The instances placed on a host, terminated ones too."""
        return [self.instances[id] for id in self._instances_on.get(host, ())]

    def instances_of(self, account: AccountId) -> list[Instance]:
        """An account's instances, terminated ones too."""
        return [self.instances[id] for id in self._instances_of.get(account, ())]

    def groups_of(self, account: AccountId) -> list[SecurityGroup]:
        """An account's groups."""
        return [self.groups[id] for id in self._groups_of.get(account, ())]

    def group_named(self, vpc: Vpc, account: AccountId, name: str) -> SecurityGroup | None:
        """The account's group of this name in this network."""
        id = self.claims.get(keys.group_name(vpc.id, account, name, vpc.is_classic))
        return self.groups.get(SecurityGroupId(id)) if id is not None else None

    def owner_of(self, vpc: VpcId, address: Address) -> NetworkInterface | None:
        """The interface that has this private address."""
        id = self.claims.get(keys.private_address(vpc, address))
        return self.interfaces.get(NetworkInterfaceId(id)) if id is not None else None

    def owner_of_public(self, address: IPv4Address) -> NetworkInterface | None:
        """The interface that has this public address."""
        id = self.claims.get(keys.public_address(address))
        return self.interfaces.get(NetworkInterfaceId(id)) if id is not None else None

    def classic_network(self, region: str) -> Vpc | None:
        """The region's one shared classic network."""
        return next(self._networks(None, region), None)

    def default_vpc(self, account: AccountId, region: str) -> Vpc | None:
        """The account's default VPC in the region."""
        return next((vpc for vpc in self._networks(account, region) if vpc.is_default), None)

    def _networks(self, account: AccountId | None, region: str) -> Iterator[Vpc]:
        return (self.vpcs[id] for id in self._vpcs_of.get((account, region), ()))

    def hosts(self) -> Iterator[HostId]:
        """Hosts that have an interface or an instance."""
        return iter({**self._by_host, **self._instances_on})

    # --- keeping current ----------------------------------------------------------------------------------

    def apply(self, revision: Revision, changes: Iterable[Change]) -> list[Edit]:
        """One whole transaction. What did change, in order."""
        edits = [self.set(change.key, change.value, revision) for change in changes]
        self.revision = revision
        return edits

    def set(self, key: str, value: Value | None, revision: Revision) -> Edit:
        """One key's new value, last written at `revision`."""
        old = self._values.get(key)
        if old is not None:
            self._unlink(key, old)
        if value is None:
            self._values.pop(key, None)
            self._revisions.pop(key, None)
        else:
            self._values[key] = value
            self._revisions[key] = revision
            self._link(key, value)
        return Edit(key, old, value)

    def _link(self, key: str, value: Value) -> None:
        if isinstance(value, str):
            self.claims[key] = value
            return
        self._tables[keys.kind_of(key)][_local(key, value)] = value
        for index, name, id in self._entries(value):
            index.setdefault(name, {})[id] = None

    def _unlink(self, key: str, value: Value) -> None:
        if isinstance(value, str):
            del self.claims[key]
            return
        del self._tables[keys.kind_of(key)][_local(key, value)]
        for index, name, id in self._entries(value):
            entry = index[name]
            del entry[id]
            if not entry:
                del index[name]

    def _entries(self, value: Document) -> Iterator[tuple[dict[Any, dict[Any, None]], Any, Any]]:
        """Where the indexes mention a document: (index, its key there, what is listed)."""
        match value:
            case NetworkInterface():
                yield self._by_host, value.host, value.id
                yield self._by_vpc, value.vpc, value.id
                yield self._by_place, (value.host, value.vpc), value.id
                yield self._interfaces_of, value.account, value.id
                for group in value.groups:
                    yield self._members, group, value.id
                    yield self._members_on, (group, value.host), value.id
            case Vpc():
                yield self._vpcs_of, (value.account, value.region), value.id
            case Instance():
                yield self._instances_on, value.host, value.id
                yield self._instances_of, value.account, value.id
            case SecurityGroup():
                yield self._groups_of, value.account, value.id
                yield self._groups_in, value.vpc, value.id
                for named in referenced_by(value):
                    yield self._referrers, named, value.id
                for prefix_list in lists_named_by(value):
                    yield self._users, prefix_list, value.id
            case Subnet():
                yield self._subnets_in, value.vpc, value.id
            case PrefixList():
                yield self._lists_of, value.account, value.id
            case PrefixListVersion():
                yield self._versions, value.prefix_list, value.number
            case _:
                pass


def referenced_by(group: SecurityGroup) -> list[SecurityGroupId]:
    """Other groups that the group's rules name, each once."""
    named = {rule.peer.group: None for rule in group.rules if isinstance(rule.peer, GroupPeer)}
    return [id for id in named if id != group.id]


def lists_named_by(group: SecurityGroup) -> list[PrefixListId]:
    """The prefix lists that the group's rules name, each once."""
    return list({rule.peer.prefix_list: None for rule in group.rules if isinstance(rule.peer, PrefixListPeer)})


def _local(key: str, value: Document) -> str:
    """What a document is filed under in its table: its id, or the whole key where names are the key."""
    return key if isinstance(value, KeyPair | PrefixListVersion) else keys.parts_of(key)[0]

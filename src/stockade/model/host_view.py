"""HostView: the part of the resources that one host needs, and the frames that keep it current.

Computed by the feed, held by the agent. A view is a set of keyed items; a frame replaces some, removes
others, and carries the revision at which the view is then right. Group documents come without
descriptions; members carry all their groups, since their identity is the whole set.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any, TypeAlias

from stockade.model.addresses import Address, Cidr, MacAddress
from stockade.model.change import Revision
from stockade.model.ids import AccountId, HostId, InstanceId, NetworkInterfaceId, PrefixListId, SecurityGroupId
from stockade.model.network_interface import NetworkInterface
from stockade.model.persistent_map import PersistentMap
from stockade.model.rule import Rule
from stockade.model.tracking import DEFAULT_TRACKING, ConnectionTracking
from stockade.model.vpc import Subnet, Vpc

CLASSIC_RESOLVER = IPv4Address("172.16.0.23")


@dataclass(frozen=True, slots=True)
class ViewGroup:
    """The rules of a group that a local interface is in."""

    id: SecurityGroupId
    name: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class ViewPrefixList:
    """The newest version of a prefix list that a rule in view names. All blocks are of one family."""

    id: PrefixListId
    cidrs: tuple[Cidr, ...]


@dataclass(frozen=True, slots=True)
class ViewMember:
    """An interface that local policy may have to recognise or reach: wherever it lives, whatever its host.

    `vpc` is the network's number; `host` tells where its packets go.
    """

    interface: NetworkInterfaceId
    vpc: int
    addresses: tuple[Address, ...]
    groups: tuple[SecurityGroupId, ...]
    host: HostId
    public: IPv4Address | None = None


@dataclass(frozen=True, slots=True)
class ViewInterface:
    """An interface of this host: what the datapath, the resolver and the metadata service need."""

    id: NetworkInterfaceId
    number: int
    account: AccountId
    vpc: int
    classic: bool
    network: IPv4Network  # on-link range that the instance configures: its subnet, or the classic network
    mac: MacAddress
    addresses: tuple[Address, ...]
    groups: tuple[SecurityGroupId, ...]
    public: IPv4Address | None
    source_dest_check: bool
    instance: InstanceId | None
    device: str | None = None
    """Set: an existing device of this host, filtered where it is (architecture D11). None: ours, and we forward."""
    tracking: ConnectionTracking = DEFAULT_TRACKING
    cuts: int = 0
    resolver: IPv4Address | None = None
    """The network's own address of the resolver: the block's base + 2, in classic networks 172.16.0.23."""
    public6: bool = False
    """Whether outsiders may meet its IPv6 addresses (there is no translation for IPv6)."""


@dataclass(frozen=True, slots=True)
class ViewInstance:
    """An instance of this host: what launch and metadata need. `running` False: it is to be removed."""

    id: InstanceId
    account: AccountId
    interface: NetworkInterfaceId
    running: bool
    image: str
    recipe: str
    type: str
    zone: str
    region: str
    reservation: str
    launch_index: int
    key_name: str | None
    public_key: str | None
    user_data: bytes | None
    group_names: tuple[str, ...]


ViewItem: TypeAlias = ViewGroup | ViewPrefixList | ViewMember | ViewInterface | ViewInstance
ViewKey: TypeAlias = tuple[str, str]
"""("group" | "prefix_list" | "member" | "interface" | "instance", id)"""


@dataclass(frozen=True, slots=True)
class Frame:
    """A change of a view. `whole`: the view is replaced, nothing of the old one stays."""

    revision: Revision
    put: tuple[ViewItem, ...] = ()
    removed: tuple[ViewKey, ...] = ()
    whole: bool = False


@dataclass(frozen=True, slots=True)
class HostView:
    """One host's view at one revision."""

    host: HostId
    revision: Revision = Revision(0)  # noqa: RUF009 - a NewType call is the number itself
    groups: Mapping[SecurityGroupId, ViewGroup] = field(default_factory=dict)
    members: Mapping[NetworkInterfaceId, ViewMember] = field(default_factory=dict)
    interfaces: Mapping[NetworkInterfaceId, ViewInterface] = field(default_factory=dict)
    instances: Mapping[InstanceId, ViewInstance] = field(default_factory=dict)
    prefix_lists: Mapping[PrefixListId, ViewPrefixList] = field(default_factory=dict)


def interface_item(interface: NetworkInterface, vpc: Vpc, subnet: Subnet | None) -> ViewInterface:
    """An interface as its host sees it; without a subnet (classic) the whole network is on its link."""
    return ViewInterface(
        id=interface.id,
        number=interface.number,
        account=interface.account,
        vpc=vpc.number,
        classic=vpc.is_classic,
        network=subnet.cidr if subnet else vpc.cidr,
        mac=interface.mac,
        addresses=interface.addresses,
        groups=interface.groups,
        public=interface.public,
        source_dest_check=interface.source_dest_check,
        instance=interface.instance,
        device=interface.device,
        tracking=interface.tracking,
        cuts=interface.cuts,
        resolver=CLASSIC_RESOLVER if vpc.is_classic else vpc.cidr.network_address + 2,
        public6=vpc.ipv6 is not None and any(address.version == 6 for address in interface.addresses),
    )


def key_of(item: ViewItem) -> ViewKey:
    """The key an item is kept under."""
    match item:
        case ViewGroup():
            return ("group", item.id)
        case ViewPrefixList():
            return ("prefix_list", item.id)
        case ViewMember():
            return ("member", item.interface)
        case ViewInterface():
            return ("interface", item.id)
        case ViewInstance():
            return ("instance", item.id)


def apply_frame(view: HostView, frame: Frame) -> HostView:
    """The view after the frame. Removing what is not there is not an error.

    Tables are persistent maps: what the frame does not touch is shared with the view before, so that readers find
    by changed_keys what became of it.
    """
    tables: dict[str, Mapping[Any, Any]] = {
        "group": view.groups,
        "member": view.members,
        "interface": view.interfaces,
        "instance": view.instances,
        "prefix_list": view.prefix_lists,
    }
    put: defaultdict[str, dict[Any, Any]] = defaultdict(dict)
    removed: defaultdict[str, list[Any]] = defaultdict(list)
    for item in frame.put:
        kind, name = key_of(item)
        put[kind][name] = item
    for kind, name in frame.removed:
        removed[kind].append(name)
    fresh: dict[str, PersistentMap[Any, Any]] = {}
    for kind in tables if frame.whole else put.keys() | removed.keys():
        table = PersistentMap() if frame.whole else tables[kind]
        if not isinstance(table, PersistentMap):
            table = PersistentMap(table)
        fresh[kind] = table.changed(put[kind], removed[kind])
    tables |= fresh
    return HostView(
        view.host,
        frame.revision,
        tables["group"],
        tables["member"],
        tables["interface"],
        tables["instance"],
        tables["prefix_list"],
    )

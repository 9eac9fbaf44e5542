"""Which resources concern which host.

A host's view holds its interfaces and instances, the groups of those interfaces with their rules, the prefix lists
that those rules name, and every interface of the networks it takes part in: the peers that rules may name and
packets may go to. Each item is a pure function of the resources and its key, so a change needs only the keys it may
touch (`touched`), and the view kept item by item is the view computed at once (a property test holds them equal).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from stockade.model.host_view import (
    ViewGroup,
    ViewInstance,
    ViewInterface,
    ViewItem,
    ViewKey,
    ViewMember,
    ViewPrefixList,
    interface_item,
)
from stockade.model.ids import HostId, InstanceId, NetworkInterfaceId, PrefixListId, SecurityGroupId, VpcId
from stockade.model.instance import Instance, Wanted
from stockade.model.network_interface import NetworkInterface
from stockade.model.prefix_list import PrefixList
from stockade.model.resources import Edit, Resources, lists_named_by
from stockade.model.security_group import SecurityGroup
from stockade.model.vpc import Subnet, Vpc


def view_of(resources: Resources, host: HostId) -> dict[ViewKey, ViewItem]:
    """The host's whole view."""
    found = {key: item_of(resources, host, key) for key in _keys(resources, host)}
    return {key: item for key, item in found.items() if item is not None}


def item_of(resources: Resources, host: HostId, key: ViewKey) -> ViewItem | None:
    """What the host's view has under the key; None when nothing."""
    kind, id = key
    match kind:
        case "group":
            return _group(resources, host, SecurityGroupId(id))
        case "prefix_list":
            return _prefix_list(resources, host, PrefixListId(id))
        case "member":
            return _member(resources, host, NetworkInterfaceId(id))
        case "interface":
            return _interface(resources, host, NetworkInterfaceId(id))
        case _:
            return _instance(resources, host, InstanceId(id))


class HostItems:
    """One host's view, kept current by the keys that each transaction touched."""

    def __init__(self, resources: Resources, host: HostId) -> None:
        self._resources = resources
        self._host = host
        self.items = view_of(resources, host)
        self._vpcs = _vpcs_of(resources, host)

    def update(self, edits: Sequence[Edit]) -> dict[ViewKey, ViewItem | None]:
        """What the transaction, already applied to the resources, changed in the view; None: it left."""
        keys = set(touched(self._resources, self._host, edits))
        moved = any(isinstance(value, NetworkInterface) for edit in edits for value in (edit.old, edit.new))
        vpcs = _vpcs_of(self._resources, self._host) if moved else self._vpcs
        for vpc in vpcs ^ self._vpcs:
            keys.update(("member", interface.id) for interface in self._resources.interfaces_in(vpc))
        self._vpcs = vpcs
        changed: dict[ViewKey, ViewItem | None] = {}
        for key in sorted(keys):
            item = item_of(self._resources, self._host, key)
            if item != self.items.get(key):
                changed[key] = item
                if item is None:
                    del self.items[key]
                else:
                    self.items[key] = item
        return changed


def touched(resources: Resources, host: HostId, edits: Iterable[Edit]) -> Iterator[ViewKey]:
    """The keys whose items these edits may have changed, leaving aside networks that the host joins or leaves."""
    for edit in edits:
        for value in (edit.old, edit.new):
            match value:
                case NetworkInterface():
                    yield from _of_interface(resources, value)
                case SecurityGroup():
                    yield from _of_group(resources, value, _same_name(edit))
                case PrefixList():
                    yield ("prefix_list", value.id)
                case Instance():
                    yield ("instance", value.id)
                case Vpc():
                    yield from _inside(resources, value.id)
                case Subnet():
                    yield from _inside(resources, value.vpc)
                case _:
                    pass


def _of_interface(resources: Resources, interface: NetworkInterface) -> Iterator[ViewKey]:
    yield ("interface", interface.id)
    yield ("member", interface.id)
    for group in interface.groups:
        yield ("group", group)
        yield from _lists_of(resources, group)
    if interface.instance is not None:
        yield ("instance", interface.instance)


def _of_group(resources: Resources, group: SecurityGroup, same_name: bool) -> Iterator[ViewKey]:
    yield ("group", group.id)
    yield from (("prefix_list", named) for named in lists_named_by(group))
    if not same_name:
        for member in resources.members_of(group.id):
            if member.instance is not None:
                yield ("instance", member.instance)  # it knows its groups' names


def _same_name(edit: Edit) -> bool:
    """Most edits of groups are of rules; of a thousand members each instance would be looked at for nothing."""
    old, new = edit.old, edit.new
    return isinstance(old, SecurityGroup) and isinstance(new, SecurityGroup) and old.name == new.name


def _lists_of(resources: Resources, group: SecurityGroupId) -> Iterator[ViewKey]:
    found = resources.groups.get(group)
    if found is not None:
        yield from (("prefix_list", named) for named in lists_named_by(found))


def _inside(resources: Resources, vpc: VpcId) -> Iterator[ViewKey]:
    for interface in resources.interfaces_in(vpc):
        yield ("interface", interface.id)
        yield ("member", interface.id)


def _keys(resources: Resources, host: HostId) -> Iterator[ViewKey]:
    for interface in resources.interfaces_on(host):
        yield ("interface", interface.id)
        for group in interface.groups:
            yield ("group", group)
            yield from _lists_of(resources, group)
    for vpc in _vpcs_of(resources, host):
        yield from (("member", interface.id) for interface in resources.interfaces_in(vpc))
    yield from (("instance", instance.id) for instance in resources.instances_on(host))


def _vpcs_of(resources: Resources, host: HostId) -> set[VpcId]:
    return {interface.vpc for interface in resources.interfaces_on(host)}


def _group(resources: Resources, host: HostId, id: SecurityGroupId) -> ViewGroup | None:
    group = resources.groups.get(id)
    if group is None or not resources.has_member_on(id, host):
        return None
    rules = (rule if rule.description is None else replace(rule, description=None) for rule in group.rules)
    return ViewGroup(id, group.name, tuple(rules))


def _prefix_list(resources: Resources, host: HostId, id: PrefixListId) -> ViewPrefixList | None:
    found = resources.prefix_lists.get(id)
    if found is None or not any(resources.has_member_on(group.id, host) for group in resources.users_of(id)):
        return None
    return ViewPrefixList(id, found.cidrs)


def _member(resources: Resources, host: HostId, id: NetworkInterfaceId) -> ViewMember | None:
    interface = resources.interfaces.get(id)
    vpc = interface and resources.vpcs.get(interface.vpc)
    if not interface or not vpc or not resources.is_used_on(interface.vpc, host):
        return None
    return ViewMember(id, vpc.number, interface.addresses, interface.groups, interface.host, interface.public)


def _interface(resources: Resources, host: HostId, id: NetworkInterfaceId) -> ViewInterface | None:
    interface = resources.interfaces.get(id)
    vpc = interface and resources.vpcs.get(interface.vpc)
    if not interface or not vpc or interface.host != host:
        return None
    subnet = resources.subnets.get(interface.subnet) if interface.subnet else None
    return interface_item(interface, vpc, subnet)


def _instance(resources: Resources, host: HostId, id: InstanceId) -> ViewInstance | None:
    instance = resources.instances.get(id)
    if instance is None or instance.host != host or instance.terminated_at is not None:
        return None
    interface = resources.interfaces.get(instance.interface)
    groups = interface.groups if interface and interface.host == host else ()
    names = sorted(resources.groups[group].name for group in groups if group in resources.groups)
    return ViewInstance(
        id=id,
        account=instance.account,
        interface=instance.interface,
        running=instance.wanted is Wanted.RUNNING,
        image=instance.image,
        recipe=instance.recipe,
        type=instance.type,
        zone=instance.zone,
        region=instance.region,
        reservation=instance.reservation,
        launch_index=instance.launch_index,
        key_name=instance.key_name,
        public_key=instance.public_key,
        user_data=instance.user_data,
        group_names=tuple(names),
    )

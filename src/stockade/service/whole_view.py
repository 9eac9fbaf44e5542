"""The cell seen as one host: every interface its own, every group known. What questions of policy are asked of."""

from stockade.model.host_view import HostView, ViewGroup, ViewPrefixList, interface_item
from stockade.model.ids import HostId
from stockade.model.resources import Resources

NOWHERE = HostId("every-host")


def whole_view(resources: Resources) -> HostView:
    """A frozen copy: what is asked of it later is answered as of this moment."""
    interfaces = {}
    for interface in resources.interfaces.values():
        subnet = resources.subnets.get(interface.subnet) if interface.subnet else None
        interfaces[interface.id] = interface_item(interface, resources.vpcs[interface.vpc], subnet)
    groups = {group.id: ViewGroup(group.id, group.name, group.rules) for group in resources.groups.values()}
    lists = {one.id: ViewPrefixList(one.id, one.cidrs) for one in resources.prefix_lists.values()}
    return HostView(NOWHERE, resources.revision, groups, {}, interfaces, prefix_lists=lists)

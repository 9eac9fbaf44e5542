"""The cell seen as one host: every interface its own, every group known. What questions of policy are asked of."""

from stockade.model.host_view import HostView, ViewGroup, ViewInterface
from stockade.model.ids import HostId
from stockade.model.resources import Resources

NOWHERE = HostId("every-host")


def whole_view(resources: Resources) -> HostView:
    """A frozen copy: what is asked of it later is answered as of this moment."""
    interfaces = {}
    for interface in resources.interfaces.values():
        vpc = resources.vpcs[interface.vpc]
        subnet = resources.subnets.get(interface.subnet) if interface.subnet else None
        interfaces[interface.id] = ViewInterface(
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
        )
    groups = {group.id: ViewGroup(group.id, group.name, group.rules) for group in resources.groups.values()}
    return HostView(NOWHERE, resources.revision, groups, {}, interfaces)

"""Members that a group does not have yet, so that its rules can be asked before anything runs."""

from dataclasses import replace
from ipaddress import IPv4Network

from stockade.model.addresses import Address, mac_of
from stockade.model.host_view import HostView, ViewInterface
from stockade.model.ids import NetworkInterfaceId
from stockade.model.resources import Resources
from stockade.model.security_group import SecurityGroup
from stockade.policy.questions.reach import At

PUBLIC = IPv4Network("192.0.2.0/24")
"""Documentation addresses: nobody has one, and rules that name one mean nobody."""


class Imagination:
    """Adds to a view; the view that was given stays as it is."""

    def __init__(self, view: HostView, resources: Resources) -> None:
        self.view = view
        self._resources = resources
        self._taken: set[tuple[int, Address]] = {
            (one.vpc, address) for one in view.interfaces.values() for address in one.addresses
        }
        self._made = 0

    def member_of(self, group: SecurityGroup) -> At:
        """An interface in this group alone, with a private and a public address, and IPv6 if its network has."""
        vpc = self._resources.vpcs[group.vpc]
        address = vpc.cidr.broadcast_address - 1
        while (vpc.number, address) in self._taken:
            address -= 1
        self._taken.add((vpc.number, address))
        self._made += 1
        addresses: tuple[Address, ...] = (address,)
        if vpc.ipv6 is not None:
            addresses = (address, vpc.ipv6.broadcast_address - self._made)
        id = NetworkInterfaceId(f"imagined-{self._made}")
        made = ViewInterface(
            id=id,
            number=0,
            account=group.account,
            vpc=vpc.number,
            classic=vpc.is_classic,
            network=vpc.cidr,
            mac=mac_of(0),
            addresses=addresses,
            groups=(group.id,),
            public=PUBLIC.network_address + self._made,
            source_dest_check=True,
            instance=None,
            public6=vpc.ipv6 is not None,
        )
        self.view = replace(self.view, interfaces={**self.view.interfaces, id: made})
        return At(id)

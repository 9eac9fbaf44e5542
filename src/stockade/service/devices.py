"""Existing devices of a host put under groups, and let go of again (architecture D11)."""

import re
from collections.abc import Sequence

from stockade.model import keys
from stockade.model.account import Account
from stockade.model.addresses import Address, MacAddress
from stockade.model.errors import AdminOnly, GroupNotFound, ParameterInvalid, ParameterMissing, ResourceNotFound
from stockade.model.ids import HostId, NetworkInterfaceId, SecurityGroupId, check_id
from stockade.model.network_interface import NetworkInterface
from stockade.model.resources import put
from stockade.model.security_group import SecurityGroup
from stockade.model.vpc import Vpc
from stockade.service import network_interfaces
from stockade.service.budgets import Planned
from stockade.service.caller import Caller
from stockade.service.cell import Cell, Decision
from stockade.service.membership import check_count
from stockade.service.numbers import INTERFACE
from stockade.store.contract import Guard

_DEVICE = re.compile(r"[^\s/:\x00]{1,15}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_MULTICAST_BIT = 1
MOST_ADDRESSES = 32


class Devices:
    """Use cases of adopted devices. They are the operator's: groups of any account may be named."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    async def attach_device(
        self, caller: Caller, host: HostId, device: str, mac: str, addresses: Sequence[Address], groups: Sequence[str]
    ) -> NetworkInterface:
        """The interface that the device now is, in the account of the groups.

        Raises AdminOnly, ParameterInvalid (device, mac, an address in use), ParameterMissing, GroupNotFound,
        IdMalformed, QuotaExceeded.
        """
        self._check_admin(caller)
        checked_mac = _check_form(device, mac, addresses, groups)

        def decide() -> Decision[NetworkInterface]:
            cell = self._cell
            found = [self._group(id) for id in dict.fromkeys(groups)]
            account, vpc = self._home(found)
            self._check_free(host, device, checked_mac, addresses, vpc)
            made = NetworkInterface(
                id=NetworkInterfaceId(cell.mint("eni", account)),
                number=cell.numbers.take(INTERFACE),
                account=account.id,
                vpc=vpc.id,
                subnet=None,
                host=host,
                mac=checked_mac,
                addresses=tuple(dict.fromkeys(addresses)),
                groups=tuple(group.id for group in found),
                device=device,
            )
            cell.budgets.check(Planned(coming=[made]))
            return Decision(network_interfaces.guards_of_new(made), network_interfaces.created(made), made)

        return await self._cell.write(decide, on=f"devices {host}", numbers={INTERFACE: 1})

    async def detach_device(self, caller: Caller, name: str, host: HostId | None = None) -> NetworkInterface:
        """Let go of a device: by the id of its interface, or by its own name on `host` (default: this cell's).

        Raises AdminOnly, ResourceNotFound.
        """
        self._check_admin(caller)

        def decide() -> Decision[NetworkInterface]:
            found = self._find(name, host or self._cell.host)
            guards: list[Guard] = [self._cell.unchanged(put(found).key)]
            return Decision(guards, network_interfaces.deleted(found), found)

        return await self._cell.write(decide, on=f"devices {host or self._cell.host}")

    def attached(self, caller: Caller) -> list[NetworkInterface]:
        """All adopted devices. Raises AdminOnly."""
        self._check_admin(caller)
        adopted = (one for one in self._cell.resources.interfaces.values() if one.device is not None)
        return sorted(adopted, key=lambda one: (one.host, one.number))

    def _find(self, name: str, host: HostId) -> NetworkInterface:
        resources = self._cell.resources
        by_id = resources.interfaces.get(NetworkInterfaceId(name))
        claimed = resources.claims.get(keys.device(host, name))
        found = by_id or (resources.interfaces.get(NetworkInterfaceId(claimed)) if claimed else None)
        if found is None or found.device is None:
            raise ResourceNotFound(name)
        return found

    def _group(self, id: str) -> SecurityGroup:
        group = self._cell.resources.groups.get(SecurityGroupId(check_id(id, "sg")))
        if group is None:
            raise GroupNotFound(id)
        return group

    def _home(self, groups: Sequence[SecurityGroup]) -> tuple[Account, Vpc]:
        """Whose the interface is and where: all groups are of one account and one network."""
        resources, first = self._cell.resources, groups[0]
        for group in groups:
            if (group.account, group.vpc) != (first.account, first.vpc):
                raise GroupNotFound(group.id, first.vpc)
        vpc = resources.vpcs[first.vpc]
        if not vpc.is_classic:
            check_count(self._cell, groups)
        return resources.accounts[first.account], vpc

    def _check_free(self, host: HostId, device: str, mac: MacAddress, addresses: Sequence[Address], vpc: Vpc) -> None:
        resources = self._cell.resources
        if keys.device(host, device) in resources.claims:
            raise ParameterInvalid("device", device, "It is under security groups already.")
        if any(one.mac == mac for one in resources.interfaces_on(host)):
            raise ParameterInvalid("mac", mac, "Another interface of this host has it.")
        for address in addresses:
            if resources.owner_of(vpc.id, address) is not None:
                raise ParameterInvalid("addresses", str(address), "Another interface of the network has it.")

    def _check_admin(self, caller: Caller) -> None:
        if not caller.account.is_admin:
            raise AdminOnly("Devices of the host")


def _check_form(device: str, mac: str, addresses: Sequence[Address], groups: Sequence[str]) -> MacAddress:
    """The MAC address in canonical form; raises what is wrong whatever the state."""
    if not groups:
        raise ParameterMissing("groups")
    if not _DEVICE.fullmatch(device) or device in (".", ".."):
        raise ParameterInvalid("device", device, "No network device can be called that.")
    spelled = mac.lower().replace("-", ":")
    if not _MAC.fullmatch(spelled) or int(spelled[:2], 16) & _MULTICAST_BIT or spelled == "00:00:00:00:00:00":
        raise ParameterInvalid("mac", mac, "It is not the MAC address of one device.")
    if not 0 < len(addresses) <= MOST_ADDRESSES:
        raise ParameterInvalid("addresses", str(len(addresses)), f"Between 1 and {MOST_ADDRESSES} addresses.")
    for address in addresses:
        if address.is_unspecified or address.is_multicast or address.is_loopback or address.is_link_local:
            raise ParameterInvalid("addresses", str(address), "No interface of a network can have this address.")
    return MacAddress(spelled)

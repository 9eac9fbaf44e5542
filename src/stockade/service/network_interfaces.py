"""Network interfaces: how one comes to be, and how it goes. Parts of other use cases' transactions."""

from stockade.model import keys
from stockade.model.change import Revision
from stockade.model.network_interface import NetworkInterface
from stockade.model.resources import Change, drop, put
from stockade.store.contract import AtRevision, Exists, Guard

ABSENT = Revision(0)


def guards_of_new(interface: NetworkInterface) -> list[Guard]:
    """Its addresses are nobody's, and its groups and subnet are there."""
    guards: list[Guard] = [Exists(keys.document("sg", group)) for group in interface.groups]
    guards += [AtRevision(keys.private_address(interface.vpc, a), ABSENT) for a in interface.addresses]
    if interface.public is not None:
        guards.append(AtRevision(keys.public_address(interface.public), ABSENT))
    if interface.device is not None:
        guards.append(AtRevision(keys.device(interface.host, interface.device), ABSENT))
    if interface.subnet is not None:
        guards.append(Exists(keys.document("subnet", interface.subnet)))
    return guards


def created(interface: NetworkInterface) -> list[Change]:
    """The interface with its claims: addresses taken, groups kept from being deleted."""
    return [put(interface), *(Change(key, interface.id) for key in _claims(interface))]


def edited(before: NetworkInterface, after: NetworkInterface) -> tuple[list[Guard], list[Change]]:
    """New groups or switches of an interface that keeps its addresses. The caller guards the interface itself."""
    joined = [group for group in after.groups if group not in before.groups]
    left = [group for group in before.groups if group not in after.groups]
    changes = [put(after), *(Change(keys.member(group, after.id), after.id) for group in joined)]
    changes += [Change(keys.member(group, after.id), None) for group in left]
    return [Exists(keys.document("sg", group)) for group in joined], changes


def deleted(interface: NetworkInterface) -> list[Change]:
    """All that `created` made, gone in one transaction: membership never outlives the claim on the address."""
    return [drop(interface), *(Change(key, None) for key in _claims(interface))]


def _claims(interface: NetworkInterface) -> list[str]:
    claims = [keys.private_address(interface.vpc, address) for address in interface.addresses]
    if interface.public is not None:
        claims.append(keys.public_address(interface.public))
    if interface.device is not None:
        claims.append(keys.device(interface.host, interface.device))
    return claims + [keys.member(group, interface.id) for group in interface.groups]

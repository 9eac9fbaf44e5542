"""The addresses that the guest behind an existing device has now, for `stockade attach` without --address."""

from stockade.linux.far_end import NoFarEnd, far_end
from stockade.linux.links import list_addresses, list_addresses6
from stockade.linux.netlink import Netlink
from stockade.model.addresses import Address


def addresses_behind(device: str) -> tuple[Address, ...]:
    """IPv4 first; none of the link alone, and none when the kernel does not say who is there."""
    try:
        with Netlink() as route, far_end(route, device) as end, Netlink(end.netns) as inside:
            found: list[tuple[int, Address]] = [(index, one.ip) for index, one in list_addresses(inside)]
            found += [(index, one.ip) for index, one in list_addresses6(inside)]
            return tuple(address for index, address in found if index == end.index and not address.is_link_local)
    except (NoFarEnd, OSError):
        return ()

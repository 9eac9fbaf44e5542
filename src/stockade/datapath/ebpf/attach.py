"""Program -> device: which program sits at which hook, replaced without a gap."""

import struct
from collections.abc import Mapping

from stockade.datapath.ebpf.host_links import silence_ipv6
from stockade.datapath.ebpf.layout import ROUTER_MAC
from stockade.linux import netlink, traffic_control
from stockade.linux.links import index_of
from stockade.linux.netlink import Netlink, attribute
from stockade.linux.traffic_control import EGRESS, INGRESS
from stockade.model.journal import HostObject, Journal

PRIORITY = 0x5C0A
"""Ours among the filters of a hook. On an uplink others may stand before or behind us."""

ENDPOINT = {INGRESS: "from_endpoint", EGRESS: "to_endpoint"}
GATEWAY = {INGRESS: "from_gateway"}
SERVICES = {INGRESS: "from_services", EGRESS: "to_endpoint"}

_IFINFO = struct.Struct("=BxHiII")  # family, type, index, flags, change mask
_MAC = 1


def filter_object(device: str, hook: int, program: str) -> HostObject:
    """How a filter stands in the journal."""
    return HostObject("filter", device, traffic_control.journal_detail(hook, PRIORITY, program))


def clsact_object(device: str) -> HostObject:
    """How the two hooks of a device stand in the journal, when we gave them to it."""
    return HostObject("filter", device, traffic_control.CLSACT)


class Hooks:
    """Our programs at the hooks of devices in one network namespace."""

    def __init__(self, route: Netlink, journal: Journal, programs: Mapping[str, int]) -> None:
        self._route = route
        self._journal = journal
        self._programs = programs

    def attach(self, device: str, hooks: Mapping[int, str]) -> int:
        """Put these programs at these hooks of the device; its index. Again: the programs are replaced."""
        index = index_of(self._route, device)
        self._journal.making(clsact_object(device), *_filters(device, hooks))
        if not traffic_control.add_clsact(self._route, index) and not self.is_attached(index, hooks):
            # Somebody else's clsact, then: it is not ours to remove.
            self._journal.removed(clsact_object(device))
        for hook, program in hooks.items():
            traffic_control.replace_filter(self._route, index, hook, PRIORITY, self._programs[program], program)
        return index

    def make_router_end(self, index: int) -> None:
        """Our end of an endpoint's link has the router's MAC, so that frames arrive as meant for us, and no voice."""
        mac = attribute(_MAC, bytes.fromhex(ROUTER_MAC.replace(":", "")))
        self._route.request(netlink.NEWLINK, 0, _IFINFO.pack(0, 0, index, 0, 0) + mac)
        silence_ipv6(self._route, index)

    def is_attached(self, index: int, hooks: Mapping[int, str]) -> bool:
        """Whether filters of ours are at all these hooks."""
        return all(
            any(each.priority == PRIORITY for each in traffic_control.list_filters(self._route, index, hook))
            for hook in hooks
        )

    def detach(self, device: str, index: int, hooks: Mapping[int, str]) -> None:
        """Take our filters off; clsact too when nobody has a filter left in it."""
        for hook in hooks:
            traffic_control.delete_filter(self._route, index, hook, PRIORITY)
        if traffic_control.is_idle(self._route, index):
            traffic_control.delete_clsact(self._route, index)
        self._journal.removed(*_filters(device, hooks), clsact_object(device))


def _filters(device: str, hooks: Mapping[int, str]) -> list[HostObject]:
    return [filter_object(device, hook, program) for hook, program in hooks.items()]

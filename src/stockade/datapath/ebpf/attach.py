"""Program -> device: which program sits at which hook, replaced without a gap.

A device made for an endpoint is ours as a whole. One that somebody else forwards for keeps what it has: its MAC, its
settings, its other filters; we stand before those, as one of them may be the last word.
"""

import errno
import struct
from collections.abc import Mapping

from stockade.datapath.ebpf import syscall
from stockade.datapath.ebpf.host_links import silence_ipv6
from stockade.datapath.ebpf.layout import OURS, ROUTER_MAC, SOMEBODYS, SOMEBODYS_CLSACT
from stockade.linux import links, netlink, traffic_control
from stockade.linux.links import Link
from stockade.linux.netlink import Netlink, attribute
from stockade.linux.traffic_control import EGRESS, INGRESS
from stockade.model.journal import HostObject, Journal

PRIORITY = 0x5C0A
"""Ours among the filters of a hook. On an uplink others may stand before or behind us."""
FIRST = 1
"""The same on an endpoint's device that is not ours."""

ENDPOINT = {INGRESS: "from_endpoint", EGRESS: "to_endpoint"}
GATEWAY = {INGRESS: "from_gateway"}
SERVICES = {INGRESS: "from_services", EGRESS: "to_endpoint"}

_IFINFO = struct.Struct("=BxHiII")  # family, type, index, flags, change mask
_MAC = 1


def filter_object(device: str, hook: int, program: str, priority: int = PRIORITY) -> HostObject:
    """How a filter stands in the journal."""
    return HostObject("filter", device, traffic_control.journal_detail(hook, priority, program))


def clsact_object(device: str) -> HostObject:
    """How the two hooks of a device stand in the journal, when we gave them to it."""
    return HostObject("filter", device, traffic_control.CLSACT)


class Hooks:
    """Our programs at the hooks of devices in one network namespace."""

    def __init__(self, route: Netlink, journal: Journal, programs: Mapping[str, int]) -> None:
        self._route = route
        self._journal = journal
        self._programs = programs
        self._ids = {name: syscall.program_id(fd) for name, fd in programs.items()}

    def attach(self, device: str, hooks: Mapping[int, str]) -> int:
        """Put these programs at these hooks of the device; its index. Again: the programs are replaced."""
        index = links.index_of(self._route, device)
        self._journal.making(clsact_object(device), *_filters(device, hooks, PRIORITY))
        if not traffic_control.add_clsact(self._route, index) and not self.is_attached(index, hooks):
            # Somebody else's clsact, then: it is not ours to remove.
            self._journal.removed(clsact_object(device))
        self._put(index, hooks, PRIORITY)
        return index

    def adopt(self, device: str, index: int) -> int:
        """Judge at this endpoint's device without making it ours; whose its hooks are, as layout.py has it.

        Raises OSError when that cannot be, and then the device is as it was.
        """
        theirs = traffic_control.has_hooks(self._route, index)
        for hook, program in ENDPOINT.items():
            if traffic_control.is_taken(self._route, index, hook, FIRST, program):
                raise OSError(errno.EBUSY, f"somebody's filter has the first place on {device}, before any of ours")
        hooks = () if theirs else (clsact_object(device),)
        self._journal.making(*hooks, *_filters(device, ENDPOINT, FIRST))
        adopted = SOMEBODYS_CLSACT if theirs else SOMEBODYS
        try:
            if not theirs:
                traffic_control.add_clsact(self._route, index)
            self._put(index, ENDPOINT, FIRST)
        except OSError:
            self.release(device, index, adopted)
            raise
        return adopted

    def release(self, device: str, index: int, adopted: int) -> None:
        """The endpoint's device, adopted so, is as it was before."""
        for hook in ENDPOINT:
            traffic_control.delete_filter(self._route, index, hook, FIRST)
        if adopted == SOMEBODYS and traffic_control.is_idle(self._route, index):
            traffic_control.delete_clsact(self._route, index)
        self._journal.removed(*_filters(device, ENDPOINT, FIRST), clsact_object(device))

    def replace(self, device: str, index: int, adopted: int) -> None:
        """The programs of this process at an endpoint's device, where those of a former one are."""
        if adopted == OURS:
            self.attach(device, ENDPOINT)
        else:
            self._put(index, ENDPOINT, FIRST)

    def _put(self, index: int, hooks: Mapping[int, str], priority: int) -> None:
        for hook, program in hooks.items():
            traffic_control.replace_filter(self._route, index, hook, priority, self._programs[program], program)

    def make_router_end(self, device: Link) -> None:
        """Our end of an endpoint's link has the router's MAC, so that frames arrive as meant for us, and no voice."""
        mac = attribute(_MAC, bytes.fromhex(ROUTER_MAC.replace(":", "")))
        self._route.request(netlink.NEWLINK, 0, _IFINFO.pack(0, 0, device.index, 0, 0) + mac)
        silence_ipv6(self._route, device)

    def is_attached(self, index: int, hooks: Mapping[int, str], priority: int = PRIORITY) -> bool:
        """Whether filters of ours are at all these hooks."""
        return all(
            any(each.priority == priority for each in traffic_control.list_filters(self._route, index, hook))
            for hook in hooks
        )

    def repair(self, device: str, index: int, hooks: Mapping[int, str], priority: int = PRIORITY) -> list[str]:
        """See to it that the programs of this process are at these hooks; a line for each that was not."""
        said = []
        for hook, program in hooks.items():
            found = [
                each for each in traffic_control.list_filters(self._route, index, hook) if each.priority == priority
            ]
            if [each.program for each in found] != [self._ids[program]]:
                said.append(f"filter {program} is not on {device}")
                traffic_control.add_clsact(self._route, index)
                self._put(index, {hook: program}, priority)
        return said

    def detach(self, device: str, index: int, hooks: Mapping[int, str]) -> None:
        """Take our filters off; clsact too when nobody has a filter left in it."""
        for hook in hooks:
            traffic_control.delete_filter(self._route, index, hook, PRIORITY)
        if traffic_control.is_idle(self._route, index):
            traffic_control.delete_clsact(self._route, index)
        self._journal.removed(*_filters(device, hooks, PRIORITY), clsact_object(device))


def _filters(device: str, hooks: Mapping[int, str], priority: int) -> list[HostObject]:
    return [filter_object(device, hook, program, priority) for hook, program in hooks.items()]

"""Programs at a device's two tc hooks: clsact and cls_bpf, by netlink.

    device ── ingress (what comes in by it) ── filters in order of priority ── stack
           ── egress  (what leaves by it)   ── filters in order of priority ── wire

A filter is known by hook, priority and handle; replacing one with the same three is gapless: each packet
meets the old program or the new one. Filters of others at the same hooks are not touched.
"""

import errno
import socket
import struct
from dataclasses import dataclass

from stockade.linux import netlink
from stockade.linux.netlink import Netlink, attribute, attributes, text

INGRESS, EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
CLSACT = "clsact"
_HOOK_NAMES = {INGRESS: "ingress", EGRESS: "egress"}

_NEWQDISC, _DELQDISC, _GETQDISC = 36, 37, 38
_NEWTFILTER, _DELTFILTER, _GETTFILTER = 44, 45, 46
_TCMSG = struct.Struct("=BxxxiIII")  # family, index, handle, parent, info
_CLSACT_HANDLE, _CLSACT_PARENT = 0xFFFF0000, 0xFFFFFFF1
_KIND, _OPTIONS = 1, 2
_BPF_FD, _BPF_NAME, _BPF_FLAGS, _BPF_ID = 6, 7, 8, 11
_DIRECT_ACTION = 1
_HANDLE = 1
_ALL_PROTOCOLS = socket.htons(0x0003)


@dataclass(frozen=True, slots=True)
class Filter:
    """A BPF filter as the kernel lists it. `program` is the kernel's number of the program."""

    priority: int
    handle: int
    name: str
    program: int


def add_clsact(route: Netlink, device: int) -> bool:
    """Give the device its two hooks. False when it had them: then somebody else may use them too."""
    payload = _TCMSG.pack(socket.AF_UNSPEC, device, _CLSACT_HANDLE, _CLSACT_PARENT, 0) + attribute(_KIND, "clsact")
    try:
        route.request(_NEWQDISC, netlink.CREATE | netlink.EXCLUDE, payload)
    except OSError as err:
        if err.errno == errno.EEXIST:
            return False
        raise
    return True


def has_hooks(route: Netlink, device: int) -> bool:
    """Whether the device has a clsact, or the half of one that is called ingress."""
    payload = _TCMSG.pack(socket.AF_UNSPEC, device, 0, 0, 0)
    return any(
        _TCMSG.unpack_from(body)[1:4:2] == (device, _CLSACT_PARENT)
        for _, body in route.request(_GETQDISC, netlink.DUMP, payload)
    )


def is_taken(route: Netlink, device: int, hook: int, priority: int, name: str) -> bool:
    """Whether a filter of somebody else, of whatever kind, has this place at the hook."""
    for body in _dump(route, device, hook):
        info = _TCMSG.unpack_from(body)[4]
        fields = dict(attributes(body[_TCMSG.size :]))
        options = dict(attributes(fields.get(_OPTIONS, b"")))
        if info >> 16 == priority and text(options.get(_BPF_NAME, b"")) != name and _OPTIONS in fields:
            return True
    return False


def delete_clsact(route: Netlink, device: int) -> bool:
    """Take both hooks away, with every filter there. False when there were none."""
    payload = _TCMSG.pack(socket.AF_UNSPEC, device, _CLSACT_HANDLE, _CLSACT_PARENT, 0)
    return _try(route, _DELQDISC, payload)


def replace_filter(route: Netlink, device: int, hook: int, priority: int, program: int, name: str) -> None:
    """Put the program behind this descriptor at the hook, in the place of the one of the same priority if any."""
    options = [attribute(_BPF_FD, program), attribute(_BPF_NAME, name), attribute(_BPF_FLAGS, _DIRECT_ACTION)]
    payload = _TCMSG.pack(socket.AF_UNSPEC, device, _HANDLE, hook, priority << 16 | _ALL_PROTOCOLS)
    payload += attribute(_KIND, "bpf") + attribute(_OPTIONS, options)
    route.request(_NEWTFILTER, netlink.CREATE | netlink.REPLACE, payload)


def delete_filter(route: Netlink, device: int, hook: int, priority: int) -> bool:
    """Take our filter off the hook. False when it, the hook or the device is not there."""
    payload = _TCMSG.pack(socket.AF_UNSPEC, device, _HANDLE, hook, priority << 16 | _ALL_PROTOCOLS)
    return _try(route, _DELTFILTER, payload + attribute(_KIND, "bpf"))


def list_filters(route: Netlink, device: int, hook: int) -> list[Filter]:
    """The BPF filters at a hook, in the order in which packets meet them."""
    found = []
    for body in _dump(route, device, hook):
        _, _, handle, _, info = _TCMSG.unpack_from(body)
        fields = dict(attributes(body[_TCMSG.size :]))
        options = dict(attributes(fields.get(_OPTIONS, b"")))
        if text(fields.get(_KIND, b"")) == "bpf" and handle and _BPF_ID in options:
            (program,) = struct.unpack("=I", options[_BPF_ID])
            found.append(Filter(info >> 16, handle, text(options.get(_BPF_NAME, b"")), program))
    return found


def is_idle(route: Netlink, device: int) -> bool:
    """Whether no filter of any kind, of anybody, is at either hook."""
    return not any(_dump(route, device, hook) for hook in (INGRESS, EGRESS))


def journal_detail(hook: int, priority: int, name: str) -> str:
    """What a journal must say of a filter, beside its device, so that `remove_ours` finds just this one."""
    return f"{_HOOK_NAMES[hook]} {priority} {name}"


def remove_ours(route: Netlink, device: int, detail: str) -> bool:
    """Undo what a journal says: a filter, if it is the named one; "clsact", if nobody has a filter left in it."""
    if detail == CLSACT:
        return is_idle(route, device) and delete_clsact(route, device)
    hook_name, priority, name = detail.split(" ")
    hook = next(number for number, known in _HOOK_NAMES.items() if known == hook_name)
    ours = any(each.priority == int(priority) and each.name == name for each in list_filters(route, device, hook))
    return ours and delete_filter(route, device, hook, int(priority))


def _dump(route: Netlink, device: int, hook: int) -> list[bytes]:
    try:
        answers = route.request(_GETTFILTER, netlink.DUMP, _TCMSG.pack(socket.AF_UNSPEC, device, 0, hook, 0))
    except OSError as err:
        if err.errno in (errno.ENODEV, errno.EINVAL, errno.ENOENT):
            return []
        raise
    return [body for _, body in answers]


def _try(route: Netlink, kind: int, payload: bytes) -> bool:
    try:
        route.request(kind, 0, payload)
    except OSError as err:
        if err.errno in (errno.ENOENT, errno.ENODEV, errno.EINVAL):
            return False
        raise
    return True

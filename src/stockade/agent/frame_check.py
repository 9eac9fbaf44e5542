"""What the control process says, held against what it may say: it has no rights, and this process has all of them.

Ids become names of directories, cgroups and containers here, and numbers become names of devices and uids. A frame
that carries anything else did not come from our control process as we wrote it, and is taken as the end of it.
"""

import re
from collections.abc import Iterator

from stockade.model.errors import IdMalformed
from stockade.model.host_view import Frame, ViewGroup, ViewInstance, ViewInterface, ViewItem, ViewMember, ViewPrefixList
from stockade.model.ids import check_id

_LARGEST_NUMBER = (1 << 48) - 1
_DEVICE = re.compile(r"[^\s/:\x00]{1,15}")  # as the service accepts it, and the kernel


class FrameRefused(Exception):
    """The control process said what it would never say."""


def checked(frame: Frame) -> Frame:
    """The frame itself. Raises FrameRefused when an id in it is no id, or a number none of ours."""
    for item in frame.put:
        for text, prefix in _ids_of(item):
            try:
                check_id(text, prefix)
            except (IdMalformed, TypeError):
                raise FrameRefused(f"{text!r} is no id of the kind {prefix}") from None
        if isinstance(item, ViewInterface):
            _check_interface(item)
    return frame


def _check_interface(item: ViewInterface) -> None:
    if not (type(item.number) is int and 0 < item.number <= _LARGEST_NUMBER):
        raise FrameRefused(f"{item.id} has the number {item.number!r}")
    if item.device is not None and not is_device_name(item.device):
        raise FrameRefused(f"{item.id} has the device {item.device!r}")


def is_device_name(name: object) -> bool:
    """Whether a device of the host can be called so."""
    return isinstance(name, str) and _DEVICE.fullmatch(name) is not None and name not in (".", "..")


def _ids_of(item: ViewItem) -> Iterator[tuple[str, str]]:
    match item:
        case ViewGroup():
            yield item.id, "sg"
        case ViewPrefixList():
            yield item.id, "pl"
        case ViewMember():
            yield item.interface, "eni"
        case ViewInterface():
            yield item.id, "eni"
        case ViewInstance():
            yield item.id, "i"
            yield item.interface, "eni"

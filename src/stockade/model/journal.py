"""What Stockade makes on a host, written down before it is made.

Whoever makes a link, route, filter, pin, mount, cgroup, namespace or directory records it first, so that
`stockade down --force` can undo it without the database. Recording twice is harmless, and so is an
entry whose object was never made or is already gone.
"""

from dataclasses import dataclass
from typing import Protocol

PLACE = "place"


@dataclass(frozen=True, slots=True)
class HostObject:
    """A thing on the host.

    kind: link | route | address | filter | pin | mount | loop | cgroup | netns | directory | file | process | place
    name: the device, path or pid it is known by
    detail: what else is needed to remove just this one (a route's text, a filter's hook and priority,
            a process's start time)

    A place is a directory of the site's own. It is never removed itself; other directories and files may only be
    removed when they lie directly in one.
    """

    kind: str
    name: str
    detail: str = ""


class Journal(Protocol):
    """Kept by the agent in /run/<site>/journal; every line is on disk before `making` returns."""

    def making(self, *objects: HostObject) -> None:
        """These are about to be made."""

    def removed(self, *objects: HostObject) -> None:
        """These are gone."""


class NoJournal:
    """For tests, whose namespaces vanish as a whole."""

    def making(self, *objects: HostObject) -> None: ...

    def removed(self, *objects: HostObject) -> None: ...

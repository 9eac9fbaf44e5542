"""Which instances a driver has on its host: their records, and the namespaces of those that were not started yet."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from stockade.instances import record as records
from stockade.instances.console import tail
from stockade.instances.contract import LaunchFailed
from stockade.instances.record import Record, status_of
from stockade.linux import links
from stockade.linux.netlink import Netlink
from stockade.linux.processes import ProcessId
from stockade.model.ids import InstanceId
from stockade.model.instance import InstanceStatus


class Namespaces(Protocol):
    """Held open between create and start: they go when nobody does."""

    def close(self) -> None: ...


Held = TypeVar("Held", bound=Namespaces)


class Roster(Generic[Held]):
    """Safe to use from several threads; `lock` makes one step of several calls."""

    def __init__(self, directory: Path) -> None:
        """`directory` holds one directory an instance; what is found there is adopted."""
        self._directory = directory
        self._route = Netlink()
        self._held: dict[InstanceId, Held] = {}
        self._records: dict[InstanceId, Record] = {}
        self.lock = threading.RLock()
        self.unfinished: list[Path] = []
        """Directories whose maker died while it made them."""
        for folder in sorted(directory.glob("i-*")):
            record = records.load(folder)
            if record is None:
                self.unfinished.append(folder)
            else:
                self._records[record.spec.id] = record

    @property
    def route(self) -> Netlink:
        """The network namespace of the host."""
        return self._route

    def folder(self, instance: InstanceId) -> Path:
        return self._directory / instance

    def console_file(self, instance: InstanceId) -> Path:
        return self.folder(instance) / "console"

    def all(self) -> Mapping[InstanceId, Record]:
        """As they are now."""
        with self.lock:
            return dict(self._records)

    def find(self, instance: InstanceId) -> Record | None:
        with self.lock:
            return self._records.get(instance)

    def enter(self, record: Record) -> None:
        """In memory only: what is entered and not saved is gone with us."""
        with self.lock:
            self._records[record.spec.id] = record

    def hold(self, instance: InstanceId, namespaces: Held) -> None:
        """Keep them open until `to_start`, `strike` or `close`."""
        with self.lock:
            self._held[instance] = namespaces

    def save(self, record: Record) -> None:
        """On disk, then in memory."""
        records.save(self.folder(record.spec.id), record)
        self.enter(record)

    def to_start(self, instance: InstanceId) -> tuple[Record, Held]:
        """Its record, and its namespaces, which are the caller's to close. LaunchFailed unless create made it."""
        with self.lock:
            namespaces = self._held.pop(instance, None)
            record = self._records.get(instance)
        if namespaces is None or record is None:
            raise LaunchFailed(f"{instance} was not created by this process, or was started already")
        return record, namespaces

    def strike(self, instance: InstanceId) -> Record | None:
        """Out of memory, with its namespaces closed; None when it was not there."""
        with self.lock:
            namespaces = self._held.pop(instance, None)
            record = self._records.pop(instance, None)
        if namespaces is not None:
            namespaces.close()
        return record

    def statuses(self) -> Mapping[InstanceId, InstanceStatus]:
        """Every instance as it is now: does its first process live, is its device there."""
        known = self.all()
        devices = {link.name for link in links.list_links(self._route)}
        return {instance: status_of(record, record.device in devices) for instance, record in known.items()}

    def close(self) -> None:
        """Let go; what runs lives on, what was not started ends."""
        with self.lock:
            for namespaces in self._held.values():
                namespaces.close()
            self._held = {}
        self._route.close()


class Rostered(Generic[Held]):
    """The part of a driver that only looks things up."""

    def __init__(self, directory: Path) -> None:
        self._roster: Roster[Held] = Roster(directory)

    def device(self, instance: InstanceId) -> str | None:
        """Its device on the host, None when that is gone."""
        record = self._roster.find(instance)
        if record is None or links.find_link(self._roster.route, record.device) is None:
            return None
        return record.device

    def console(self, instance: InstanceId) -> bytes:
        """The last that it printed."""
        return tail(self._roster.console_file(instance))

    def process(self, instance: InstanceId) -> ProcessId | None:
        """Its first process, as the host numbers it; None when it never ran."""
        record = self._roster.find(instance)
        return None if record is None else record.process

    def close(self) -> None:
        """Let go; instances live on."""
        self._roster.close()

"""Instances as single processes, each in a network namespace of its own."""

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stockade.instances import record as records
from stockade.instances.console import open_console, tail
from stockade.instances.contract import InstanceSpec, LaunchFailed
from stockade.instances.network.links import device_name, make_device
from stockade.instances.record import Record, status_of
from stockade.linux import links
from stockade.linux.namespaces import in_netns, new_netns
from stockade.linux.netlink import Netlink
from stockade.linux.processes import ProcessId
from stockade.model.ids import InstanceId
from stockade.model.instance import InstanceStatus
from stockade.model.journal import HostObject, Journal

_GRACE_S = 1.0


class NamespaceDriver:
    """Runs `command` as every instance, on the host whose network namespace this process is in."""

    def __init__(self, site: str, *, directory: Path, command: Sequence[str], journal: Journal) -> None:
        """`directory` holds one directory an instance; what is found there is adopted."""
        self._site = site
        self._directory = directory
        self._command = tuple(command)
        self._journal = journal
        self._route = Netlink()
        self._lock = threading.Lock()
        self._held: dict[InstanceId, int] = {}  # network namespaces: created, not started
        found = (records.load(folder) for folder in sorted(directory.glob("i-*")))
        self._records = {record.spec.id: record for record in found if record is not None}

    def create(self, spec: InstanceSpec) -> str:
        """Namespace, device, addresses, record."""
        device = device_name(self._site, spec.number)
        record = Record(spec, device)
        with self._lock:
            if spec.id in self._records:
                raise LaunchFailed(f"{spec.id} is here already")
            self._records[spec.id] = record
            self._journal.making(*self._things(record))
        try:
            namespace = new_netns()
            with self._lock:
                self._held[spec.id] = namespace
            (self._directory / spec.id).mkdir(mode=0o700, parents=True, exist_ok=True)
            make_device(self._route, device, namespace, spec)
            records.save(self._directory / spec.id, record)
        except OSError as err:
            self.destroy(spec.id)
            raise LaunchFailed(f"{spec.id} could not be made: {err}") from err
        return device

    def start(self, instance: InstanceId) -> None:
        """Outer end up, command started."""
        with self._lock:
            namespace = self._held.pop(instance, None)
            record = self._records.get(instance)
        if namespace is None or record is None:
            raise LaunchFailed(f"{instance} was not created by this process, or was started already")
        try:
            links.set_up(self._route, record.device)
            process = in_netns(namespace, lambda: self._spawn(instance))
            started = replace(record, process=process)
            self._journal.making(*self._things(started)[2:])
            records.save(self._directory / instance, started)
        except OSError as err:
            self.destroy(instance)
            raise LaunchFailed(f"{instance} could not be started: {err}") from err
        finally:
            os.close(namespace)
        with self._lock:
            self._records[instance] = started

    def stop(self, instance: InstanceId) -> None:
        """TERM to the command, KILL a second later, and KILL to its process group."""
        record = self._record(instance)
        if record is None or record.process is None or not record.process.alive:
            return
        record.process.end(_GRACE_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(record.process.pid, signal.SIGKILL)
        _reap(record.process.pid)

    def destroy(self, instance: InstanceId) -> None:
        """Remove it, running or not."""
        self.stop(instance)
        with self._lock:
            namespace = self._held.pop(instance, None)
            record = self._records.pop(instance, None)
        if namespace is not None:
            os.close(namespace)
        if record is not None:
            links.delete_link(self._route, record.device)
            shutil.rmtree(self._directory / instance, ignore_errors=True)
            self._journal.removed(*self._things(record))

    def observe(self) -> Mapping[InstanceId, InstanceStatus]:
        """Every instance as it is now."""
        with self._lock:
            known = dict(self._records)
        for record in known.values():
            if record.process is not None:
                _reap(record.process.pid)
        devices = {link.name for link in links.list_links(self._route)}
        return {instance: status_of(record, record.device in devices) for instance, record in known.items()}

    def device(self, instance: InstanceId) -> str | None:
        record = self._record(instance)
        if record is None or links.find_link(self._route, record.device) is None:
            return None
        return record.device

    def console(self, instance: InstanceId) -> bytes:
        return tail(self._directory / instance / "console")

    def process(self, instance: InstanceId) -> ProcessId | None:
        """The instance's process; None when it never ran."""
        record = self._record(instance)
        return None if record is None else record.process

    def close(self) -> None:
        """Let go; instances live on."""
        with self._lock:
            for namespace in self._held.values():
                os.close(namespace)
            self._held = {}
        self._route.close()

    def _spawn(self, instance: InstanceId) -> ProcessId:
        console = open_console(self._directory / instance / "console")
        try:
            pid = os.posix_spawnp(
                self._command[0],
                self._command,
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, console, 1),
                    (os.POSIX_SPAWN_DUP2, console, 2),
                ],
                setsid=True,
            )
        finally:
            os.close(console)
        process = ProcessId.of(pid)
        if process is None:
            _reap(pid)
            raise OSError(f"{self._command[0]} ended at once")
        return process

    def _things(self, record: Record) -> list[HostObject]:
        folder = HostObject("directory", str(self._directory / record.spec.id))
        things = [HostObject("link", record.device), folder]
        if record.process is not None:
            things.append(HostObject("process", str(record.process.pid), record.process.started))
        return things

    def _record(self, instance: InstanceId) -> Record | None:
        with self._lock:
            return self._records.get(instance)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):  # another process's child: adopted, and reaped elsewhere
        os.waitpid(pid, os.WNOHANG)

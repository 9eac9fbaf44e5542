"""Instances as single processes, each in a network namespace of its own."""

import contextlib
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stockade.instances.console import open_console
from stockade.instances.contract import InstanceSpec, LaunchFailed
from stockade.instances.network.links import device_name, make_device
from stockade.instances.record import Record
from stockade.instances.roster import Rostered
from stockade.linux import links
from stockade.linux.namespaces import in_netns, new_netns
from stockade.linux.processes import ProcessId
from stockade.model.ids import InstanceId
from stockade.model.instance import InstanceStatus
from stockade.model.journal import HostObject, Journal

_GRACE_S = 1.0


@dataclass(frozen=True, slots=True)
class _Network:
    descriptor: int

    def close(self) -> None:
        os.close(self.descriptor)


class NamespaceDriver(Rostered[_Network]):
    """Runs `command` as every instance, on the host whose network namespace this process is in."""

    def __init__(self, site: str, *, directory: Path, command: Sequence[str], journal: Journal) -> None:
        """`directory` holds one directory an instance; what is found there is adopted."""
        self._site = site
        self._command = tuple(command)
        self._journal = journal
        super().__init__(directory)

    def create(self, spec: InstanceSpec) -> str:
        """Namespace, device, addresses, record."""
        device = device_name(self._site, spec.number)
        record = Record(spec, device)
        with self._roster.lock:
            if self._roster.find(spec.id) is not None:
                raise LaunchFailed(f"{spec.id} is here already")
            self._roster.enter(record)
            self._journal.making(*self._things(record))
        try:
            network = _Network(new_netns())
            self._roster.hold(spec.id, network)
            self._roster.folder(spec.id).mkdir(mode=0o700, parents=True, exist_ok=True)
            make_device(self._roster.route, device, network.descriptor, spec)
            self._roster.save(record)
        except OSError as err:
            self.destroy(spec.id)
            raise LaunchFailed(f"{spec.id} could not be made: {err}") from err
        return device

    def start(self, instance: InstanceId) -> None:
        """Outer end up, command started."""
        record, network = self._roster.to_start(instance)
        try:
            links.set_up(self._roster.route, record.device)
            process = in_netns(network.descriptor, lambda: self._spawn(instance))
            started = replace(record, process=process)
            self._journal.making(*self._things(started)[2:])
            self._roster.save(started)
        except OSError as err:
            self.destroy(instance)
            raise LaunchFailed(f"{instance} could not be started: {err}") from err
        finally:
            network.close()

    def stop(self, instance: InstanceId) -> None:
        """TERM to the command, KILL a second later, and KILL to its process group."""
        process = self.process(instance)
        if process is None or not process.alive:
            return
        process.end(_GRACE_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        _reap(process.pid)

    def destroy(self, instance: InstanceId) -> None:
        """Remove it, running or not."""
        self.stop(instance)
        record = self._roster.strike(instance)
        if record is not None:
            links.delete_link(self._roster.route, record.device)
            shutil.rmtree(self._roster.folder(instance), ignore_errors=True)
            self._journal.removed(*self._things(record))

    def observe(self) -> Mapping[InstanceId, InstanceStatus]:
        """Every instance as it is now."""
        for record in self._roster.all().values():
            if record.process is not None:
                _reap(record.process.pid)
        return self._roster.statuses()

    def _spawn(self, instance: InstanceId) -> ProcessId:
        console = open_console(self._roster.console_file(instance))
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
        folder = HostObject("directory", str(self._roster.folder(record.spec.id)))
        things = [HostObject("link", record.device), folder]
        if record.process is not None:
            things.append(HostObject("process", str(record.process.pid), record.process.started))
        return things


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):  # another process's child: adopted, and reaped elsewhere
        os.waitpid(pid, os.WNOHANG)

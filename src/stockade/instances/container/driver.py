"""Instances as containers.

    create   uids ─▶ disk ─▶ user namespace and its network ─▶ veth, outer end down ─▶ addresses inside ─▶ record
    start    outer end up ─▶ private mounts: image, id-mapped, under an overlay ─▶ runtime ─▶ record with the process
    destroy  cgroups and who lives in them ─▶ loop device ─▶ veth ─▶ directory

Between create and start only this process holds the namespaces: when it dies, the kernel removes them and the
veth with them. After start the instance's own processes hold them, and whoever reads the records finds it again.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from stockade.instances.console import open_console, trim
from stockade.instances.container.bundle import IDS, Bundle, config_of
from stockade.instances.container.cgroups import Cgroups, current_hierarchies
from stockade.instances.container.disks import can_make_disks, make_disk
from stockade.instances.container.host_keys import HostKey, new_host_key
from stockade.instances.container.launch_mounts import LaunchMounts
from stockade.instances.container.root_files import write_own_files
from stockade.instances.container.runtime import Runtime, RuntimeFailed
from stockade.instances.contract import InstanceSpec, LaunchFailed
from stockade.instances.images.build import Images, ImageUnavailable, Progress
from stockade.instances.network.links import device_name, make_device
from stockade.instances.record import Record
from stockade.instances.roster import Rostered
from stockade.linux import links
from stockade.linux.mounts import loop_over, remove_loop
from stockade.linux.namespaces import UserNamespace, new_user_namespace
from stockade.linux.processes import ProcessId
from stockade.model.ids import InstanceId
from stockade.model.instance import InstanceStatus
from stockade.model.journal import HostObject, Journal

# Of the uids that Linux sets aside for containers, far from those that useradd hands to people.
_FIRST_ID, _RANGES = 0x20000000, 0x4000
_GRACE_S = 3.0
_log = logging.getLogger(__name__)


class ContainerDriver(Rostered[UserNamespace]):
    """Runs a site's instances on the host whose network namespace this process is in."""

    def __init__(
        self,
        site: str,
        *,
        directory: Path,
        runtime: Runtime,
        images: Images,
        journal: Journal,
        progress: Progress = lambda line: None,
    ) -> None:
        """`directory` holds one directory an instance; what is found there is adopted."""
        self._site = site
        self._runtime = runtime
        self._images = images
        self._journal = journal
        self._progress = progress
        self._cgroups = Cgroups(site, current_hierarchies())
        self._mounts = LaunchMounts(images, directory, runtime.state)
        super().__init__(directory)
        self._present = set(self._roster.all())  # from the first step of create to the last of destroy
        for folder in self._roster.unfinished:  # its maker died in create; the kernel did the rest
            shutil.rmtree(folder, ignore_errors=True)
        for controller in ("memory", "pids"):
            if not self._cgroups.can_limit(controller):
                _log.warning("instances_not_limited", extra={"controller": controller})
        self._can_make_disks = can_make_disks()
        if not self._can_make_disks:
            _log.warning("instances_not_limited", extra={"controller": "disk"})

    def create(self, spec: InstanceSpec) -> str:
        """Make everything but the first process, building the image first if need be."""
        try:
            recipe = self._images.recipe(spec.recipe)
            self._images.ensure(recipe.layer, self._progress)
        except ImageUnavailable as err:
            raise LaunchFailed(str(err)) from err
        device = device_name(self._site, spec.number)
        first_id = self._begin(spec, device)
        if not self._is_free(device):
            self._forget(spec.id)
            raise LaunchFailed(f"device {device} is on this host already, and no instance's")
        try:
            self._make(spec, device, first_id, new_host_key(recipe.ssh))
        except OSError as err:
            self.destroy(spec.id)
            raise LaunchFailed(f"{spec.id} could not be made: {err}") from err
        return device

    def start(self, instance: InstanceId) -> None:
        """Bring the device up and start the first process."""
        record, namespaces = self._roster.to_start(instance)
        try:
            links.set_up(self._roster.route, record.device)
            process = self._run(record, namespaces)
            self._roster.save(replace(record, process=process))
        except (OSError, RuntimeFailed) as err:
            self.destroy(instance)
            raise LaunchFailed(f"{instance} could not be started: {err}") from err
        finally:
            namespaces.close()

    def stop(self, instance: InstanceId) -> None:
        """TERM to its first process, KILL three seconds later; with it goes everything inside."""
        process = self.process(instance)
        if process is not None and not process.end(_GRACE_S):
            _log.error("instance_does_not_end", extra={"instance": instance, "pid": process.pid})

    def destroy(self, instance: InstanceId) -> None:
        """Remove it; what still runs of it is killed."""
        record = self._roster.strike(instance)
        with self._roster.lock:
            if instance not in self._present:
                return
        loop = loop_over(self._roster.folder(instance) / "disk")
        self._cgroups.remove(instance)
        self._runtime.forget(instance)
        if loop is not None:
            _remove(loop)
        made = [self._folder(instance)]
        if record is not None:
            links.delete_link(self._roster.route, record.device)
            made.append(HostObject("link", record.device))
        shutil.rmtree(self._roster.folder(instance), ignore_errors=True)
        with self._roster.lock:
            self._journal.removed(*made)
            self._present.discard(instance)
            if not self._present:
                self._cgroups.remove_site()
                self._journal.removed(*self._shared())

    def observe(self) -> Mapping[InstanceId, InstanceStatus]:
        """Every instance as it is now. Consoles that have grown too long are cut."""
        for instance in self._roster.all():
            trim(self._roster.console_file(instance))
        return self._roster.statuses()

    def close(self) -> None:
        """Let go; instances live on."""
        super().close()
        self._mounts.close()

    def _begin(self, spec: InstanceSpec, device: str) -> int:
        """Take the instance's place and its first uid, and write down what will be made."""
        with self._roster.lock:
            if spec.id in self._present:
                raise LaunchFailed(f"{spec.id} is here already")
            others = self._roster.all().values()
            if any(record.device == device for record in others):
                raise LaunchFailed(f"{spec.id} would share its device {device} with another instance")
            taken = {record.first_id for record in others}
            slots = ((spec.number + step) % _RANGES for step in range(_RANGES))
            first_id = next(one for slot in slots if (one := _FIRST_ID + slot * IDS) not in taken)
            things = [HostObject("link", device), self._folder(spec.id)]
            self._journal.making(*([] if self._present else self._shared()), *things)
            self._present.add(spec.id)
            self._roster.enter(Record(spec, device, first_id))
        return first_id

    def _is_free(self, device: str) -> bool:
        """Whether nobody has this name; the kernel may still be taking away what a dead process of ours left."""
        for _ in range(100):
            if links.find_link(self._roster.route, device) is None:
                return True
            time.sleep(0.02)
        return False

    def _forget(self, instance: InstanceId) -> None:
        """It was never begun: nothing of it is on the host."""
        with self._roster.lock:
            record = self._roster.strike(instance)
            assert record is not None  # entered by _begin
            self._present.discard(instance)
            shared = [] if self._present else self._shared()
            self._journal.removed(self._folder(instance), HostObject("link", record.device), *shared)

    def _make(self, spec: InstanceSpec, device: str, first_id: int, key: HostKey) -> None:
        folder = self._roster.folder(spec.id)
        folder.mkdir(mode=0o700, parents=True)
        (folder / "bundle").mkdir(mode=0o755)
        self._make_disk(folder, spec, key, first_id)
        self._roster.console_file(spec.id).write_text(f"ssh host key: {key.fingerprint} (ED25519)\n", encoding="ascii")
        namespaces = new_user_namespace(first_id, IDS)
        self._roster.hold(spec.id, namespaces)
        make_device(self._roster.route, device, namespaces.network, spec)
        self._roster.save(Record(spec, device, first_id))

    def _make_disk(self, folder: Path, spec: InstanceSpec, key: HostKey, first_id: int) -> None:
        content = folder / "written"
        for name in ("upper", "work"):
            (content / name).mkdir(mode=0o755, parents=True)
        os.chown(content / "upper", first_id, first_id)
        write_own_files(content / "upper", spec, key, first_id)
        if spec.disk_mb and self._can_make_disks:
            make_disk(folder / "disk", spec.disk_mb, content)
            shutil.rmtree(content)
        else:
            content.rename(folder / "disk")

    def _run(self, record: Record, namespaces: UserNamespace) -> ProcessId:
        spec = record.spec
        recipe = self._images.recipe(spec.recipe)
        folder = self._roster.folder(spec.id)
        config = config_of(
            Bundle(
                root=str(self._mounts.root),
                hostname=spec.hostname,
                services=recipe.services,
                first_id=record.first_id,
                user_namespace=f"/proc/{os.getpid()}/fd/{namespaces.user}",
                network_namespace=f"/proc/{os.getpid()}/fd/{namespaces.network}",
                cgroup=self._cgroups.path(spec.id),
                memory_mb=spec.memory_mb if self._cgroups.can_limit("memory") else None,
                pids=spec.pids if self._cgroups.can_limit("pids") else None,
            )
        )
        (folder / "bundle" / "config.json").write_text(json.dumps(config), encoding="utf-8")
        console = open_console(self._roster.console_file(spec.id))
        try:
            return self._mounts.with_root(
                recipe.layer,
                namespaces.user,
                folder / "disk",
                lambda: self._runtime.run(spec.id, folder / "bundle", console),
            )
        finally:
            os.close(console)

    def _shared(self) -> list[HostObject]:
        """What all instances of the site share on this host."""
        return [HostObject("directory", str(self._runtime.state))] + [
            HostObject("cgroup", str(top)) for top in self._cgroups.tops
        ]

    def _folder(self, instance: InstanceId) -> HostObject:
        return HostObject("directory", str(self._roster.folder(instance)))


def _remove(loop: str) -> None:
    """The kernel frees it a moment after the last process of the instance; what is not removed then stays, free."""
    for _ in range(50):
        if remove_loop(loop):
            return
        time.sleep(0.01)

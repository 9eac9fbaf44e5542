"""Debian's podman as a peer: the same root file system, the same services, on a host namespace of its own.

It runs in a mount namespace whose /run, /var/lib, /dev/shm and /etc/cni are empty: nothing of this machine's own
podman is seen or touched, and all of it goes with the namespace.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from stockade.instances.container.cgroups import Cgroups, current_hierarchies
from stockade.linux.namespaces import open_netns

_NETWORK = IPv4Address("10.88.1.0")  # of podman's default network, 10.88.0.0/16
_SETTINGS = """\
[containers]
default_ulimits = []
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "none"
"""
_SERVICES = {
    "web": ". /etc/apache2/envvars; mkdir -p /run/apache2 /run/lock/apache2; apache2 -DFOREGROUND &",
    "app": "busybox httpd -f -p 8080 -u www-data -h /srv/app &",
    "database": "mkdir -p /run/mysqld; chown mysql:mysql /run/mysqld; mariadbd --user=mysql &",
}
# A host key for each container, as ours have; of the one kind that is quickest to make.
_SSHD = "ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key; mkdir -p /run/sshd; exec /usr/sbin/sshd -D -e"
_CGROUP = "stockade-bench-podman"
_EMPTY = """
ip link set lo up
for place in /run /var/lib /dev/shm /etc/cni; do
    [ ! -d $place ] || mount -t tmpfs none $place
done
exec sleep infinity
"""


@dataclass(frozen=True, slots=True)
class Container:
    """One to start. `number` is its address on podman's network too."""

    number: int
    recipe: str

    @property
    def address(self) -> str:
        return str(_NETWORK + self.number)


class Podman:
    """A podman of its own, with the image imported. Use as a context."""

    def __init__(self, image: Path, parallel: int) -> None:
        """`image`: the squashfs of the layer. `parallel`: how many `podman run` at a time."""
        self._image = image
        self._parallel = parallel

    def __enter__(self) -> "Podman":
        self._folder = Path(tempfile.mkdtemp(prefix="stockade-podman-", dir="/var/tmp"))
        (self._folder / "containers.conf").write_text(_SETTINGS, encoding="ascii")
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-ec", _EMPTY], start_new_session=True
        )
        try:
            self._await_holder()
            self.netns = open_netns(self._holder.pid)
            self._import()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove_all()
        self._holder.kill()
        self._holder.wait()
        if hasattr(self, "netns"):
            os.close(self.netns)
        shutil.rmtree(self._folder, ignore_errors=True)
        cgroups = Cgroups(_CGROUP, current_hierarchies())
        cgroups.remove("conmon")  # podman leaves its monitors' own
        cgroups.remove_site()

    def start(self, containers: Sequence[Container], started: Callable[[Container], None]) -> None:
        """`podman run -d` of each, and `started` as soon as it has returned; returns when all of that has."""

        def start_one(container: Container) -> "Future[None]":
            done = self._run(container)
            if done.returncode:
                raise RuntimeError(f"podman run failed: {done.stderr}")
            return waiters.submit(started, container)

        with ThreadPoolExecutor(len(containers)) as waiters, ThreadPoolExecutor(self._parallel) as threads:
            for waiter in list(threads.map(start_one, containers)):
                waiter.result()

    def remove_all(self) -> None:
        self._podman("rm", "--force", "--all", "--time", "0")

    def _run(self, container: Container) -> "subprocess.CompletedProcess[str]":
        script = f"{_SERVICES[container.recipe]} {_SSHD}"
        where = ("--ip", container.address, "--cgroup-parent", f"/{_CGROUP}")
        return self._podman("run", "--detach", *where, "localhost/server", "/bin/sh", "-c", script)

    def _import(self) -> None:
        tree = self._folder / "tree"
        subprocess.run(["unsquashfs", "-quiet", "-no-progress", "-dest", str(tree), str(self._image)], check=True)
        subprocess.run(["tar", "-C", str(tree), "-cf", str(self._folder / "tar"), "."], check=True)
        shutil.rmtree(tree)
        done = self._podman("import", "--quiet", str(self._folder / "tar"), "localhost/server")
        (self._folder / "tar").unlink()
        if done.returncode:
            raise RuntimeError(f"podman import failed: {done.stderr}")

    def _await_holder(self) -> None:
        """Until it sleeps, with everything mounted."""
        while True:
            name = Path(f"/proc/{self._holder.pid}/comm").read_text(encoding="utf-8").strip()
            if name == "sleep":
                return
            if self._holder.poll() is not None:
                raise RuntimeError("no namespace for podman")

    def _podman(self, *words: str) -> "subprocess.CompletedProcess[str]":
        places = ["--root", str(self._folder / "root"), "--runroot", "/run/podman-bench", "--storage-driver", "overlay"]
        return subprocess.run(
            ["nsenter", "--net", "--mount", "--target", str(self._holder.pid), "podman", *places, *words],
            env={**os.environ, "CONTAINERS_CONF": str(self._folder / "containers.conf")},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


def version() -> str:
    """What is compared with."""
    return subprocess.run(["podman", "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]

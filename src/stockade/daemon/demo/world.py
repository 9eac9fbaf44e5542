"""Three places in network namespaces of their own, joined by a switch, with no way to anywhere else.

      workstation 192.168.1.130 ──┐
                                  ├── switch ── 192.168.1.1 host  (stockade up; public pool behind it)
      neighbour   192.168.1.131 ──┘

No place has a name in the file system: namespaces live as long as our descriptors, or a process inside them.
Every place has a mount namespace of its own in which names are asked of the host's resolver.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from stockade.daemon.problems import Problem
from stockade.linux import mounts
from stockade.linux.namespaces import NEWNET, in_mounts, in_netns, new_mount_namespace, new_netns, setns

T = TypeVar("T")

HOST_ADDRESS = "192.168.1.1"
ADDRESSES = {"workstation": "192.168.1.130", "neighbour": "192.168.1.131"}
UPLINK = "uplink"
PUBLIC_POOL = "198.18.0.0/16"


class Place:
    """A machine of the demo: a network namespace, and mounts where names resolve as they do there."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.network = new_netns()
        self.mounts = new_mount_namespace()
        self._running: set[subprocess.Popen[Any]] = set()

    def inside(self, function: Callable[[], T]) -> T:
        """Run it in a thread that is there."""

        def there() -> T:
            setns(self.network, NEWNET)
            return function()

        return in_mounts(self.mounts, there)

    def popen(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, **more: Any
    ) -> subprocess.Popen[Any]:
        """Start a program there."""
        merged = {**os.environ, **environment} if environment is not None else None
        try:
            process: subprocess.Popen[Any] = self.inside(lambda: subprocess.Popen(command, env=merged, **more))
        except FileNotFoundError as err:
            raise Problem(f"the demo needs {command[0]}", attempt="sudo ./dev demo installs it") from err
        self._running.add(process)
        return process

    def run(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, timeout_s: float = 60
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program there to its end; one that takes longer is ended and its output kept."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = self.popen(command, environment, **streams)
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
        finally:
            self._running.discard(process)
        return subprocess.CompletedProcess(list(command), process.returncode, out, err)

    def end_programs(self) -> None:
        """End what still runs there."""
        for process in tuple(self._running):
            with suppress(OSError):
                process.kill()

    def close(self) -> None:
        """End what still runs there and let the namespaces go."""
        self.end_programs()
        for process in tuple(self._running):
            process.wait()
        os.close(self.network)
        os.close(self.mounts)


class World:
    """The places and the switch between them. A context: leaving it takes everything away."""

    def __init__(self) -> None:
        self.host = Place("host")
        self.switch = Place("switch")
        self.outside = {name: Place(name) for name in ADDRESSES}

    def __enter__(self) -> "World":
        try:
            self._wire()
            for name, place in self.outside.items():
                _use_resolver(place, HOST_ADDRESS, name)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for place in (*self.outside.values(), self.host, self.switch):
            place.close()

    def end_programs(self) -> None:
        """End what runs outside the host: scans last long, and who interrupts the demo does not want to wait."""
        for place in self.outside.values():
            place.end_programs()

    def _wire(self) -> None:
        _ip(self.switch, "link add switch type bridge forward_delay 0", "link set switch up")
        _plug(self.switch, self.host, UPLINK, "p0", f"{HOST_ADDRESS}/24")
        for number, (name, address) in enumerate(ADDRESSES.items(), 1):
            place = self.outside[name]
            _plug(self.switch, place, "eth0", f"p{number}", f"{address}/24")
            _ip(place, f"route add {PUBLIC_POOL} via {HOST_ADDRESS}")


def _plug(switch: Place, place: Place, device: str, port: str, address: str) -> None:
    """A cable from a place to a port of the switch."""
    # A descriptor of ours is a path to the namespace for the child: ip takes it as any other named one.
    path = f"/proc/{os.getpid()}/fd/{place.network}"
    _ip(switch, f"link add {port} type veth peer name {device} netns {path}", f"link set {port} master switch up")
    _ip(place, f"addr add {address} dev {device}", "link set lo up", f"link set {device} up")


def _ip(place: Place, *commands: str) -> None:
    batch = "\n".join(commands) + "\n"
    run = in_netns(
        place.network,
        lambda: subprocess.run(["ip", "-batch", "-"], input=batch, capture_output=True, text=True, check=False),
    )
    if run.returncode:
        raise Problem(f"the demo's {place.name} could not be set up", why=run.stderr.strip())


def _use_resolver(place: Place, address: str, name: str) -> None:
    """Let names be asked of that address alone, in the place's own view of /etc."""
    files = {
        "/etc/resolv.conf": f"nameserver {address}\noptions timeout:2 attempts:2\n",
        "/etc/nsswitch.conf": "hosts: files dns\n",
        "/etc/hosts": f"127.0.0.1 localhost {name}\n",
    }

    def hide() -> None:
        staging = Path("/run")
        for target, content in files.items():
            real = os.path.realpath(target)
            if not os.path.exists(real):
                continue
            source = staging / f".stockade-demo-{os.getpid()}-{Path(target).name}"
            source.write_text(content, encoding="ascii")
            try:
                mounts.mount(str(source), real, None, mounts.BIND)
            finally:
                source.unlink()  # the mount keeps it
        if os.path.isdir("/run/nscd"):
            mounts.mount("none", "/run/nscd", "tmpfs", mounts.NOSUID, "size=4k")

    in_mounts(place.mounts, hide)


def programs_missing(programs: Sequence[str]) -> list[str]:
    """Those that are not on this machine's PATH."""
    return [program for program in programs if shutil.which(program) is None]


def wait_until(claim: Callable[[], bool], seconds: float, every: float = 0.1) -> bool:
    """Poll a claim; whether it came true in time."""
    end = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > end:
            return False
        time.sleep(every)
    return True

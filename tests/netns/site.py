"""A site on a host of a test's own: a network namespace without uplink, in which the real command runs.

Nothing of it is simulated: `stockade up` makes links, programs, cgroups and containers as on a user's machine.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import boto3
from botocore.config import Config

from stockade.linux.namespaces import in_netns, open_netns
from stockade.linux.processes import ProcessId

T = TypeVar("T")
SOURCES = Path(__file__).parents[2] / "src"
IMAGES = Path("/var/lib/stockade/images")
MICRO = "ami-eca54085"


class TestSite:
    """One site on one host namespace. Everything it starts ends with `end`."""

    __test__ = False

    def __init__(self) -> None:
        mark = secrets.token_hex(3)
        self.name = f"t{mark}"
        self.netns = f"stk{mark}"
        self.base = Path("/tmp") / f"stockade-test-{mark}"
        self.base.mkdir(mode=0o700)
        subprocess.run(["ip", "netns", "add", self.netns], check=True)
        self.ip("link", "set", "lo", "up")
        self.space = open_netns(f"/run/netns/{self.netns}")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "EC2_", "STOCKADE_"))},
            "PYTHONPATH": str(SOURCES),
            "HOME": str(self.base),
            "STOCKADE_SITE": self.name,
            "STOCKADE_STATE": str(self.base / "state" / "state.db"),
            "STOCKADE_IMAGES_PATH": str(IMAGES),
            "STOCKADE_LOG": "info",
        }

    # --- the host ---------------------------------------------------------------------------------------------

    def ip(self, *arguments: str) -> None:
        subprocess.run(["ip", "-n", self.netns, *arguments], check=True)

    def inside(self, function: Callable[[], T]) -> T:
        """Run it with the host namespace's network."""
        return in_netns(self.space, function)

    def command(self, *arguments: str) -> list[str]:
        return [
            *("nsenter", f"--net=/run/netns/{self.netns}"),
            *(sys.executable, "-P", "-m", "stockade", *arguments),
        ]

    def stockade(self, *arguments: str, **changes: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*arguments),
            env=self.environment | changes,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )

    # --- the site ---------------------------------------------------------------------------------------------

    def up(self) -> str:
        """In the background; what it printed."""
        done = self.stockade("up", "-d", "--wait", "60s")
        assert done.returncode == 0, f"{done.stderr}\n{self.log()}"
        return done.stderr

    def log(self) -> str:
        log = Path("/run") / self.name / "log"
        return log.read_text() if log.exists() else ""

    def agent(self) -> ProcessId:
        pid, started = (Path("/run") / self.name / "agent").read_text().split()
        return ProcessId(int(pid), started)

    def control(self) -> ProcessId:
        """The one control process that runs."""
        found = subprocess.run(
            ["pgrep", "-P", str(self.agent().pid), "-f", "stockade.daemon.control"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        process = ProcessId.of(int(found[0]))
        assert process is not None and len(found) == 1
        return process

    def kill_both(self) -> None:
        """kill -9 of agent and control process, at the same time."""
        doomed = [self.agent(), self.control()]
        for process in doomed:
            process.signal(signal.SIGKILL)
        for process in doomed:
            assert process.wait(10)

    def lose_power(self) -> None:
        """Nothing of the kernel, of /run and of any process is left; the state is."""
        self.kill_both()
        for record in (self.base / "state" / "instances").glob("*/record.json"):
            os.kill(int(json.loads(record.read_text())["process"][0]), signal.SIGKILL)
        os.close(self.space)
        subprocess.run(["ip", "netns", "del", self.netns], check=True)
        for place in (Path("/run") / self.name, Path("/sys/fs/bpf") / self.name):
            subprocess.run(["umount", "--lazy", "--quiet", str(place / "services")], check=False)
            shutil.rmtree(place)
        for hierarchy in Path("/sys/fs/cgroup").glob(f"**/{self.name}"):
            _end_cgroup(hierarchy)
        (self.base / "state" / "agent" / "boot").write_text("a former boot")
        subprocess.run(["ip", "netns", "add", self.netns], check=True)
        self.ip("link", "set", "lo", "up")
        self.space = open_netns(f"/run/netns/{self.netns}")

    def client(self, service: str = "ec2") -> Any:
        """boto3 with what `stockade env` says and nothing else; its sockets are opened inside the host namespace."""
        told = json.loads(self.stockade("env", "--shell", "json").stdout)
        return _Inside(
            self,
            boto3.client(
                service,
                endpoint_url=told[f"AWS_ENDPOINT_URL_{service.upper()}"],
                aws_access_key_id=told["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=told["AWS_SECRET_ACCESS_KEY"],
                region_name=told["AWS_REGION"],
                config=Config(retries={"total_max_attempts": 1}),
            ),
        )

    def first_process(self, instance: str) -> int:
        """The instance's process 1 as this machine numbers it."""
        record = json.loads((self.base / "state" / "instances" / instance / "record.json").read_text())
        return int(record["process"][0])

    @contextmanager
    def network_of(self, instance: str) -> Iterator[int]:
        """A descriptor of the instance's network namespace."""
        space = open_netns(self.first_process(instance))
        try:
            yield space
        finally:
            os.close(space)

    def opens(self, address: str, port: int, within_s: float = 1.0) -> bool:
        """Whether a connection from the host comes to be."""

        def connect() -> bool:
            with socket.socket() as tried:
                tried.settimeout(within_s)
                return tried.connect_ex((address, port)) == 0

        return self.inside(connect)

    def end(self) -> None:
        """Whatever happened: nothing of it stays."""
        if (Path("/run") / self.name).exists():
            self.stockade("down", "--force")
        os.close(self.space)
        subprocess.run(["ip", "netns", "del", self.netns], check=True)
        shutil.rmtree(self.base, ignore_errors=True)


def _end_cgroup(top: Path) -> None:
    """With those below; the kernel takes a moment to reap who was killed."""

    def gone() -> bool:
        with contextlib.suppress(OSError):
            for folder, _, _ in os.walk(top, topdown=False):
                os.rmdir(folder)
        return not top.is_dir()

    until(gone)


class _Inside:
    """A boto3 client whose every call runs in a thread inside the host namespace."""

    def __init__(self, site: TestSite, client: Any) -> None:
        self._site = site
        self.plain = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.plain, name)
        return lambda *args, **kwargs: self._site.inside(lambda: method(*args, **kwargs))


def until(holds: Callable[[], T], within_s: float = 15.0) -> T:
    """Its first true answer."""
    deadline = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < deadline, "did not come to be in time"
        time.sleep(0.02)
    return found


def build_micro() -> None:
    """On the machine itself, which has its package sources; later tests find it."""
    subprocess.run(
        [sys.executable, "-P", "-m", "stockade", "image", "build", "micro"],
        env={**os.environ, "PYTHONPATH": str(SOURCES), "STOCKADE_IMAGES_PATH": str(IMAGES)},
        check=True,
    )

"""The OCI runtime, driven by its command line.

runc is the default. crun is taken when it is asked for, or alone, and can start a container here: crun 1.8
refuses hybrid cgroups unless cgroup2 is out of sight, and fails on some cgroup2 systems.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stockade.instances.container.cgroups import current_hierarchies, unified_beside_v1
from stockade.linux import mounts
from stockade.linux.namespaces import in_private_mounts
from stockade.linux.processes import ProcessId

KNOWN = ("runc", "crun")
_PATIENCE_S = 60.0


class RuntimeFailed(Exception):
    """The runtime refused; the text is its own."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A runtime that works on this host. `state` is its own directory, below the site's run directory."""

    program: str
    state: Path

    def run(self, name: str, bundle: Path, console: int) -> ProcessId:
        """Create and start the bundle's container, detached; its first process. Raises RuntimeFailed.

        Inherits the calling thread's mount namespace, which must be a private one. `console` gets its output.
        """
        if Path(self.program).name == "crun":
            # Our view only; nothing of the host's is unmounted.
            unified = unified_beside_v1(current_hierarchies())
            if unified is not None:
                mounts.unmount(str(unified), detach=True)
        pid_file = bundle / "pid"
        log = bundle / "runtime.log"
        command = [
            *(self.program, "--root", str(self.state), "--log", str(log), "--log-format", "json", "run", "--detach"),
            *("--bundle", str(bundle), "--pid-file", str(pid_file), name),
        ]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, timeout=_PATIENCE_S, check=False
            )
        except subprocess.TimeoutExpired as err:
            raise RuntimeFailed(f"{self.program} did not answer in {_PATIENCE_S:.0f} s") from err
        if done.returncode:
            raise RuntimeFailed(f"{Path(self.program).name} failed: {_last_words(log) or done.returncode}")
        pid = int(pid_file.read_text(encoding="ascii"))
        process = ProcessId.of(pid)
        if process is None:
            raise RuntimeFailed("its first process ended at once")
        return process

    def forget(self, name: str) -> None:
        """What `delete` would do once the container's processes and cgroups are gone, for none of its 30 ms."""
        shutil.rmtree(self.state / name, ignore_errors=True)

    def delete(self, name: str) -> None:
        """Forget the container, killing what is left of it. No effect when it is unknown."""
        if (self.state / name).exists():
            command = [self.program, "--root", str(self.state), "delete", "--force", name]
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE_S, check=False)
        self.forget(name)


def _last_words(log: Path) -> str:
    """The runtime's own reason: the last line of its log, in the words of its message."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        try:
            return str(json.loads(line)["msg"])
        except (ValueError, KeyError, TypeError):
            return line[:300]
    return ""


def find_runtime(state: Path, wanted: Sequence[str] = KNOWN) -> Runtime:
    """The first of these runtimes that is installed and starts a container here. Raises RuntimeFailed.

    runc is believed; whatever else must prove itself, since a runtime that half works fails at the first launch.
    """
    reasons = []
    for name in wanted:
        program = shutil.which(name)
        if program is None:
            reasons.append(f"{name} is not installed")
            continue
        runtime = Runtime(program, state)
        why_not = None if name == "runc" else self_test(runtime)
        if why_not is None:
            return runtime
        reasons.append(f"{name}: {why_not}")
    raise RuntimeFailed("no OCI runtime: " + "; ".join(reasons) + " (apt-get install runc)")


def self_test(runtime: Runtime) -> str | None:
    """Starts a container of one static program and waits for its word; why it does not work, None when it does."""
    busybox = shutil.which("busybox")
    if busybox is None:
        return "there is no busybox to try it with"
    with tempfile.TemporaryDirectory(prefix="stockade-try-") as folder:
        bundle = Path(folder)
        (bundle / "root" / "bin").mkdir(parents=True)
        for name in ("proc", "dev"):
            (bundle / "root" / name).mkdir()
        shutil.copy2(busybox, bundle / "root" / "bin" / "busybox")
        (bundle / "config.json").write_text(json.dumps(_trial_config()), encoding="ascii")
        name = f"stockade-try-{os.getpid()}"
        heard = bundle / "heard"
        with open(heard, "wb") as console:
            try:
                process = in_private_mounts(lambda: runtime.run(name, bundle, console.fileno()))
                process.wait(5.0)
            except RuntimeFailed as err:
                if "ended at once" not in str(err):
                    return str(err)
            finally:
                runtime.delete(name)
        return None if heard.read_bytes() == b"works\n" else "it ran nothing"


def _trial_config() -> dict[str, object]:
    return {
        "ociVersion": "1.0.2",
        "root": {"path": "root"},
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/busybox", "echo", "works"], "cwd": "/"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")],
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        },
    }
